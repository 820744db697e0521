//! Tests of mounted trees, written with `harness`.
//!
//! | part | what it holds the mount to |
//! |---|---|
//! | [`posix`] | the kernel's behaviour on ext4, in small cases that must give the same observations |
//! | [`model`] | random operations give the same results and the same tree as on ext4 |
//! | [`oracle`] | what was acknowledged before a SIGKILL is there after it |
//! | `tests/programs.rs` | real programs work, and find their data again |
//! | `tests/corruption.rs` | damaged files of a tree give errors, never wrong bytes |
//!
//! Every part needs root (loop mounts, other users, device nodes) and /dev/fuse, and says so when it has neither.

pub mod model;
pub mod oracle;
pub mod posix;
pub mod subject;
pub mod sys;
