//! Sealing anew what snapshots hold under earlier keys; how is told in `bt_tree::zone::Resealing`.
//!
//! A step writes its segments while operations, flushes and commits go on; a pin keeps what it reads and what it wrote.
//! Then, between two commits, all names change at once. What came in between makes the step void: a snapshot that is
//! being deleted, a reference of the present to an old block, another epoch. Nothing of it stays then.

use bt_base::limits::TAG_SIZE;
use bt_tree::SegmentSummary;
use bt_tree::index::IndexError;
use bt_tree::schema::Death;
use bt_tree::zone::{MovedBlocks, OldBlocks, Renames, Resealing, SnapshotRecord, SnapshotState, ZoneError};

use super::super::Engine;
use super::super::sealer::Sealer;
use crate::error::{EngineError, Result};

/// What is sealed where a block is missing, so that its neighbors do not become one run.
const FILLER: &[u8] = &[0];

/// What a step did.
pub(super) enum Resealed {
    /// So many bytes were sealed anew.
    Some(u64),
    /// Nothing is left.
    All,
    /// The present, or a snapshot, was not as it should be: the pass is to begin again.
    Changed,
}

/// Snapshots by name.
pub(super) type NamedSnapshots = Vec<(Vec<u8>, SnapshotRecord)>;

/// What a step wrote.
pub(super) struct Step {
    pub(super) segments: Vec<SegmentSummary>,
    fillers: Vec<Death>,
    renames: Renames,
}

impl Engine {
    /// One step of sealing what snapshots hold anew.
    pub(super) fn reseal_snapshots(&self, resealing: &mut Resealing) -> Result<Resealed> {
        self.obey()?;
        if self.read().zone().snapshots(&self.source)?.is_empty() {
            return Ok(Resealed::All);
        }
        let _pin = {
            let mut flushing = self.flushing();
            // What died in the present is on the lists of the snapshots after this.
            self.commit_locked(&mut flushing, None)?;
            self.pin(&mut flushing)
        };
        let epoch = self.source.epoch();
        let Some(snapshots) = self.ready_snapshots()? else { return Ok(Resealed::Changed) };
        let Some(step) = self.write_step(resealing, &snapshots)? else { return Ok(Resealed::All) };
        self.take_step(step, epoch)
    }

    /// Makes a step count, unless something came in between.
    pub(super) fn take_step(&self, step: Step, epoch: u32) -> Result<Resealed> {
        let Step { segments, fillers, renames } = step;
        let mut flushing = self.flushing();
        let is_current = self.source.epoch() == epoch && !self.is_outdated();
        let renamed = is_current && {
            let mut vfs = self.write();
            let renamed = self.guard(vfs.rename_blocks(&self.source, &segments, &fillers, &renames))?;
            self.gauge(&vfs);
            renamed
        };
        if !renamed {
            for summary in &segments {
                self.containers.drop_segment(&summary.id)?;
            }
            return Ok(Resealed::Changed);
        }
        let bytes = segments.iter().map(|summary| summary.sealed_bytes).sum();
        flushing.added.extend(segments);
        self.commit_locked(&mut flushing, None)?;
        self.space.refresh(&*self.storage);
        Ok(Resealed::Some(bytes))
    }

    /// All snapshots, the newest first; none while one is being deleted, of which this does a part.
    pub(super) fn ready_snapshots(&self) -> Result<Option<NamedSnapshots>> {
        let mut all = self.read().zone().snapshots(&self.source)?;
        if let Some((name, _)) = all.iter().find(|(_, record)| record.state == SnapshotState::Deleting) {
            let mut vfs = self.write();
            self.guard(vfs.snapshot_delete_step(&self.source, name))?;
            self.gauge(&vfs);
            return Ok(None);
        }
        all.sort_by_key(|(_, record)| std::cmp::Reverse(record.number));
        Ok(Some(all))
    }

    /// Seals blocks and nodes anew; nothing names them yet. None when nothing is left to do.
    pub(super) fn write_step(
        &self,
        resealing: &mut Resealing,
        snapshots: &[(Vec<u8>, SnapshotRecord)],
    ) -> Result<Option<Step>> {
        let (present, revision) = {
            let vfs = self.read();
            (vfs.zone().tree().clone(), vfs.zone().next_revision())
        };
        let old = resealing.find(&self.source, &present, snapshots, self.limits.reseal_bytes)?;
        drop(present);
        let zone = self.identity.zone();
        let sealer = |is_index| Sealer::new(&self.source, &self.containers, &self.ids, zone, revision, is_index);
        let (mut data, mut nodes) = (sealer(false), sealer(true));
        let mut write = || -> Result<Step> {
            let (moved, fillers) = self.seal_moved(&mut data, &old)?;
            let mut seal = |node: &bt_tree::index::Node| {
                nodes.seal(&node.encoded()).map_err(|error| IndexError::Sink(Box::new(error)))
            };
            let renames = resealing.rewrite(&self.source, snapshots, &moved, &mut seal, self.limits.reseal_nodes)?;
            let mut segments = data.finish()?;
            segments.extend(nodes.finish()?);
            Ok(Step { segments, fillers, renames })
        };
        let written = write();
        if written.is_err() {
            data.abandon();
            nodes.abandon();
        }
        let step = match written {
            // What cannot be read is left as it is; what cannot be written stops the zone.
            Err(error) if is_of_writing(&error) => self.stop_unless_full(Err(error)),
            other => other,
        }?;
        Ok((!step.renames.is_empty()).then_some(step))
    }

    /// The same blocks in other segments. What followed each other in a segment does so again, and nothing else does: the
    /// records that name them keep their length.
    fn seal_moved(&self, sealer: &mut Sealer<'_>, old: &OldBlocks) -> Result<(MovedBlocks, Vec<Death>)> {
        let (mut moved, mut fillers, mut plain) = (MovedBlocks::new(), Vec::new(), Vec::new());
        for (segment, blocks) in old {
            let sealed_bytes: usize = blocks.values().map(|block| block.len as usize + TAG_SIZE).sum();
            let filler_bytes = (FILLER.len() + TAG_SIZE) * gaps(blocks.keys());
            let mut follows = sealer.make_room(blocks.len() + gaps(blocks.keys()), sealed_bytes + filler_bytes)?;
            let mut last = None;
            for (index, block) in blocks {
                if follows && last.is_none_or(|last: u32| last + 1 != *index) {
                    fillers.push(Death::from(&sealer.seal(FILLER)?));
                }
                self.source.open_block(block, &mut plain).map_err(|error| unreadable(block, error))?;
                let new = sealer.seal(&plain)?;
                moved.insert((*segment, *index), new);
                (last, follows) = (Some(*index), true);
            }
        }
        Ok((moved, fillers))
    }
}

/// Places before which the indices do not go on, the first of them included.
fn gaps<'a>(indices: impl Iterator<Item = &'a u32>) -> usize {
    let mut last = None;
    indices.filter(|index| last.replace(**index).is_none_or(|last| last + 1 != **index)).count()
}

fn is_of_writing(error: &EngineError) -> bool {
    matches!(error, EngineError::Store(_) | EngineError::Zone(ZoneError::Index(IndexError::Sink(_))))
}

fn unreadable(block: &bt_tree::BlockRef, error: super::super::ReadError) -> EngineError {
    IndexError::Source { block: Box::new(*block), source: Box::new(error) }.into()
}
