//! What a check found, in the words that a user gets.

use bt_store::StoreError;
use bt_tree::check::{Flaw, Place};

use crate::control::limits::PROBLEMS;
use crate::control::report::{Problem, escape};

pub(super) const RESTORE: &str = "restore the file from a backup of the directory";
pub(super) const ROOT_HINT: &str =
    "the tree works without it; take another copy, or restore the root from its 24 words";
pub(super) const REBUILT: &str = "it was set right from the segments themselves; nothing is to be done";
pub(super) const JOURNAL_HINT: &str =
    "what was acknowledged since the last commit may be lost; copy the directory before it is mounted again";
pub(super) const HISTORY_HINT: &str = "no data is affected: mounting the tree writes the file anew without that place";
const BLOCK_HINT: &str =
    "restore the container from a backup of the directory, or these files from a backup or an older snapshot";
const ACCOUNT_HINT: &str = "copy what you need to a new tree, and keep this directory for a report of the error";

/// Where a problem is, before paths were looked up.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) place: Place,
    /// The snapshot whose state it is in; none for the newest.
    pub(super) snapshot: Option<Vec<u8>>,
}

/// All that was found, as far as a report has room for it.
#[derive(Debug, Default)]
pub(super) struct Findings {
    count: u64,
    problems: Vec<(Problem, Option<Located>)>,
}

impl Findings {
    pub(super) fn add(&mut self, what: impl Into<String>, place: impl Into<String>, hint: impl Into<String>) {
        self.push(Problem { what: what.into(), where_: place.into(), hint: hint.into() }, None);
    }

    pub(super) fn add_flaw(&mut self, flaw: Flaw, snapshot: Option<&[u8]>) {
        let hint = match &flaw.place {
            Place::Node { .. } => BLOCK_HINT,
            Place::Block { .. } | Place::Inode(_) if flaw.what.contains("damaged") => BLOCK_HINT,
            _ => ACCOUNT_HINT,
        };
        let located = Located { place: flaw.place, snapshot: snapshot.map(<[u8]>::to_vec) };
        self.push(Problem { what: flaw.what, where_: String::new(), hint: hint.into() }, Some(located));
    }

    fn push(&mut self, problem: Problem, located: Option<Located>) {
        self.count += 1;
        if self.problems.len() < PROBLEMS {
            tracing::warn!(what = problem.what, place = problem.where_, ?located, "found by a check");
            self.problems.push((problem, located));
        }
    }

    /// What has no place in words yet.
    pub(super) fn located(&mut self) -> impl Iterator<Item = (&mut Problem, &Located)> {
        self.problems.iter_mut().filter_map(|(problem, located)| Some((problem, located.as_ref()?)))
    }

    /// The count of all problems, and those that there was room for.
    pub(super) fn finish(self) -> (u64, Vec<Problem>) {
        (self.count, self.problems.into_iter().map(|(problem, _)| problem).collect())
    }
}

/// What an error of the store says, without the advice to run a check.
pub(super) fn told(error: &StoreError) -> String {
    match error {
        StoreError::Damaged { what, .. } => what.clone(),
        StoreError::NotFound { what, file } => format!("{what} is not in {file}"),
        other => other.to_string(),
    }
}

/// A path of the tree, as shown to people.
pub(super) fn shown(path: &[u8]) -> String {
    escape(path)
}
