//! What a node and the process of an app say to each other.
//!
//! A process has one control socket ([`control`]): what to load, and calls. Each call has a channel of its own, a stream
//! socket that carries frames ([`frame`]) with messages ([`message`]). The node has bound the channel to an installation,
//! a caller and its grants before the process sees it: no message names those.

pub mod control;
pub mod files;
pub mod frame;
pub mod message;
pub mod start;
#[cfg(test)]
mod tests;

pub use files::{
    Attributes, DirectoryEntry, FileError, FileId, FileKind, FileReply, FileRequest, OpenFlags, SetTime, Stamp,
};
pub use start::{Caller, Fields, HttpRequest, Root, Start, What};

/// The version of the control socket and of channels. Both sides are the same program, so there is only one at a time.
pub const VERSION: u32 = 1;
