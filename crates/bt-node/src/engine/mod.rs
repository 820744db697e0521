//! The engine: one zone, its lock, its journal and its commits.
//!
//! # Locks, in the order in which they are taken
//!
//! 0. `rekeying`: one pass, or step of one, that seals what is old under the newest key.
//! 1. `journal`: one journal batch at a time; whoever waits for it finds the work done (group commit).
//! 2. `flushing`: one flush or commit at a time.
//! 3. `vfs`: the state. Reading operations share it. Nobody syncs, seals or waits for a commit under it.
//! 4. `position`, `lookups`, `progress`: a few instructions each.
//!
//! # Invariants
//!
//! * What a caller was told is durable is in the journal or in a published head.
//! * After a failed write of the journal, the containers or the heads nothing more is written: what the disk holds
//!   is unknown until the zone is opened again.
//! * An operation that failed halfway stops the zone too: its state is never committed.

#[cfg(test)]
mod adversary;
mod check;
mod commit;
#[cfg(test)]
mod crash;
mod diff;
mod ending;
mod entrances;
mod flush;
mod history;
mod inspect;
mod journal;
mod limits;
mod log;
mod newest;
mod open;
mod operations;
mod paths;
mod pin;
mod reclaim;
mod rekey;
mod rights;
mod sealer;
mod snapshots;
mod source;
mod space;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bt_base::{HeadHash, Revision, SegmentId, Timestamp};
use bt_store::{Ballast, Containers, Heads, JournalFile, Storage};
use bt_tree::schema::Compression;
use bt_tree::{BlockRef, JournalPosition, LastHead, SegmentSummary, SessionKey};
use bt_vfs::{LookupCounts, Refusal, Vfs};
use quick_cache::sync::Cache;

use crate::error::{EngineError, Result};
use crate::identity::ZoneIdentity;

pub(crate) use check::{Checked, check_storage};
pub(crate) use commit::Committer;
pub(crate) use entrances::FrozenState;
use entrances::Gate;
use history::History;
use journal::Journal;
use limits::Limits;
use pin::Pin;
use sealer::SegmentIds;
pub(crate) use source::{BlockSource, ReadError};
use space::SpaceGauge;

/// One zone that is open.
pub(crate) struct Engine {
    pub(crate) identity: ZoneIdentity,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) containers: Arc<Containers>,
    pub(crate) source: BlockSource,
    ids: SegmentIds,
    heads: Heads,
    history: History,
    ballast: Mutex<Ballast>,
    limits: Limits,
    read_only: bool,
    /// Nothing under the node's directory may change.
    storage_read_only: bool,
    /// How new blocks of file data are compressed.
    compression: Compression,
    journal: Mutex<Journal>,
    /// The journal's file; none when the zone is open for reading only.
    journal_file: Option<JournalFile>,
    flushing: Mutex<Flushing>,
    vfs: RwLock<Vfs>,
    position: Mutex<JournalPosition>,
    lookups: Mutex<LookupCounts>,
    /// Inodes without a name that nobody uses: to be freed.
    unused: Mutex<Vec<u64>>,
    session: RwLock<Arc<SessionKey>>,
    /// Parts of files whose surroundings the disk was asked for.
    around: Cache<(u64, u64), ()>,
    space: SpaceGauge,
    /// Log records up to this number are durable.
    durable: AtomicU64,
    dirty_bytes: AtomicUsize,
    dirty_nodes: AtomicUsize,
    gate: Gate,
    /// Why nothing is written any more.
    stopped: OnceLock<String>,
    /// Taken by who seals under the newest key: two passes would make each other's steps void.
    rekeying: Mutex<()>,
    /// Files with changes that are not kept, of which nobody was told.
    unkept: Mutex<BTreeSet<u64>>,
    progress: Mutex<Progress>,
    /// The committer is asked to work.
    wake: Condvar,
    /// A flush or commit ended.
    settled: Condvar,
}

/// What commits hand on to each other; under the `flushing` lock.
struct Flushing {
    revision: Revision,
    head: HeadHash,
    committed: Timestamp,
    lease_token: u64,
    /// The newest heads, the newest last: those that a revocation may name.
    recent: VecDeque<LastHead>,
    /// Memory for the next segments, while there is much to write.
    memory: Vec<Vec<u8>>,
    /// The root of the newest head.
    root: Option<(BlockRef, u8)>,
    /// The root of the head before, once this process has published one.
    previous_root: Option<(BlockRef, u8)>,
    /// Segments written since the last head.
    added: Vec<SegmentSummary>,
    /// Segments that no head needs from the next one on.
    removed: VecDeque<SegmentId>,
    /// Segments listed as removed by the newest head: dropped when the next is published.
    dropping: Vec<SegmentId>,
    /// Readers of a committed state: no segment goes while there is one.
    pins: usize,
    /// Segments that go with the last of them.
    deferred: Vec<SegmentId>,
}

impl Flushing {
    /// Notes a head that counts from now on.
    fn note_head(&mut self, revision: Revision, hash: HeadHash) {
        if self.recent.len() == rights::RECENT_HEADS {
            self.recent.pop_front();
        }
        self.recent.push_back(LastHead { revision, hash });
    }
}

/// What the committer waits for.
#[derive(Default)]
struct Progress {
    asked: bool,
    closing: bool,
    /// The last flush or commit found the disk full: waiting for memory would be in vain.
    full: bool,
    /// Counts ended flushes and commits.
    settled: u64,
}

impl Engine {
    /// The state, for reading.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Vfs> {
        self.vfs.read().unwrap_or_else(|_| panic!("an operation panicked: the state cannot be trusted"))
    }

    /// The state, for changing.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Vfs> {
        self.vfs.write().unwrap_or_else(|_| panic!("an operation panicked: the state cannot be trusted"))
    }

    fn flushing(&self) -> MutexGuard<'_, Flushing> {
        self.flushing.lock().unwrap_or_else(|_| panic!("a commit panicked: the state cannot be trusted"))
    }

    fn session(&self) -> Arc<SessionKey> {
        self.session.read().expect("no panic under this lock").clone()
    }

    /// Why the zone takes no more changes.
    pub(crate) fn stopped(&self) -> Option<&str> {
        self.stopped.get().map(String::as_str)
    }

    /// How new blocks of file data are compressed.
    pub(crate) fn compression(&self) -> Compression {
        self.compression
    }

    /// Whether the zone was opened for reading only.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Writes nothing more: what the disk or the memory holds is not known to be whole.
    fn stop(&self, error: &EngineError) {
        if self.stopped.set(error.to_string()).is_ok() {
            tracing::error!(%error, "the zone takes no more changes until it is opened again");
            if matches!(error, EngineError::RightsEnded(_)) {
                self.note_ended();
            }
        }
        self.settled.notify_all();
    }

    fn check_writable(&self) -> Result<()> {
        if self.read_only {
            return Err(Refusal::ReadOnly.into());
        }
        match self.stopped() {
            Some(why) => Err(EngineError::Stopped(why.to_owned())),
            None => Ok(()),
        }
    }

    /// Notes how much memory changes take, for those who must wait.
    fn gauge(&self, vfs: &Vfs) {
        self.dirty_bytes.store(vfs.dirty_bytes(), Ordering::Relaxed);
        self.dirty_nodes.store(vfs.dirty_nodes(), Ordering::Relaxed);
    }

    /// Bytes of changes in memory.
    pub(crate) fn dirty_memory(&self) -> usize {
        let nodes = self.dirty_nodes.load(Ordering::Relaxed) * bt_base::limits::BLOCK_SIZE;
        self.dirty_bytes.load(Ordering::Relaxed) + nodes
    }

    /// Asks the committer to work now.
    fn ask(&self) {
        self.progress.lock().expect("no panic under this lock").asked = true;
        self.wake.notify_one();
    }

    /// A flush or commit ended; those who wait look again.
    fn settle(&self, full: bool) {
        let mut progress = self.progress.lock().expect("no panic under this lock");
        progress.settled += 1;
        progress.full = full;
        drop(progress);
        self.settled.notify_all();
    }

    /// Whether a writer would have to wait for memory.
    pub(crate) fn is_crowded(&self) -> bool {
        self.dirty_bytes.load(Ordering::Relaxed) > self.limits.dirty_bytes
            || self.dirty_nodes.load(Ordering::Relaxed) > self.limits.dirty_nodes
    }

    /// Waits until there is memory for another change; [`Refusal::NoSpace`] when a full disk is in the way.
    fn wait_for_room(&self) -> Result<()> {
        if !self.is_crowded() {
            return Ok(());
        }
        let mut progress = self.progress.lock().expect("no panic under this lock");
        while self.is_crowded() && self.stopped().is_none() && !progress.closing {
            progress.asked = true;
            self.wake.notify_one();
            progress = self.settled.wait(progress).expect("no panic under this lock");
            if progress.full {
                return Err(Refusal::NoSpace.into());
            }
        }
        drop(progress);
        self.check_writable()
    }
}

/// The newest head and the journal, for people.
pub(crate) struct EngineState {
    pub(crate) revision: Revision,
    pub(crate) committed: Timestamp,
    pub(crate) journal_bytes: u64,
    pub(crate) journal_capacity_bytes: u64,
}

impl Engine {
    /// The newest head and the journal.
    pub(crate) fn state(&self) -> EngineState {
        let flushing = self.flushing();
        let (journal_bytes, journal_capacity_bytes) =
            self.journal_file.as_ref().map_or((0, 0), |file| (file.used(), file.size()));
        EngineState {
            revision: flushing.revision,
            committed: flushing.committed,
            journal_bytes,
            journal_capacity_bytes,
        }
    }
}
