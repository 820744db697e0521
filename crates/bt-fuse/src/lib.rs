//! The adapter between Linux's FUSE and a [`FileSystem`].

mod check;
mod counters;
mod directory;
mod dispatch;
mod errno;
mod error;
mod filesystem;
mod fuser_transport;
mod init;
mod limits;
mod mount;
mod mountpoint;
mod options;
mod system;
mod types;
mod uring;
mod wire;
mod workers;

pub use errno::{Errno, Result};
pub use error::MountError;
pub use filesystem::{DirSink, FileSystem};
pub use mount::Mount;
pub use options::{MountOptions, Transport, TransportChoice};
pub use types::{Attr, Caller, Entry, SetAttr, SlowCall, StatFs, Time, TimeOrNow};
