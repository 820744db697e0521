//! Making log records durable: one batch, one sync, shared by everyone who waits at that moment.

use std::sync::atomic::Ordering;

use bt_base::{Entropy, JournalId};
use bt_crypto::JournalCipher;

use bt_tree::{BATCH_PAYLOAD, BatchWriter, JournalPosition};
use bt_vfs::op::Chunk;

use super::Engine;
use super::limits::SEGMENT_SYNC_BYTES;
use crate::error::{EngineError, Result};
use crate::system::{SystemEntropy, now};

/// Room for what a batch adds to its payload: header, certificate, tag, signature, padding.
const BATCH_OVERHEAD: usize = 16 << 10;

/// The journal of this opening of the zone.
#[derive(Default)]
pub(super) struct Journal {
    /// Begins with the first batch: a head must name the journal before it counts.
    writer: Option<BatchWriter>,
    payload: Vec<u8>,
    batch: Vec<u8>,
}

impl Journal {
    /// The published head covers everything: the next batch begins another journal.
    pub(super) fn end(&mut self) {
        self.writer = None;
    }
}

impl Engine {
    /// fsync(2): makes durable all name-space operations so far and one file's content.
    pub(crate) fn sync_file(&self, inode: Option<u64>) -> Result<()> {
        if self.read_only {
            return Ok(());
        }
        self.check_writable()?;
        if self.read().sync_bytes(inode) > SEGMENT_SYNC_BYTES {
            self.obey()?;
            let mut flushing = self.flushing();
            let inodes = self.read().sync_files(inode);
            self.flush(&mut flushing, &inodes)?;
        }
        let number = {
            let mut vfs = self.write();
            let number = self.guard(vfs.sync_file(&self.source, inode))?;
            if !vfs.has_pending_log() && self.durable.load(Ordering::Acquire) >= number {
                return Ok(());
            }
            number
        };
        self.make_durable(number)
    }

    /// Whether [`Engine::sync_file`] has much to write.
    pub(crate) fn is_large_sync(&self, inode: u64) -> bool {
        self.read().sync_bytes(Some(inode)) > SEGMENT_SYNC_BYTES / 4
    }

    /// Waits until log record `number` is durable, writing the journal when nobody else does.
    pub(super) fn make_durable(&self, number: u64) -> Result<()> {
        if self.durable.load(Ordering::Acquire) >= number {
            return self.check_writable();
        }
        let mut journal = self.journal.lock().unwrap_or_else(|_| panic!("a journal write panicked"));
        if self.durable.load(Ordering::Acquire) >= number {
            return self.check_writable();
        }
        self.check_writable()?;
        self.obey_with(&mut journal)?;
        if journal.writer.is_none() {
            self.start_journal(&mut journal)?;
        }
        let (chunks, names_blocks) = self.guard(self.write().take_log(&self.source))?;
        if !chunks.is_empty() && !self.write_batch(&mut journal, &chunks, names_blocks)? {
            // A commit covers the records, so they need no batch. Where it fails they wait for the next.
            if let Err(error) = self.commit_changes() {
                self.write().put_back_log(chunks, names_blocks);
                return Err(error);
            }
            self.check_writable()?;
        }
        assert!(self.durable.load(Ordering::Acquire) >= number, "all log records are in the journal or in a head");
        Ok(())
    }

    /// Writes records to the journal; false when it has no room for them. An error is final.
    fn write_batch(&self, journal: &mut Journal, chunks: &[Chunk], names_blocks: bool) -> Result<bool> {
        let file = self.journal_file.as_ref().expect("a writable zone has a journal");
        let first = chunks[0].first;
        let count: u32 = chunks.iter().map(|chunk| chunk.count).sum();
        journal.payload.clear();
        chunks.iter().for_each(|chunk| journal.payload.extend_from_slice(&chunk.bytes));
        let needed = journal.payload.len() + BATCH_OVERHEAD;
        if needed as u64 > file.free() || journal.payload.len() > BATCH_PAYLOAD {
            return Ok(false);
        }
        if names_blocks {
            self.stop_on_error(self.containers.sync().map_err(EngineError::from))?;
        }
        let (payload, batch) = (&journal.payload, &mut journal.batch);
        batch.clear();
        let writer = journal.writer.as_mut().expect("started by the caller");
        writer.renew(self.stop_on_error(self.fresh_session())?);
        writer.skip_to(first);
        let time = now();
        self.stop_on_error(self.check_may_write(time))?;
        self.stop_on_error(writer.seal(time, first, count, payload, batch).map_err(EngineError::from))?;
        let offset = self.stop_on_error(file.append_sync(batch).map_err(EngineError::from))?;
        let last = first + u64::from(count) - 1;
        *self.position.lock().expect("no panic under this lock") = JournalPosition {
            id: writer.journal(),
            covered: 0,
            next_batch: writer.next_number(),
            previous_batch_hash: writer.previous_hash(),
            offset: (offset + batch.len() as u64) % file.size(),
        };
        self.durable.fetch_max(last, Ordering::AcqRel);
        journal.payload.shrink_to(1 << 20);
        journal.batch.shrink_to(1 << 20);
        if file.used() > file.size() / 2 {
            self.ask();
        }
        Ok(true)
    }

    /// Begins a journal with a fresh id and publishes a head that names it, over the same state.
    fn start_journal(&self, journal: &mut Journal) -> Result<()> {
        let mut flushing = self.flushing();
        let file = self.journal_file.as_ref().expect("a writable zone has a journal");
        let mut id = JournalId::default();
        SystemEntropy.fill(&mut id.0);
        let rights = self.identity.rights.now();
        let (_, key) = rights.keys.newest().expect("the zone opened with a key");
        let (tree, zone) = (*self.identity.tree(), self.identity.zone());
        let cipher = JournalCipher::new(key, &tree, &zone, &id);
        let position = {
            let mut position = self.position.lock().expect("no panic under this lock");
            let offset = position.offset;
            *position = JournalPosition { id, covered: 0, next_batch: 0, previous_batch_hash: [0; 32], offset };
            *position
        };
        self.stop_on_error(file.resume(position.offset, position.offset).map_err(EngineError::from))?;
        self.republish(&mut flushing, position)?;
        let next_record = self.durable.load(Ordering::Acquire) + 1;
        journal.writer = Some(BatchWriter::new(cipher, self.session(), zone, id, next_record));
        Ok(())
    }

    /// Stops the zone when a write failed.
    pub(super) fn stop_on_error<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.stop(error);
        }
        result
    }

    /// Stops the zone when an operation may have been left halfway.
    pub(super) fn guard<T>(&self, result: bt_vfs::Result<T>) -> Result<T> {
        match result {
            Err(bt_vfs::VfsError::Zone(error)) => {
                let error = EngineError::from(error);
                self.stop(&error);
                Err(error)
            }
            other => other.map_err(EngineError::from),
        }
    }
}
