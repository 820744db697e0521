//! A journal's file: a ring of pages, zero-filled beforehand and overwritten in place.
//!
//! An overwrite of allocated, written pages changes no metadata of the file system, so its sync is one write to the
//! disk. The file has no header and this module knows nothing of what batches hold: it places them at multiples of
//! 4096 bytes, never across the end, and never over a batch that is still needed. A batch that does not fit before
//! the end starts at 0, so the batch after one that ends at `x` is at `x` or at 0. Finding the newest batch after a
//! crash is the caller's work, with [`JournalFile::scan_from`]; it then says with [`JournalFile::resume`] what is
//! still needed.
//!
//! Invariants: `first` and `next` are multiples of 4096 below the size; the needed region is from `first` to `next`
//! in ring order; `first == next` means that nothing is needed, so the ring is never filled to the last page;
//! only a release moves `first`, since a head that is not published yet may name it.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::error::{Result, StoreError};
use crate::limits::{ALIGNMENT, CHUNK_BYTES, JOURNAL_MIN_BYTES};
use crate::storage::{Storage, StorageFile, WriteMode, directory_of};

/// The modes in which a journal is opened, fastest first (`doc/format/journal-file.md` has the figures).
pub const PREFERRED_MODES: &[WriteMode] = &[WriteMode::DirectDurable, WriteMode::Buffered];

/// The file of a journal. One thread at a time appends: batches of two could become durable in any order.
#[derive(Debug)]
pub struct JournalFile {
    file: Arc<dyn StorageFile>,
    /// For reading, through the page cache with its read-ahead.
    reader: Arc<dyn StorageFile>,
    ring: Mutex<Ring>,
}

#[derive(Debug)]
struct Ring {
    size: u64,
    first: u64,
    next: u64,
    failure: Option<StoreError>,
}

/// A page of the journal, from [`JournalFile::scan_from`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalPage {
    /// Where it lies, in bytes.
    pub offset: u64,
    /// Its 4096 bytes.
    pub bytes: Vec<u8>,
}

impl JournalFile {
    /// Makes a journal of `size` bytes (a multiple of 4096) full of zeros, replacing one of that name, and opens it.
    /// Durable when this returns.
    pub fn create(storage: &dyn Storage, name: &str, size: u64) -> Result<Self> {
        if size < JOURNAL_MIN_BYTES || !size.is_multiple_of(ALIGNMENT) {
            let why = format!("a journal of {size} bytes; choose a multiple of 4096, at least {JOURNAL_MIN_BYTES}");
            return Err(StoreError::refused(name, why));
        }
        let new_name = format!("{name}.new");
        let file = storage.open(&new_name, true)?;
        file.set_len(0)?;
        file.allocate(0, size)?;
        file.zero_fill(0, size)?;
        file.sync_data()?;
        storage.rename(&new_name, name)?;
        storage.sync_dir(directory_of(name))?;
        Self::open(storage, name)
    }

    /// Opens a journal in the fastest mode that its file system has. Nothing in it counts as needed until
    /// [`JournalFile::resume`] says so.
    pub fn open(storage: &dyn Storage, name: &str) -> Result<Self> {
        let (last, preferred) = PREFERRED_MODES.split_last().expect("there is a mode");
        for mode in preferred {
            match Self::open_with(storage, name, *mode) {
                Err(StoreError::Refused { .. }) => {}
                other => return other,
            }
        }
        Self::open_with(storage, name, *last)
    }

    /// As [`JournalFile::open`], in the given mode.
    pub fn open_with(storage: &dyn Storage, name: &str, mode: WriteMode) -> Result<Self> {
        let file = storage.open_with(name, false, mode)?;
        let size = file.len()?;
        if size < JOURNAL_MIN_BYTES || !size.is_multiple_of(ALIGNMENT) {
            return Err(StoreError::damaged(format!("a journal cannot have {size} bytes"), name, size));
        }
        let ring = Mutex::new(Ring { size, first: 0, next: 0, failure: None });
        let reader = if mode.is_direct() { storage.open(name, false)? } else { file.clone() };
        Ok(Self { file, reader, ring })
    }

    /// The size of the ring, in bytes.
    pub fn size(&self) -> u64 {
        self.ring().size
    }

    /// How writes go to the disk.
    pub fn mode(&self) -> WriteMode {
        self.file.mode()
    }

    /// The largest batch that would fit now, in bytes.
    pub fn free(&self) -> u64 {
        self.ring().free()
    }

    /// Bytes that are still needed, with what is skipped at the end of the ring.
    pub fn used(&self) -> u64 {
        self.ring().used()
    }

    /// After recovery: the needed batches begin at `first`, and the next one may be placed at `next`, which is where
    /// the newest one ends; equal if none is needed. Offsets in bytes; the size counts as 0.
    pub fn resume(&self, first: u64, next: u64) -> Result<()> {
        let mut ring = self.ring();
        let first = self.ring_offset(&ring, first)?;
        let next = self.ring_offset(&ring, next)?;
        (ring.first, ring.next) = (first, next);
        Ok(())
    }

    /// Everything before `position` (the offset of the oldest batch still needed, or the end of the newest batch if
    /// none is) may be overwritten from now on. Call it only when what it held is durable elsewhere.
    pub fn release_up_to(&self, position: u64) -> Result<()> {
        let mut ring = self.ring();
        let position = self.ring_offset(&ring, position)?;
        if ring.distance(ring.first, position) > ring.used() {
            let why = format!("{position} is not within the needed region, {} to {}", ring.first, ring.next);
            return Err(StoreError::refused(self.file.name(), why));
        }
        ring.first = position;
        Ok(())
    }

    /// Places a batch, a multiple of 4096 bytes, and returns its offset; durable after [`JournalFile::sync`].
    ///
    /// [`StoreError::Full`] if it would overwrite what is needed: nothing has changed then. After any other error
    /// the journal takes no more batches, since what is on the disk is unknown: open the zone again.
    pub fn append(&self, batch: &[u8]) -> Result<u64> {
        if batch.is_empty() || !(batch.len() as u64).is_multiple_of(ALIGNMENT) {
            let why = format!("a batch of {} bytes is not made of whole pages of 4096", batch.len());
            return Err(StoreError::refused(self.file.name(), why));
        }
        let offset = {
            let mut ring = self.ring();
            ring.check()?;
            ring.reserve(self.file.name(), batch.len() as u64)?
        };
        self.file.write_at(batch, offset).map_err(|error| self.fail(error))?;
        Ok(offset)
    }

    /// Makes all placed batches durable. A failure is final, as with [`JournalFile::append`].
    pub fn sync(&self) -> Result<()> {
        self.ring().check()?;
        if self.mode().is_durable() {
            return Ok(());
        }
        self.file.sync_data().map_err(|error| self.fail(error))
    }

    /// Places a batch and makes it and all before it durable.
    pub fn append_sync(&self, batch: &[u8]) -> Result<u64> {
        let offset = self.append(batch)?;
        self.sync()?;
        Ok(offset)
    }

    /// Overwrites all of the ring with zeros; refused while something in it is needed. A failure is final, as with
    /// [`JournalFile::append`]. Nobody may append meanwhile.
    pub fn erase(&self) -> Result<()> {
        let size = {
            let ring = self.ring();
            ring.check()?;
            if ring.used() > 0 {
                return Err(StoreError::refused(self.file.name(), format!("{} bytes of it are needed", ring.used())));
            }
            ring.size
        };
        self.file.zero_fill(0, size).map_err(|error| self.fail(error))?;
        self.sync()
    }

    /// Reads `len` bytes at `offset`.
    pub fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let size = self.size();
        if offset.checked_add(len as u64).is_none_or(|end| end > size) {
            return Err(StoreError::damaged(
                format!("{len} bytes here would end beyond the journal"),
                self.file.name(),
                offset,
            ));
        }
        let mut bytes = vec![0; len];
        self.reader.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// All pages once, in ring order, from the one at `offset` (a multiple of 4096 bytes; the size counts as 0).
    pub fn scan_from(&self, offset: u64) -> Result<JournalScan<'_>> {
        let ring = self.ring();
        let start = self.ring_offset(&ring, offset)?;
        Ok(JournalScan { journal: self, start, size: ring.size, done: 0, chunk: Vec::new(), chunk_at: 0 })
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().expect("no panic under this lock")
    }

    fn ring_offset(&self, ring: &Ring, offset: u64) -> Result<u64> {
        if offset > ring.size || !offset.is_multiple_of(ALIGNMENT) {
            let why = format!("{offset} is not the place of a page of a journal of {} bytes", ring.size);
            return Err(StoreError::refused(self.file.name(), why));
        }
        Ok(offset % ring.size)
    }

    fn fail(&self, error: StoreError) -> StoreError {
        self.ring().failure = Some(error.clone());
        error
    }
}

impl Ring {
    fn check(&self) -> Result<()> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn distance(&self, from: u64, to: u64) -> u64 {
        (to + self.size - from) % self.size
    }

    fn used(&self) -> u64 {
        self.distance(self.first, self.next)
    }

    fn free(&self) -> u64 {
        let page = ALIGNMENT;
        if self.next < self.first {
            return self.first - self.next - page;
        }
        let before_end = self.size - self.next - if self.first == 0 { page } else { 0 };
        before_end.max(self.first.saturating_sub(page))
    }

    /// Finds the place of `len` bytes, and moves `next` behind it.
    fn reserve(&mut self, file: &str, len: u64) -> Result<u64> {
        if len > self.free() {
            return Err(StoreError::Full { file: file.to_owned(), needed: len, free: self.free() });
        }
        // Where the batch fits is one of two places, since it is no longer than `free`.
        let fits_here = self.next + len <= self.size;
        let offset = if fits_here { self.next } else { 0 };
        self.next = (offset + len) % self.size;
        assert_ne!(self.first, self.next, "a batch never fills the ring");
        Ok(offset)
    }
}

/// The pages of a journal, one full round.
#[derive(Debug)]
pub struct JournalScan<'a> {
    journal: &'a JournalFile,
    start: u64,
    size: u64,
    done: u64,
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl Iterator for JournalScan<'_> {
    type Item = Result<JournalPage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done >= self.size {
            return None;
        }
        let offset = (self.start + self.done) % self.size;
        self.done += ALIGNMENT;
        Some(self.page(offset))
    }
}

impl JournalScan<'_> {
    fn page(&mut self, offset: u64) -> Result<JournalPage> {
        let cached = offset.checked_sub(self.chunk_at).filter(|within| (*within as usize) < self.chunk.len());
        let within = match cached {
            Some(within) => within as usize,
            None => {
                let len = (self.size - offset).min(CHUNK_BYTES as u64) as usize;
                self.chunk.clear();
                self.chunk = self.journal.read_at(offset, len)?;
                self.chunk_at = offset;
                0
            }
        };
        Ok(JournalPage { offset, bytes: self.chunk[within..within + ALIGNMENT as usize].to_vec() })
    }
}
