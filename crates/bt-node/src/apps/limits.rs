//! Bounds of running apps.

use std::time::Duration;

/// The most symbolic links on the way of one path.
pub(super) const LINKS: usize = 40;
/// Bytes of an app's output that are kept in its log; older lines go.
pub(super) const LOG_BYTES: usize = 256 << 10;
/// The longest line of a log, in bytes; more begins another.
pub(super) const LINE_BYTES: usize = 4096;
/// Connections of HTTP clients at a time.
pub(super) const CONNECTIONS: usize = 4096;
/// How long a client may take for the head of a request, and a connection may idle.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(30);
/// The most bytes of a request's head.
pub(super) const HEAD_BYTES: usize = 64 << 10;
/// Requests of one app in a second, on average.
pub(super) const RATE_PER_SECOND: u32 = 2000;
/// Requests of one app that may come at once beyond that.
pub(super) const RATE_BURST: u32 = 4000;
/// How long requests may take to end when the node stops.
pub(super) const STOP_TIME: Duration = Duration::from_secs(5);
/// How often apps are looked for that were stopped.
pub(super) const SWEEP: Duration = Duration::from_secs(1);
/// Tokens of one tree.
pub(super) const TOKENS: usize = 10_000;

/// How long a client may keep a call waiting in all, beside the time for what it sent or took.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
