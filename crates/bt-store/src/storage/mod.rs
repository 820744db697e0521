//! The seam under the whole store: files with names, and nothing else.
//!
//! Everything that the store keeps goes through [`Storage`] and [`StorageFile`], so that the same code runs on a
//! directory ([`FileStorage`]), in memory ([`MemoryStorage`]) and on a disk that fails on command and loses power at
//! any point ([`FaultStorage`]). Names are relative paths of plain components joined by `/`; all offsets and lengths
//! are bytes.

mod aligned;
#[cfg(test)]
mod conformance;
mod content;
mod crash;
mod fault;
mod file;
mod memory;

use std::fmt::Debug;
use std::sync::Arc;

pub use aligned::AlignedBuffer;
pub use fault::{Call, Fault, FaultPlan, FaultStorage, Operation, Repeat};
pub use file::FileStorage;
pub use memory::MemoryStorage;

use crate::error::{Result, StoreError};
use crate::limits::NAME_BYTES;

/// How writes of an opened file reach the disk. A hint: a storage that has no such mode writes as usual, and what
/// [`StorageFile::sync_data`] promises is the same in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WriteMode {
    /// Through the page cache; durable after a sync.
    #[default]
    Buffered,
    /// Past the page cache (`O_DIRECT`); durable after a sync.
    Direct,
    /// Through the page cache, and durable when the write returns (`O_DSYNC`).
    BufferedDurable,
    /// Past the page cache, and durable when the write returns (`O_DIRECT | O_DSYNC`).
    DirectDurable,
}

impl WriteMode {
    /// Whether writes go past the page cache.
    pub fn is_direct(self) -> bool {
        matches!(self, Self::Direct | Self::DirectDurable)
    }

    /// Whether a write is durable as soon as it returns.
    pub fn is_durable(self) -> bool {
        matches!(self, Self::BufferedDurable | Self::DirectDurable)
    }
}

/// Room on the disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// The size of the file system.
    pub total: u64,
    /// What this user may still allocate.
    pub free: u64,
}

/// A directory of files.
pub trait Storage: Debug + Send + Sync {
    /// Opens a file for reading and writing; with `create`, an empty one is made if there is none. The new name is
    /// durable after [`Storage::sync_dir`]. The directory must exist.
    fn open(&self, name: &str, create: bool) -> Result<Arc<dyn StorageFile>> {
        self.open_with(name, create, WriteMode::Buffered)
    }

    /// As [`Storage::open`], with a wish how writes go to the disk. Fails with [`StoreError::Refused`] where the file
    /// system has no such mode.
    fn open_with(&self, name: &str, create: bool, mode: WriteMode) -> Result<Arc<dyn StorageFile>>;

    /// Renames a file, replacing one of the new name. Atomic; durable after a sync of both directories.
    fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Removes a file; [`StoreError::NotFound`] if there is none. Durable after a sync of its directory.
    fn remove(&self, name: &str) -> Result<()>;

    /// Whether a file or directory of this name exists.
    fn exists(&self, name: &str) -> Result<bool>;

    /// The full names of all files in `directory` (`""` is the top), sorted; directories in it are not listed, and a
    /// directory that does not exist is empty.
    fn list(&self, directory: &str) -> Result<Vec<String>>;

    /// Makes all creations, renames and removals in `directory` (`""` is the top) durable.
    fn sync_dir(&self, directory: &str) -> Result<()>;

    /// Makes a directory and those above it; none of it is an error if it exists. Durable after a sync of each
    /// directory above.
    fn create_dir(&self, directory: &str) -> Result<()>;

    /// Removes a directory without files and directories; none of that name is no error. After a crash it may be
    /// there again, empty.
    fn remove_dir(&self, directory: &str) -> Result<()>;

    /// The room on the disk.
    fn space(&self) -> Result<Space>;
}

/// An open file. Reads and writes carry their offset, so many threads use one file at a time.
pub trait StorageFile: Debug + Send + Sync {
    /// The name it was opened with.
    fn name(&self) -> &str;

    /// Reads into `buf` from `offset` and returns the count of bytes, less than asked only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize>;

    /// Writes all of `buf` at `offset`, extending the file if needed. After an error, any part may be written.
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.write_vectored_at(&[buf], offset)
    }

    /// Writes all of `parts`, one after the other, from `offset` on, in one system call where possible.
    fn write_vectored_at(&self, parts: &[&[u8]], offset: u64) -> Result<()>;

    /// Makes everything written to this file so far durable, its length included. A failure means that writes may be
    /// lost, and a later success does not cover them.
    fn sync_data(&self) -> Result<()>;

    /// Reserves disk space for a range, so that writes to it cannot run out of it; extends the file if needed. Bytes
    /// there that were never written read as zeros.
    fn allocate(&self, offset: u64, len: u64) -> Result<()>;

    /// Writes real zeros over a range, so that later overwrites change no metadata; extends the file if needed.
    fn zero_fill(&self, offset: u64, len: u64) -> Result<()>;

    /// Gives the disk space of a range back; the range reads as zeros, the length of the file stays.
    fn punch(&self, offset: u64, len: u64) -> Result<()>;

    /// Cuts or extends the file to `len` bytes; new bytes are zeros.
    fn set_len(&self, len: u64) -> Result<()>;

    /// The length of the file, in bytes.
    fn len(&self) -> Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// A hint that the range is read soon.
    fn prefetch(&self, offset: u64, len: u64);

    /// How writes go to the disk.
    fn mode(&self) -> WriteMode {
        WriteMode::Buffered
    }

    /// Fills `buf` from `offset`; a file that ends before is damaged.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let wanted = buf.len();
        match self.read_at(buf, offset)? {
            read if read == wanted => Ok(()),
            read => Err(StoreError::damaged(
                format!("the file ends {} bytes before the end of what should be there", wanted - read),
                self.name(),
                offset + read as u64,
            )),
        }
    }
}

/// The directory part of a name, `""` at the top.
pub fn directory_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// Refuses names that could leave the node's directory.
fn check_name(name: &str) -> Result<()> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    if name.len() <= NAME_BYTES && name.split('/').all(plain) {
        return Ok(());
    }
    Err(StoreError::refused(name, "the name is not a relative path of plain components"))
}

/// As [`check_name`], for a directory: `""` is the top.
fn check_directory(name: &str) -> Result<()> {
    if name.is_empty() { Ok(()) } else { check_name(name) }
}

/// The end of a range of a file; a range beyond what a file can hold is refused.
fn range_end(name: &str, offset: u64, len: u64) -> Result<u64> {
    match offset.checked_add(len) {
        Some(end) if end <= i64::MAX as u64 => Ok(end),
        _ => Err(StoreError::refused(name, format!("{len} bytes at {offset} are beyond what a file can hold"))),
    }
}
