//! The adapter between Linux's FUSE and a [`FileSystem`].

mod errno;
mod filesystem;
mod options;
mod types;

pub use errno::{Errno, Result};
pub use filesystem::{DirSink, FileSystem};
pub use options::{MountOptions, Transport, TransportChoice};
pub use types::{Attr, Caller, Entry, SetAttr, SlowCall, StatFs, Time, TimeOrNow};
