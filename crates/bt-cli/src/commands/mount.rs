//! `bt mount`: mounts a tree.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use bt_crypto::KeyStore;
use bt_node::control::{Client, Failure, Request, Response};
use bt_node::options::{MountOptions, OpenOptions, Transport};
use rustix::io::Errno;

use crate::detach::detach;
use crate::output::note;
use crate::serving::Plan;
use crate::signer::open_principal;
use crate::{End, Outcome, background, log, mounts, serving, target, units};

/// Mount a tree.
///
/// Returns when the mount is up; a process in the background serves it and logs to DIR/log (BT_LOG=debug says
/// more). `bt unmount MOUNTPOINT` ends it.
#[derive(Debug, clap::Args)]
pub struct Mount {
    /// The node's directory
    dir: PathBuf,
    /// An existing directory where the tree appears
    mountpoint: PathBuf,
    /// Serve from this process until the mount is gone; log to standard error
    #[arg(long, short)]
    foreground: bool,
    /// Change nothing, neither on the mount nor in DIR
    #[arg(long)]
    read_only: bool,
    /// Act for the principal of this credential file, and not for the node: what it may not read answers EACCES
    #[arg(long = "as", value_name = "FILE")]
    principal: Option<PathBuf>,
    /// A file with the passphrase of that credential; else BT_PASSPHRASE_FILE names one, else it is asked for
    #[arg(long, value_name = "FILE", requires = "principal")]
    passphrase_file: Option<PathBuf>,
    /// Let other users in; modes and ACLs decide what they may do
    #[arg(long)]
    allow_other: bool,
    /// Options separated by commas: ro, rw, allow_other, suid, nosuid, dev, nodev, transport=auto|fuser|uring,
    /// memory=SIZE
    #[arg(short = 'o', value_name = "OPTIONS", value_delimiter = ',')]
    options: Vec<MountOption>,
    #[arg(long = "report", hide = true)]
    report: bool,
}

/// One word after `-o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MountOption {
    ReadOnly(bool),
    AllowOther,
    Suid(bool),
    Dev(bool),
    Transport(Transport),
    MemoryBytes(u64),
}

impl FromStr for MountOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.split_once('=')) {
            ("ro", _) => Ok(Self::ReadOnly(true)),
            ("rw", _) => Ok(Self::ReadOnly(false)),
            ("allow_other", _) => Ok(Self::AllowOther),
            ("suid", _) => Ok(Self::Suid(true)),
            ("nosuid", _) => Ok(Self::Suid(false)),
            ("dev", _) => Ok(Self::Dev(true)),
            ("nodev", _) => Ok(Self::Dev(false)),
            (_, Some(("transport", "auto"))) => Ok(Self::Transport(Transport::Auto)),
            (_, Some(("transport", "fuser"))) => Ok(Self::Transport(Transport::Fuser)),
            (_, Some(("transport", "uring"))) => Ok(Self::Transport(Transport::Uring)),
            (_, Some(("memory", size))) => memory_bytes(size).map(Self::MemoryBytes),
            _ => Err("no such option; see `bt mount --help`".into()),
        }
    }
}

/// The least memory that caches and dirty data can work with, in bytes.
const LEAST_MEMORY_BYTES: u64 = 16 << 20;

fn memory_bytes(text: &str) -> Result<u64, String> {
    let bytes = units::parse_bytes(text)?;
    if bytes < LEAST_MEMORY_BYTES { Err("at least 16M are needed".into()) } else { Ok(bytes) }
}

/// Runs the command.
pub fn run(arguments: &Mount) -> Outcome {
    let mut plan = plan(arguments);
    if arguments.report {
        if arguments.principal.is_some() {
            plan.who = Some(Arc::new(background::receive_key()?));
        }
        return serve_in_background(&plan);
    }
    target::check_dir(&plan.dir)?;
    refuse_second_mount(&plan)?;
    check_mountpoint(&plan)?;
    check_rights(&plan.mount)?;
    // Only the key reaches the process that serves, never the passphrase.
    let principal = arguments.principal.as_deref();
    let key = principal.map(|file| open_principal(file, arguments.passphrase_file.as_deref())).transpose()?;
    if arguments.foreground {
        log::to_stderr()?;
        plan.who = key.map(|key| -> Arc<dyn KeyStore> { Arc::new(key) });
        return Ok(serving::run(&plan, |_| Ok(()))?);
    }
    let up = background::start(&plan.dir, key.as_ref())?;
    let (dir, mountpoint) = (plan.dir.display(), plan.mountpoint.display());
    note(&format!("{dir} is mounted at {mountpoint} (process {}, transport {})", up.pid, up.transport));
    Ok(())
}

fn plan(arguments: &Mount) -> Plan {
    let mut open = OpenOptions { read_only: arguments.read_only, ..OpenOptions::default() };
    let mut mount = MountOptions { allow_other: arguments.allow_other, ..MountOptions::default() };
    for option in &arguments.options {
        match *option {
            MountOption::ReadOnly(on) => open.read_only = on || arguments.read_only,
            MountOption::AllowOther => mount.allow_other = true,
            MountOption::Suid(on) => mount.allow_suid = on,
            MountOption::Dev(on) => mount.allow_dev = on,
            MountOption::Transport(transport) => mount.transport = transport,
            MountOption::MemoryBytes(bytes) => open.memory_bytes = bytes,
        }
    }
    mount.read_only = open.read_only;
    Plan {
        dir: mounts::place(&arguments.dir),
        mountpoint: mounts::place(&arguments.mountpoint),
        open,
        mount,
        who: None,
    }
}

/// Everything that is said goes to the log and, until the mount is up, to the starting process.
fn serve_in_background(plan: &Plan) -> Outcome {
    let mut reported = false;
    let outcome = background::leave_terminal()
        .map_err(|error| Failure::io("leaving the terminal", &error))
        .and_then(|()| log::to_file(&plan.dir))
        .and_then(|()| {
            serving::run(plan, |up| {
                reported = true;
                background::send(&Ok(up))
            })
        });
    outcome.map_err(|failure| {
        let code = failure.kind.exit_code();
        tracing::error!("{failure}");
        if !reported {
            // The starting process may be gone; the log has it.
            let _ = background::send(&Err(failure));
        }
        End::Quietly(code)
    })
}

fn refuse_second_mount(plan: &Plan) -> Result<(), Failure> {
    let Some(mut client) = Client::connect(&plan.dir)? else { return Ok(()) };
    let dir = plan.dir.display();
    match client.call(&Request::Status, &mut |_| std::ops::ControlFlow::Continue(()))? {
        Response::Status(status) => {
            let place = status.mount.map_or_else(|| "nowhere yet".to_owned(), |mount| mount.mountpoint);
            Err(Failure::refused(
                format!("{dir} is mounted already: at {place}, by process {}", status.pid),
                format!("use it there, or unmount it first with `bt unmount {place}`"),
            ))
        }
        other => Err(target::unexpected(&other)),
    }
}

/// The mount point is a directory apart from the node's; a dead mount of this very tree on it is taken away.
fn check_mountpoint(plan: &Plan) -> Result<(), Failure> {
    let mountpoint = plan.mountpoint.display();
    if plan.mountpoint.starts_with(&plan.dir) || plan.dir.starts_with(&plan.mountpoint) {
        return Err(Failure::refused(
            format!("the mount point {mountpoint} and the node's directory {} contain each other", plan.dir.display()),
            "choose a mount point elsewhere",
        ));
    }
    let under = mounts::at(&plan.mountpoint)?;
    if under.as_ref().is_some_and(|mount| mount.dir == plan.dir) {
        // Nobody listens on the socket, which is there before a mount is: the process is gone.
        note(&format!("the process that served {mountpoint} is gone: its dead mount is taken away"));
        return detach(&plan.mountpoint, true);
    }
    match (fs::metadata(&plan.mountpoint), under) {
        (Ok(_), Some(other)) => Err(Failure::refused(
            format!("another tree is mounted at {mountpoint}: {}", other.dir.display()),
            format!("choose another mount point, or unmount it with `bt unmount {mountpoint}`"),
        )),
        (Ok(metadata), None) if metadata.is_dir() => Ok(()),
        (Ok(_), None) => {
            Err(Failure::refused(format!("{mountpoint} is not a directory"), "choose a directory as mount point"))
        }
        (Err(error), _) if error.raw_os_error() == Some(Errno::NOTCONN.raw_os_error()) => Err(Failure::refused(
            format!("a dead mount is at {mountpoint} (its process is gone)"),
            format!("take it away with `umount -l {mountpoint}` or `fusermount3 -uz {mountpoint}`"),
        )),
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound => Err(Failure::refused(
            format!("the mount point {mountpoint} does not exist"),
            format!("make it with `mkdir {mountpoint}`"),
        )),
        (Err(error), _) => Err(Failure::io(format!("looking at the mount point {mountpoint}"), &error)),
    }
}

fn check_rights(options: &MountOptions) -> Result<(), Failure> {
    if (options.allow_suid || options.allow_dev) && !rustix::process::geteuid().is_root() {
        let what = "only root may mount with suid or dev";
        return Err(Failure::refused(what, "leave the option away, or mount as root"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        mount: Mount,
    }

    fn parsed(arguments: &[&str]) -> Result<Plan, String> {
        let line = ["bt", "/nowhere/dir", "/nowhere/mnt"].iter().chain(arguments);
        Only::try_parse_from(line).map(|only| plan(&only.mount)).map_err(|error| error.to_string())
    }

    #[test]
    fn options_reach_the_plan() {
        let plan = parsed(&["-o", "ro,transport=uring", "-o", "allow_other,dev,memory=64M"]).unwrap();
        assert!(plan.open.read_only && plan.mount.read_only && plan.mount.allow_other && plan.mount.allow_dev);
        assert!(!plan.mount.allow_suid);
        assert_eq!((plan.mount.transport, plan.open.memory_bytes), (Transport::Uring, 64 << 20));
    }

    #[test]
    fn by_default_a_mount_is_private_and_harmless() {
        let plan = parsed(&[]).unwrap();
        let MountOptions { read_only, allow_other, allow_suid, allow_dev, transport } = plan.mount;
        assert_eq!((read_only, allow_other, allow_suid, allow_dev), (false, false, false, false));
        assert_eq!(transport, Transport::Auto);
    }

    #[test]
    fn read_only_wins_over_rw() {
        assert!(parsed(&["--read-only", "-o", "rw"]).unwrap().mount.read_only);
    }

    #[test]
    fn unknown_options_are_refused() {
        for options in ["noatime2", "transport=fast", "memory=1K", "memory=x", ""] {
            assert!(parsed(&["-o", options]).is_err(), "{options:?}");
        }
    }
}
