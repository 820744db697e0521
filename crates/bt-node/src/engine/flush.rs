//! Sealing dirty file content into segments.

use std::borrow::Cow;

use bt_base::limits::{BLOCK_SIZE, PAGE_SIZE};
use bt_tree::SegmentSummary;
use bt_tree::schema::{Compression, Slot};
use bt_vfs::{Bytes, FlushFile, FlushPlan, FlushedFile, PageSource, SealedSlot, SlotJob, Vfs};

use super::limits::FLUSH_FILES;
use super::sealer::Sealer;
use super::{Engine, Flushing};
use crate::error::{EngineError, Result};

impl Engine {
    /// Flushes files in steps, each under a short lock.
    pub(super) fn flush(&self, flushing: &mut Flushing, inodes: &[u64]) -> Result<()> {
        for step in inodes.chunks(FLUSH_FILES) {
            self.check_writable()?;
            let (plan, revision) = {
                let mut vfs = self.write();
                let plan = vfs.begin_flush(&self.source, step)?;
                (plan, vfs.zone().next_revision())
            };
            let (number, sealed, segments) = self.seal_plan(&mut flushing.memory, plan, revision)?;
            let mut vfs = self.write();
            self.guard(vfs.finish_flush(&self.source, number, &segments, sealed))?;
            flushing.added.extend(segments);
            self.gauge(&vfs);
            drop(vfs);
            self.settle(false);
        }
        Ok(())
    }

    /// Flushes files while nobody else changes anything: the rest of a commit.
    pub(super) fn flush_locked(&self, flushing: &mut Flushing, vfs: &mut Vfs, inodes: &[u64]) -> Result<()> {
        let plan = vfs.begin_flush(&self.source, inodes)?;
        let (number, sealed, segments) = self.seal_plan(&mut flushing.memory, plan, vfs.zone().next_revision())?;
        self.guard(vfs.finish_flush(&self.source, number, &segments, sealed))?;
        flushing.added.extend(segments);
        Ok(())
    }

    fn seal_plan(
        &self,
        memory: &mut Vec<Vec<u8>>,
        plan: FlushPlan,
        revision: bt_base::Revision,
    ) -> Result<(u32, Vec<FlushedFile>, Vec<SegmentSummary>)> {
        let number = plan.number();
        let zone = self.identity.zone();
        let mut sealer = Sealer::new(&self.source, &self.containers, &self.ids, zone, revision, false)
            .with_memory(std::mem::take(memory));
        let result = self.seal_files(&mut sealer, plan.files);
        if result.is_err() {
            sealer.abandon();
        }
        *memory = sealer.into_memory();
        let (flushed, segments) = result?;
        self.space.refresh(&*self.storage);
        Ok((number, flushed, segments))
    }

    fn seal_files(
        &self,
        sealer: &mut Sealer<'_>,
        files: Vec<FlushFile>,
    ) -> Result<(Vec<FlushedFile>, Vec<SegmentSummary>)> {
        let mut flushed = Vec::with_capacity(files.len());
        for file in files {
            let sealed = self.seal_file(sealer, &file, self.compression)?;
            flushed.push(FlushedFile { file, sealed });
        }
        let segments = self.stop_unless_full(sealer.finish().map_err(EngineError::from))?;
        Ok((flushed, segments))
    }

    fn seal_file(
        &self,
        sealer: &mut Sealer<'_>,
        file: &FlushFile,
        compression: Compression,
    ) -> Result<Vec<SealedSlot>> {
        let mut plain = Vec::with_capacity(BLOCK_SIZE);
        let mut sealed = Vec::with_capacity(file.jobs.len());
        for job in &file.jobs {
            let content = match whole_block(job) {
                Some(bytes) => bytes,
                None => {
                    self.block_content(job, &mut plain)?;
                    &plain
                }
            };
            let (content, compression) = match super::source::compress(compression, content) {
                Some(smaller) => (Cow::Owned(smaller), compression),
                None => (Cow::Borrowed(content), Compression::None),
            };
            let block = self.stop_unless_full(sealer.seal(&content).map_err(EngineError::from))?;
            sealed.push(SealedSlot { slot: job.slot, block: Slot { block, compression } });
        }
        Ok(sealed)
    }

    /// The plaintext of a block to seal.
    fn block_content(&self, job: &SlotJob, plain: &mut Vec<u8>) -> Result<()> {
        let needs_old = job.pages.iter().any(|page| matches!(page, PageSource::Old));
        let old = match (&job.old, needs_old) {
            (Some(slot), true) => Some(self.source.data(slot).map_err(|error| damaged(slot, error))?),
            _ => None,
        };
        plain.clear();
        for (i, page) in job.pages.iter().enumerate() {
            let start = i * PAGE_SIZE;
            if start >= job.len {
                break;
            }
            let bytes: &[u8] = match page {
                PageSource::Zero => &[],
                PageSource::Dirty(bytes) => bytes,
                PageSource::Old => old.as_ref().and_then(|old| old.get(start..)).unwrap_or_default(),
            };
            let end = job.len.min(start + PAGE_SIZE);
            plain.extend_from_slice(&bytes[..bytes.len().min(end - start)]);
            plain.resize(end, 0);
        }
        Ok(())
    }

    /// A full disk is not final: nothing was acknowledged by the write that failed.
    pub(super) fn stop_unless_full<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Err(error) if error.is_no_space() => Err(error),
            other => self.stop_on_error(other),
        }
    }
}

/// The plaintext of a block that was written at once and lies in memory in one piece.
fn whole_block(job: &SlotJob) -> Option<&[u8]> {
    let pages = job.pages.iter().take(job.len.div_ceil(PAGE_SIZE));
    let dirty = pages.map(|page| match page {
        PageSource::Dirty(bytes) => Some(bytes),
        PageSource::Old | PageSource::Zero => None,
    });
    Bytes::joined(dirty).filter(|bytes| bytes.len() == job.len)
}

pub(super) fn damaged(slot: &Slot, error: super::ReadError) -> EngineError {
    let source = Box::new(error);
    EngineError::Zone(bt_tree::index::IndexError::Source { block: Box::new(slot.block), source }.into())
}
