//! Taking a mount away from the kernel.

use std::io;
use std::path::Path;
use std::process::Command;

use bt_node::control::Failure;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::mounts;

/// Processes that a message names.
const NAMED_USERS: usize = 5;

/// Detaches what is mounted at `mountpoint`: as root by itself, else through `fusermount3`. With `lazy` it goes out
/// of sight at once, and ends when the last program lets go of it.
pub fn detach(mountpoint: &Path, lazy: bool) -> Result<(), Failure> {
    let flags = if lazy { UnmountFlags::DETACH } else { UnmountFlags::empty() } | UnmountFlags::NOFOLLOW;
    match unmount(mountpoint, flags) {
        Ok(()) => Ok(()),
        Err(Errno::PERM) => by_fusermount(mountpoint, lazy),
        Err(Errno::BUSY) => Err(busy(mountpoint)),
        Err(Errno::INVAL) => Err(not_mounted(mountpoint)),
        Err(error) => Err(Failure::io(format!("unmounting {}", mountpoint.display()), &error.into())),
    }
}

fn by_fusermount(mountpoint: &Path, lazy: bool) -> Result<(), Failure> {
    let mut command = Command::new("fusermount3");
    command.arg("-u").args(lazy.then_some("-z")).arg("--").arg(mountpoint);
    let output = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::refused("an ordinary user unmounts with fusermount3, which is not installed", "apt install fuse3")
        }
        _ => Failure::io("starting fusermount3", &error),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if said.contains("busy") {
        return Err(busy(mountpoint));
    }
    Err(Failure::refused(format!("fusermount3 cannot unmount {}: {said}", mountpoint.display()), "unmount it as root"))
}

fn busy(mountpoint: &Path) -> Failure {
    let users = mounts::users_of(mountpoint, NAMED_USERS);
    let users: Vec<String> = users.iter().map(|(pid, name)| format!("{name} ({pid})")).collect();
    let by = if users.is_empty() { String::new() } else { format!(" by {}", users.join(", ")) };
    Failure::refused(
        format!("{} is in use{by}", mountpoint.display()),
        "close what uses it, or detach it with `bt unmount --lazy`, which waits until the last user is gone",
    )
}

/// Nothing of ours is mounted there.
pub fn not_mounted(mountpoint: &Path) -> Failure {
    Failure::refused(
        format!("no tree is mounted at {}", mountpoint.display()),
        "`findmnt -t fuse.blocktree` lists those that are",
    )
}
