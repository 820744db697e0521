//! Forked children, other users, resource limits.

use super::{Errno, Fd, Sys, check, done, read, write};

/// Forks, runs `work` in the child and returns what it returned, as bytes; the child's death by a signal is shown.
///
/// Only for processes with a single thread: the child of a process with more may find locks held for ever.
pub fn in_child(work: impl FnOnce() -> Vec<u8>) -> Sys<Vec<u8>> {
    let child = Child::start(|_| work())?;
    child.finish()
}

/// Runs `work` in a child as another user with one group and no others.
pub fn as_user(uid: u32, gid: u32, work: impl FnOnce() -> Vec<u8>) -> Sys<Vec<u8>> {
    as_user_with_groups(uid, gid, &[], work)
}

/// Runs `work` in a child as another user with supplementary groups.
pub fn as_user_with_groups(uid: u32, gid: u32, groups: &[u32], work: impl FnOnce() -> Vec<u8>) -> Sys<Vec<u8>> {
    in_child(|| match become_user(uid, gid, groups) {
        Ok(()) => work(),
        Err(errno) => format!("cannot become user {uid}: {errno}").into_bytes(),
    })
}

/// Gives up root for good in this process.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Sys<()> {
    // SAFETY: the group list lives across the call; the rest are numbers.
    unsafe {
        done(libc::setgroups(groups.len(), groups.as_ptr()))?;
        done(libc::setresgid(gid, gid, gid))?;
        done(libc::setresuid(uid, uid, uid))
    }
}

/// A forked child that reports at its end, and the other end of a pipe that it can wait on.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    report: Fd,
    go: Option<Fd>,
}

/// The child's side of what the parent says.
#[derive(Debug)]
pub struct Signals {
    ready: Fd,
    go: Fd,
}

impl Signals {
    /// Tells the parent that the child is ready (see [`Child::wait_ready`]).
    pub fn ready(&self) {
        let _ = write(&self.ready, b"\0");
    }

    /// Waits until the parent calls [`Child::go`] or [`Child::finish`].
    pub fn wait(&self) {
        let _ = read(&self.go, 1);
    }
}

impl Child {
    /// Forks and runs `work` in the child, whose bytes the parent gets from [`Child::finish`].
    pub fn start(work: impl FnOnce(&Signals) -> Vec<u8>) -> Sys<Self> {
        let (report_read, report_write) = pipe()?;
        let (go_read, go_write) = pipe()?;
        // SAFETY: the callers have one thread; the child only runs `work` and leaves by _exit.
        match check(unsafe { libc::fork() })? {
            0 => {
                drop((report_read, go_write));
                let signals = Signals { ready: report_write, go: go_read };
                let report = work(&signals);
                let mut rest = report.as_slice();
                while let Ok(count @ 1..) = write(&signals.ready, rest) {
                    rest = &rest[count as usize..];
                }
                // SAFETY: ends the child without running the parent's exit handlers.
                unsafe { libc::_exit(0) }
            }
            pid => Ok(Self { pid: pid as i32, report: report_read, go: Some(go_write) }),
        }
    }

    /// Waits until the child said [`Signals::ready`].
    pub fn wait_ready(&self) -> Sys<()> {
        read(&self.report, 1).map(|_| ())
    }

    /// Lets the child go on, and leaves it running.
    pub fn go(&mut self) {
        self.go = None;
    }

    /// The child's process id.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.pid
    }

    /// Lets the child go on, waits for its end, and returns its report.
    pub fn finish(mut self) -> Sys<Vec<u8>> {
        self.go = None;
        let mut report = Vec::new();
        loop {
            let chunk = read(&self.report, 1 << 16)?;
            if chunk.is_empty() {
                break;
            }
            report.extend(chunk);
        }
        let mut status = 0;
        // SAFETY: the status lives across the call.
        check(unsafe { libc::waitpid(self.pid, &mut status, 0) })?;
        if libc::WIFSIGNALED(status) {
            report.extend(format!("killed by signal {}", libc::WTERMSIG(status)).bytes());
        }
        Ok(report)
    }

    /// Kills the child and reaps it.
    pub fn kill(self) {
        // SAFETY: only numbers and a status that lives across the call; the child is ours and not yet reaped.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, &mut 0, 0);
        }
    }
}

fn pipe() -> Sys<(Fd, Fd)> {
    let mut ends = [0; 2];
    // SAFETY: the array lives across the call.
    done(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    Ok((Fd::from_call(ends[0])?, Fd::from_call(ends[1])?))
}

/// umask(2): sets it and returns the one before.
pub fn umask(mask: u32) -> u32 {
    // SAFETY: only a number is passed.
    unsafe { libc::umask(mask) }
}

/// Raises the limit of open files to `count`.
pub fn allow_open_files(count: u64) -> Sys<()> {
    let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
    // SAFETY: the limit lives across the call.
    done(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })
}

/// Limits the size of files this process may make, and ignores the signal that says so.
pub fn limit_file_size(bytes: u64) -> Sys<()> {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the limit lives across the call; ignoring a signal runs no code.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        done(libc::setrlimit(libc::RLIMIT_FSIZE, &limit))
    }
}

/// execve(2) of `path` without arguments, in a child: its error, or its exit code.
pub fn execute(path: impl AsRef<[u8]>) -> Sys<i64> {
    let path = super::c_path(path);
    let report = in_child(|| {
        let arguments = [path.as_ptr(), std::ptr::null()];
        let environment = [std::ptr::null()];
        // SAFETY: both lists end with null and live across the call, which returns only when it fails.
        unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        Errno::last().0.to_le_bytes().to_vec()
    })?;
    // A program that ran reports nothing: the pipe closed on exec.
    match report.try_into() {
        Ok(errno) => Err(Errno(i32::from_le_bytes(errno))),
        Err(_) => Ok(0),
    }
}
