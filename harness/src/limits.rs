//! How long the harness waits for anything, at most.

use std::time::Duration;

/// A node that is asked to start, stop or die has done so within this time.
pub const NODE_TIMEOUT: Duration = Duration::from_secs(60);

/// An external command ends within this time, unless the caller names another limit.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(300);

/// `bt unmount` is run this often while the mount is in use.
pub(crate) const UNMOUNT_TRIES: u32 = 100;

/// Lines of each log that are printed when a test panics.
pub(crate) const LOG_TAIL_LINES: usize = 40;

/// A software TPM that was started answers within this time.
pub(crate) const TPM_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause between two tries to reach it.
pub(crate) const TPM_POLL: Duration = Duration::from_millis(5);

/// Pairs of ports that are tried for it.
pub(crate) const TPM_PORT_TRIES: u32 = 50;
