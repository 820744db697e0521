//! Calls that name files by path.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::ptr;

use super::{Errno, Fd, Sys, c_path, check, done};

pub use libc::{
    AT_EACCESS, AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW, DT_BLK, DT_CHR, DT_DIR, DT_FIFO,
    DT_LNK, DT_REG, DT_SOCK, F_OK, R_OK, RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, S_IFBLK, S_IFCHR, S_IFDIR,
    S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK, UTIME_NOW, UTIME_OMIT, W_OK, X_OK,
};

/// stat(2): follows symbolic links.
pub fn stat(path: impl AsRef<[u8]>) -> Sys<libc::stat> {
    stat_at(path, 0)
}

/// lstat(2): does not follow.
pub fn lstat(path: impl AsRef<[u8]>) -> Sys<libc::stat> {
    stat_at(path, AT_SYMLINK_NOFOLLOW)
}

fn stat_at(path: impl AsRef<[u8]>, flags: i32) -> Sys<libc::stat> {
    let path = c_path(path);
    let mut stat = MaybeUninit::uninit();
    // SAFETY: the path and the buffer live across the call, which fills the buffer when it succeeds.
    unsafe {
        done(libc::fstatat(AT_FDCWD, path.as_ptr(), stat.as_mut_ptr(), flags))?;
        Ok(stat.assume_init())
    }
}

/// statx(2) with all basic fields and the birth time.
pub fn statx(path: impl AsRef<[u8]>) -> Sys<libc::statx> {
    let path = c_path(path);
    let mut stat = MaybeUninit::zeroed();
    let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    // SAFETY: as in stat_at; the struct is plain numbers, for which zero is a value.
    unsafe {
        done(libc::statx(AT_FDCWD, path.as_ptr(), AT_SYMLINK_NOFOLLOW, mask, stat.as_mut_ptr()))?;
        Ok(stat.assume_init())
    }
}

/// statfs(2).
pub fn statfs(path: impl AsRef<[u8]>) -> Sys<libc::statfs> {
    let path = c_path(path);
    let mut stat = MaybeUninit::uninit();
    // SAFETY: as in stat_at.
    unsafe {
        done(libc::statfs(path.as_ptr(), stat.as_mut_ptr()))?;
        Ok(stat.assume_init())
    }
}

macro_rules! path_calls {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty),*);)*) => {$(
        $(#[$doc])*
        pub fn $name(path: impl AsRef<[u8]>, $($argument: $kind),*) -> Sys<()> {
            let path = c_path(path);
            // SAFETY: the path lives across the call.
            done(unsafe { libc::$name(path.as_ptr(), $($argument),*) })
        }
    )*};
}

path_calls! {
    /// mkdir(2).
    mkdir(mode: u32);
    /// rmdir(2).
    rmdir();
    /// unlink(2).
    unlink();
    /// chmod(2).
    chmod(mode: u32);
    /// chown(2); `u32::MAX` leaves an owner as it is.
    chown(uid: u32, gid: u32);
    /// lchown(2).
    lchown(uid: u32, gid: u32);
    /// truncate(2).
    truncate(size: i64);
    /// mknod(2) with the type in `mode`.
    mknod(mode: u32, device: u64);
    /// mkfifo(3).
    mkfifo(mode: u32);
    /// access(2): asks with the real user.
    access(mode: i32);
    /// chdir(2).
    chdir();
}

macro_rules! two_path_calls {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Sys<()> {
            let (from, to) = (c_path(from), c_path(to));
            // SAFETY: both paths live across the call.
            done(unsafe { libc::$name(from.as_ptr(), to.as_ptr()) })
        }
    )*};
}

two_path_calls! {
    /// rename(2).
    rename;
    /// link(2).
    link;
    /// symlink(2): `from` is the target.
    symlink;
}

/// renameat2(2).
pub fn rename2(from: impl AsRef<[u8]>, to: impl AsRef<[u8]>, flags: u32) -> Sys<()> {
    let (from, to) = (c_path(from), c_path(to));
    // SAFETY: both paths live across the call.
    done(unsafe { libc::renameat2(AT_FDCWD, from.as_ptr(), AT_FDCWD, to.as_ptr(), flags) })
}

/// linkat(2).
pub fn linkat(from_dir: i32, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>, flags: i32) -> Sys<()> {
    let (from, to) = (c_path(from), c_path(to));
    // SAFETY: both paths live across the call.
    done(unsafe { libc::linkat(from_dir, from.as_ptr(), AT_FDCWD, to.as_ptr(), flags) })
}

/// readlink(2), with room for 8192 bytes.
pub fn readlink(path: impl AsRef<[u8]>) -> Sys<Vec<u8>> {
    let path = c_path(path);
    let mut target = vec![0_u8; 8192];
    // SAFETY: the path and the buffer live across the call; the length is the buffer's.
    let length = check(unsafe { libc::readlink(path.as_ptr(), target.as_mut_ptr().cast(), target.len()) } as i64)?;
    target.truncate(length as usize);
    Ok(target)
}

/// A time for [`utimens`]; the nanoseconds may be [`UTIME_NOW`] or [`UTIME_OMIT`].
#[must_use]
pub fn time(seconds: i64, nanoseconds: i64) -> libc::timespec {
    libc::timespec { tv_sec: seconds, tv_nsec: nanoseconds }
}

/// utimensat(2) that follows links unless `flags` says otherwise: first atime, then mtime.
pub fn utimens(path: impl AsRef<[u8]>, atime: libc::timespec, mtime: libc::timespec, flags: i32) -> Sys<()> {
    let path = c_path(path);
    let times = [atime, mtime];
    // SAFETY: the path and both times live across the call.
    done(unsafe { libc::utimensat(AT_FDCWD, path.as_ptr(), times.as_ptr(), flags) })
}

/// One entry that getdents64(2) returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: Vec<u8>,
    /// DT_* of the entry.
    pub kind: u8,
    /// The inode number.
    pub inode: u64,
    /// Where the listing goes on after this entry.
    pub cookie: i64,
}

/// An open directory stream.
#[derive(Debug)]
pub struct Dir(ptr::NonNull<libc::DIR>);

impl Dir {
    /// opendir(3).
    pub fn open(path: impl AsRef<[u8]>) -> Sys<Self> {
        let path = c_path(path);
        // SAFETY: the path lives across the call.
        ptr::NonNull::new(unsafe { libc::opendir(path.as_ptr()) }).map(Self).ok_or_else(Errno::last)
    }

    /// readdir(3): the next entry, `None` at the end.
    pub fn next_entry(&mut self) -> Sys<Option<Entry>> {
        // SAFETY: the stream is open; what readdir returns stays valid until the next call on it, and errno tells an
        // error from the end.
        unsafe {
            *libc::__errno_location() = 0;
            let entry = libc::readdir64(self.0.as_ptr());
            if entry.is_null() {
                let errno = Errno::last();
                return if errno.0 == 0 { Ok(None) } else { Err(errno) };
            }
            let name = CStr::from_ptr((*entry).d_name.as_ptr()).to_bytes().to_vec();
            Ok(Some(Entry { name, kind: (*entry).d_type, inode: (*entry).d_ino, cookie: (*entry).d_off }))
        }
    }

    /// telldir(3).
    #[must_use]
    pub fn tell(&self) -> i64 {
        // SAFETY: the stream is open.
        unsafe { libc::telldir(self.0.as_ptr()) }
    }

    /// seekdir(3).
    pub fn seek(&mut self, cookie: i64) {
        // SAFETY: the stream is open.
        unsafe { libc::seekdir(self.0.as_ptr(), cookie) }
    }

    /// rewinddir(3).
    pub fn rewind(&mut self) {
        // SAFETY: the stream is open.
        unsafe { libc::rewinddir(self.0.as_ptr()) }
    }

    /// The descriptor below the stream.
    #[must_use]
    pub fn raw(&self) -> i32 {
        // SAFETY: the stream is open.
        unsafe { libc::dirfd(self.0.as_ptr()) }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // SAFETY: the stream is open and not used afterwards.
        unsafe { libc::closedir(self.0.as_ptr()) };
    }
}

/// All entries of a directory in the order of the file system.
pub fn list(path: impl AsRef<[u8]>) -> Sys<Vec<Entry>> {
    let mut dir = Dir::open(path)?;
    let mut entries = Vec::new();
    while let Some(entry) = dir.next_entry()? {
        entries.push(entry);
    }
    Ok(entries)
}

/// Names in a directory, without `.` and `..`, sorted.
pub fn names(path: impl AsRef<[u8]>) -> Sys<Vec<Vec<u8>>> {
    let entries = list(path)?.into_iter().map(|entry| entry.name);
    let mut names: Vec<_> = entries.filter(|name| name != b"." && name != b"..").collect();
    names.sort();
    Ok(names)
}

/// Binds a UNIX socket to `path` and leaves the socket file there.
pub fn bind_socket(path: impl AsRef<[u8]>) -> Sys<()> {
    let path = path.as_ref();
    // SAFETY: the descriptor is owned by Fd; the address is initialised, zero-terminated and as long as said.
    unsafe {
        let socket = Fd::from_call(libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0))?;
        let mut address: libc::sockaddr_un = std::mem::zeroed();
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        assert!(path.len() < address.sun_path.len(), "a socket's path has at most 107 bytes");
        ptr::copy_nonoverlapping(path.as_ptr().cast(), address.sun_path.as_mut_ptr(), path.len());
        let length = size_of::<libc::sockaddr_un>() as libc::socklen_t;
        done(libc::bind(socket.raw(), (&raw const address).cast(), length))
    }
}

/// faccessat(2) with the effective user.
pub fn access_effective(path: impl AsRef<[u8]>, mode: i32) -> Sys<()> {
    let path = c_path(path);
    // SAFETY: the path lives across the call.
    done(unsafe { libc::faccessat(AT_FDCWD, path.as_ptr(), mode, AT_EACCESS) })
}
