//! What the kernel holds of a zone for which the right to write ends.
//!
//! Programs write into the kernel's pages, and it brings them here when it likes. So before the last commit under a right
//! it is made to: when a revocation of this process's own right arrives, and in the seconds before the right expires. What
//! is written later than that fails at fsync(2) or close(2), and the log names the file.

use std::collections::HashSet;
use std::time::Duration;

use bt_base::ZoneId;

use super::{IDLE, Zones};
use crate::engine::Engine;
use crate::error::Result;
use crate::system::now;

/// Seconds before the end of a right from which on the kernel writes out.
const WRITE_OUT_SECONDS: i64 = 10;
/// Files that the kernel may fail to write out, before it is left alone.
const WRITE_OUT_FAILURES: usize = 16;
/// Between two times that it does so.
const PAUSE: Duration = Duration::from_secs(2);

impl Zones {
    /// Appends signed access records in the zone of a slot, which may end the right to write here.
    pub(crate) fn append_access(&self, slot: u32, zone: &Engine, records: &[Vec<u8>]) -> Result<()> {
        let ends = zone.would_end_writing(records);
        if ends {
            self.write_out_all(slot, zone);
        }
        let appended = zone.append_access(records);
        if ends && appended.is_ok() {
            self.tell_late(slot, zone);
        }
        appended
    }

    /// Has the kernel write out what it holds of a zone; what came too late is told by name.
    fn tell_late(&self, slot: u32, zone: &Engine) {
        self.write_out_all(slot, zone);
        zone.tell_unkept();
    }

    fn write_out_all(&self, slot: u32, zone: &Engine) {
        self.write_out(slot, zone.held_inodes());
    }

    /// Has the kernel write out what it holds of inodes in the zone of a slot. Not under a lock that a write needs.
    pub(super) fn write_out(&self, slot: u32, inodes: impl IntoIterator<Item = u64>) {
        let Some(kernel) = self.kernel() else { return };
        let mut failures = 0;
        for inode in inodes {
            if let Err(error) = kernel.write_out(self.known_node((slot, inode))) {
                tracing::warn!(%error, slot, inode, "the kernel did not write a file out");
                failures += 1;
                if failures == WRITE_OUT_FAILURES {
                    // The mount is going away.
                    return;
                }
            }
        }
    }
}

/// Which zones came to the end of the right to write.
#[derive(Default)]
pub(super) struct Endings {
    ending: HashSet<ZoneId>,
}

impl Endings {
    /// Has the kernel write out what it holds of zones for which the right ends soon, and commits that; tells what came
    /// later. Returns how long to wait until the next look.
    pub(super) fn look(&mut self, zones: &Zones) -> Duration {
        let mut pause = IDLE;
        for (slot, zone) in zones.open_zones() {
            let id = zone.identity.zone();
            if let Some(until) = zone.writes_until() {
                let left = until.seconds.saturating_sub(now().seconds);
                if left <= WRITE_OUT_SECONDS {
                    self.ending.insert(id);
                    zones.write_out_all(slot, &zone);
                    if let Err(error) = zone.commit() {
                        tracing::warn!(%error, zone = %id, "what was written before the right to write ended is not kept");
                    }
                    pause = pause.min(PAUSE);
                } else {
                    let until_then = u64::try_from(left - WRITE_OUT_SECONDS).unwrap_or(0);
                    pause = pause.min(Duration::from_secs(until_then.max(1)));
                }
            } else if self.ending.remove(&id) {
                zones.tell_late(slot, &zone);
            }
            zone.tell_unkept();
        }
        pause
    }
}

#[cfg(test)]
mod tests {
    use bt_base::Timestamp;
    use bt_crypto::{KeyStore, SoftwareKeyStore};
    use bt_tree::{AccessRecord, Action, Rights};

    use super::super::tests::{Bed, ROOT};
    use super::*;
    use crate::system::CLOCK_AHEAD;

    #[test]
    fn the_last_seconds_before_a_right_expires_are_committed() {
        let writer = SoftwareKeyStore::from_seed(&[7; 32]);
        let bed = Bed::new();
        let until = Some(Timestamp::new(now().seconds + 100, 0));
        let grant = Action::Grant { principal: *writer.credential(), rights: Rights::Write, until };
        let access = bed.zones.top().identity.rights.now().access.clone();
        let statement = access.next_statement(bed.root.credential().id(), now(), grant);
        let record = AccessRecord::sign(&bed.root, statement).unwrap().to_bytes();
        bed.zones.append_access(0, bed.zones.top(), &[record]).unwrap();
        let bed = bed.reopen(Some(std::sync::Arc::new(writer)));
        let mut endings = Endings::default();
        let top = bed.zones.top().clone();
        let in_time = bed.file(ROOT, "in time", b"written");
        let before = top.newest_head();
        let wait = endings.look(&bed.zones);
        assert!((PAUSE..IDLE * 4).contains(&wait) && top.newest_head() == before, "it is early: {wait:?}");
        CLOCK_AHEAD.set(95);
        assert_eq!(endings.look(&bed.zones), PAUSE);
        assert_ne!(top.newest_head(), before, "committed");
        bed.file(ROOT, "late", b"not kept");
        CLOCK_AHEAD.set(101);
        endings.look(&bed.zones);
        assert!(top.stopped().is_some() && top.tell_unkept().is_empty(), "the log has told it");
        endings.look(&bed.zones);
        assert!(endings.ending.is_empty());
        let bed = bed.crash(None);
        assert_eq!(bed.content(in_time), b"written");
        assert!(bed.lookup(ROOT, "late").is_err());
        bed.expect_clean();
    }
}
