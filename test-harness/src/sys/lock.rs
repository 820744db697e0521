//! flock, fcntl and open-file-description locks.

use super::{Fd, Sys, check, done};

pub use libc::{F_RDLCK, F_UNLCK, F_WRLCK, LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN};

/// flock(2).
pub fn flock(fd: &Fd, operation: i32) -> Sys<()> {
    // SAFETY: only numbers are passed.
    done(unsafe { libc::flock(fd.raw(), operation) })
}

fn range(kind: i32, start: i64, length: i64) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: start, l_len: length, l_pid: 0 }
}

/// fcntl(2) F_SETLK: a lock of the process, not waited for. Length 0 is up to the end.
pub fn lock_range(fd: &Fd, kind: i32, start: i64, length: i64) -> Sys<()> {
    let lock = range(kind, start, length);
    // SAFETY: the lock lives across the call.
    done(unsafe { libc::fcntl(fd.raw(), libc::F_SETLK, &lock) })
}

/// fcntl(2) F_SETLKW: as [`lock_range`], waiting.
pub fn lock_range_waiting(fd: &Fd, kind: i32, start: i64, length: i64) -> Sys<()> {
    let lock = range(kind, start, length);
    // SAFETY: the lock lives across the call.
    done(unsafe { libc::fcntl(fd.raw(), libc::F_SETLKW, &lock) })
}

/// fcntl(2) F_GETLK: what stands in the way, as (kind, start, length); `F_UNLCK` when nothing does.
pub fn test_lock(fd: &Fd, kind: i32, start: i64, length: i64) -> Sys<(i32, i64, i64)> {
    let mut lock = range(kind, start, length);
    // SAFETY: the lock lives across the call.
    check(unsafe { libc::fcntl(fd.raw(), libc::F_GETLK, &mut lock) })?;
    if i32::from(lock.l_type) == F_UNLCK {
        return Ok((F_UNLCK, 0, 0));
    }
    Ok((i32::from(lock.l_type), lock.l_start, lock.l_len))
}

/// fcntl(2) F_OFD_SETLK: a lock of the open file, not waited for.
pub fn lock_open_file(fd: &Fd, kind: i32, start: i64, length: i64) -> Sys<()> {
    let lock = range(kind, start, length);
    // SAFETY: the lock lives across the call.
    done(unsafe { libc::fcntl(fd.raw(), libc::F_OFD_SETLK, &lock) })
}
