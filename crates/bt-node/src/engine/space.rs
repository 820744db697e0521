//! How much room is left: every operation that needs some asks before it answers.

use std::sync::atomic::{AtomicU64, Ordering};

use bt_store::{Space, Storage};
use bt_vfs::Refusal;

use super::Engine;
use crate::error::Result;

/// Bytes that only deleting and committing may use, beside the ballast.
const RESERVE_BYTES: u64 = 8 << 20;
/// What a change in memory takes on the disk, in hundredths: the data, its tags, and the index above it.
const GROWTH_PERCENT: u64 = 115;

/// The room on the disk, as it was last seen.
#[derive(Default)]
pub(super) struct SpaceGauge {
    free: AtomicU64,
    total: AtomicU64,
}

impl SpaceGauge {
    /// Looks again.
    pub(super) fn refresh(&self, storage: &dyn Storage) {
        match storage.space() {
            Ok(Space { total, free }) => {
                self.free.store(free, Ordering::Relaxed);
                self.total.store(total, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(%error, "the room on the disk cannot be read"),
        }
    }
}

impl Engine {
    /// Makes sure that a change of `bytes` can be written later; [`Refusal::NoSpace`] when it cannot.
    pub(super) fn reserve(&self, bytes: u64) -> Result<()> {
        if self.available() >= bytes {
            return Ok(());
        }
        self.space.refresh(&*self.storage);
        if self.available() >= bytes {
            return Ok(());
        }
        // The committer may find something to give back; whoever tries again later gets it.
        self.ask();
        Err(Refusal::NoSpace.into())
    }

    /// Bytes that can still be written, after what memory already owes to the disk.
    pub(crate) fn available(&self) -> u64 {
        let owed = self.dirty_memory() as u64 / 100 * GROWTH_PERCENT;
        self.space.free.load(Ordering::Relaxed).saturating_sub(owed + RESERVE_BYTES)
    }

    /// The size of the disk in bytes.
    pub(crate) fn capacity(&self) -> u64 {
        self.space.total.load(Ordering::Relaxed)
    }

    /// Gives up the ballast so that a commit has room; false when there is none left.
    pub(super) fn release_ballast(&self) -> bool {
        let ballast = self.ballast.lock().expect("no panic under this lock");
        match ballast.release() {
            Ok(0) => false,
            Ok(bytes) => {
                tracing::warn!(bytes, "the disk is full: the ballast was given up so that deleting still works");
                true
            }
            Err(error) => {
                tracing::error!(%error, "the ballast could not be given up");
                false
            }
        }
    }

    /// Takes the ballast back when there is room.
    pub(super) fn restore_ballast(&self) {
        let ballast = self.ballast.lock().expect("no panic under this lock");
        if let Err(error) = ballast.restore() {
            tracing::debug!(%error, "the ballast is not restored yet");
        }
    }
}
