//! `bt unmount`: unmounts a tree and waits for its last commit.

use std::path::{Path, PathBuf};

use bt_node::control::{Client, Failure, Request, Response};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::detach::{detach, not_mounted};
use crate::mounts::{self, TreeMount};
use crate::output::note;
use crate::progress::Bar;
use crate::{Outcome, target};

/// Unmount a tree; returns when everything is committed.
///
/// Waits for the last commit and for the end of the process that serves the mount, and reports its errors.
#[derive(Debug, clap::Args)]
pub struct Unmount {
    /// The mount point, or the node's directory
    mountpoint: PathBuf,
    /// Detach the mount now even when programs use it, and wait for the last of them
    #[arg(long)]
    lazy: bool,
}

/// Runs the command.
pub fn run(arguments: &Unmount) -> Outcome {
    let mount = find(&arguments.mountpoint)?;
    match Client::connect(&mount.dir)? {
        Some(client) => Ok(through(client, arguments.lazy)?),
        None => Ok(without_process(&mount)?),
    }
}

fn find(path: &Path) -> Result<TreeMount, Failure> {
    match mounts::at(path)? {
        Some(mount) => Ok(mount),
        None => mounts::of(path)?.ok_or_else(|| not_mounted(path)),
    }
}

fn through(mut client: Client, lazy: bool) -> Result<(), Failure> {
    let pid = match client.call(&Request::Status, &mut |_| std::ops::ControlFlow::Continue(()))? {
        Response::Status(status) => status.pid,
        other => return Err(target::unexpected(&other)),
    };
    // Opened before the unmount, so that the id cannot have passed on to another process.
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    let mut bar = Bar::new();
    let answer = client.call(&Request::Unmount { lazy }, &mut |step| bar.step(step));
    if let (Ok(_), Some(Ok(process))) = (&answer, process) {
        // Without a time limit: what the process does last is bounded.
        poll(&mut [PollFd::new(&process, PollFlags::IN)], None)
            .map_err(|error| Failure::io(format!("waiting for the end of process {pid}"), &error.into()))?;
    }
    match answer? {
        Response::Done => Ok(()),
        other => Err(target::unexpected(&other)),
    }
}

/// The mount of a process that is gone. What it had acknowledged is in the journal.
fn without_process(mount: &TreeMount) -> Result<(), Failure> {
    detach(&mount.mountpoint, true)?;
    note(&format!(
        "the process that served {} is gone, its dead mount is taken away; what it acknowledged is kept and\n\
         comes back with the next `bt mount {}`",
        mount.mountpoint.display(),
        mount.dir.display()
    ));
    Ok(())
}
