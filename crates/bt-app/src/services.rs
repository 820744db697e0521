//! What a node does for a call.

use crate::protocol::{FileReply, FileRequest};

/// Which of its outputs a guest wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum OutputStream {
    /// Standard output.
    Standard,
    /// Standard error.
    Error,
}

/// What a node does for one call: bound to an installation, a caller and the grants of both before the call begins.
///
/// The requests come from a process that may be hostile: everything in them is checked here. They come one at a time.
pub trait Services: Send + Sync + 'static {
    /// Answers a request for files. May wait for a disk.
    fn files(&self, request: FileRequest) -> FileReply;

    /// Takes what the guest wrote to an output, in pieces as they come.
    fn output(&self, stream: OutputStream, bytes: &[u8]);
}
