//! The control protocol: how a command talks to the process that serves a node's directory.
//!
//! The serving process listens on the unix socket `socket` in the node's directory. A connection begins with a
//! [`wire::Hello`] from each side, whose bytes never change, so that programs of different versions can tell each
//! other apart; then the client sends one [`Request`] after another, and each is answered by any number of
//! [`Progress`] messages and one [`Response`] or [`Failure`]. A client that hangs up cancels what it asked for.
//!
//! Messages are postcard behind a 4-byte length. Their limits are in [`limits`]. Rights are those of the
//! directory: it is 0700 and the socket 0600.
//!
//! | version | change |
//! |---|---|
//! | 1 | the first |
//! | 2 | who may do what: [`Request::AccessShow`], [`Request::AccessAppend`], [`Request::Log`] |
//! | 3 | apps: [`access::AppReport`], [`log::AppDecision`], [`Request::Apps`] and those behind it |

pub mod access;
pub mod app;
pub mod client;
pub mod daemon;
pub mod failure;
pub mod limits;
pub mod log;
pub mod message;
pub mod report;
pub mod server;
pub mod wire;
pub mod zone;

use std::ops::ControlFlow;

pub use client::Client;
pub use daemon::Daemon;
pub use failure::{Failure, FailureKind};
pub use message::{Progress, Request, Response};
pub use server::{Server, bind, serve};

/// Takes progress; answers whether to go on.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// What answers requests: an opened node, in this process or behind a socket.
pub trait Service: Send + Sync {
    /// Answers one request. Long work calls `progress` several times a second and stops with
    /// [`Failure::interrupted`] when it answers `Break`; what was done until then stays whole.
    fn handle(&self, request: Request, progress: OnProgress<'_>) -> Result<Response, Failure>;
}
