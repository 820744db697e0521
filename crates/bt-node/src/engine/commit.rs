//! Commits: freezing the state, sealing what is dirty, publishing the next head.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bt_base::limits::SESSION_SECONDS;
use bt_base::{HeadHash, Revision};
use bt_tree::zone::Frozen;
use bt_tree::{BlockRef, Head, JournalPosition, LastHead, SegmentSummary, SessionKey, SignedHead};
use bt_vfs::FrozenVfs;

use super::limits::{COMMIT_LOG_BYTES, COMMIT_SECONDS, COMMIT_SEGMENTS, FLUSH_ROUNDS, SESSION_RENEW_SECONDS};
use super::reclaim::Background;
use super::rekey::BackgroundRekey;
use super::sealer::{NodeSealer, Sealer};
use super::{Engine, Flushing};
use crate::error::{EngineError, Result};
use crate::system::{SystemEntropy, now};

/// A snapshot that a commit takes: its number and where its root went.
pub(super) struct CommitOutcome {
    pub(super) revision: Revision,
    pub(super) root: (BlockRef, u8),
}

impl Engine {
    /// Writes everything that changed and publishes a head; does nothing when nothing changed.
    pub(crate) fn commit(&self) -> Result<Revision> {
        if self.has_ended() {
            return Ok(self.flushing().revision);
        }
        self.obey()?;
        self.commit_changes()
    }

    /// A commit by who has seen to it that the newest epoch is the right one.
    pub(super) fn commit_changes(&self) -> Result<Revision> {
        let mut flushing = self.flushing();
        if !self.read().is_changed() {
            return Ok(flushing.revision);
        }
        self.commit_locked(&mut flushing, None).map(|outcome| outcome.revision)
    }

    /// A commit under the `flushing` lock; with a snapshot number, deaths after it belong to the snapshot.
    pub(super) fn commit_locked(&self, flushing: &mut Flushing, snapshot: Option<u64>) -> Result<CommitOutcome> {
        self.check_writable()?;
        let result = self.try_commit(flushing, snapshot);
        let result = match result {
            // What had begun to write the frozen state is final: a second try would follow a head that may be there.
            Err(error) if error.is_no_space() && self.stopped().is_none() && self.release_ballast() => {
                self.try_commit(flushing, snapshot)
            }
            other => other,
        };
        self.settle(result.as_ref().is_err_and(EngineError::is_no_space));
        if result.is_ok() {
            self.space.refresh(&*self.storage);
            self.restore_ballast();
        }
        result
    }

    fn try_commit(&self, flushing: &mut Flushing, snapshot: Option<u64>) -> Result<CommitOutcome> {
        let dirty = self.read().dirty_files();
        self.flush(flushing, &dirty)?;
        for _ in 0..FLUSH_ROUNDS {
            let owed = self.read().must_flush();
            if owed.is_empty() {
                break;
            }
            self.flush(flushing, &owed)?;
        }
        // Every batch with a record above the frozen number is written later, so it lies at or behind this place.
        let position = *self.position.lock().expect("no panic under this lock");
        let frozen = {
            let mut vfs = self.write();
            self.check_writable()?;
            let owed = vfs.must_flush();
            if !owed.is_empty() {
                self.flush_locked(flushing, &mut vfs, &owed)?;
            }
            let frozen = self.guard(vfs.freeze(&self.source))?;
            if let Some(number) = snapshot {
                vfs.hold_snapshot(number, frozen.zone.revision);
            }
            frozen
        };
        // From here on the live state counts on this commit: a failure is final.
        self.stop_on_error(self.write_frozen(flushing, frozen, position))
    }

    pub(super) fn write_frozen(
        &self,
        flushing: &mut Flushing,
        frozen: FrozenVfs,
        position: JournalPosition,
    ) -> Result<CommitOutcome> {
        let FrozenVfs { zone, covered } = frozen;
        let (root, index_segments) = match self.seal_nodes(&zone) {
            Err(error) if error.is_no_space() && self.release_ballast() => self.seal_nodes(&zone)?,
            other => other?,
        };
        drop(zone.tree);
        self.containers.sync()?;
        flushing.removed.extend(zone.released);
        let mut added = std::mem::take(&mut flushing.added);
        added.extend(index_segments.iter().cloned());
        self.publish(flushing, zone.revision, root, added, JournalPosition { covered, ..position })?;
        {
            let mut vfs = self.write();
            vfs.committed(zone.revision, covered, index_segments);
            self.gauge(&vfs);
        }
        self.durable.fetch_max(covered, Ordering::AcqRel);
        if let (Some(file), true) = (&self.journal_file, position.next_batch > 0) {
            file.release_up_to(position.offset)?;
        }
        Ok(CommitOutcome { revision: zone.revision, root })
    }

    /// Writes the nodes of a frozen index; after an error nothing of it is left, and it can be tried again.
    fn seal_nodes(&self, zone: &Frozen) -> Result<((BlockRef, u8), Vec<SegmentSummary>)> {
        let id = self.identity.zone();
        let mut sealer = Sealer::new(&self.source, &self.containers, &self.ids, id, zone.revision, true);
        let mut write = || {
            let root = zone.tree.seal(&mut NodeSealer(&mut sealer))?.expect("a zone has records");
            Ok((root, sealer.finish()?))
        };
        let result = write();
        if result.is_err() {
            sealer.abandon();
        }
        result
    }

    /// Signs and writes a head, and drops what the one before the last needed.
    fn publish(
        &self,
        flushing: &mut Flushing,
        revision: Revision,
        root: (BlockRef, u8),
        added: Vec<SegmentSummary>,
        journal: JournalPosition,
    ) -> Result<()> {
        let time = now().max(flushing.committed);
        let mut removed = Vec::new();
        while let Some(id) = flushing.removed.front().copied() {
            if !Head::has_room_for(added.len(), removed.len() + 1) {
                break;
            }
            removed.push(id);
            flushing.removed.pop_front();
        }
        let head = Head {
            tree: *self.identity.tree(),
            zone: self.identity.zone(),
            revision,
            previous: flushing.head,
            root: Some(root.0),
            root_level: root.1,
            epoch: self.source.epoch(),
            access: self.identity.rights.now().access.newest(),
            journal,
            lease_token: flushing.lease_token,
            added,
            removed: removed.clone(),
            time,
        };
        let signed = SignedHead::sign(head, &*self.fresh_session()?)?;
        // The right may have ended while this was written: a head that the next opening refuses would lose what it covers.
        self.check_may_write(signed.unverified().time)?;
        let bytes = signed.to_bytes();
        self.heads.publish(revision, &bytes)?;
        self.history.append(&bytes);
        let hash: HeadHash = signed.hash();
        self.identity.node.newest.published(self.identity.zone(), LastHead { revision, hash });
        (flushing.revision, flushing.head, flushing.committed) = (revision, hash, time);
        flushing.note_head(revision, hash);
        flushing.previous_root = flushing.root.replace(root);
        let unneeded = std::mem::replace(&mut flushing.dropping, removed);
        self.drop_unpinned(flushing, unneeded);
        Ok(())
    }

    /// Publishes the last state again with another journal position.
    pub(super) fn republish(&self, flushing: &mut Flushing, journal: JournalPosition) -> Result<()> {
        let (covered, revision, unaccounted) = {
            let mut vfs = self.write();
            let covered = self.durable.load(Ordering::Acquire);
            (covered, vfs.skip_revision(), vfs.zone().unaccounted().to_vec())
        };
        let root = flushing.root.expect("a zone that is open has a head");
        let journal = JournalPosition { covered, ..journal };
        self.stop_on_error(self.publish(flushing, revision, root, unaccounted, journal))
    }

    /// The session key, replaced when it has not long to live.
    pub(super) fn fresh_session(&self) -> Result<Arc<SessionKey>> {
        let session = self.session();
        let time = now();
        if session.certificate().not_after().seconds - time.seconds >= SESSION_RENEW_SECONDS {
            return Ok(session);
        }
        let tree = self.identity.tree();
        let fresh = SessionKey::issue(&*self.identity.node.who, tree, time, SESSION_SECONDS, &mut SystemEntropy)?;
        let fresh = Arc::new(fresh);
        *self.session.write().expect("no panic under this lock") = fresh.clone();
        Ok(fresh)
    }

    /// What the committer has to do now.
    fn due(&self, last: Instant) -> Due {
        let vfs = self.read();
        let journal_half = self.journal_file.as_ref().is_some_and(|file| file.used() > file.size() / 2);
        let full = vfs.dirty_nodes() > self.limits.commit_nodes
            || vfs.pending_bytes() > COMMIT_LOG_BYTES
            || journal_half
            || self.flushing.try_lock().is_ok_and(|flushing| flushing.added.len() > COMMIT_SEGMENTS);
        let ends = || self.identity.rights.now().write_ends_within(2 * COMMIT_SECONDS as i64, now());
        if full
            || vfs.is_changed() && ends()
            || last.elapsed() >= Duration::from_secs(COMMIT_SECONDS) && vfs.is_changed()
        {
            Due::Commit
        } else if vfs.dirty_bytes() > self.limits.flush_bytes {
            Due::Flush
        } else {
            Due::Nothing
        }
    }

    /// Asks the committer to flush when much is dirty; called after each write.
    pub(super) fn nudge(&self) {
        if self.dirty_bytes.load(Ordering::Relaxed) > self.limits.flush_bytes
            || self.dirty_nodes.load(Ordering::Relaxed) > self.limits.commit_nodes
        {
            self.ask();
        }
    }
}

enum Due {
    Nothing,
    Flush,
    Commit,
}

/// The thread that commits by time and amount, and frees what has no name.
pub(crate) struct Committer {
    engine: Arc<Engine>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    pub(crate) fn start(engine: Arc<Engine>) -> std::io::Result<Self> {
        let own = engine.clone();
        let thread = std::thread::Builder::new().name("bt-commit".into()).spawn(move || run(&own))?;
        Ok(Self { engine, thread: Some(thread) })
    }

    /// Ends the thread; nothing is committed after this.
    pub(crate) fn stop(mut self) {
        self.engine.progress.lock().expect("no panic under this lock").closing = true;
        self.engine.wake.notify_all();
        self.engine.settled.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the committing thread panicked");
        }
    }
}

fn run(engine: &Engine) {
    bt_fuse::become_io_flusher();
    let mut last = Instant::now();
    let (mut background, mut rekey) = (Background::new(), BackgroundRekey::default());
    while engine.stopped().is_none() {
        let quiet = {
            let progress = engine.progress.lock().expect("no panic under this lock");
            let timeout = Duration::from_secs(COMMIT_SECONDS);
            let idle = |progress: &mut super::Progress| !progress.asked && !progress.closing;
            let (mut progress, _) =
                engine.wake.wait_timeout_while(progress, timeout, idle).expect("no panic under this lock");
            if progress.closing {
                return;
            }
            !std::mem::take(&mut progress.asked)
        };
        if quiet {
            engine.flushing().memory.clear();
        }
        let stepped = step(engine, &mut last)
            .and_then(|()| engine.rekey_in_background(&mut rekey))
            .and_then(|()| engine.reclaim_step(&mut background));
        if let Ok(true) = stepped {
            engine.ask();
        }
        if let Err(error) = stepped {
            tracing::error!(%error, "writing changes in the background failed");
            engine.settle(error.is_no_space());
        }
    }
}

fn step(engine: &Engine, last: &mut Instant) -> Result<()> {
    engine.free_orphans()?;
    engine.obey()?;
    match engine.due(*last) {
        Due::Nothing => {}
        Due::Flush => {
            let mut flushing = engine.flushing();
            let dirty = engine.read().dirty_files();
            engine.flush(&mut flushing, &dirty)?;
        }
        Due::Commit => {
            engine.commit()?;
            *last = Instant::now();
        }
    }
    Ok(())
}

impl Engine {
    /// Frees inodes without a name that nobody holds, a step at a time.
    pub(super) fn free_orphans(&self) -> Result<()> {
        loop {
            let waiting = std::mem::take(&mut *self.unused.lock().expect("no panic under this lock"));
            if waiting.is_empty() {
                return Ok(());
            }
            for inode in waiting {
                loop {
                    let mut vfs = self.write();
                    if !vfs.is_orphan(inode) {
                        break;
                    }
                    let freed = self.guard(vfs.free(&self.source, inode))?;
                    self.gauge(&vfs);
                    drop(vfs);
                    self.unused.lock().expect("no panic under this lock").extend(freed.nameless);
                    if freed.done {
                        break;
                    }
                    if self.dirty_nodes.load(Ordering::Relaxed) > self.limits.commit_nodes {
                        self.commit()?;
                    }
                }
            }
        }
    }
}
