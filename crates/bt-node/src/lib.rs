//! A node: the process that stores and serves a tree. It wires the pure crates to the disk, the kernel and the user.
//!
//! * [`init()`] makes a tree; [`Node::open`] opens a directory, recovers it and starts its committing thread;
//!   [`Node::mount`] shows it as a file system; [`Node::close`] commits all.
//! * [`control`] is how commands talk to a node, in the same process or through its socket.
//! * [`credentials`]: the key files of people and the root.
//! * `engine` owns locks, journal, flushes and commits: read its module documentation first.
//!
//! This crate never decides what an operation means (that is `bt-vfs`) nor what bytes mean (`bt-tree`).

mod access;
mod apps;
pub mod control;
pub mod credentials;
mod engine;
mod error;
mod identity;
mod init;
mod layout;
mod mountfs;
mod node;
mod node_key;
pub mod options;
mod rights;
mod rollback;
mod service;
mod system;
mod zones;

pub use apps::gateway::{HttpOptions, HttpServer};
pub use init::init;
pub use node::{Mounted, Node};
pub use zones::SlotList;
