//! Keeping the segments of a committed state while somebody reads it: a check, a comparison.

use bt_base::SegmentId;

use super::{Engine, Flushing};

/// While it lives, no segment is dropped or compacted. Must not be dropped by who holds the `flushing` lock.
pub(super) struct Pin<'a> {
    engine: &'a Engine,
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        // After a panic elsewhere nothing is given back any more.
        if let Ok(mut flushing) = self.engine.flushing.lock() {
            flushing.pins -= 1;
            let deferred = std::mem::take(&mut flushing.deferred);
            self.engine.drop_unpinned(&mut flushing, deferred);
        }
    }
}

impl Engine {
    /// Keeps all segments of the state that is committed now.
    pub(super) fn pin(&self, flushing: &mut Flushing) -> Pin<'_> {
        flushing.pins += 1;
        Pin { engine: self }
    }

    /// Drops segments that no head needs; later when somebody reads an older state.
    pub(super) fn drop_unpinned(&self, flushing: &mut Flushing, segments: Vec<SegmentId>) {
        if flushing.pins > 0 {
            flushing.deferred.extend(segments);
            return;
        }
        for id in segments {
            if let Err(error) = self.containers.drop_segment(&id) {
                tracing::warn!(%error, segment = %id, "a segment that nobody needs could not be dropped");
            }
        }
    }
}

impl Flushing {
    /// Segments that are stored for other reasons than an account in the newest head's index.
    pub(super) fn unaccounted_for(&self) -> impl Iterator<Item = SegmentId> + '_ {
        let added = self.added.iter().map(|summary| summary.id);
        added
            .chain(self.removed.iter().copied())
            .chain(self.dropping.iter().copied())
            .chain(self.deferred.iter().copied())
    }
}
