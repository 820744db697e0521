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

#[cfg(test)]
mod tests;

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
    pub(super) fn commit_for_space(&self) -> Result<()> {
        self.free_orphans()?;
        self.obey()?;
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
        self.obey()?;
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
        if background.poor.is_empty() {
            return Ok(false);
        }
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
    pub(super) fn drop_leftovers(&self) -> Result<usize> {
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
