//! Prepares, starts, commands, stops and breaks nodes as child processes.
//!
//! A test takes a [`Scratch`] area, makes a [`Tree`] in it, mounts it as a [`Node`] and works on the mount point
//! with ordinary system calls. It may end the node politely ([`Node::unmount`]) or with SIGKILL ([`Node::kill`]),
//! and mount the tree again.
//!
//! Invariants:
//!
//! - Nothing outlives its guard: [`Scratch`], [`MountGuard`], [`Process`] and [`Node`] undo what they did when they
//!   are dropped, also while a test panics. What a test process that was itself killed left behind is removed by the
//!   next [`Scratch::new`].
//! - Processes are ended by process id (through a pidfd), never by name.
//! - Waiting is for an event (a pidfd, a change of the mount table) with a limit, never for time to pass.
//! - The node is only reached as a user would reach it: through the `bt` command and the mount.

mod author;
mod backing;
mod binary;
mod command;
mod limits;
mod mounts;
mod node;
mod process;
mod scratch;
mod software_tpm;
mod tree;

pub use author::Author;
pub use backing::Backing;
pub use binary::{bt_binary, target_directory};
pub use command::{Finished, run, run_checked};
pub use limits::{COMMAND_TIMEOUT, NODE_TIMEOUT};
pub use mounts::{MountEntry, MountGuard, MountTable, is_mounted};
pub use node::{MountOptions, Node, Transport};
pub use process::Process;
pub use scratch::Scratch;
pub use software_tpm::SoftwareTpm;
pub use tree::Tree;

/// Fails with a clear message unless the test runs as root: loop mounts, other users and device nodes need it.
///
/// # Errors
/// When the effective user is not root, or when the kernel has no FUSE.
pub fn require_root_and_fuse() -> anyhow::Result<()> {
    anyhow::ensure!(
        rustix::process::geteuid().is_root(),
        "these tests mount file systems and act as other users: run them as root"
    );
    anyhow::ensure!(
        std::path::Path::new("/dev/fuse").exists(),
        "there is no /dev/fuse: load the kernel's fuse module, or run where it may be used"
    );
    Ok(())
}
