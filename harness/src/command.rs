//! External commands with a time limit.

use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::process::wait_readable;

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// The exit code, or -1 when a signal ended the command.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }
}

/// Runs `command` to its end, at most `limit`, then kills it.
///
/// # Errors
/// When it cannot be started or does not end in time. A bad exit status is not an error here.
pub fn run(command: &mut Command, limit: Duration) -> Result<Finished> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a child has a process id")?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let stdout = collect(child.stdout.take().context("stdout is piped")?);
    let stderr = collect(child.stderr.take().context("stderr is piped")?);
    let in_time = wait_readable(pidfd.as_fd(), Instant::now() + limit)?;
    if !in_time {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    }
    let status = child.wait()?;
    if !in_time {
        // The pipes may be held by grandchildren that live on: what they say is not waited for.
        bail!("{command:?} did not end within {limit:?} and was killed");
    }
    let text = |reader: thread::JoinHandle<Vec<u8>>| reader.join().map(|bytes| String::from_utf8_lossy(&bytes).into());
    let stdout = text(stdout).unwrap_or_default();
    let stderr = text(stderr).unwrap_or_default();
    Ok(Finished { status, stdout, stderr })
}

/// As [`run`], and a bad exit status is an error that carries what the command wrote.
///
/// # Errors
/// As [`run`], and when the command fails.
pub fn run_checked(command: &mut Command, limit: Duration) -> Result<Finished> {
    let finished = run(command, limit)?;
    ensure!(
        finished.status.success(),
        "{command:?} ended with {}\nstandard output:\n{}\nstandard error:\n{}",
        finished.status,
        finished.stdout,
        finished.stderr
    );
    Ok(finished)
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A pipe that breaks has delivered all it ever will.
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_reported_with_its_output() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo seen; echo why >&2; exit 3"]);
        let finished = run(&mut command, Duration::from_secs(10)).unwrap();
        assert_eq!((finished.code(), finished.stdout.as_str(), finished.stderr.as_str()), (3, "seen\n", "why\n"));
        let error = run_checked(&mut command, Duration::from_secs(10)).unwrap_err().to_string();
        assert!(error.contains("why"), "{error}");
    }

    #[test]
    fn a_command_that_does_not_end_is_killed() {
        let error = run(Command::new("sleep").arg("1000"), Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error}");
    }
}
