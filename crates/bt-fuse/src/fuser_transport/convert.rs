//! Between this crate's types and those of the crate fuser.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};

use crate::{Attr, Errno, Time, TimeOrNow};

pub(super) fn file_attr(attr: &Attr) -> Result<FileAttr, Errno> {
    Ok(FileAttr {
        ino: INodeNo(attr.node),
        size: attr.size,
        blocks: attr.blocks,
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: UNIX_EPOCH,
        kind: file_type(attr.mode)?,
        perm: (attr.mode & 0o7777) as u16,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: attr.blksize,
        flags: 0,
    })
}

/// What fuser wants to send for a name that does not exist: node 0, the rest is not looked at.
pub(super) fn no_file() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

/// From the `S_IFMT` bits of a mode; EIO when they are no type.
pub(super) fn file_type(mode: u32) -> Result<FileType, Errno> {
    match mode & libc::S_IFMT {
        libc::S_IFREG => Ok(FileType::RegularFile),
        libc::S_IFDIR => Ok(FileType::Directory),
        libc::S_IFLNK => Ok(FileType::Symlink),
        libc::S_IFIFO => Ok(FileType::NamedPipe),
        libc::S_IFSOCK => Ok(FileType::Socket),
        libc::S_IFCHR => Ok(FileType::CharDevice),
        libc::S_IFBLK => Ok(FileType::BlockDevice),
        _ => Err(Errno::EIO),
    }
}

/// The epoch, for a time that the system's clock type cannot hold.
fn system_time(time: Time) -> SystemTime {
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    whole.and_then(|whole| whole.checked_add(Duration::from_nanos(time.nanos.into()))).unwrap_or(UNIX_EPOCH)
}

/// The time that the kernel sent, from what fuser made of it.
///
/// For times before the epoch fuser 0.18 takes the nanoseconds away instead of adding them (its `time.rs` says so);
/// the two numbers are still there to be read.
pub(super) fn time(from_fuser: SystemTime) -> Time {
    match from_fuser.duration_since(UNIX_EPOCH) {
        Ok(after) => Time { seconds: after.as_secs().min(i64::MAX as u64) as i64, nanos: after.subsec_nanos() },
        Err(before) => {
            let before = before.duration();
            Time { seconds: 0i64.saturating_sub_unsigned(before.as_secs()), nanos: before.subsec_nanos() }
        }
    }
}

pub(super) fn time_or_now(from_fuser: fuser::TimeOrNow) -> TimeOrNow {
    match from_fuser {
        fuser::TimeOrNow::SpecificTime(specific) => TimeOrNow::Time(time(specific)),
        fuser::TimeOrNow::Now => TimeOrNow::Now,
    }
}

pub(super) fn errno(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undoes_fusers_times_before_the_epoch() {
        assert_eq!(time(UNIX_EPOCH - Duration::new(1, 500)), Time { seconds: -1, nanos: 500 });
        assert_eq!(time(UNIX_EPOCH + Duration::new(1, 500)), Time { seconds: 1, nanos: 500 });
    }

    #[test]
    fn times_that_do_not_fit_are_the_epoch() {
        assert_eq!(system_time(Time { seconds: i64::MIN, nanos: 0 }), UNIX_EPOCH - Duration::from_secs(1 << 63));
        assert_eq!(system_time(Time { seconds: -1, nanos: 1 }), UNIX_EPOCH - Duration::from_nanos(999_999_999));
    }
}
