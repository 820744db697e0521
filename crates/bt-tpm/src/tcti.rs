//! How a TPM is reached.

use std::fmt;
use std::fs::File;
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;

use tss_esapi::tcti_ldr::TctiNameConf;

use crate::error::TpmError;
use crate::limits::{CONNECT_TIMEOUT, TCTI_BYTES};

/// The kinds of connections whose other end is a program for tests.
const SOFTWARE: [&str; 2] = ["swtpm", "mssim"];
const DEFAULT_DEVICE: &str = "/dev/tpm0";
const DEFAULT_PORT: u16 = 2321;

/// The name of a TPM's connection, in the form of tpm2-tss: `device:/dev/tpmrm0`, `swtpm:host=...,port=...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tcti(String);

impl Tcti {
    pub(crate) fn parse(name: &str) -> Result<Self, TpmError> {
        let known = name.len() <= TCTI_BYTES && TctiNameConf::from_str(name).is_ok();
        known.then(|| Self(name.to_owned())).ok_or_else(|| TpmError::BadTcti { tcti: name.to_owned() })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What tpm2-tss takes.
    pub(crate) fn configuration(&self) -> TctiNameConf {
        TctiNameConf::from_str(&self.0).expect("it was parsed when it was made")
    }

    /// Whether the other end is a program as tests use it.
    pub(crate) fn is_software(&self) -> bool {
        SOFTWARE.contains(&self.kind())
    }

    /// Asks whether anything is there, without a word to the TPM: tpm2-tss would say only that it failed.
    pub(crate) fn probe(&self) -> Result<(), TpmError> {
        let found = match self.kind() {
            "device" => self.probe_device(),
            "swtpm" | "mssim" => self.probe_socket(),
            _ => Ok(()),
        };
        found.map_err(|error| self.absent(error))
    }

    /// The error for a TPM that is not there.
    pub(crate) fn absent(&self, why: impl fmt::Display) -> TpmError {
        TpmError::Absent { tcti: self.0.clone(), why: why.to_string() }
    }

    fn kind(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    fn configured(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, rest)| rest)
    }

    fn probe_device(&self) -> std::io::Result<()> {
        let path = match self.configured() {
            "" => DEFAULT_DEVICE,
            path => path,
        };
        File::options().read(true).write(true).open(path).map(drop)
    }

    fn probe_socket(&self) -> std::io::Result<()> {
        let value = |key: &str| self.configured().split(',').find_map(|part| part.strip_prefix(key));
        let host = value("host=").unwrap_or("localhost");
        let port = value("port=").and_then(|port| port.parse().ok()).unwrap_or(DEFAULT_PORT);
        let mut last = std::io::Error::other("the host has no address");
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_connections_are_checked_when_they_are_given() {
        for name in ["device", "device:/dev/tpmrm0", "swtpm:host=127.0.0.1,port=4000", "mssim", "tabrmd"] {
            assert_eq!(Tcti::parse(name).unwrap().as_str(), name);
        }
        for name in ["", "/dev/tpm0", "tpm", "swtpm:port=x", &format!("device:{}", "x".repeat(TCTI_BYTES))] {
            assert!(matches!(Tcti::parse(name), Err(TpmError::BadTcti { .. })), "{name}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_with_its_reason() {
        let error = Tcti::parse("device:/dev/no-such-tpm").unwrap().probe().unwrap_err();
        assert!(error.to_string().contains("/dev/no-such-tpm: No such file"), "{error}");
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = Tcti::parse(&format!("swtpm:host=127.0.0.1,port={free}")).unwrap().probe().unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
    }
}
