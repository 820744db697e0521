//! A TPM made of software, for tests: the `swtpm` of Debian, on private ports of the loopback interface.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::limits::{TPM_POLL, TPM_PORT_TRIES, TPM_TIMEOUT};
use crate::process::Process;
use crate::scratch::Scratch;

/// TPM_ST_NO_SESSIONS and TPM_ST_SESSIONS.
const NO_SESSIONS: [u8; 2] = [0x80, 0x01];
const SESSIONS: [u8; 2] = [0x80, 0x02];
/// An authorisation with an empty password: TPM_RS_PW, no nonce, no attributes, no value.
const EMPTY_PASSWORD: [u8; 9] = [0x40, 0, 0, 0x09, 0, 0, 0, 0, 0];

/// A running software TPM. Its state lies in a directory, so it can be switched off and on again; a copy of a node that
/// is given another directory meets another TPM.
#[derive(Debug)]
pub struct SoftwareTpm {
    scratch: PathBuf,
    state: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl SoftwareTpm {
    /// Starts a TPM whose state is kept in the directory `name` of a scratch area, made if it is missing.
    ///
    /// # Errors
    /// When `swtpm` is not installed, or finds no free ports.
    pub fn start(scratch: &Scratch, name: &str) -> Result<Self> {
        let scratch = scratch.path().to_path_buf();
        let state = scratch.join(name);
        fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
        let mut tpm = Self { scratch, state, port: 0, process: None };
        for _ in 0..TPM_PORT_TRIES {
            tpm.port = two_free_ports()?;
            if tpm.switch_on().is_ok() {
                return Ok(tpm);
            }
        }
        bail!("swtpm did not start in {TPM_PORT_TRIES} tries: is the package swtpm installed? {}", tpm.log())
    }

    /// What a program that uses the TPM is told, in the form of tpm2-tss.
    #[must_use]
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// The port of its commands.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Switches it off, orderly.
    ///
    /// # Errors
    /// When it does not end.
    pub fn switch_off(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        // TPM2_Shutdown(TPM_SU_CLEAR)
        let shutdown = self.command(NO_SESSIONS, 0x0145, &[0, 0]);
        process.kill()?;
        shutdown.map(drop)
    }

    /// Switches it on: PCRs begin anew, as after a reboot.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn switch_on(&mut self) -> Result<()> {
        let mut command = Command::new("swtpm");
        command.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"]);
        command.arg(format!("dir={}", self.state.display()));
        command.arg("--server").arg(format!("type=tcp,port={},bindaddr=127.0.0.1", self.port));
        command.arg("--ctrl").arg(format!("type=tcp,port={},bindaddr=127.0.0.1", self.port + 1));
        let mut process = Process::spawn(command, &self.state.join("log"))?;
        Scratch::record_process(&self.scratch, process.id())?;
        let deadline = Instant::now() + TPM_TIMEOUT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port + 1)).is_err()
            || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err()
        {
            ensure!(process.try_status()?.is_none(), "swtpm ended: {}", self.log());
            ensure!(Instant::now() < deadline, "swtpm does not answer: {}", self.log());
            // It tells nobody when it listens; asking is the event.
            thread::sleep(TPM_POLL);
        }
        self.process = Some(process);
        Ok(())
    }

    /// A reboot of the machine: off and on.
    ///
    /// # Errors
    /// As [`SoftwareTpm::switch_off`] and [`SoftwareTpm::switch_on`].
    pub fn reboot(&mut self) -> Result<()> {
        self.switch_off()?;
        self.switch_on()
    }

    /// Puts another TPM in its place, one whose state is in the directory `name`: what a copy of a node on another machine
    /// meets.
    ///
    /// # Errors
    /// As [`SoftwareTpm::start`].
    pub fn exchange(&mut self, name: &str) -> Result<()> {
        self.switch_off()?;
        self.state = self.scratch.join(name);
        fs::create_dir_all(&self.state)?;
        self.switch_on()
    }

    /// Extends a PCR of the SHA-256 bank, as measured boot does with what it starts. The bytes of TPM2_PCR_Extend are
    /// written here, so that tests need no tools.
    ///
    /// # Errors
    /// When the TPM refuses.
    pub fn extend_pcr(&self, index: u32, digest: &[u8; 32]) -> Result<()> {
        let mut body = index.to_be_bytes().to_vec();
        body.extend(9u32.to_be_bytes());
        body.extend(EMPTY_PASSWORD);
        body.extend(1u32.to_be_bytes());
        body.extend([0, 0x0b]);
        body.extend(digest);
        self.command(SESSIONS, 0x0182, &body).map(drop)
    }

    /// Keys and sessions that are loaded: what its users did not clear away.
    ///
    /// # Errors
    /// When the TPM refuses.
    pub fn loaded(&self) -> Result<usize> {
        // HMAC sessions, policy sessions, transient keys.
        [0x0200_0000, 0x0300_0000, 0x8000_0000].into_iter().map(|first| self.handles(first)).sum()
    }

    /// Counters and other memory that were defined in it by its owner (it is made with none of them).
    ///
    /// # Errors
    /// When the TPM refuses.
    pub fn counters(&self) -> Result<usize> {
        self.handles(0x0180_0000)
    }

    /// How many handles of a kind there are from `first` on: TPM2_GetCapability(TPM_CAP_HANDLES, first, 16).
    fn handles(&self, first: u32) -> Result<usize> {
        let mut body = 1u32.to_be_bytes().to_vec();
        body.extend(first.to_be_bytes());
        body.extend(16u32.to_be_bytes());
        let answer = self.command(NO_SESSIONS, 0x017a, &body)?;
        // More data (1 byte), capability (4), number of handles (4), handles.
        let [_, _, _, _, _, a, b, c, d, ..] = answer[..] else { bail!("a short answer: {answer:?}") };
        Ok(u32::from_be_bytes([a, b, c, d]) as usize)
    }

    /// Occupies the TPM like a program that never lets go: it serves one connection at a time.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub fn occupy(&self) -> Result<TcpStream> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        // TPM2_GetRandom(1): the answer says that this connection is the one that is served.
        exchange(&mut stream, NO_SESSIONS, 0x017b, &[0, 1])?;
        Ok(stream)
    }

    fn command(&self, tag: [u8; 2], code: u32, body: &[u8]) -> Result<Vec<u8>> {
        exchange(&mut TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?, tag, code, body)
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.state.join("log")).unwrap_or_default()).into_owned()
    }
}

/// Sends one command: tag, size, code, body; gives what follows the response code.
fn exchange(stream: &mut TcpStream, tag: [u8; 2], code: u32, body: &[u8]) -> Result<Vec<u8>> {
    stream.set_read_timeout(Some(TPM_TIMEOUT))?;
    let size = u32::try_from(10 + body.len())?;
    let mut command = tag.to_vec();
    command.extend(size.to_be_bytes());
    command.extend(code.to_be_bytes());
    command.extend(body);
    stream.write_all(&command)?;
    let mut header = [0; 10];
    stream.read_exact(&mut header)?;
    let [_, _, s0, s1, s2, s3, c0, c1, c2, c3] = header;
    let size = u32::from_be_bytes([s0, s1, s2, s3]) as usize;
    let mut rest = vec![0; size.saturating_sub(header.len()).min(1 << 16)];
    stream.read_exact(&mut rest)?;
    let response = u32::from_be_bytes([c0, c1, c2, c3]);
    ensure!(response == 0, "the software TPM answered {response:#x} to command {code:#x}");
    Ok(rest)
}

/// A port that is free together with the one after it: tpm2-tss takes that for the control channel.
fn two_free_ports() -> Result<u16> {
    for _ in 0..TPM_PORT_TRIES {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = first.local_addr()?.port();
        if port < u16::MAX && TcpListener::bind((Ipv4Addr::LOCALHOST, port + 1)).is_ok() {
            return Ok(port);
        }
    }
    bail!("there are no two free ports next to each other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_software_tpm_starts_and_takes_commands_again_after_a_reboot() {
        let scratch = Scratch::new("software-tpm").unwrap();
        let mut tpm = SoftwareTpm::start(&scratch, "tpm").unwrap();
        tpm.extend_pcr(16, &[7; 32]).unwrap();
        let held = tpm.occupy().unwrap();
        drop(held);
        tpm.reboot().unwrap();
        tpm.extend_pcr(16, &[7; 32]).unwrap();
        tpm.switch_off().unwrap();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, tpm.port())).is_err(), "nobody listens any more");
    }
}
