//! `bt check`: verifies everything from the head down, changes nothing, and names what is damaged.
//!
//! It looks at the zone as the newest stored head shows it, and at every snapshot; a zone that is open commits first,
//! then goes on meanwhile. Segments that this state needs are kept until the check ends (see
//! [`Pin`]). Nothing is taken from the mount's caches: all is read from the disk again.
//!
//! The steps, each of which goes on where the one before found damage:
//! 1. the node's records: genesis, birth, access log, epochs ([`ZoneIdentity`]);
//! 2. both files of heads ([`heads`]) and the journal above the newest head ([`journal`]);
//! 3. the index of the newest head and of each snapshot ([`bt_tree::check`]); with `deep`, every block of file data;
//! 4. accounts against references, and against the segments of the store ([`blocks`]);
//! 5. the paths of the inodes that problems were found in ([`places`]).

mod blocks;
#[cfg(test)]
mod concurrent_tests;
#[cfg(test)]
mod damage_tests;
mod heads;
mod journal;
mod places;
#[cfg(test)]
mod random_tests;
mod report;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use bt_base::{SegmentId, ZoneId};
use bt_crypto::RootSeed;
use bt_store::{Containers, SegmentInfo, Storage, StoreError};
use bt_tree::SignedHead;
use bt_tree::check::{Flaw, References, StateSummary, check_state};
use bt_tree::index::Tree;
use bt_tree::schema::Key;
use bt_tree::zone::SnapshotState;

use super::{BlockSource, Engine, Pin, log};
use crate::control::report::CheckReport;
use crate::control::{Failure, FailureKind, OnProgress, Progress};
use crate::identity::{self, ZoneIdentity};
use crate::layout;
#[cfg(test)]
pub(crate) use heads::newest as newest_head;
pub(super) use heads::verify as verify_head;

use blocks::{BlockCheck, check_segments};
use report::Findings;

/// Bytes of index nodes that a check keeps in memory to look records up.
const NODE_CACHE_BYTES: u64 = 16 << 20;

impl Engine {
    /// Checks the zone while it is open, with all that was written until now.
    pub(crate) fn check(&self, deep: bool, progress: OnProgress<'_>) -> Result<Checked, Failure> {
        let mut check = Check::new(self.storage.clone(), self.containers.clone(), Some(self), deep, progress);
        if let Some(why) = self.stopped() {
            check.findings.add(why, "the open zone", "unmount and mount again");
        } else if !self.is_read_only()
            && let Err(error) = self.commit()
        {
            check.findings.add(error.to_string(), "the open zone", "what could not be committed is not checked");
        }
        check.run(self.identity.reload(&*self.storage))
    }
}

/// What was found in one zone.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) report: CheckReport,
    /// The zones that are entered in it.
    pub(crate) entrances: Vec<ZoneId>,
}

/// Checks a zone that is not open, and that may be too damaged to be opened.
pub(crate) fn check_storage(
    storage: Arc<dyn Storage>,
    home: &str,
    loaded: Result<ZoneIdentity, Failure>,
    deep: bool,
    progress: OnProgress<'_>,
) -> Result<Checked, Failure> {
    let containers = Containers::open_in(storage.clone(), home).map_err(|error| Failure {
        kind: if error.is_damage() { FailureKind::Problem } else { FailureKind::Io },
        what: error.to_string(),
        hint: String::new(),
    })?;
    Check::new(storage, Arc::new(containers), None, deep, progress).run(loaded)
}

struct Check<'a> {
    storage: Arc<dyn Storage>,
    containers: Arc<Containers>,
    engine: Option<&'a Engine>,
    deep: bool,
    progress: OnProgress<'a>,
    report: CheckReport,
    entrances: Vec<ZoneId>,
    /// Blocks to come by at most; 0 when not known.
    total: u64,
    findings: Findings,
}

/// What is checked: the newest head, and the store as it was then.
struct Frozen<'a> {
    head: Option<SignedHead>,
    /// Segments of the store.
    stored: Vec<SegmentInfo>,
    /// Segments that are stored for other reasons than an account.
    expected: HashSet<SegmentId>,
    _pin: Option<Pin<'a>>,
}

impl<'a> Check<'a> {
    fn new(
        storage: Arc<dyn Storage>,
        containers: Arc<Containers>,
        engine: Option<&'a Engine>,
        deep: bool,
        progress: OnProgress<'a>,
    ) -> Self {
        let report = CheckReport { deep, ..CheckReport::default() };
        let (entrances, findings) = (Vec::new(), Findings::default());
        Self { storage, containers, engine, deep, progress, report, entrances, total: 0, findings }
    }

    fn run(mut self, loaded: Result<ZoneIdentity, Failure>) -> Result<Checked, Failure> {
        let loaded = match loaded {
            Ok(identity) => Some(identity),
            Err(failure) if failure.kind != FailureKind::Problem => return Err(failure),
            Err(failure) => {
                let hint = if failure.hint.is_empty() { report::RESTORE } else { &failure.hint };
                self.findings.add(failure.what, "the zone's records, without which nothing else can be checked", hint);
                None
            }
        };
        if self.containers.is_at_top() {
            self.check_root_file();
        }
        if let Some(identity) = loaded.as_ref().or(self.engine.map(|engine| &engine.identity)) {
            self.check_zone(identity)?;
        }
        (self.report.problem_count, self.report.problems) = self.findings.finish();
        Ok(Checked { report: self.report, entrances: self.entrances })
    }

    /// The root credential's file, which the user may have moved away. Its passphrase is not needed for this.
    fn check_root_file(&mut self) {
        if !matches!(self.storage.exists(layout::ROOT_KEY), Ok(true)) {
            return;
        }
        let checked = identity::read(&*self.storage, layout::ROOT_KEY).map_err(|failure| failure.what);
        let checked = checked.and_then(|bytes| RootSeed::check_file(&bytes).map_err(|error| error.to_string()));
        if let Err(what) = checked {
            self.findings.add(what, layout::ROOT_KEY, report::ROOT_HINT);
        }
    }

    fn check_zone(&mut self, identity: &ZoneIdentity) -> Result<(), Failure> {
        // Other findings are of segments: those that are needed are checked below, others a crash left.
        for finding in self.containers.findings() {
            let map = self.containers.locations_file();
            if matches!(finding, StoreError::Damaged { file, .. } if *file == map) {
                self.findings.add(report::told(finding), map, report::REBUILT);
            }
        }
        let mut frozen = self.freeze(identity);
        if self.deep {
            self.total = frozen.stored.iter().map(|info| u64::from(info.blocks)).sum();
        }
        let Some(signed) = frozen.head.take() else { return Ok(()) };
        self.report.revision = signed.unverified().revision;
        let journal = self.check_journal(identity, &signed);
        frozen.expected.extend(journal.announced);
        self.check_index(identity, &signed, &frozen)
    }

    /// Takes the newest head, and keeps what it needs.
    fn freeze(&mut self, identity: &ZoneIdentity) -> Frozen<'a> {
        let mut flushing = self.engine.map(|engine| (engine, engine.flushing()));
        let serving =
            flushing.as_ref().map(|(engine, flushing)| (engine.is_read_only(), flushing.revision, flushing.head));
        let checked = heads::check(&self.storage, identity, serving, &mut self.findings);
        self.report.heads = checked.verified;
        self.show_refused(identity, &checked.refused);
        let mut expected = HashSet::new();
        if let Some((_, flushing)) = &flushing {
            expected.extend(flushing.unaccounted_for());
        }
        for head in checked.newest.iter().chain(&checked.previous) {
            expected.extend(&head.unverified().removed);
        }
        let stored = self.containers.segments();
        let pin = flushing.as_mut().map(|(engine, flushing)| engine.pin(flushing));
        Frozen { head: checked.newest, stored, expected, _pin: pin }
    }

    /// Lists the heads that do not count, and reads the files of older and of refused heads.
    fn show_refused(&mut self, identity: &ZoneIdentity, stored: &[SignedHead]) {
        for error in log::damage(&self.storage, identity) {
            let StoreError::Damaged { file, offset, .. } = &error else { continue };
            self.findings.add(report::told(&error), format!("{file} at byte {offset}"), report::HISTORY_HINT);
        }
        let kept = log::refused_heads(&self.storage, identity).unwrap_or_default();
        let rights = identity.rights.now();
        for signed in kept.iter().chain(stored) {
            if self.report.refused.iter().all(|shown| shown.hash != signed.hash()) {
                self.report.refused.push(log::entry(&rights, signed));
            }
        }
    }

    fn check_journal(&mut self, identity: &ZoneIdentity, head: &SignedHead) -> journal::Checked {
        let checked = journal::check(&*self.storage, identity, head);
        let checked = match (checked, self.engine) {
            (Err(_), Some(engine)) => {
                // A batch may have been written meanwhile: again, while nobody writes, from the head that counts now.
                let _journal = engine.journal.lock().unwrap_or_else(|_| panic!("a journal write panicked"));
                let _flushing = engine.flushing();
                match heads::newest(&self.storage, identity) {
                    Some(newest) => journal::check(&*self.storage, identity, &newest),
                    None => Ok(journal::Checked::default()),
                }
            }
            (checked, _) => checked,
        };
        let checked = checked.unwrap_or_else(|(what, place, so_far)| {
            self.findings.add(what, place, report::JOURNAL_HINT);
            so_far
        });
        self.report.journal_batches = checked.batches;
        checked
    }

    fn check_index(
        &mut self,
        identity: &ZoneIdentity,
        signed: &SignedHead,
        frozen: &Frozen<'_>,
    ) -> Result<(), Failure> {
        let head = signed.unverified();
        let Some(root) = head.root else {
            self.findings.add("the newest head names no index", "the newest head", report::RESTORE);
            return Ok(());
        };
        let zone = identity.zone();
        let tree = *identity.tree();
        let (rights, containers) = (identity.rights.clone(), self.containers.clone());
        let source = BlockSource::new(tree, zone, rights, containers, NODE_CACHE_BYTES, 0);
        let mut references = References::new();
        let newest = Tree::open(root, head.root_level);
        // Those of snapshots that were sealed anew have accounts already.
        let is_accounted = |id| matches!(newest.get(&source, Key::account(id).as_bytes(), |_| ()), Ok(Some(())));
        let index_segments = head.added.iter().filter(|added| added.index_blocks);
        references.add_unaccounted(index_segments.filter(|added| !is_accounted(&added.id)));
        let summary = self.check_tree(&source, &newest, None, &mut references)?;
        self.report.inodes = summary.inodes;
        self.entrances = summary.entrances.iter().map(|(_, zone)| *zone).collect();
        for (name, record) in &summary.snapshots {
            // What a snapshot that is being deleted needs is given back step by step.
            if record.state == SnapshotState::Ready {
                self.check_tree(&source, &record.tree(), Some(name), &mut references)?;
                self.report.snapshots += 1;
            }
        }
        let findings = &mut self.findings;
        references.compare(summary.complete, &mut |flaw| findings.add_flaw(flaw, None));
        check_segments(&self.containers, &references, frozen, &mut self.report, &mut self.findings);
        let states = summary.snapshots.iter().map(|(name, record)| (Some(name.clone()), record.tree()));
        let states: Vec<_> = std::iter::once((None, newest)).chain(states).collect();
        places::resolve(&source, &states, &self.containers, &mut self.findings);
        Ok(())
    }

    fn check_tree(
        &mut self,
        source: &BlockSource,
        tree: &Tree,
        snapshot: Option<&[u8]>,
        references: &mut References,
    ) -> Result<StateSummary, Failure> {
        let findings = &mut self.findings;
        let mut found = |flaw: Flaw| findings.add_flaw(flaw, snapshot);
        let total = self.total;
        let mut tell =
            |report: &CheckReport| (self.progress)(Progress { done: report.blocks, total, what: "blocks".into() });
        let mut check = BlockCheck::new(source, self.deep, &mut self.report, &mut found, &mut tell);
        let summary = check_state(source, tree, snapshot.is_none(), references, &mut check);
        match summary.interrupted {
            true => Err(Failure::interrupted()),
            false => Ok(summary),
        }
    }
}
