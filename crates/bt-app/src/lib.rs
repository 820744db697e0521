//! Runs apps: WASM components, each in a process of its own, under the limits of its installation.
//!
//! The node's side is in [`services`] (what the node does for a call), [`options`] and [`response`]. The processes are this
//! program again, with nothing of the node in them: no environment, no open files, no right to open any.
//!
//! This crate knows nothing of trees: which installation runs, who calls and what is granted is decided by the node, which
//! binds a channel to it before the process sees it.
//!
//! Start with [`protocol`]: what node and process say to each other.

pub mod error;
pub mod limits;
pub mod options;
pub mod protocol;
pub mod response;
pub mod services;

pub use error::{AppError, GuestFailure};
pub use options::{Entry, Limits, Program};
pub use response::{BodyError, RequestBody, Response, ResponseBody};
pub use services::{OutputStream, Services};
