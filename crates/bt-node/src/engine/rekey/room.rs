//! Whether the disk has room for sealing anew.

use super::super::Engine;
use crate::control::Failure;
use crate::error::Result;

/// A pass in the background leaves at least one part in so many of the disk to those who work.
const SPARE_PART: u64 = 10;

/// What a pass lacks.
pub(super) struct Short {
    /// Bytes that it may take.
    needed: u64,
    /// Bytes that there are for it.
    available: u64,
}

impl Short {
    fn what(&self) -> String {
        format!(
            "sealing anew may take {} MiB, since what files and snapshots share is stored twice afterwards, and the disk \
             has {} MiB for it",
            self.needed >> 20,
            self.available >> 20
        )
    }
}

impl From<Short> for Failure {
    fn from(short: Short) -> Self {
        Self::refused(short.what(), "delete snapshots, or make room on the disk, and try again")
    }
}

impl std::fmt::Display for Short {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.what())
    }
}

impl Engine {
    /// What a pass lacks that takes all the disk has, if it has not got enough.
    pub(super) fn short_of_room(&self, epoch: u32) -> Result<Option<Short>> {
        self.short(epoch, 0)
    }

    /// The same for one in the background, which leaves much of the disk to others.
    pub(super) fn short_of_spare_room(&self, epoch: u32) -> Result<Option<Short>> {
        self.short(epoch, self.capacity() / SPARE_PART)
    }

    /// Without snapshots what is sealed anew is given back in the same commits. What only snapshots hold is given back
    /// after all of it was sealed, and of what they share with the present, the present has its own by then.
    fn short(&self, epoch: u32, spare: u64) -> Result<Option<Short>> {
        if self.snapshot_records()?.is_empty() {
            return Ok(None);
        }
        self.space.refresh(&*self.storage);
        let (needed, available) = (2 * self.stored_before(epoch).1, self.available().saturating_sub(spare));
        Ok((available < needed).then_some(Short { needed, available }))
    }
}
