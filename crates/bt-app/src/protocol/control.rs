//! The control socket of a process: a SEQPACKET socket, one postcard message a packet.
//!
//! The node sends [`ToProcess::Load`] with the compiled code, is answered with one [`FromProcess`], and then sends
//! [`ToProcess::Call`] with a channel for each call. The process sends nothing more.

use serde::{Deserialize, Serialize};

use crate::options::{Entry, Limits};

/// What a node sends; each with one file descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToProcess {
    /// Loads the code in the file that comes along.
    Load {
        /// [`super::VERSION`] of the node.
        version: u32,
        /// What calls may use.
        limits: Limits,
        /// Which entry they go to.
        entry: Entry,
        /// Whether [`Self::Outgoing`] follows.
        outgoing: bool,
    },
    /// Connects to the process that makes requests to other hosts; the socket comes along.
    Outgoing,
    /// Calls the entry; the channel comes along.
    Call,
}

/// What the process answers to [`ToProcess::Load`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromProcess {
    /// It can be called.
    Ready,
    /// It cannot be called.
    Failed(String),
}
