//! Checking all zones of a node: the one at the top, then those that are entered in zones that were checked.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bt_base::ZoneId;
use bt_store::Storage;
use bt_tree::EpochError;

use super::{EnterError, Zones};
use crate::control::report::{CheckReport, Problem};
use crate::control::{Failure, FailureKind, OnProgress};
use crate::engine::{Checked, check_storage};
use crate::identity::{self, NodeIdentity, ZoneRecords};
use crate::layout::ZoneLayout;

/// Where the record of a zone's birth does not fit.
const MISPLACED: &str = "somebody swapped a directory: it is not entered; restore the parent zone from a backup";

impl Zones {
    /// Checks every zone that the node's principal may read, while they are open.
    pub(crate) fn check(&self, deep: bool, progress: OnProgress<'_>) -> Result<CheckReport, Failure> {
        let mut all = All::default();
        all.add(self.top().identity.zone(), None, self.top().check(deep, progress)?);
        while let Some((parent, zone)) = all.next() {
            let in_made_root = self.is_made_root(&parent);
            let slot = self.slot_of(&zone, false)?;
            match self.engine(slot) {
                Ok(engine) if !in_made_root && engine.identity.birth.parent() != Some(&parent) => {
                    all.misplaced(&zone, &parent)
                }
                Ok(engine) => all.add(zone, Some(&zone), engine.check(deep, progress)?),
                Err(EnterError::Denied) => {}
                // It may be too damaged to be opened.
                Err(error) => {
                    all.problem(&zone, error.to_string());
                    let records = ZoneRecords::load(&*self.storage, &self.node, &zone);
                    if let Some(checked) = check_closed(&self.storage, &self.node, &zone, records, deep, progress)? {
                        all.add(zone, Some(&zone), checked);
                    }
                }
            }
        }
        Ok(all.report)
    }
}

/// Checks every zone of a directory that no process serves, as far as the node's own key opens them.
pub(crate) fn check_directory(
    storage: Arc<dyn Storage>,
    deep: bool,
    progress: OnProgress<'_>,
) -> Result<CheckReport, Failure> {
    let loaded = identity::load_top(&*storage);
    let (node, top) = match &loaded {
        Ok(identity) => (Some(identity.node.clone()), identity.zone()),
        Err(_) => (None, ZoneId::default()),
    };
    let mut all = All::default();
    all.add(top, None, check_storage(storage.clone(), "", loaded, deep, progress)?);
    let Some(node) = node else { return Ok(all.report) };
    while let Some((parent, zone)) = all.next() {
        let records = ZoneRecords::load(&*storage, &node, &zone);
        if records.as_ref().is_ok_and(|records| records.birth.parent() != Some(&parent)) {
            all.misplaced(&zone, &parent);
        } else if let Some(checked) = check_closed(&storage, &node, &zone, records, deep, progress)? {
            all.add(zone, Some(&zone), checked);
        }
    }
    Ok(all.report)
}

/// Checks a zone that is not open; none when the principal may not read it.
fn check_closed(
    storage: &Arc<dyn Storage>,
    node: &Arc<NodeIdentity>,
    zone: &ZoneId,
    records: Result<ZoneRecords, Failure>,
    deep: bool,
    progress: OnProgress<'_>,
) -> Result<Option<Checked>, Failure> {
    let loaded = match records.map(|records| records.open(node.clone())) {
        Ok(Err(EpochError::NotAReader { .. })) => return Ok(None),
        Ok(Err(error)) => Err(Failure::problem(error.to_string(), "")),
        Ok(Ok(identity)) => Ok(identity),
        Err(failure) => Err(failure),
    };
    match check_storage(storage.clone(), &ZoneLayout::new(zone).home, loaded, deep, progress) {
        Err(failure) if failure.kind == FailureKind::Problem => {
            let problem = Problem { what: failure.what, where_: format!("zone {zone}"), hint: failure.hint };
            let report = CheckReport { problem_count: 1, problems: vec![problem], ..CheckReport::default() };
            Ok(Some(Checked { report, entrances: Vec::new() }))
        }
        other => other.map(Some),
    }
}

/// What was found in all zones until now, and those that are still to be checked.
#[derive(Default)]
struct All {
    report: CheckReport,
    waiting: VecDeque<(ZoneId, ZoneId)>,
    known: HashSet<ZoneId>,
}

impl All {
    /// The next zone to check, behind the one that it is entered in.
    fn next(&mut self) -> Option<(ZoneId, ZoneId)> {
        self.waiting.pop_front()
    }

    /// Adds what was found in a zone; what is in one below the top is told with the zone's name.
    fn add(&mut self, zone: ZoneId, below: Option<&ZoneId>, checked: Checked) {
        self.known.insert(zone);
        for entered in checked.entrances {
            if self.known.insert(entered) {
                self.waiting.push_back((zone, entered));
            }
        }
        let Some(below) = below else {
            self.report = checked.report;
            return;
        };
        let (all, found) = (&mut self.report, checked.report);
        all.heads += found.heads;
        all.journal_batches += found.journal_batches;
        all.snapshots += found.snapshots;
        all.inodes += found.inodes;
        all.segments += found.segments;
        all.blocks += found.blocks;
        all.bytes += found.bytes;
        all.leftovers += found.leftovers;
        all.problem_count += found.problem_count;
        all.problems.extend(found.problems.into_iter().map(|problem| {
            let where_ = format!("zone {}: {}", below.short(), problem.where_);
            Problem { where_, ..problem }
        }));
    }

    fn problem(&mut self, zone: &ZoneId, what: String) {
        self.report.problem_count += 1;
        self.report.problems.push(Problem { what, where_: format!("zone {zone}"), hint: String::new() });
    }

    fn misplaced(&mut self, zone: &ZoneId, entered_in: &ZoneId) {
        let what = format!("zone {zone} is entered in zone {entered_in}, in which it was not born");
        self.report.problem_count += 1;
        self.report.problems.push(Problem { what, where_: format!("zone {entered_in}"), hint: MISPLACED.into() });
    }
}
