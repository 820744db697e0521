//! Runs apps: WASM components, each in a process of its own, under the limits of its installation.
//!
//! | part | runs in |
//! |---|---|
//! | [`AppProcess`], [`CodeCache`] (`node/`) | the node: starts processes, calls them, holds them to the rules |
//! | `internal/app.rs`, `internal/guest/` | the process of an app: wasmtime, WASI over the channel of the call |
//! | `outgoing/`, `internal/outgoing.rs` | a process beside that of an app which may reach other hosts: it alone has sockets |
//! | `internal/compile.rs` | a process for each compilation, the only one with a compiler |
//!
//! The processes are this program again ([`internal::run`]), with nothing of the node in them: no environment, no open files,
//! no right to open any ([`sandbox`]). This crate knows nothing of trees: which installation runs, who calls and what is
//! granted is decided by the node, which binds a channel to it ([`Services`]) before the process sees it.
//!
//! Invariants:
//!
//! - A process can ask for no more than [`Services`] of its calls give; one that says what none may say is killed.
//! - Only code that this node's own compile process wrote is ever run, see `node/code.rs`.
//! - Time, memory, output and calls have limits ([`Limits`], [`limits`]); what a guest does to reach them costs other apps
//!   nothing but their share of the machine.
//! - Nothing outlives the node: processes end with it.
//!
//! Start with [`protocol`]: what node and process say to each other.

pub mod error;
mod fields;
pub mod internal;
pub mod limits;
pub mod node;
pub mod options;
pub mod outgoing;
mod packets;
pub mod path;
pub mod protocol;
pub mod response;
pub mod sandbox;
pub mod services;

pub use error::{AppError, GuestFailure};
pub use node::{AppProcess, Code, CodeCache, ProcessOptions};
pub use options::{Entry, Limits, Program};
pub use outgoing::OutgoingRule;
pub use response::{BodyError, RequestBody, Response, ResponseBody};
pub use services::{OutputStream, Services};
