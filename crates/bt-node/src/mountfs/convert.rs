//! Errors and attributes as the kernel wants them.

use std::time::Duration;

use bt_base::Timestamp;
use bt_base::limits::BLOCK_SIZE;
use bt_fuse::{Attr, Entry, Errno, Time};
use bt_tree::schema::Inode;
use bt_vfs::{Refusal, view};

use super::{DIRECTORY, VALID};
use crate::error::EngineError;

pub(super) fn errno(error: EngineError) -> Errno {
    match error {
        EngineError::Refused(refusal) => match refusal {
            Refusal::NotFound => Errno::ENOENT,
            Refusal::Exists => Errno::EEXIST,
            Refusal::NotDirectory => Errno::ENOTDIR,
            Refusal::IsDirectory => Errno::EISDIR,
            Refusal::NotEmpty => Errno::ENOTEMPTY,
            Refusal::NameTooLong => Errno::ENAMETOOLONG,
            Refusal::Invalid => Errno::EINVAL,
            Refusal::TooLarge => Errno::EFBIG,
            Refusal::NoAttribute => Errno::ENODATA,
            Refusal::NoSpace => Errno::ENOSPC,
            Refusal::ReadOnly => Errno::EROFS,
            Refusal::Unsupported => Errno::EOPNOTSUPP,
            Refusal::NotPermitted => Errno::EPERM,
            Refusal::TooManyLinks => Errno::EMLINK,
            Refusal::NoSuchOffset => Errno::ENXIO,
            Refusal::Busy => Errno::EBUSY,
            Refusal::Closed => Errno::EACCES,
            Refusal::Stale => Errno::ESTALE,
        },
        EngineError::Stopped(_) => Errno::EROFS,
        error if error.is_no_space() => Errno::ENOSPC,
        error => {
            tracing::error!(%error, "an operation failed");
            Errno::EIO
        }
    }
}

pub(super) fn time(at: Timestamp) -> Time {
    Time { seconds: at.seconds, nanos: at.nanos }
}

pub(super) fn attr(node: u64, inode: &Inode) -> Attr {
    let is_dir = inode.mode & view::TYPE_BITS == DIRECTORY;
    Attr {
        node,
        size: if is_dir { inode.entries.saturating_mul(32).max(4096) } else { inode.size },
        blocks: if is_dir { 8 } else { inode.stored.div_ceil(512) },
        atime: time(inode.atime),
        mtime: time(inode.mtime),
        ctime: time(inode.ctime),
        mode: inode.mode,
        nlink: inode.nlink,
        uid: inode.uid,
        gid: inode.gid,
        rdev: inode.rdev,
        blksize: BLOCK_SIZE as u32,
    }
}

pub(super) fn entry(node: u64, inode: &Inode) -> Entry {
    Entry { attr: attr(node, inode), attr_valid: VALID, entry_valid: VALID }
}

/// A name that does not exist; the kernel may remember that.
pub(super) fn absent() -> Entry {
    Entry { attr: attr(0, &Inode::default()), attr_valid: Duration::ZERO, entry_valid: VALID }
}
