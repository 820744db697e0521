//! Calls on open files.

use std::mem::MaybeUninit;
use std::ptr;

use super::{Errno, Sys, c_path, check, done};

pub use libc::{
    FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE,
    FALLOC_FL_UNSHARE_RANGE, FALLOC_FL_ZERO_RANGE, MAP_PRIVATE, MAP_SHARED, O_APPEND, O_CLOEXEC, O_CREAT, O_DIRECT,
    O_DIRECTORY, O_DSYNC, O_EXCL, O_NOATIME, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY, O_RDWR, O_SYNC, O_TMPFILE,
    O_TRUNC, O_WRONLY, PROT_READ, PROT_WRITE, SEEK_CUR, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET,
};

/// An open file; closed when dropped.
#[derive(Debug)]
pub struct Fd(i32);

impl Fd {
    /// Takes the result of a call that returns a new descriptor.
    pub(crate) fn from_call(result: i32) -> Sys<Self> {
        check(result).map(|fd| Self(fd as i32))
    }

    /// The number.
    #[must_use]
    pub fn raw(&self) -> i32 {
        self.0
    }

    /// close(2) with its result.
    pub fn close(self) -> Sys<()> {
        let fd = self.0;
        std::mem::forget(self);
        // SAFETY: the descriptor is owned and not used afterwards.
        done(unsafe { libc::close(fd) })
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: the descriptor is owned and not used afterwards.
        unsafe { libc::close(self.0) };
    }
}

/// open(2).
pub fn open(path: impl AsRef<[u8]>, flags: i32, mode: u32) -> Sys<Fd> {
    let path = c_path(path);
    // SAFETY: the path lives across the call.
    Fd::from_call(unsafe { libc::open(path.as_ptr(), flags | O_CLOEXEC, mode) })
}

/// openat(2) from an open directory.
pub fn openat(dir: i32, path: impl AsRef<[u8]>, flags: i32, mode: u32) -> Sys<Fd> {
    let path = c_path(path);
    // SAFETY: the path lives across the call.
    Fd::from_call(unsafe { libc::openat(dir, path.as_ptr(), flags | O_CLOEXEC, mode) })
}

/// Makes or empties a file with mode 0644 and writes `content`.
pub fn put(path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Sys<()> {
    let fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)?;
    let mut rest = content.as_ref();
    while !rest.is_empty() {
        rest = &rest[write(&fd, rest)? as usize..];
    }
    fd.close()
}

/// The whole content of a file.
pub fn content(path: impl AsRef<[u8]>) -> Sys<Vec<u8>> {
    let fd = open(path, O_RDONLY, 0)?;
    let mut content = Vec::new();
    loop {
        let chunk = read(&fd, 1 << 16)?;
        if chunk.is_empty() {
            return Ok(content);
        }
        content.extend(chunk);
    }
}

/// read(2) of at most `length` bytes.
pub fn read(fd: &Fd, length: usize) -> Sys<Vec<u8>> {
    let mut bytes = vec![0; length];
    // SAFETY: the buffer lives across the call and is as long as said.
    let count = check(unsafe { libc::read(fd.0, bytes.as_mut_ptr().cast(), length) } as i64)?;
    bytes.truncate(count as usize);
    Ok(bytes)
}

/// pread(2) of at most `length` bytes.
pub fn pread(fd: &Fd, length: usize, offset: i64) -> Sys<Vec<u8>> {
    let mut bytes = vec![0; length];
    // SAFETY: as in read.
    let count = check(unsafe { libc::pread(fd.0, bytes.as_mut_ptr().cast(), length, offset) } as i64)?;
    bytes.truncate(count as usize);
    Ok(bytes)
}

/// write(2).
pub fn write(fd: &Fd, bytes: impl AsRef<[u8]>) -> Sys<i64> {
    let bytes = bytes.as_ref();
    // SAFETY: the bytes live across the call and are as many as said.
    check(unsafe { libc::write(fd.0, bytes.as_ptr().cast(), bytes.len()) } as i64)
}

/// pwrite(2).
pub fn pwrite(fd: &Fd, bytes: impl AsRef<[u8]>, offset: i64) -> Sys<i64> {
    let bytes = bytes.as_ref();
    // SAFETY: as in write.
    check(unsafe { libc::pwrite(fd.0, bytes.as_ptr().cast(), bytes.len(), offset) } as i64)
}

/// writev(2).
pub fn writev(fd: &Fd, parts: &[&[u8]]) -> Sys<i64> {
    let vectors: Vec<libc::iovec> = parts
        .iter()
        .map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() })
        .collect();
    // SAFETY: the vectors point at slices that live across the call; the kernel only reads them.
    check(unsafe { libc::writev(fd.0, vectors.as_ptr(), vectors.len() as i32) } as i64)
}

/// A zeroed buffer aligned to 4096 bytes, for O_DIRECT.
#[derive(Debug)]
pub struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    /// A buffer of `length` bytes, all `fill`.
    #[must_use]
    pub fn new(length: usize, fill: u8) -> Self {
        let bytes = vec![fill; length + 4096];
        let start = bytes.as_ptr().align_offset(4096);
        Self { bytes, start, length }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }

    /// Reads into it with pread(2).
    pub fn pread(&mut self, fd: &Fd, offset: i64) -> Sys<i64> {
        let slice = &mut self.bytes[self.start..self.start + self.length];
        // SAFETY: the slice lives across the call and is as long as said.
        check(unsafe { libc::pread(fd.0, slice.as_mut_ptr().cast(), slice.len(), offset) } as i64)
    }
}

macro_rules! fd_calls {
    ($($(#[$doc:meta])* $name:ident = $call:ident($($argument:ident: $kind:ty),*);)*) => {$(
        $(#[$doc])*
        pub fn $name(fd: &Fd, $($argument: $kind),*) -> Sys<()> {
            // SAFETY: only numbers are passed.
            done(unsafe { libc::$call(fd.0, $($argument),*) })
        }
    )*};
}

fd_calls! {
    /// fsync(2).
    fsync = fsync();
    /// fdatasync(2).
    fdatasync = fdatasync();
    /// syncfs(2).
    syncfs = syncfs();
    /// ftruncate(2).
    ftruncate = ftruncate(size: i64);
    /// fchmod(2).
    fchmod = fchmod(mode: u32);
    /// fchown(2).
    fchown = fchown(uid: u32, gid: u32);
    /// fallocate(2).
    fallocate = fallocate(mode: i32, offset: i64, length: i64);
}

/// lseek(2).
pub fn seek(fd: &Fd, offset: i64, whence: i32) -> Sys<i64> {
    // SAFETY: only numbers are passed.
    check(unsafe { libc::lseek(fd.0, offset, whence) })
}

/// posix_fallocate(3), which reports its error by value.
pub fn posix_fallocate(fd: &Fd, offset: i64, length: i64) -> Sys<()> {
    // SAFETY: only numbers are passed.
    match unsafe { libc::posix_fallocate(fd.0, offset, length) } {
        0 => Ok(()),
        errno => Err(Errno(errno)),
    }
}

/// fstat(2).
pub fn fstat(fd: &Fd) -> Sys<libc::stat> {
    let mut stat = MaybeUninit::uninit();
    // SAFETY: the buffer lives across the call, which fills it when it succeeds.
    unsafe {
        done(libc::fstat(fd.0, stat.as_mut_ptr()))?;
        Ok(stat.assume_init())
    }
}

/// futimens(3): first atime, then mtime.
pub fn futimens(fd: &Fd, atime: libc::timespec, mtime: libc::timespec) -> Sys<()> {
    let times = [atime, mtime];
    // SAFETY: both times live across the call.
    done(unsafe { libc::futimens(fd.0, times.as_ptr()) })
}

/// copy_file_range(2) with explicit offsets.
pub fn copy_range(from: &Fd, from_offset: i64, to: &Fd, to_offset: i64, length: usize) -> Sys<i64> {
    let (mut from_offset, mut to_offset) = (from_offset, to_offset);
    // SAFETY: both offsets live across the call.
    check(unsafe { libc::copy_file_range(from.0, &mut from_offset, to.0, &mut to_offset, length, 0) } as i64)
}

/// sendfile(2) from an offset.
pub fn sendfile(to: &Fd, from: &Fd, offset: i64, length: usize) -> Sys<i64> {
    let mut offset = offset;
    // SAFETY: the offset lives across the call.
    check(unsafe { libc::sendfile(to.0, from.0, &mut offset, length) } as i64)
}

/// The flags of an open file (F_GETFL).
pub fn file_flags(fd: &Fd) -> Sys<i64> {
    // SAFETY: only numbers are passed.
    check(unsafe { libc::fcntl(fd.0, libc::F_GETFL) })
}

/// Sets the flags of an open file (F_SETFL).
pub fn set_file_flags(fd: &Fd, flags: i32) -> Sys<()> {
    // SAFETY: only numbers are passed.
    done(unsafe { libc::fcntl(fd.0, libc::F_SETFL, flags) })
}

/// A mapping of a file; unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    start: ptr::NonNull<u8>,
    length: usize,
}

impl Mapping {
    /// mmap(2) of `length` bytes from `offset`.
    pub fn new(fd: &Fd, length: usize, protection: i32, flags: i32, offset: i64) -> Sys<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, fd.0, offset) };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        Ok(Self { start: ptr::NonNull::new(start.cast()).expect("mmap does not map page 0"), length })
    }

    /// Reads `length` bytes at `offset`, one volatile byte at a time (others may write the file meanwhile).
    #[must_use]
    pub fn load(&self, offset: usize, length: usize) -> Vec<u8> {
        assert!(offset + length <= self.length, "a read inside the mapping");
        // SAFETY: inside the mapping, as asserted; volatile since the memory may change.
        (offset..offset + length).map(|at| unsafe { self.start.as_ptr().add(at).read_volatile() }).collect()
    }

    /// Writes bytes at `offset`.
    pub fn store(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.length, "a write inside the mapping");
        for (index, byte) in bytes.iter().enumerate() {
            // SAFETY: inside the mapping, as asserted, which a test that stores made writable.
            unsafe { self.start.as_ptr().add(offset + index).write_volatile(*byte) };
        }
    }

    /// msync(2) of the whole mapping.
    pub fn sync(&self, flags: i32) -> Sys<()> {
        // SAFETY: the mapping is ours.
        done(unsafe { libc::msync(self.start.as_ptr().cast(), self.length, flags) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and not used afterwards.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Drops the clean cached pages of a file (posix_fadvise DONTNEED), so that reads reach the file system.
pub fn drop_cache(fd: &Fd) {
    // SAFETY: only numbers are passed; it is advice, its result does not matter.
    unsafe { libc::posix_fadvise(fd.0, 0, 0, libc::POSIX_FADV_DONTNEED) };
}

/// ioctl(2) FICLONE: makes `to` share all blocks of `from`.
pub fn clone_file(to: &Fd, from: &Fd) -> Sys<()> {
    const FICLONE: libc::c_ulong = 0x4004_9409;
    // SAFETY: only numbers are passed.
    done(unsafe { libc::ioctl(to.0, FICLONE, from.0) })
}
