//! The heads that a zone had: who wrote when.
//!
//! Each published head is appended to a file, without waiting for the disk: what a crash takes away is at most the end,
//! and the two newest heads are in their own files. Opening the zone sets the file right, and thins it when it is long.
//! Nothing but `bt log` and `bt check` reads it.

use std::sync::Arc;

use bt_base::Timestamp;
use bt_store::{RecordFile, Storage};
use bt_tree::SignedHead;

use crate::error::Result;
use crate::layout::ZoneLayout;
use crate::system::now;

/// A longer file is thinned when the zone is opened, in bytes.
const THIN_BYTES: u64 = 2 << 20;
/// So many of the newest heads are all kept.
const KEPT_HEADS: usize = 256;
/// Of older heads one is kept for each hour of so many seconds, then one for each day.
const HOURLY_SECONDS: i64 = 30 * 86_400;
/// In all so many heads are kept.
const HEADS: usize = 4096;

/// The file of one zone.
pub(super) struct History(RecordFile);

impl History {
    pub(super) fn new(storage: &Arc<dyn Storage>, layout: &ZoneLayout) -> Self {
        Self(RecordFile::new(storage.clone(), &layout.history()))
    }

    /// Notes a head that was published. It counts whether or not it is noted.
    pub(super) fn append(&self, head: &[u8]) {
        if let Err(error) = self.0.append(head) {
            tracing::debug!(%error, "a head was not added to the history");
        }
    }

    /// Takes away what a crash left, adds the stored heads that it lost, and thins a long file.
    pub(super) fn settle(&self, stored: &[Vec<u8>]) -> Result<()> {
        let loaded = self.0.load()?;
        let missing: Vec<&Vec<u8>> = stored.iter().filter(|head| !loaded.records.contains(head)).collect();
        if loaded.damaged.is_empty() && !loaded.has_torn_end && loaded.bytes <= THIN_BYTES {
            missing.into_iter().for_each(|head| self.append(head));
            return Ok(());
        }
        let all = loaded.records.iter().chain(missing).filter_map(|bytes| SignedHead::decode(bytes).ok());
        let kept: Vec<Vec<u8>> = thin(all.collect(), now()).iter().map(SignedHead::to_bytes).collect();
        Ok(self.0.replace(kept.iter().map(Vec::as_slice))?)
    }

    /// The heads, oldest first, not verified; and what is wrong with the file.
    pub(super) fn load(&self) -> Result<(Vec<SignedHead>, Vec<bt_store::StoreError>)> {
        let loaded = self.0.load()?;
        let heads = loaded.records.iter().filter_map(|bytes| SignedHead::decode(bytes).ok()).collect();
        Ok((heads, loaded.damaged))
    }
}

/// Leaves heads out, the more the older they are; never one whose signer or access record is another than that of the
/// head before it.
fn thin(heads: Vec<SignedHead>, now: Timestamp) -> Vec<SignedHead> {
    let all = heads.len();
    let mut kept: Vec<SignedHead> = Vec::new();
    let mut slot = None;
    for (at, signed) in heads.into_iter().enumerate() {
        let head = signed.unverified();
        let unit = if now.seconds.saturating_sub(head.time.seconds) < HOURLY_SECONDS { 3600 } else { 86_400 };
        let this = Some((unit, head.time.seconds.div_euclid(unit)));
        let differs = kept.last().is_none_or(|before: &SignedHead| {
            before.certificate().node() != signed.certificate().node() || before.unverified().access != head.access
        });
        if all - at <= KEPT_HEADS || differs || slot != this {
            slot = this;
            kept.push(signed);
        }
    }
    let excess = kept.len().saturating_sub(HEADS);
    kept.drain(..excess);
    kept
}

#[cfg(test)]
mod tests {
    use bt_base::Revision;
    use bt_tree::Head;

    use super::*;
    use crate::engine::check;
    use crate::engine::testing::{ROOT, TestZone};
    use crate::system::CLOCK_AHEAD;

    /// A head like the newest, at other times.
    fn heads(zone: &TestZone, times: impl Iterator<Item = i64>) -> Vec<SignedHead> {
        let like = check::newest_head(&zone.engine.storage, &zone.engine.identity).unwrap().unverified().clone();
        let make = |(revision, seconds): (u64, i64)| {
            CLOCK_AHEAD.set(seconds);
            let session = bt_tree::SessionKey::issue(
                &*zone.engine.identity.node.who,
                zone.engine.identity.tree(),
                now(),
                3600,
                &mut crate::system::SystemEntropy,
            );
            let head = Head { revision: Revision(revision), time: now(), ..like.clone() };
            SignedHead::sign(head, &session.unwrap()).unwrap()
        };
        let made = (1..).zip(times).map(make).collect();
        CLOCK_AHEAD.set(0);
        made
    }

    #[test]
    fn heads_are_thinned_by_age() {
        let zone = TestZone::new();
        // Ten a day for a hundred days, then many now.
        let times = (0..1000).map(|i| (i - 1000) * 8640).chain((0..300).map(|_| 0));
        let all = heads(&zone, times);
        let kept = thin(all.clone(), now());
        let days = |from: i64, to: i64| {
            let at = |signed: &&SignedHead| (from..to).contains(&(now().seconds - signed.unverified().time.seconds));
            kept.iter().filter(at).count()
        };
        assert!((68..=72).contains(&days(30 * 86_400, 101 * 86_400)), "{}", days(30 * 86_400, 101 * 86_400));
        assert!((295..=305).contains(&days(60, 30 * 86_400)), "{}", days(60, 30 * 86_400));
        assert_eq!(kept[kept.len() - KEPT_HEADS..], all[all.len() - KEPT_HEADS..]);
        assert_eq!(kept[0], all[0]);
    }

    #[test]
    fn the_history_has_every_head_and_is_set_right_after_a_crash() {
        let zone = TestZone::new();
        for i in 0..5 {
            zone.file(ROOT, &format!("{i}"), b"content");
            zone.engine.commit().unwrap();
        }
        let revisions = |zone: &TestZone| -> Vec<u64> {
            let (heads, damaged) = zone.engine.history.load().unwrap();
            assert!(damaged.is_empty());
            heads.iter().map(|signed| signed.unverified().revision.0).collect()
        };
        let newest = zone.last_head().unwrap().revision.0;
        assert_eq!(revisions(&zone), (1..=newest).collect::<Vec<_>>());
        let name = zone.engine.identity.layout.history();
        let file = bt_store::Storage::open(&zone.storage, &name, false).unwrap();
        let len = file.len().unwrap();
        file.write_at(&[7; 100], 512 * 4).unwrap();
        file.set_len(len - 600).unwrap();
        let zone = zone.crash();
        let expected: Vec<u64> = (1..=newest).collect();
        let found = revisions(&zone);
        assert!(found.ends_with(&expected[expected.len() - 2..]), "{found:?}");
        assert!(found.len() >= expected.len() - 3, "{found:?}");
        zone.expect_clean();
    }
}
