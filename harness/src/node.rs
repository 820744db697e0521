//! A mounted tree: the node's process and its mount point.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::binary::bt_binary;
use crate::command::run;
use crate::limits::{COMMAND_TIMEOUT, NODE_TIMEOUT, UNMOUNT_TRIES};
use crate::mounts::{MountGuard, MountTable, is_mounted};
use crate::process::Process;
use crate::scratch::Scratch;
use crate::tree::Tree;

/// How the kernel's requests reach the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// Whatever the node chooses.
    #[default]
    Auto,
    /// Through /dev/fuse.
    Fuser,
    /// Through io_uring, where the kernel allows it.
    Uring,
}

impl Transport {
    /// The one named in `$BT_TEST_TRANSPORT` (auto, fuser, uring); auto when it is not set.
    ///
    /// # Panics
    /// When the variable holds another word.
    #[must_use]
    pub fn from_environment() -> Self {
        match std::env::var("BT_TEST_TRANSPORT").as_deref() {
            Err(_) | Ok("auto") => Self::Auto,
            Ok("fuser") => Self::Fuser,
            Ok("uring") => Self::Uring,
            Ok(other) => panic!("BT_TEST_TRANSPORT is {other:?}: use auto, fuser or uring"),
        }
    }

    fn option(self) -> &'static str {
        match self {
            Self::Auto => "transport=auto",
            Self::Fuser => "transport=fuser",
            Self::Uring => "transport=uring",
        }
    }
}

/// How to mount.
#[derive(Debug, Clone, Default)]
pub struct MountOptions {
    /// Refuse every change.
    pub read_only: bool,
    /// Let other users in (root only).
    pub allow_other: bool,
    /// How requests reach the node.
    pub transport: Transport,
    /// More `-o` options, for example `dev` and `suid`.
    pub extra: Vec<String>,
    /// The credential file of the principal to act for; the node itself without one.
    pub principal: Option<PathBuf>,
}

impl MountOptions {
    /// As most tests mount: other users allowed, the transport from the environment.
    #[must_use]
    pub fn for_tests() -> Self {
        Self { allow_other: true, transport: Transport::from_environment(), ..Self::default() }
    }

    fn add_to(&self, command: &mut Command) {
        command.args(["-o", self.transport.option()]);
        for option in &self.extra {
            command.args(["-o", option]);
        }
        if let Some(principal) = &self.principal {
            command.arg("--as").arg(principal);
        }
        if self.read_only {
            command.arg("--read-only");
        }
        if self.allow_other {
            command.arg("--allow-other");
        }
    }
}

/// A running `bt mount --foreground`. Dropping it kills the process and detaches the mount.
#[derive(Debug)]
pub struct Node {
    process: Process,
    mount: MountGuard,
    /// The log file of this run.
    log: PathBuf,
}

impl Node {
    /// Starts `bt mount` and waits for the mount to appear.
    pub(crate) fn start(tree: &Tree, mountpoint: &Path, options: &MountOptions) -> Result<Self> {
        let log = next_log(tree.scratch());
        let mut command = Command::new(bt_binary()?);
        command.arg("mount").arg(tree.directory()).arg(mountpoint).arg("--foreground");
        options.add_to(&mut command);
        command.env("RUST_BACKTRACE", "1");
        command.env("BT_PASSPHRASE_FILE", tree.passphrase_file());
        let mount = MountGuard::new(mountpoint);
        let mut table = MountTable::open()?;
        ensure!(table.find(mountpoint)?.is_none(), "{} is already a mount point", mountpoint.display());
        let process = Process::spawn(command, &log)?;
        Scratch::record_process(tree.scratch(), process.id())?;
        let up = table.wait_for(mountpoint, true, process.ended_event(), Instant::now() + NODE_TIMEOUT);
        let mut node = Self { process, mount, log };
        match up {
            Ok(true) => Ok(node),
            Ok(false) => {
                let status = node.process.wait(NODE_TIMEOUT)?;
                bail!("the node ended with {status} before it was mounted:\n{}", node.log())
            }
            Err(error) => Err(error.context(format!("the node's log:\n{}", node.log()))),
        }
    }

    /// Where the tree is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.mount.path()
    }

    /// The node's process id.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// What the node wrote to its log in this run.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Runs `bt unmount` and waits for the process to end well; returns the log.
    ///
    /// # Errors
    /// When the command fails, the mount stays, the process does not end or ends badly, or the log has a panic.
    pub fn unmount(mut self) -> Result<String> {
        self.run_unmount()?;
        ensure!(!is_mounted(self.path())?, "bt unmount returned, but {} is still mounted", self.path().display());
        let status = self.process.wait(NODE_TIMEOUT)?;
        let log = self.log();
        ensure!(status.success(), "the node ended with {status}:\n{log}");
        ensure!(!log.contains("panicked"), "the node panicked:\n{log}");
        Ok(log)
    }

    /// Runs `bt unmount`; again while the mount is in use. A test of several threads is in use by itself for moments:
    /// a process that one thread starts holds copies of the files that another has open, until it runs its program.
    fn run_unmount(&self) -> Result<()> {
        let mut command = Command::new(bt_binary()?);
        command.arg("unmount").arg(self.path());
        let mut last = run(&mut command, COMMAND_TIMEOUT)?;
        for _ in 1..UNMOUNT_TRIES {
            if !last.stderr.contains("in use") {
                break;
            }
            last = run(&mut command, COMMAND_TIMEOUT)?;
        }
        ensure!(
            last.status.success(),
            "bt unmount ended with {}: {}\nthe node's log:\n{}",
            last.status,
            last.stderr,
            self.log()
        );
        Ok(())
    }

    /// Ends the process with SIGKILL, as a crash would, and detaches the dead mount; returns the log.
    ///
    /// # Errors
    /// When the process cannot be waited for, or had panicked before.
    pub fn kill(mut self) -> Result<String> {
        self.process.kill()?;
        self.mount.detach();
        let log = self.log();
        ensure!(!log.contains("panicked"), "the node panicked:\n{log}");
        Ok(log)
    }

    /// Sends SIGKILL and returns at once; whoever works on the mount sees it die. Call [`Node::kill`] afterwards.
    pub fn kill_now(&self) {
        self.process.signal(rustix::process::Signal::KILL);
    }

    /// Waits for a node that ends by itself.
    ///
    /// # Errors
    /// When it still runs after [`NODE_TIMEOUT`].
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.process.wait(NODE_TIMEOUT)
    }

    /// Resident memory of the process, in bytes.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process_id()))?;
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS: the node has ended")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib << 10)
    }
}

fn next_log(scratch: &Path) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    scratch.join("logs").join(format!("node-{:04}.log", NUMBER.fetch_add(1, Ordering::Relaxed)))
}
