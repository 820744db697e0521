//! Bounds on what this crate waits for and keeps.

use std::time::Duration;

/// A call that has no answer after this time gives an error. Slow TPMs take a second for a key, and a few for making one.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Connecting to a software TPM takes at most this long.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection that nobody used for this long is given up, so that other programs get at the TPM.
pub(crate) const IDLE: Duration = Duration::from_millis(100);

/// Pause before a TPM is tried again that had no room; the call's own limit ends the tries.
pub(crate) const FULL_PAUSE: Duration = Duration::from_millis(50);

/// Dropping the last user of a TPM waits at most this long for what is loaded to be flushed.
pub(crate) const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Calls that may wait for the thread that owns the TPM.
pub(crate) const QUEUE: usize = 32;

/// Bytes of a private blob: a wrapped P-256 key takes 126.
pub(crate) const BLOB_BYTES: usize = 512;

/// Bytes of the name of a TPM's connection.
pub(crate) const TCTI_BYTES: usize = 512;

/// Bytes of a node key file of this crate.
pub const FILE_BYTES: usize = 16 * 1024;
