//! The adapter between Linux's FUSE and a [`FileSystem`].
//!
//! [`Mount::start`] mounts a file system on a directory and serves it by threads of its own until it is unmounted. A
//! file system is asked about nodes, by number; it knows nothing of the kernel's protocol, nor of open files: this
//! crate tells the kernel that there are none to know of.
//!
//! It never looks into the mount it serves, keeps no state of files, and decides no permission (the kernel does).
//!
//! # Two transports
//!
//! | | [`Transport::Fuser`] | [`Transport::Uring`] |
//! |---|---|---|
//! | way | read(2) and writev(2) on /dev/fuse, by the crate fuser 0.18 | FUSE over io_uring, by this crate |
//! | needs | any kernel | Linux 6.14, `/sys/module/fuse/parameters/enable_uring` Y |
//! | threads | [`MountOptions::threads`] | one for each core, pinned to it, and one for what still comes over /dev/fuse |
//! | copies of data in this process | one for a read, none for a write (one, if made by a worker) | none |
//! | `FileSystem::tmpfile` | never called, O_TMPFILE fails with EOPNOTSUPP | called |
//! | copy_file_range(2) | up to 4 GiB a call | any size |
//! | `kill_suidgid`, `kill_sgid` | derived: root may keep the bits, others only in their first group | as the kernel says (CAP_FSETID, all groups) |
//! | READDIRPLUS | the shorter of the two times holds for name and attributes | each has its own |
//! | FORGET | one call of the kernel each | gathered for 2 ms |
//!
//! SYNCFS is known to the second only (as `fsync` of the root), but no kernel sends it to an ordinary mount.
//! STATX is known to neither: the kernel is told once and asks GETATTR.
//!
//! # What is agreed with the kernel
//!
//! Both transports ask for ASYNC_READ, ASYNC_DIO, BIG_WRITES, MAX_PAGES (requests of 1 MiB), DO_READDIRPLUS,
//! READDIRPLUS_AUTO, PARALLEL_DIROPS, CACHE_SYMLINKS, NO_OPEN_SUPPORT, NO_OPENDIR_SUPPORT, HANDLE_KILLPRIV_V2 and
//! DONT_MASK; by option WRITEBACK_CACHE (else AUTO_INVAL_DATA) and POSIX_ACL; io_uring also for SETXATTR_EXT and OVER_IO_URING. Times count
//! in nanoseconds. fuser takes each of these as it is; it would also take SETXATTR_EXT and others whose messages it
//! cannot read. Not asked for: ATOMIC_O_TRUNC (there is no OPEN to carry it), POSIX_LOCKS and FLOCK_LOCKS (locks are
//! the kernel's), EXPORT_SUPPORT (a file system would have to look up "." of nodes that the kernel has forgotten).
//!
//! CREATE, OPEN, OPENDIR, FLUSH and ACCESS are answered with ENOSYS, once each: from then on the kernel makes files
//! with MKNOD, opens and closes without asking, and keeps pages and listings between opens.
//!
//! # Invariants
//!
//! * Nothing from the kernel reaches a [`FileSystem`] unchecked: names have 1 to 255 bytes without NUL and '/', sizes
//!   fit their buffers. Nonsense is answered with EINVAL or EIO and never panics.
//! * A panic of the file system is EIO to the program that asked; the thread goes on.
//! * Every request is answered exactly once, by the thread that received it or, if [`FileSystem::may_wait`] says so,
//!   by a worker.
//! * The memory of an io_uring request belongs to either the kernel or this process; see `uring/entry.rs`.
//! * No thread of this process waits for the mount it serves; see [`Mount`].
//!
//! Where to start: [`FileSystem`], then `mount.rs`, then `dispatch.rs` and `uring/queue.rs`. The measurements behind
//! all this are in `doc/decisions/0001-fuse-transport.md`; `examples/null` is a file system to try it with.

mod awake;
mod check;
mod counters;
mod directory;
mod dispatch;
mod errno;
mod error;
mod filesystem;
mod fuser_transport;
mod init;
mod kernel;
mod limits;
mod mount;
mod mountpoint;
mod options;
mod system;
mod types;
mod uring;
mod wire;
mod workers;

#[cfg(test)]
extern crate self as bt_fuse;
/// The file system in memory of the example, to dispatch to.
#[cfg(test)]
#[path = "../examples/null/fs.rs"]
#[allow(dead_code)] // The other tests use more of it.
mod null_fs;

pub use errno::{Errno, Result};
pub use error::MountError;
pub use filesystem::{DirSink, FileSystem};
pub use kernel::Kernel;
pub use mount::Mount;
pub use options::{MountOptions, Transport, TransportChoice};
pub use system::become_io_flusher;
pub use types::{Attr, Caller, Entry, SetAttr, SlowCall, StatFs, Time, TimeOrNow};
