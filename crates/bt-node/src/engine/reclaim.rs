//! Giving space back: segments that nothing needs, and the dead blocks of poor ones.
//!
//! # What may go
//!
//! A block that is dead in the accounts of *both* newest heads: either of them may be what a crash leaves, and the
//! older one counts as long as the newer one is not in both files. No block that is alive in the newest head was dead
//! in the one before, and whoever reads an even older state has pinned it ([`super::pin`]). So the two roots are
//! taken under the `flushing` lock, while nobody has a pin, and stay right without it: later heads, and pins of
//! them, need no block that these two do not have, but for segments that are newer and not touched here.
//!
//! A read that was planned before its block went looks once more at the index, which then names another block.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use bt_base::SegmentId;
use bt_base::limits::SEGMENT_BLOCKS;
use bt_tree::BlockRef;
use bt_tree::index::Tree;
use bt_tree::schema::{Key, KeyKind, parse_key};
use bt_tree::zone::{Account, ZoneError};
use bt_vfs::Refusal;

use super::{Engine, Flushing};
use crate::control::report::ReclaimReport;
use crate::control::{Failure, OnProgress, Progress};
use crate::error::{EngineError, Result};

/// Dead bytes below which nothing is moved in the background.
const DEAD_BYTES: u64 = 64 << 20;
/// Dead bytes, in hundredths of what is stored, below which nothing is moved in the background.
const DEAD_PERCENT: u64 = 25;
/// A segment with this many hundredths of its bytes alive is left where it is.
const POOR_PERCENT: u64 = 50;
/// As [`POOR_PERCENT`], when space is short.
const POOR_PERCENT_SHORT: u64 = 90;
/// Space is short when less than this part of the disk is left, and less than [`SHORT_BYTES`].
const SHORT_PART: u64 = 16;
/// See [`SHORT_PART`].
const SHORT_BYTES: u64 = 4 << 30;
/// Live bytes that one step in the background copies.
const STEP_BYTES: u64 = 32 << 20;
/// Leftovers that one step in the background drops.
const STEP_LEFTOVERS: usize = 256;
/// Bytes of segments that wait for the next head, from which a head is made for their sake.
const WAITING_BYTES: u64 = 1 << 20;
/// The least time between two looks at all accounts.
const LOOK_AGAIN: Duration = Duration::from_secs(20);
/// As [`LOOK_AGAIN`], when space is short.
const LOOK_AGAIN_SHORT: Duration = Duration::from_secs(2);
/// The least time between two heads that are made to give space back.
const GIVE_AGAIN: Duration = Duration::from_secs(5);
/// As [`GIVE_AGAIN`], when space is short.
const GIVE_AGAIN_SHORT: Duration = Duration::from_secs(1);
/// A look at all accounts takes at most one of so many parts of the time.
const LOOK_PART: u32 = 50;

/// A segment that has dead blocks.
struct Poor {
    segment: SegmentId,
    /// Bytes that a copy of it would take, at least.
    live_bytes: u64,
    stored_bytes: u64,
}

impl Poor {
    fn live_percent(&self) -> u64 {
        self.live_bytes * 100 / self.stored_bytes.max(1)
    }
}

/// The two newest heads' indexes.
#[derive(Clone, Copy)]
struct Roots {
    newest: (BlockRef, u8),
    previous: (BlockRef, u8),
}

/// What one run gave back.
#[derive(Default)]
struct Reclaimed {
    examined: u64,
    moved_bytes: u64,
}

/// What the background remembers from step to step.
pub(super) struct Background {
    looked: Instant,
    /// What the last look took.
    look_time: Duration,
    gave: Instant,
    /// Poor segments, the poorest last.
    poor: Vec<Poor>,
    has_leftovers: bool,
    /// Snapshots whose deletion an earlier mount left unfinished.
    deleting: Option<Vec<Vec<u8>>>,
}

impl Background {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            looked: now,
            look_time: Duration::ZERO,
            gave: now,
            poor: Vec::new(),
            has_leftovers: true,
            deleting: None,
        }
    }
}

impl Engine {
    /// Gives back what it can: segments with less than half of their bytes alive, or `all` with anything dead.
    pub(crate) fn reclaim(&self, all: bool, progress: OnProgress<'_>) -> std::result::Result<ReclaimReport, Failure> {
        let failed = |error: EngineError| error.into_failure("giving space back");
        let before = self.containers.usage();
        self.commit_for_space().map_err(failed)?;
        while self.drop_leftovers().map_err(failed)? > 0 {}
        let mut done = Reclaimed::default();
        let roots = self.roots().ok_or_else(|| {
            Failure::refused("somebody reads an older state of the zone", "try again when the check or diff has ended")
        })?;
        let percent = if all { 100 } else { POOR_PERCENT };
        let poor = self.find_poor(&roots, percent).map_err(failed)?;
        let total = poor.len() as u64;
        for (number, poor) in (0..).zip(poor.iter().rev()) {
            if progress(Progress { done: number, total, what: "segments".into() }).is_break() {
                return Err(Failure::interrupted());
            }
            self.compact(&roots, poor, &mut done).map_err(failed)?;
        }
        self.containers.sync().map_err(|error| failed(error.into()))?;
        self.space.refresh(&*self.storage);
        let after = self.containers.usage();
        Ok(ReclaimReport {
            examined: before.segments,
            dropped: before.segments.saturating_sub(after.segments),
            moved_bytes: done.moved_bytes,
            freed_bytes: before.segment_bytes.saturating_sub(after.segment_bytes),
        })
    }

    /// Two heads, so that none needs what has died until now.
    fn commit_for_space(&self) -> Result<()> {
        self.free_orphans()?;
        let mut flushing = self.flushing();
        self.commit_locked(&mut flushing, None)?;
        self.commit_locked(&mut flushing, None)?;
        Ok(())
    }

    /// One step in the background; true when there is more to do at once.
    pub(super) fn reclaim_step(&self, background: &mut Background) -> Result<bool> {
        let is_short = self.is_short();
        self.give_back_waiting(background, is_short)?;
        if background.has_leftovers && self.flushing().previous_root.is_some() {
            background.has_leftovers = self.drop_leftovers()? == STEP_LEFTOVERS;
            return Ok(background.has_leftovers);
        }
        if self.resume_deletion(background)? {
            return Ok(true);
        }
        let wait = if is_short { LOOK_AGAIN_SHORT } else { LOOK_AGAIN };
        if background.poor.is_empty() && background.looked.elapsed() >= wait.max(background.look_time * LOOK_PART) {
            self.look(background, is_short)?;
        }
        self.compact_some(background)
    }

    /// Whether so little room is left that giving space back cannot wait.
    fn is_short(&self) -> bool {
        self.available() < (self.capacity() / SHORT_PART).min(SHORT_BYTES)
    }

    /// Publishes another head when segments of some size only wait for that, and nothing else will bring one soon.
    fn give_back_waiting(&self, background: &mut Background, is_short: bool) -> Result<()> {
        let wait = if is_short { GIVE_AGAIN_SHORT } else { GIVE_AGAIN };
        if background.gave.elapsed() < wait || !is_short && self.read().is_changed() {
            return Ok(());
        }
        background.gave = Instant::now();
        let mut flushing = self.flushing();
        let waiting = flushing.dropping.iter().chain(&flushing.removed);
        let bytes: u64 = waiting.filter_map(|id| self.containers.segment(id)).map(|info| info.bytes).sum();
        if bytes >= if is_short { WAITING_BYTES / 8 } else { WAITING_BYTES } {
            self.commit_locked(&mut flushing, None)?;
        }
        Ok(())
    }

    /// Looks for segments that are worth moving.
    fn look(&self, background: &mut Background, is_short: bool) -> Result<()> {
        let started = Instant::now();
        if let Some(roots) = self.roots() {
            let stored = self.containers.usage().segment_bytes;
            let poor = self.find_poor(&roots, if is_short { POOR_PERCENT_SHORT } else { POOR_PERCENT })?;
            let dead: u64 = poor.iter().map(|poor| poor.stored_bytes - poor.live_bytes).sum();
            let is_much = dead >= DEAD_BYTES && dead >= stored / 100 * DEAD_PERCENT;
            if is_much || is_short {
                tracing::info!(segments = poor.len(), dead_bytes = dead, "giving the space of dead blocks back");
                background.poor = poor;
            }
        }
        (background.looked, background.look_time) = (Instant::now(), started.elapsed());
        Ok(())
    }

    fn compact_some(&self, background: &mut Background) -> Result<bool> {
        let Some(roots) = self.roots() else { return Ok(false) };
        let mut done = Reclaimed::default();
        while done.moved_bytes < STEP_BYTES && !self.is_closing() {
            let Some(poor) = background.poor.pop() else { break };
            match self.compact(&roots, &poor, &mut done) {
                Err(error) if error.is_no_space() => {
                    tracing::warn!(%error, "no room to copy live blocks out of a poor segment");
                    background.poor.clear();
                }
                other => other?,
            }
        }
        if done.examined > 0 {
            self.space.refresh(&*self.storage);
        }
        Ok(!background.poor.is_empty() && !self.is_closing())
    }

    /// The roots of the two newest heads; none while somebody reads an older state, or before there are two.
    fn roots(&self) -> Option<Roots> {
        let flushing = self.flushing();
        let (newest, previous) = flushing.root.zip(flushing.previous_root)?;
        (flushing.pins == 0).then_some(Roots { newest, previous })
    }

    /// Segments with dead blocks of which at most so many hundredths are alive, the poorest last.
    fn find_poor(&self, roots: &Roots, percent: u64) -> Result<Vec<Poor>> {
        let mut found = Vec::new();
        self.for_accounts(&Tree::open(roots.newest.0, roots.newest.1), &mut |segment, account| {
            let live = (0..account.blocks).filter(|index| account.is_live(*index)).count();
            let Some(info) = self.containers.segment(&segment) else { return };
            let (live_bytes, stored_bytes) = (account.live_bytes, info.bytes);
            let poor = Poor { segment, live_bytes, stored_bytes };
            if live < info.blocks as usize && live_bytes < stored_bytes && poor.live_percent() <= percent {
                found.push(poor);
            }
        })?;
        found.sort_by_key(|poor| std::cmp::Reverse(poor.live_percent()));
        Ok(found)
    }

    fn for_accounts(&self, tree: &Tree, visit: &mut dyn FnMut(SegmentId, Account)) -> Result<()> {
        let mut failed = None;
        tree.scan(&self.source, Key::account(&SegmentId::default()).as_bytes(), &mut |key, value| {
            match (parse_key(key), Account::decode(value)) {
                (Ok(KeyKind::Account(segment)), Ok(account)) => visit(segment, account),
                (Ok(KeyKind::Account(_)), Err(error)) | (Err(error), _) => failed = Some(error),
                _ => return ControlFlow::Break(()),
            }
            if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        failed.map_or(Ok(()), |error| Err(ZoneError::from(error).into()))
    }

    /// Moves what either of the two newest heads needs of a segment, and gives the rest back.
    fn compact(&self, roots: &Roots, poor: &Poor, done: &mut Reclaimed) -> Result<()> {
        done.examined += 1;
        let account = |root: (BlockRef, u8)| -> Result<Option<Account>> {
            let key = Key::account(&poor.segment);
            let found = Tree::open(root.0, root.1).get(&self.source, key.as_bytes(), Account::decode)?;
            Ok(found.transpose().map_err(ZoneError::from)?)
        };
        // In the older head's index the account may be missing because the segment was just written: all was alive.
        let (Some(newest), Some(previous)) = (account(roots.newest)?, account(roots.previous)?) else { return Ok(()) };
        let needed = |index: u32| newest.is_live(index) || previous.is_live(index);
        let Some(info) = self.containers.segment(&poor.segment) else { return Ok(()) };
        if (0..SEGMENT_BLOCKS as u32).filter(|index| needed(*index)).count() >= info.blocks as usize {
            return Ok(());
        }
        match self.containers.compact_segment(&poor.segment, &needed) {
            Ok(compaction) => {
                done.moved_bytes += compaction.copied_bytes;
                Ok(())
            }
            // A head that nobody needs the segment in was published meanwhile.
            Err(error) if error.is_not_found() && !self.containers.contains(&poor.segment) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Drops segments that nothing names, which a crash left; says how many.
    fn drop_leftovers(&self) -> Result<usize> {
        let flushing = self.flushing();
        if flushing.pins > 0 || flushing.previous_root.is_none() {
            return Ok(0);
        }
        let leftovers = self.find_leftovers(&flushing)?;
        for id in leftovers.iter().take(STEP_LEFTOVERS) {
            tracing::info!(segment = %id, "dropping a segment that nothing names");
            self.containers.drop_segment(id)?;
        }
        Ok(leftovers.len().min(STEP_LEFTOVERS))
    }

    /// Segments of the store that neither accounts nor lists name. Nobody writes any while the lock is held.
    fn find_leftovers(&self, flushing: &Flushing) -> Result<Vec<SegmentId>> {
        let mut named: HashSet<SegmentId> = flushing.unaccounted_for().collect();
        let live = {
            let vfs = self.read();
            named.extend(vfs.zone().unaccounted().iter().map(|summary| summary.id));
            vfs.zone().tree().clone()
        };
        let mut add = |segment, _| {
            named.insert(segment);
        };
        self.for_accounts(&live, &mut add)?;
        drop(live);
        for root in flushing.root.iter().chain(&flushing.previous_root) {
            self.for_accounts(&Tree::open(root.0, root.1), &mut add)?;
        }
        let zone = self.identity.zone();
        let stored = self.containers.segments().into_iter().filter(|info| info.zone == zone).map(|info| info.id);
        Ok(stored.filter(|id| !named.contains(id)).collect())
    }

    /// Goes on with the deletion of snapshots that an earlier mount began; true when there is more.
    fn resume_deletion(&self, background: &mut Background) -> Result<bool> {
        if background.deleting.is_none() {
            background.deleting = Some(self.read().deleting_snapshots(&self.source)?);
        }
        let names = background.deleting.as_mut().expect("just looked for");
        let Some(name) = names.last() else { return Ok(false) };
        let mut vfs = self.write();
        let done = match vfs.snapshot_delete_step(&self.source, name) {
            Err(bt_vfs::VfsError::Refused(Refusal::NotFound)) => true,
            other => self.guard(other)?,
        };
        self.gauge(&vfs);
        if done {
            names.pop();
        }
        Ok(!names.is_empty() && !self.is_closing())
    }

    fn is_closing(&self) -> bool {
        self.progress.lock().expect("no panic under this lock").closing || self.stopped().is_some()
    }
}

#[cfg(test)]
mod tests {
    use bt_store::MemoryStorage;

    use super::*;
    use crate::engine::testing::{ROOT, TestZone, check, go_on, noise};

    const BLOCK: usize = bt_base::limits::BLOCK_SIZE;

    fn stored(zone: &TestZone) -> u64 {
        zone.engine.containers.usage().segment_bytes
    }

    /// Files in one segment, of which all but a few are removed.
    fn thinned(zone: &TestZone) -> Vec<(u64, u64)> {
        let files: Vec<(u64, u64)> =
            (0..40).map(|i| (zone.file(ROOT, &format!("{i}"), &noise(4 * BLOCK, i)), i)).collect();
        zone.engine.commit().unwrap();
        for i in (0..40).filter(|i| i % 8 != 0) {
            zone.remove(ROOT, &format!("{i}"));
        }
        files.into_iter().filter(|(_, i)| i % 8 == 0).collect()
    }

    fn expect_content(zone: &TestZone, files: &[(u64, u64)]) {
        for (inode, i) in files {
            assert_eq!(zone.content(*inode), noise(4 * BLOCK, *i), "file {i}");
        }
    }

    #[test]
    fn dead_blocks_are_given_back_and_the_rest_stays() {
        let zone = TestZone::new();
        let kept = thinned(&zone);
        let before = stored(&zone);
        let report = zone.engine.reclaim(false, &mut go_on).unwrap();
        assert!(report.freed_bytes > 30 * 4 * BLOCK as u64, "{report:?}");
        assert!(report.moved_bytes >= kept.len() as u64 * 4 * BLOCK as u64);
        assert!(stored(&zone) + 30 * 4 * BLOCK as u64 <= before);
        expect_content(&zone, &kept);
        assert_eq!(zone.expect_clean().leftovers, 0);
        let zone = zone.reopen();
        expect_content(&zone, &kept);
        zone.expect_clean();
    }

    #[test]
    fn what_snapshots_need_is_not_given_back() {
        let zone = TestZone::new();
        zone.file(ROOT, "shared", &noise(20 * BLOCK, 77));
        let (shared, _) = zone.engine.lookup(ROOT, b"shared").unwrap().unwrap();
        let copy = zone.file(ROOT, "copy", b"");
        zone.engine.commit().unwrap();
        zone.share(shared, copy, 20 * BLOCK as u64);
        zone.remove(ROOT, "shared");
        let record = zone.engine.create_snapshot(b"kept").unwrap();
        zone.remove(ROOT, "copy");
        let kept = thinned(&zone);
        zone.engine.reclaim(true, &mut go_on).unwrap();
        let mut content = vec![0; 20 * BLOCK];
        zone.engine.read_frozen(&record.tree(), copy, 0, &mut content).unwrap();
        assert_eq!(content, noise(20 * BLOCK, 77));
        zone.expect_clean();
        let zone = zone.crash();
        expect_content(&zone, &kept);
        zone.expect_clean();
        let before = stored(&zone);
        zone.delete_snapshot(b"kept");
        zone.engine.reclaim(true, &mut go_on).unwrap();
        assert!(stored(&zone) + 20 * BLOCK as u64 <= before);
        assert_eq!(zone.expect_clean().leftovers, 0);
        expect_content(&zone, &kept);
    }

    #[test]
    fn a_crash_after_giving_back_loses_nothing() {
        let zone = TestZone::new();
        let kept = thinned(&zone);
        let (last, _) = kept[0];
        zone.engine.reclaim(true, &mut go_on).unwrap();
        zone.engine.write_file(last, 0, b"journalled", false).unwrap();
        zone.engine.sync_file(Some(last)).unwrap();
        let zone = zone.crash();
        assert!(zone.content(last).starts_with(b"journalled"));
        expect_content(&zone, &kept[1..]);
        zone.expect_clean();
    }

    #[test]
    fn blocks_that_the_head_before_needs_stay() {
        let zone = TestZone::new();
        thinned(&zone);
        let old = zone.engine.flushing().root.unwrap();
        zone.engine.commit().unwrap();
        let roots = zone.engine.roots().unwrap();
        assert_eq!(roots.previous, old);
        let poor = zone.engine.find_poor(&roots, 100).unwrap();
        assert!(!poor.is_empty());
        let mut done = Reclaimed::default();
        poor.iter().for_each(|poor| zone.engine.compact(&roots, poor, &mut done).unwrap());
        let old = Tree::open(old.0, old.1);
        let mut content = vec![0; 4 * BLOCK];
        for i in 0..40 {
            let name = bt_vfs::view::name(&old, &zone.engine.source, ROOT, format!("{i}").as_bytes()).unwrap().unwrap();
            zone.engine.read_frozen(&old, name.inode, 0, &mut content).unwrap();
            assert_eq!(content, noise(4 * BLOCK, i), "file {i}");
        }
    }

    #[test]
    fn leftovers_of_a_crash_are_counted_and_dropped() {
        let zone = TestZone::new();
        let file = zone.file(ROOT, "file", &noise(8 * BLOCK, 1));
        zone.engine.commit().unwrap();
        zone.file(ROOT, "lost", &noise(8 * BLOCK, 2));
        {
            let mut flushing = zone.engine.flushing();
            let dirty = zone.engine.read().dirty_files();
            zone.engine.flush(&mut flushing, &dirty).unwrap();
        }
        zone.engine.containers.sync().unwrap();
        let zone = zone.crash();
        assert!(check(&zone.storage).leftovers > 0);
        let mut background = Background::new();
        assert!(zone.engine.roots().is_none(), "nothing is dropped before the second head");
        assert_eq!(zone.engine.drop_leftovers().unwrap(), 0);
        zone.file(ROOT, "new", b"content");
        zone.engine.commit().unwrap();
        while zone.engine.reclaim_step(&mut background).unwrap() {}
        assert_eq!(zone.expect_clean().leftovers, 0);
        assert_eq!(zone.content(file), noise(8 * BLOCK, 1));
    }

    #[test]
    fn the_background_gives_back_much_and_leaves_little_alone() {
        let zone = TestZone::new();
        let mut background = Background::new();
        let long_ago = Instant::now().checked_sub(Duration::from_secs(3600)).unwrap();
        thinned(&zone);
        for _ in 0..2 {
            zone.engine.commit_for_space().unwrap();
            background.looked = long_ago;
            zone.engine.reclaim_step(&mut background).unwrap();
        }
        assert!(background.poor.is_empty());
        let content = noise(256 * BLOCK, 5);
        for i in 0..40 {
            zone.file(ROOT, &format!("large {i}"), &content);
            zone.engine.commit().unwrap();
        }
        let inodes: Vec<u64> =
            (0..40).map(|i| zone.engine.lookup(ROOT, format!("large {i}").as_bytes()).unwrap().unwrap().0).collect();
        for inode in &inodes {
            zone.engine.set_attributes(*inode, Some(100 * BLOCK as u64), |_| None, false).unwrap();
        }
        zone.engine.commit_for_space().unwrap();
        let before = stored(&zone);
        background.looked = long_ago;
        while zone.engine.reclaim_step(&mut background).unwrap() {}
        assert!(stored(&zone) < before / 2, "{} of {before}", stored(&zone));
        for inode in inodes {
            assert_eq!(zone.content(inode), content[..100 * BLOCK]);
        }
        zone.expect_clean();
    }

    #[test]
    fn nothing_moves_while_somebody_reads_an_older_state() {
        let zone = TestZone::new();
        thinned(&zone);
        let mut flushing = zone.engine.flushing();
        let pin = zone.engine.pin(&mut flushing);
        drop(flushing);
        assert!(zone.engine.reclaim(true, &mut go_on).is_err());
        drop(pin);
        zone.engine.reclaim(true, &mut go_on).unwrap();
        zone.expect_clean();
    }

    #[test]
    fn an_unfinished_deletion_of_a_snapshot_is_finished() {
        let zone = TestZone::new();
        let file = zone.file(ROOT, "file", &noise(8 * BLOCK, 1));
        zone.engine.create_snapshot(b"gone").unwrap();
        zone.file(ROOT, "file", &noise(8 * BLOCK, 2));
        zone.engine.commit().unwrap();
        zone.engine.write().begin_snapshot_delete(&zone.engine.source, b"gone").unwrap();
        zone.engine.commit().unwrap();
        let zone = zone.crash();
        assert_eq!(zone.engine.read().deleting_snapshots(&zone.engine.source).unwrap(), [b"gone"]);
        zone.expect_clean();
        zone.engine.create_snapshot(b"stays").unwrap();
        let mut background = Background::new();
        while zone.engine.reclaim_step(&mut background).unwrap() {}
        zone.engine.reclaim_step(&mut background).unwrap();
        assert!(zone.engine.read().deleting_snapshots(&zone.engine.source).unwrap().is_empty());
        let stepped = zone.engine.write().snapshot_delete_step(&zone.engine.source, b"stays").unwrap();
        assert!(stepped, "a snapshot that nobody began to delete has nothing to delete");
        assert_eq!(zone.engine.snapshot_records().unwrap().len(), 1);
        zone.engine.commit().unwrap();
        zone.expect_clean();
        assert_eq!(zone.content(file), noise(8 * BLOCK, 2));
    }

    #[test]
    fn a_full_disk_is_usable_again_after_deleting() {
        let zone = TestZone::on(MemoryStorage::with_capacity(420 << 20), None);
        let mut background = Background::new();
        let content = noise(64 * BLOCK, 3);
        let mut files: Vec<String> = Vec::new();
        loop {
            let name = format!("{}", files.len());
            let inode = match zone.engine.make(ROOT, name.as_bytes(), 0o100644, 0, b"", (0, 0, 0)) {
                Ok((inode, _)) => inode,
                Err(error) if error.is_no_space() => break,
                Err(error) => panic!("{error}"),
            };
            match zone.engine.write_file(inode, 0, &content, false) {
                Ok(()) => files.push(name),
                Err(error) if error.is_no_space() => break,
                Err(error) => panic!("{error}"),
            }
            if files.len().is_multiple_of(8) {
                zone.engine.commit().unwrap();
            }
        }
        assert!(files.len() > 50, "{} files", files.len());
        zone.engine.commit().unwrap();
        let full = zone.engine.available();
        // Every third file goes: no segment is dead as a whole.
        for name in files.iter().step_by(3) {
            zone.remove(ROOT, name);
        }
        let deleted = (files.len() / 3 * content.len()) as u64;
        let long_ago = Instant::now().checked_sub(Duration::from_secs(3600)).unwrap();
        for _ in 0..8 {
            zone.engine.commit().unwrap();
            (background.looked, background.gave) = (long_ago, long_ago);
            while zone.engine.reclaim_step(&mut background).unwrap() {}
        }
        let now = zone.engine.available();
        assert!(now > full + deleted / 2, "{full} bytes were left, {deleted} deleted, {now} are left now");
        zone.file(ROOT, "again", &content);
        zone.engine.commit().unwrap();
        for (i, name) in files.iter().enumerate().filter(|(i, _)| i % 3 != 0) {
            let (inode, _) = zone.engine.lookup(ROOT, name.as_bytes()).unwrap().unwrap();
            assert!(zone.content(inode) == content, "file {i}");
        }
        zone.expect_clean();
    }
}
