//! Sealing anew what is sealed under the keys of earlier epochs.
//!
//! After a revocation new blocks are under new keys, but what was there before still opens with the old ones. A pass
//! goes through the content and then the index of the present, and then through all snapshots: it seals the same bytes
//! under the newest key, in small steps that ordinary commits make durable. A crash, or an interruption, leaves a whole
//! state and less to do. In the background a step is taken now and then; `bt rekey --now` takes them all.
//!
//! At the end the journal is overwritten, where records from before lie.
//!
//! What the present and a snapshot shared, each has for itself afterwards; snapshots share among themselves what they
//! did before (`snapshots`).

#[cfg(test)]
mod random_tests;
mod room;
mod snapshots;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::PoisonError;

use bt_tree::schema::Slot;
use bt_tree::zone::Resealing;
use bt_vfs::{ContentPlace, Moved, OldSlot};
use snapshots::Resealed;

use super::limits::COMMIT_SEGMENTS;
use super::sealer::Sealer;
use super::{Engine, Flushing};
use crate::control::report::RekeyReport;
use crate::control::{Failure, OnProgress, Progress};
use crate::error::{EngineError, Result};

/// Blocks that one step seals anew: at most 8 MiB, while flushes and commits wait.
const STEP_BLOCKS: usize = 512;
/// Nodes of the index that one step makes dirty.
const STEP_NODES: usize = 128;
/// Shared blocks that a pass remembers; beyond them what was one block becomes several.
const MOVED_BLOCKS: usize = 1 << 18;

/// Times that a pass begins again, when something changed so that a step in the snapshots does not count.
const AGAIN: u32 = 16;

/// How far a pass is.
pub(super) struct Pass {
    epoch: u32,
    at: Stage,
    moved: Moved,
    resealing: Resealing,
    sealed_bytes: u64,
    begun: u32,
}

enum Stage {
    Content(ContentPlace),
    Index(Vec<u8>),
    Snapshots,
    Done,
}

impl Pass {
    fn new(epoch: u32) -> Self {
        let (moved, resealing) = (HashMap::new(), Resealing::new(epoch));
        Self { epoch, at: Stage::Content((0, 0)), moved, resealing, sealed_bytes: 0, begun: 1 }
    }
}

/// What the committing thread remembers of the pass in the background.
#[derive(Default)]
pub(super) struct BackgroundRekey {
    pass: Option<Pass>,
    /// The epoch for which nothing is left to do.
    settled: u32,
}

impl Engine {
    /// Seals everything under the newest key, and says what is left.
    pub(crate) fn rekey(&self, now: bool, progress: OnProgress<'_>) -> std::result::Result<RekeyReport, Failure> {
        let failed = |error: EngineError| error.into_failure("sealing under the newest key");
        let mut pass = Pass::new(self.source.epoch());
        if now {
            // What one that panicked left is whole.
            let _turn = self.rekeying.lock().unwrap_or_else(PoisonError::into_inner);
            self.commit_for_space().map_err(failed)?;
            if let Some(short) = self.short_of_room(pass.epoch).map_err(failed)? {
                return Err(short.into());
            }
            for _ in 0..AGAIN {
                pass = Pass { sealed_bytes: pass.sealed_bytes, ..Pass::new(self.source.epoch()) };
                self.rekey_all(&mut pass, progress)?;
                // The nodes that the first head replaces die in its own accounts, those of the accounts with the second.
                self.commit_for_space().map_err(failed)?;
                let left = self.read().old_keys(&self.source, self.source.epoch());
                if left.map_err(|error| failed(error.into()))?.segments == 0 {
                    break;
                }
                // Something was shared from where the pass had not been yet, or there is another epoch.
            }
            self.erase_journal().map_err(failed)?;
            while self.drop_leftovers().map_err(failed)? > 0 {}
            pass.epoch = self.source.epoch();
        }
        let (left_segments, left_bytes) = self.stored_before(pass.epoch);
        Ok(RekeyReport { epoch: pass.epoch, sealed_bytes: pass.sealed_bytes, left_segments, left_bytes })
    }

    /// Takes all steps of a pass.
    fn rekey_all(&self, pass: &mut Pass, progress: OnProgress<'_>) -> std::result::Result<(), Failure> {
        let failed = |error: EngineError| error.into_failure("sealing under the newest key");
        let left = self.read().old_keys(&self.source, pass.epoch).map_err(|error| failed(error.into()))?;
        let total = pass.sealed_bytes + left.live_bytes;
        while !matches!(pass.at, Stage::Done) {
            let done = pass.sealed_bytes.min(total);
            if progress(Progress { done, total, what: "bytes".into() }).is_break() {
                return Err(Failure::interrupted());
            }
            self.rekey_step(pass).map_err(failed)?;
        }
        Ok(())
    }

    /// Segments on the disk that earlier keys open, needed or not, and their bytes.
    fn stored_before(&self, epoch: u32) -> (u64, u64) {
        let zone = self.identity.zone();
        let stored = self.containers.segments().into_iter().filter(|info| info.zone == zone && info.epoch < epoch);
        stored.fold((0, 0), |(segments, bytes), info| (segments + 1, bytes + info.bytes))
    }

    /// One step in the background; true when there is more to do at once.
    pub(super) fn rekey_in_background(&self, background: &mut BackgroundRekey) -> Result<()> {
        let epoch = self.source.epoch();
        let turn = self.rekeying.try_lock();
        if background.settled == epoch || epoch <= 1 || turn.is_err() {
            return Ok(());
        }
        let pass = match background.pass.take().filter(|pass| pass.epoch == epoch) {
            Some(pass) => background.pass.insert(pass),
            None if self.read().old_keys(&self.source, epoch)?.segments == 0 => {
                background.settled = epoch;
                return Ok(());
            }
            None => {
                if let Some(short) = self.short_of_spare_room(epoch)? {
                    tracing::warn!(
                        epoch,
                        "old content stays under earlier keys for now: {short}; `bt rekey --now` does it"
                    );
                    background.settled = epoch;
                    return Ok(());
                }
                background.pass.insert(Pass::new(epoch))
            }
        };
        if let Err(error) = self.rekey_step(pass) {
            // Not again and again: `bt rekey --now` says what is in the way, and the next mount tries anew.
            (background.pass, background.settled) = (None, epoch);
            return Err(error);
        }
        if matches!(pass.at, Stage::Done) {
            self.erase_journal()?;
            let pass = background.pass.take().expect("it just ended");
            tracing::info!(
                epoch,
                bytes = pass.sealed_bytes,
                "the present and the snapshots are sealed under the newest key"
            );
            (background.pass, background.settled) = (None, epoch);
        }
        Ok(())
    }

    fn rekey_step(&self, pass: &mut Pass) -> Result<()> {
        self.check_writable()?;
        let next = match &pass.at {
            Stage::Content(from) => {
                let next = self.rekey_content(*from, pass.epoch, &mut pass.moved, &mut pass.sealed_bytes)?;
                next.map_or(Stage::Index(Vec::new()), Stage::Content)
            }
            Stage::Index(from) => {
                let (keys, next) = self.read().old_leaves(&self.source, pass.epoch, from, STEP_NODES)?;
                if !keys.is_empty() {
                    let mut vfs = self.write();
                    self.guard(vfs.touch_leaves(&self.source, &keys))?;
                    self.gauge(&vfs);
                }
                next.map_or(Stage::Snapshots, Stage::Index)
            }
            Stage::Snapshots => match self.reseal_snapshots(&mut pass.resealing)? {
                Resealed::Some(bytes) => {
                    pass.sealed_bytes += bytes;
                    Stage::Snapshots
                }
                Resealed::All => Stage::Done,
                Resealed::Changed if pass.begun == AGAIN => Stage::Done,
                Resealed::Changed => {
                    pass.begun += 1;
                    Stage::Content((0, 0))
                }
            },
            Stage::Done => Stage::Done,
        };
        pass.at = next;
        if pass.moved.len() > MOVED_BLOCKS {
            pass.moved.clear();
        }
        let many = |flushing: &Flushing| flushing.added.len() > COMMIT_SEGMENTS / 4;
        let many = many(&self.flushing());
        if many || self.is_crowded() || self.read().dirty_nodes() > self.limits.commit_nodes {
            self.commit()?;
        }
        Ok(())
    }

    /// Seals the blocks of some old slots anew; gives the place to go on from.
    fn rekey_content(
        &self,
        from: ContentPlace,
        epoch: u32,
        moved: &mut Moved,
        sealed_bytes: &mut u64,
    ) -> Result<Option<ContentPlace>> {
        let mut flushing = self.flushing();
        let (found, next, revision) = {
            let vfs = self.read();
            let (found, next) = vfs.old_slots(&self.source, epoch, from, STEP_BLOCKS)?;
            (found, next, vfs.zone().next_revision())
        };
        if found.is_empty() {
            return Ok(next);
        }
        let zone = self.identity.zone();
        let mut sealer = Sealer::new(&self.source, &self.containers, &self.ids, zone, revision, false)
            .with_memory(std::mem::take(&mut flushing.memory));
        let sealed = self.seal_again(&mut sealer, &found, moved);
        if sealed.is_err() {
            sealer.abandon();
        }
        flushing.memory = sealer.into_memory();
        let (slots, segments) = sealed?;
        *sealed_bytes += segments.iter().map(|summary| summary.sealed_bytes).sum::<u64>();
        let mut vfs = self.write();
        self.guard(vfs.replace_slots(&self.source, &segments, &slots, moved))?;
        flushing.added.extend(segments);
        self.gauge(&vfs);
        drop(vfs);
        self.space.refresh(&*self.storage);
        Ok(next)
    }

    /// The same bytes, compressed or not, under the newest key.
    fn seal_again(&self, sealer: &mut Sealer<'_>, found: &[OldSlot], moved: &Moved) -> Result<Sealed> {
        let mut slots = Vec::with_capacity(found.len());
        let mut plain = Vec::new();
        for old in found {
            let block = &old.slot.block;
            if moved.contains_key(&(block.segment, block.index)) {
                slots.push((*old, None));
                continue;
            }
            self.source.open_block(block, &mut plain).map_err(|error| super::flush::damaged(&old.slot, error))?;
            let new = self.stop_unless_full(sealer.seal(&plain).map_err(EngineError::from))?;
            slots.push((*old, Some(Slot { block: new, compression: old.slot.compression })));
        }
        let segments = self.stop_unless_full(sealer.finish().map_err(EngineError::from))?;
        Ok((slots, segments))
    }
}

/// Old slots with what takes their place, and the segments that it lies in.
type Sealed = (Vec<(OldSlot, Option<Slot>)>, Vec<bt_tree::SegmentSummary>);
