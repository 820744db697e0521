//! One child process, held by its pidfd.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A running child process whose output goes to a log file. Dropping it kills and reaps it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pidfd: OwnedFd,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with standard output and standard error appended to the file `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the command cannot be started.
    pub fn spawn(mut command: Command, log: &Path) -> Result<Self> {
        let output =
            File::options().create(true).append(true).open(log).with_context(|| format!("{}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let pidfd = pidfd_open(pid_of(&child), PidfdFlags::empty()).context("pidfd_open of a new child")?;
        Ok(Self { child, pidfd, log: log.to_path_buf() })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A descriptor that polls readable once the process has ended.
    #[must_use]
    pub fn ended_event(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The status, if the process has ended.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn try_status(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends `signal`; a process that has already ended is not an error.
    pub fn signal(&self, signal: Signal) {
        // The only failure possible for a pidfd of our own child is that it is gone already.
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// Waits for the end, at most `limit`.
    ///
    /// # Errors
    /// When the process still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        if !wait_readable(self.pidfd.as_fd(), Instant::now() + limit)? {
            bail!("process {} still runs after {limit:?}; its log: {}", self.id(), self.log.display());
        }
        Ok(self.child.wait()?)
    }

    /// Ends the process with SIGKILL and reaps it.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::KILL);
        Ok(self.child.wait()?)
    }

    /// What the process wrote so far (all processes that shared the log file).
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.kill();
        }
    }
}

/// Waits until `fd` polls readable; false when `deadline` passes first.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, deadline: Instant) -> Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    poll_until(&mut fds, deadline)
}

/// polls `fds` until one is ready; false when `deadline` passes first.
pub(crate) fn poll_until(fds: &mut [PollFd<'_>], deadline: Instant) -> Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs().try_into()?, tv_nsec: left.subsec_nanos().into() };
        match poll(fds, Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn pid_of(child: &Child) -> Pid {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child has a positive process id")
}

/// When the process `id` was started, in clock ticks since boot; `None` when there is no such process.
///
/// Together with the id this names a process for as long as the machine runs: ids alone are used again.
pub(crate) fn start_time(id: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The command's name is in brackets and may hold anything; field 22 is the 20th after it.
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Kills the process `id` if it is the one that was started at `started`.
pub(crate) fn kill_recorded(id: u32, started: u64) {
    let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) else { return };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if start_time(id) == Some(started) {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    }
}
