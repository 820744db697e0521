//! Bounds of the control protocol.

use std::time::Duration;

/// Connections served at the same time; one more is answered with a failure and closed.
pub const CONNECTIONS: usize = 16;
/// The largest request, in bytes: it carries a package.
pub const REQUEST_BYTES: usize = 68 * 1024 * 1024;
/// The largest message of the server, in bytes.
pub const REPLY_BYTES: usize = 64 * 1024 * 1024;
/// How long one side waits for the other inside a message or a handshake.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The least time between two progress messages on the wire.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Differences that one answer holds; a longer list is cut and says so.
pub const DIFF_ENTRIES: usize = 100_000;
/// Problems that one answer holds; a longer list is cut, its count stays true.
pub const PROBLEMS: usize = 10_000;
/// Heads that one answer holds.
pub const LOG_HEADS: usize = 10_000;
/// Entries of an index node that a block report holds.
pub const BLOCK_ENTRIES: usize = 4096;
