//! The chain of heads, for people: who wrote when, under which grant; and the heads that do not count.

use std::collections::HashSet;
use std::sync::Arc;

use bt_base::RecordHash;
use bt_store::{Storage, StoreError};
use bt_tree::{AccessLog, Action, SignedHead};

use super::Engine;
use super::history::History;
use super::newest::refused_file;
use crate::control::Failure;
use crate::control::log::{AppDecision, HeadEntry, LogReport};
use crate::error::{EngineError, Result};
use crate::identity::ZoneIdentity;
use crate::rights::Rights;

impl Engine {
    /// The newest heads, and those that were refused.
    pub(crate) fn log(&self, last: usize) -> std::result::Result<LogReport, Failure> {
        // Published heads are added under this lock.
        let loaded = {
            let _flushing = self.flushing();
            self.history.load()
        };
        let (heads, _) = loaded.map_err(|error| error.into_failure("reading the history"))?;
        let rights = self.identity.rights.now();
        let from = heads.len().saturating_sub(last);
        let mut entries: Vec<HeadEntry> = heads[from..].iter().map(|signed| entry(&rights, signed)).collect();
        check_links(&heads[from..], &rights, &mut entries);
        for at in 1..entries.len() {
            let (before, this) = (entries[at - 1].access, entries[at].access);
            entries[at].apps = apps_decided(&rights.access, before, this);
        }
        let known: HashSet<_> = heads.iter().map(SignedHead::hash).collect();
        let mut refused = refused_heads(&self.storage, &self.identity)
            .map_err(|error| error.into_failure("reading the refused heads"))?;
        refused.retain(|signed| !known.contains(&signed.hash()));
        let refused = refused.iter().map(|signed| entry(&rights, signed)).collect();
        Ok(LogReport { heads: entries, earlier: from as u64, refused })
    }
}

/// Heads that were kept aside because they do not count.
pub(super) fn refused_heads(storage: &Arc<dyn Storage>, identity: &ZoneIdentity) -> Result<Vec<SignedHead>> {
    let loaded = refused_file(storage, &identity.layout).load().map_err(EngineError::from)?;
    Ok(loaded.records.iter().filter_map(|bytes| SignedHead::decode(bytes).ok()).collect())
}

/// What is wrong with the files of older and of refused heads.
pub(super) fn damage(storage: &Arc<dyn Storage>, identity: &ZoneIdentity) -> Vec<StoreError> {
    let history = History::new(storage, &identity.layout).load();
    let history = history.map(|(_, damaged)| damaged);
    let refused = refused_file(storage, &identity.layout).load();
    let refused = refused.map(|loaded| loaded.damaged).map_err(EngineError::from);
    let found = [history, refused].into_iter().flat_map(|loaded| match loaded {
        Ok(damaged) => damaged,
        Err(EngineError::Store(error)) => vec![error],
        Err(_) => Vec::new(),
    });
    found.collect()
}

/// One head, verified now.
pub(super) fn entry(rights: &Rights, signed: &SignedHead) -> HeadEntry {
    let head = signed.unverified();
    let signer = signed.certificate().node().id();
    let grant = rights.access.grant_under(&signer, &head.access);
    let verified = signed.verify(&rights.access).and_then(|_| signed.verify_epoch(&rights.epochs, &rights.access));
    HeadEntry {
        revision: head.revision,
        hash: signed.hash(),
        time: head.time,
        signer,
        is_root: signer == rights.access.root().id(),
        right: grant.map(|grant| grant.rights.into()),
        granted_by: grant.and_then(|grant| grant.granted).map(|(by, _)| by),
        granted: grant.and_then(|grant| grant.granted).map(|(_, time)| time),
        access: head.access,
        apps: Vec::new(),
        epoch: head.epoch,
        added_segments: head.added.len() as u64,
        added_bytes: head.added.iter().map(|summary| summary.sealed_bytes).sum(),
        removed_segments: head.removed.len() as u64,
        refused: verified.err().map(|error| error.to_string()),
    }
}

/// What was decided about apps after the record `after` and up to `until`.
fn apps_decided(access: &AccessLog, after: RecordHash, until: RecordHash) -> Vec<AppDecision> {
    let place = |name| access.records().iter().position(|record| record.hash() == name).map_or(0, |place| place + 1);
    let (from, to) = (place(after), place(until));
    let decided = access.records().get(from..to).unwrap_or_default().iter().map(|record| record.statement());
    let apps = decided.filter_map(|statement| match &statement.action {
        Action::App { name, record } => {
            Some(AppDecision { name: name.to_string(), record: *record, by: statement.signer })
        }
        _ => None,
    });
    apps.collect()
}

/// Says of each head that counts whether it follows the one before it, where that is the next older.
fn check_links(heads: &[SignedHead], rights: &Rights, entries: &mut [HeadEntry]) {
    for at in 1..heads.len() {
        let (before, signed) = (&heads[at - 1], &heads[at]);
        let adjacent = before.unverified().revision.next() == signed.unverified().revision;
        if adjacent && entries[at - 1].refused.is_none() && entries[at].refused.is_none() {
            entries[at].refused = signed.verify_follows(before, &rights.access).err().map(|error| error.to_string());
        }
    }
}
