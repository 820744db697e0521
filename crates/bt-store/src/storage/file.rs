//! A storage in a directory of the file system: files 0600, directories 0700, positioned reads and writes.

use std::cell::RefCell;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, FallocateFlags, OFlags};

use super::{AlignedBuffer, Space, Storage, StorageFile, WriteMode, check_directory, check_name, range_end};
use crate::error::{Result, StoreError};
use crate::limits::{ALIGNMENT, CHUNK_BYTES};

thread_local! {
    /// Aligned memory for writes past the page cache, kept by each thread: fresh memory costs more than the copy.
    static BOUNCE: RefCell<AlignedBuffer> = RefCell::new(AlignedBuffer::zeroed(CHUNK_BYTES));
}

/// Writes `parts` one after the other from `offset` on, a buffer at a time. Their length is a multiple of 4096.
fn write_through(bounce: &mut AlignedBuffer, parts: &[&[u8]], offset: u64, file: &File) -> io::Result<()> {
    let (mut at, mut filled) = (offset, 0);
    for part in parts {
        let mut rest = *part;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(bounce.len() - filled));
            bounce[filled..filled + now.len()].copy_from_slice(now);
            filled += now.len();
            rest = later;
            if filled == bounce.len() {
                file.write_all_at(bounce, at)?;
                at += filled as u64;
                filled = 0;
            }
        }
    }
    file.write_all_at(&bounce[..filled], at)
}

/// A directory that belongs to one node.
#[derive(Debug, Clone)]
pub struct FileStorage {
    root: PathBuf,
}

impl FileStorage {
    /// The storage in `root`, which is made (0700) if it does not exist.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&root)
            .map_err(|error| StoreError::io("create", &root.to_string_lossy(), 0, error))?;
        Ok(Self { root })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        check_directory(name)?;
        Ok(if name.is_empty() { self.root.clone() } else { self.root.join(name) })
    }
}

impl Storage for FileStorage {
    fn open_with(&self, name: &str, create: bool, mode: WriteMode) -> Result<Arc<dyn StorageFile>> {
        check_name(name)?;
        let mut flags = OFlags::NOFOLLOW;
        flags.set(OFlags::DIRECT, mode.is_direct());
        flags.set(OFlags::DSYNC, mode.is_durable());
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags.bits() as i32)
            .open(self.path(name)?);
        match opened {
            Ok(file) => Ok(Arc::new(OpenFile { name: name.to_owned(), file, mode })),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput && mode.is_direct() => {
                Err(StoreError::refused(name, "this file system cannot write past the page cache"))
            }
            Err(error) => Err(StoreError::io("open", name, 0, error)),
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        check_name(from)?;
        check_name(to)?;
        fs::rename(self.path(from)?, self.path(to)?).map_err(|error| StoreError::io("rename", from, 0, error))
    }

    fn remove(&self, name: &str) -> Result<()> {
        check_name(name)?;
        fs::remove_file(self.path(name)?).map_err(|error| StoreError::io("remove", name, 0, error))
    }

    fn exists(&self, name: &str) -> Result<bool> {
        self.path(name)?.try_exists().map_err(|error| StoreError::io("look for", name, 0, error))
    }

    fn list(&self, directory: &str) -> Result<Vec<String>> {
        let failed = |error| StoreError::io("list", directory, 0, error);
        let entries = match fs::read_dir(self.path(directory)?) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            // A name that is not text is none of ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if entry.file_type().map_err(failed)?.is_file() {
                names.push(if directory.is_empty() { name } else { format!("{directory}/{name}") });
            }
        }
        names.sort();
        Ok(names)
    }

    fn sync_dir(&self, directory: &str) -> Result<()> {
        File::open(self.path(directory)?)
            .and_then(|opened| opened.sync_all())
            .map_err(|error| StoreError::io("sync directory", directory, 0, error))
    }

    fn create_dir(&self, directory: &str) -> Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.path(directory)?)
            .map_err(|error| StoreError::io("create directory", directory, 0, error))
    }

    fn remove_dir(&self, directory: &str) -> Result<()> {
        match fs::remove_dir(self.path(directory)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove directory", directory, 0, error))
            }
            _ => Ok(()),
        }
    }

    fn space(&self) -> Result<Space> {
        let stat = rustix::fs::statvfs(&self.root)
            .map_err(|error| StoreError::io("measure", "", 0, io::Error::from(error)))?;
        Ok(Space {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }
}

#[derive(Debug)]
struct OpenFile {
    name: String,
    file: File,
    mode: WriteMode,
}

impl OpenFile {
    fn failed(&self, op: &'static str, offset: u64, error: impl Into<io::Error>) -> StoreError {
        StoreError::io(op, &self.name, offset, error.into())
    }

    /// A read or write past the page cache needs memory, offset and length at multiples of a sector.
    fn fits_direct(buf: &[u8], offset: u64) -> bool {
        let aligned = |number: u64| number.is_multiple_of(ALIGNMENT);
        aligned(offset) && aligned(buf.len() as u64) && aligned(buf.as_ptr() as u64)
    }

    fn read_some(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("read", offset + done as u64, error)),
            }
        }
        Ok(done)
    }

    /// Reads the pages around the range into aligned memory, and copies the range out.
    fn read_direct(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let start = offset - offset % ALIGNMENT;
        let skip = (offset - start) as usize;
        let mut pages = AlignedBuffer::zeroed((skip + buf.len()).next_multiple_of(ALIGNMENT as usize));
        let read = self.read_some(&mut pages, start)?.saturating_sub(skip).min(buf.len());
        buf[..read].copy_from_slice(&pages[skip..skip + read]);
        Ok(read)
    }

    fn write_direct(&self, parts: &[&[u8]], offset: u64) -> Result<()> {
        if let [buf] = parts
            && Self::fits_direct(buf, offset)
        {
            return self.file.write_all_at(buf, offset).map_err(|error| self.failed("write", offset, error));
        }
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if !offset.is_multiple_of(ALIGNMENT) || !(len as u64).is_multiple_of(ALIGNMENT) {
            return Err(StoreError::refused(
                &self.name,
                format!("a write of {len} bytes at {offset} past the page cache is not made of whole pages"),
            ));
        }
        let written = BOUNCE.with_borrow_mut(|bounce| write_through(bounce, parts, offset, &self.file));
        written.map_err(|error| self.failed("write", offset, error))
    }

    fn write_buffered(&self, parts: &[&[u8]], offset: u64) -> Result<()> {
        if let [buf] = parts {
            return self.file.write_all_at(buf, offset).map_err(|error| self.failed("write", offset, error));
        }
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut slices = &mut slices[..];
        // Takes empty slices off the front.
        IoSlice::advance_slices(&mut slices, 0);
        let mut at = offset;
        while !slices.is_empty() {
            match rustix::io::pwritev(&self.file, slices, at) {
                Ok(0) => return Err(self.failed("write", at, io::Error::from(io::ErrorKind::WriteZero))),
                Ok(written) => {
                    at += written as u64;
                    IoSlice::advance_slices(&mut slices, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(self.failed("write", at, error)),
            }
        }
        Ok(())
    }

    fn fallocate(&self, op: &'static str, flags: FallocateFlags, offset: u64, len: u64) -> Result<()> {
        range_end(&self.name, offset, len)?;
        if len == 0 {
            return Ok(());
        }
        rustix::io::retry_on_intr(|| rustix::fs::fallocate(&self.file, flags, offset, len))
            .map_err(|error| self.failed(op, offset, error))
    }
}

impl StorageFile for OpenFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn mode(&self) -> WriteMode {
        self.mode
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        range_end(&self.name, offset, buf.len() as u64)?;
        if self.mode.is_direct() && !Self::fits_direct(buf, offset) {
            return self.read_direct(buf, offset);
        }
        self.read_some(buf, offset)
    }

    fn write_vectored_at(&self, parts: &[&[u8]], offset: u64) -> Result<()> {
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        range_end(&self.name, offset, len)?;
        if self.mode.is_direct() { self.write_direct(parts, offset) } else { self.write_buffered(parts, offset) }
    }

    fn sync_data(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| self.failed("sync", 0, error))
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.fallocate("allocate", FallocateFlags::empty(), offset, len)
    }

    fn zero_fill(&self, offset: u64, len: u64) -> Result<()> {
        let end = range_end(&self.name, offset, len)?;
        let zeros = AlignedBuffer::zeroed(CHUNK_BYTES.min(len as usize));
        let mut at = offset;
        while at < end {
            let part = (end - at).min(CHUNK_BYTES as u64);
            self.write_at(&zeros[..part as usize], at)?;
            at += part;
        }
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> Result<()> {
        match self.fallocate("punch", FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len) {
            // A file system without holes: the range must still read as zeros.
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::Unsupported => {
                let end = range_end(&self.name, offset, len)?.min(self.len()?);
                self.zero_fill(offset, end.saturating_sub(offset))
            }
            other => other,
        }
    }

    fn set_len(&self, len: u64) -> Result<()> {
        range_end(&self.name, len, 0)?;
        self.file.set_len(len).map_err(|error| self.failed("resize", len, error))
    }

    fn len(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(|error| self.failed("measure", 0, error))?.len())
    }

    fn prefetch(&self, offset: u64, len: u64) {
        if let Some(len) = NonZeroU64::new(len) {
            // A hint: nothing depends on it.
            let _ = rustix::fs::fadvise(&self.file, offset, Some(len), Advice::WillNeed);
        }
    }
}
