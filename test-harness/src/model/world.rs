//! A directory in which operations are run, and the files that are open in it.

use super::operation::{Operation, SLOTS};
use crate::posix::Show;
use crate::sys::{self, Errno, Fd, Sys};

/// One of the two directories that are compared.
#[derive(Debug)]
pub struct World {
    root: Vec<u8>,
    open: [Option<Fd>; SLOTS],
}

impl World {
    /// Works in the directory `root`.
    #[must_use]
    pub fn new(root: &std::path::Path) -> Self {
        use std::os::unix::ffi::OsStrExt;
        Self { root: root.as_os_str().as_bytes().to_vec(), open: Default::default() }
    }

    /// Whether O_TMPFILE works here.
    #[must_use]
    pub fn has_temporary_files(&self) -> bool {
        sys::open(&self.root, sys::O_TMPFILE | sys::O_RDWR, 0o600).is_ok()
    }

    /// Closes all open files, so that the directory can be unmounted.
    pub fn close_all(&mut self) {
        self.open = Default::default();
    }

    /// Runs one operation and says what it saw.
    pub fn run(&mut self, operation: &Operation) -> String {
        use Operation as Op;
        let at = |name: &str| [&self.root[..], b"/", name.as_bytes()].concat();
        match operation {
            Op::Create(name, mode) => {
                on_file(&at(name), |path| sys::open(path, sys::O_CREAT | sys::O_WRONLY, *mode)).show()
            }
            Op::Mkdir(name, mode) => sys::mkdir(at(name), *mode).show(),
            Op::Symlink(target, name) => sys::symlink(target, at(name)).show(),
            Op::Mkfifo(name) => sys::mkfifo(at(name), 0o644).show(),
            Op::Unlink(name) => sys::unlink(at(name)).show(),
            Op::Rmdir(name) => sys::rmdir(at(name)).show(),
            Op::Rename(from, to, flags) => sys::rename2(at(from), at(to), *flags).show(),
            Op::Link(from, to) => sys::link(at(from), at(to)).show(),
            Op::Chmod(name, mode) => on_file(&at(name), |path| sys::chmod(path, *mode)).show(),
            Op::Chown(name, uid, gid) => sys::lchown(at(name), *uid, *gid).show(),
            Op::Truncate(name, size) => on_file(&at(name), |path| sys::truncate(path, *size)).show(),
            Op::SetXattr(name, key, value) => {
                on_file(&at(name), |path| sys::set_xattr(path, format!("user.{key}"), vec![*value; 20], 0)).show()
            }
            Op::RemoveXattr(name, key) => {
                on_file(&at(name), |path| sys::remove_xattr(path, format!("user.{key}"))).show()
            }
            Op::Utimens(name, seconds) => {
                let time = sys::time(*seconds, 123);
                sys::utimens(at(name), time, time, sys::AT_SYMLINK_NOFOLLOW).show()
            }
            Op::Stat(name) => sys::lstat(at(name)).show(),
            Op::Read(name) => on_file(&at(name), |path| sys::content(path)).show(),
            Op::List(name) => on_file(&at(name), |path| sys::names(path)).show(),
            Op::Open { slot, name, flags } => {
                let opened = on_file(&at(name), |path| sys::open(path, *flags, 0o644));
                self.keep(*slot, opened)
            }
            Op::TemporaryFile { slot, name } => {
                let opened = on_file(&at(name), |path| sys::open(path, sys::O_TMPFILE | sys::O_RDWR, 0o600));
                self.keep(*slot, opened)
            }
            Op::LinkSlot { slot, name } => {
                let to = at(name);
                self.with(*slot, |fd| {
                    let from = format!("/proc/self/fd/{}", fd.raw());
                    sys::linkat(sys::AT_FDCWD, from, &to, sys::AT_SYMLINK_FOLLOW)
                })
            }
            Op::Close { slot } => self.open[*slot].take().map(Fd::close).show(),
            Op::Write { slot, offset, length, fill } => {
                self.with(*slot, |fd| sys::pwrite(fd, vec![*fill; *length], *offset))
            }
            Op::Append { slot, length, fill } => self.with(*slot, |fd| {
                sys::seek(fd, 0, sys::SEEK_END)?;
                sys::write(fd, vec![*fill; *length])
            }),
            Op::ReadAt { slot, offset, length } => self.with(*slot, |fd| sys::pread(fd, *length, *offset)),
            Op::TruncateSlot { slot, size } => self.with(*slot, |fd| sys::ftruncate(fd, *size)),
            Op::Allocate { slot, mode, offset, length } => {
                self.with(*slot, |fd| sys::fallocate(fd, *mode, *offset, *length))
            }
            Op::Copy { from, from_offset, to, to_offset, length } => {
                self.copy(*from, *from_offset, *to, *to_offset, *length).show()
            }
            Op::Store { slot, offset, length, fill } => self.with(*slot, |fd| store(fd, *offset, *length, *fill)),
            Op::Fsync { slot } => self.with(*slot, sys::fsync),
            Op::DropCache { slot } => self.with(*slot, |fd| {
                sys::fsync(fd)?;
                sys::drop_cache(fd);
                Ok(())
            }),
            Op::StatSlot { slot } => self.with(*slot, sys::fstat),
        }
    }

    fn keep(&mut self, slot: usize, opened: Sys<Fd>) -> String {
        let shown = opened.show();
        if let Ok(fd) = opened {
            self.open[slot] = Some(fd);
        }
        shown
    }

    fn with<T: Show>(&self, slot: usize, work: impl FnOnce(&Fd) -> Sys<T>) -> String {
        self.open[slot].as_ref().map(work).show()
    }

    /// Copies until all is copied or the source ends: how much one call copies is not promised.
    fn copy(&self, from: usize, from_offset: i64, to: usize, to_offset: i64, length: usize) -> Option<Sys<i64>> {
        let (from, to) = (self.open[from].as_ref()?, self.open[to].as_ref()?);
        let mut done = 0;
        while done < length as i64 {
            match sys::copy_range(from, from_offset + done, to, to_offset + done, length - done as usize) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(errno) => return Some(Err(errno)),
            }
        }
        Some(Ok(done))
    }
}

/// Runs `work` on what is no FIFO: opening one would wait for the other end.
fn on_file<T>(path: &[u8], work: impl FnOnce(&[u8]) -> Sys<T>) -> Sys<T> {
    match sys::stat(path) {
        Ok(stat) if stat.st_mode & sys::S_IFMT == sys::S_IFIFO => Err(Errno(libc::ENXIO)),
        // Links are followed by the kernel, relative to where they lie, the same in both worlds.
        _ => work(path),
    }
}

/// Stores bytes through a shared mapping, as far as the file reaches.
fn store(fd: &Fd, offset: usize, length: usize, fill: u8) -> Sys<i64> {
    let size = sys::fstat(fd)?.st_size as usize;
    let end = size.min(offset + length);
    if offset >= end {
        return Ok(0);
    }
    let start = offset & !4095;
    let protection = sys::PROT_READ | sys::PROT_WRITE;
    let map = sys::Mapping::new(fd, end - start, protection, sys::MAP_SHARED, start as i64)?;
    map.store(offset - start, &vec![fill; end - offset]);
    Ok((end - offset) as i64)
}
