//! What becomes of references that die: released, or kept for a snapshot.

use bt_base::codec::DecodeError;

use super::{Zone, ZoneError};
use crate::block::BlockRef;
use crate::index::NodeSource;
use crate::schema::{DeadRecord, Death, Key, decode_count};

impl Zone {
    /// Accounts for references that died, in any order.
    pub(super) fn account_deaths(&mut self, source: &dyn NodeSource, mut dead: Vec<Death>) -> Result<(), ZoneError> {
        dead.sort_unstable_by_key(|block| (block.segment, block.index));
        let kept_from = self.newest_snapshot;
        let mut released = Vec::with_capacity(dead.len());
        for block in dead {
            match kept_from {
                Some((snapshot, revision)) if block.birth <= revision => self.keep(source, snapshot, &block, 1)?,
                _ => released.push(block),
            }
        }
        self.release(source, &released)
    }

    /// Drops references for good; `blocks` is sorted by segment.
    pub(super) fn release(&mut self, source: &dyn NodeSource, blocks: &[Death]) -> Result<(), ZoneError> {
        let mut last = Vec::with_capacity(blocks.len());
        for block in blocks {
            if !self.drop_count(source, block)? {
                last.push(*block);
            }
        }
        for segment in last.chunk_by(|a, b| a.segment == b.segment) {
            self.release_blocks(source, segment)?;
        }
        Ok(())
    }

    /// Puts a dead reference on a snapshot's list.
    pub(super) fn keep(
        &mut self,
        source: &dyn NodeSource,
        snapshot: u64,
        block: &Death,
        references: u32,
    ) -> Result<(), ZoneError> {
        let key = Key::dead(snapshot, block);
        let before = self.with(source, &key, DeadRecord::decode)?.transpose()?;
        let count = before.map_or(0, |record| record.count).checked_add(references).ok_or_else(too_many)?;
        self.put(source, &key, &DeadRecord { count, len: block.len }.encode())
    }

    /// One more reference to a block that has at least one.
    pub(super) fn add_count(&mut self, source: &dyn NodeSource, block: &BlockRef) -> Result<(), ZoneError> {
        let extra = self.count(source, &Death::from(block))?;
        let extra = extra.checked_add(1).ok_or_else(too_many)?;
        self.put(source, &Key::count(&block.segment, block.index), &extra.to_le_bytes())
    }

    /// Takes a reference off a counted block; false when this was the only one.
    fn drop_count(&mut self, source: &dyn NodeSource, block: &Death) -> Result<bool, ZoneError> {
        match self.count(source, block)? {
            0 => return Ok(false),
            1 => {
                self.remove(source, &Key::count(&block.segment, block.index))?;
            }
            extra => self.put(source, &Key::count(&block.segment, block.index), &(extra - 1).to_le_bytes())?,
        }
        Ok(true)
    }

    /// References to a block beyond the first.
    pub(super) fn count(&self, source: &dyn NodeSource, block: &Death) -> Result<u32, ZoneError> {
        if !self.has_counts {
            return Ok(0);
        }
        let key = Key::count(&block.segment, block.index);
        Ok(self.with(source, &key, decode_count)?.transpose()?.unwrap_or(0))
    }
}

fn too_many() -> ZoneError {
    DecodeError::malformed("count record", "more references than it can count").into()
}
