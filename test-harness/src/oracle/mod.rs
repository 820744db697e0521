//! What must be found after a crash: a record of what was done and of what was acknowledged as durable.
//!
//! A [`Worker`] works in a directory of its own and keeps a [`History`] of it: the operations on names in their
//! order, and for each file the changes of its data in theirs. An acknowledged fsync, fdatasync, O_SYNC write or
//! `bt sync` raises what is known to be durable. After a crash [`verify()`] looks at the directory:
//!
//! - its names are those after some number of the operations on names, no fewer than were durable: whole operations,
//!   in order;
//! - each file has at least its durable data; beyond that each byte and the size are from some later moment;
//! - a file that replaced another by rename has at least the data it had at that rename.

mod data;
mod history;
mod names;
mod verify;
mod worker;

pub use data::{Change, FileHistory};
pub use history::{History, Mark};
pub use names::{FileId, NameOperation, Names, Node};
pub use verify::verify;
pub use worker::{Acknowledge, Worker};
