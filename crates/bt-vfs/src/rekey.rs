//! Content that is sealed under the keys of earlier epochs, and putting blocks in its place that are not.
//!
//! As a flush: [`Vfs::old_slots`] says what there is, the caller seals the same bytes anew without the lock around the
//! state, [`Vfs::replace_slots`] puts the references into the index, where they are still the same.

use std::collections::HashMap;
use std::ops::ControlFlow;

use bt_base::SegmentId;
use bt_base::limits::EXTENT_BLOCKS;
use bt_tree::head::SegmentSummary;
use bt_tree::schema::{Death, Extent, Key, KeyKind, Slot, parse_key};
use bt_tree::zone::{OldKeys, OldLeaves, Renames};

use crate::error::Result;
use crate::op::Op;
use crate::vfs::Vfs;
use crate::view::{self, Source};

/// Extents that [`Vfs::old_slots`] looks at for each slot that it may give.
const EXTENTS_SEEN: usize = 16;

/// A place in the content of the zone: an inode, and which 16 KiB of it.
pub type ContentPlace = (u64, u64);

/// A block under an earlier key.
#[derive(Clone, Copy, Debug)]
pub struct OldSlot {
    /// Where it is.
    pub place: ContentPlace,
    /// What the slot holds.
    pub slot: Slot,
}

/// Where shared blocks went, so that what was one block stays one.
pub type Moved = HashMap<(SegmentId, u32), Slot>;

impl Vfs {
    /// Up to `limit` blocks of file data that were sealed before `epoch`, from a place on; and the place to go on from.
    pub fn old_slots(
        &self,
        source: &dyn Source,
        epoch: u32,
        from: ContentPlace,
        limit: usize,
    ) -> Result<(Vec<OldSlot>, Option<ContentPlace>)> {
        let (mut found, mut next, mut failed, mut seen) = (Vec::new(), None, None, 0);
        let first = from.1 - from.1 % EXTENT_BLOCKS as u64;
        self.zone.tree().scan(source, Key::extent(from.0, first).as_bytes(), &mut |key, value| {
            let (inode, first, extent) = match (parse_key(key), Extent::decode(value)) {
                (Ok(KeyKind::Extent(inode, first)), Ok(extent)) => (inode, first, extent),
                (Ok(KeyKind::Extent(..)), Err(error)) | (Err(error), _) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
                _ => return ControlFlow::Break(()),
            };
            seen += 1;
            if seen > limit * EXTENTS_SEEN {
                next = Some((inode, first));
                return ControlFlow::Break(());
            }
            let old = (first..).zip(extent.slots).filter_map(|(number, slot)| Some((number, slot?)));
            for (number, slot) in old.filter(|(_, slot)| slot.block.epoch < epoch) {
                let place = (inode, number);
                if place < from {
                    continue;
                }
                if found.len() == limit {
                    next = Some(place);
                    return ControlFlow::Break(());
                }
                found.push(OldSlot { place, slot });
            }
            ControlFlow::Continue(())
        })?;
        failed.map_or(Ok((found, next)), |error| Err(error.into()))
    }

    /// Puts blocks in the place of old ones that are still there. One that `moved` knows needs no block of its own.
    pub fn replace_slots(
        &mut self,
        source: &dyn Source,
        segments: &[SegmentSummary],
        slots: &[(OldSlot, Option<Slot>)],
        moved: &mut Moved,
    ) -> Result<()> {
        for summary in segments {
            self.changed = true;
            self.zone.add_segment(source, summary)?;
            self.log.append(&Op::Segment(*summary));
        }
        for (old, new) in slots {
            self.replace_slot(source, old, *new, moved)?;
        }
        Ok(())
    }

    fn replace_slot(&mut self, source: &dyn Source, old: &OldSlot, new: Option<Slot>, moved: &mut Moved) -> Result<()> {
        let (inode, number) = old.place;
        let block = old.slot.block;
        let current = view::slot(self.zone.tree(), source, inode, number)?;
        if current != Some(old.slot) {
            return match new {
                Some(unused) => Ok(self.zone.drop_reference(source, unused.block)?),
                None => Ok(()),
            };
        }
        let known = moved.get(&(block.segment, block.index)).copied();
        let shared = match known {
            Some(slot) if self.zone.is_alive(source, &slot.block)? => Some(slot),
            _ => None,
        };
        let target = match (shared, new) {
            (Some(slot), unused) => {
                if let Some(unused) = unused {
                    self.zone.drop_reference(source, unused.block)?;
                }
                Slot { block: self.zone.share(source, slot.block)?, ..slot }
            }
            (None, Some(new)) => {
                if self.zone.is_counted(source, &block)? {
                    moved.insert((block.segment, block.index), new);
                }
                new
            }
            (None, None) => return Ok(()),
        };
        let mut extent = view::extent(self.zone.tree(), source, inode, number)?;
        extent.slots[number as usize % EXTENT_BLOCKS] = Some(target);
        self.put_extent(source, inode, number, &extent)?;
        Ok(self.zone.drop_reference(source, block)?)
    }

    /// See [`bt_tree::zone::Zone::old_leaves`].
    pub fn old_leaves(&self, source: &dyn Source, epoch: u32, from: &[u8], limit: usize) -> Result<OldLeaves> {
        Ok(self.zone.old_leaves(source, epoch, from, limit)?)
    }

    /// See [`bt_tree::zone::Zone::touch`].
    pub fn touch_leaves(&mut self, source: &dyn Source, keys: &[Vec<u8>]) -> Result<()> {
        self.changed = true;
        Ok(self.zone.touch(source, keys)?)
    }

    /// See [`bt_tree::zone::Zone::rename`]; with the segments that the blocks went to, and blocks in them that are dead.
    pub fn rename_blocks(
        &mut self,
        source: &dyn Source,
        segments: &[SegmentSummary],
        fillers: &[Death],
        renames: &Renames,
    ) -> Result<bool> {
        if !self.zone.rename(source, renames)? {
            return Ok(false);
        }
        self.changed = true;
        for summary in segments {
            self.zone.add_segment(source, summary)?;
        }
        self.zone.drop_fillers(source, fillers)?;
        Ok(true)
    }

    /// What is alive under the keys of epochs before `epoch`.
    pub fn old_keys(&self, source: &dyn Source, epoch: u32) -> Result<OldKeys> {
        Ok(self.zone.old_keys(source, epoch)?)
    }
}
