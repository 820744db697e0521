//! Changing who may do what while the zone is open, and keeping its keys with it.
//!
//! A signed access record is verified, written and obeyed under the `journal` and `flushing` locks: no batch, segment
//! or head is made in between. The order on the disk is: access log, epochs, head. A crash after any of them leaves
//! a whole state: an access log that is newer than the epochs gets its epoch before the next commit, an epoch that no
//! head uses yet is the next head's.
//!
//! A journal's key comes from the epoch of the head that names it. So a new epoch begins with a commit that covers
//! everything and names no journal; the next fsync starts one under the new key.

#[cfg(test)]
mod tests;

use std::sync::MutexGuard;

use bt_base::{PrincipalId, Timestamp};
use bt_tree::{AccessLog, AccessRecord, Action, EpochList, Keyring, LastHead, Rights as Level};

use super::journal::Journal;
use super::newest::CLOCK_SECONDS;
use super::{Engine, Flushing};
use crate::error::{EngineError, Result};
use crate::identity;
use crate::rights::Rights;
use crate::system::{SystemEntropy, now};

/// Heads that a revocation may name as the last that counts: the newest ones, and those since.
pub(super) const RECENT_HEADS: usize = 1024;
/// The part of the zone's records that is left for revocations and for keys after an expiry.
const HELD_BACK: u64 = 8;

/// An access log with more records than before.
struct Appended {
    access: AccessLog,
    /// Who lost all rights, and the last head that counts of them.
    revoked: Vec<(PrincipalId, Option<LastHead>)>,
    /// Nobody was granted anything.
    only_takes: bool,
}

/// An epoch that is not written yet.
struct NextEpoch {
    epochs: EpochList,
    keys: Keyring,
    bytes: Vec<u8>,
}

impl Engine {
    fn lock_journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(|_| panic!("a journal write panicked"))
    }

    /// Whether something has to be done before the next write: a new epoch, or no write at all.
    pub(super) fn is_outdated(&self) -> bool {
        let (rights, now) = (self.identity.rights.now(), now());
        rights.needs_epoch(now) || !rights.may_write(now)
    }

    /// Whether the principal of this process may sign something of this time.
    pub(super) fn check_may_write(&self, time: Timestamp) -> Result<()> {
        match self.identity.rights.now().may_write(time) {
            true => Ok(()),
            false => Err(EngineError::RightsEnded(self.identity.node.principal())),
        }
    }

    /// Before a commit: publishes a new epoch where the newest is not for exactly those who may read now.
    pub(super) fn obey(&self) -> Result<()> {
        match self.read_only || !self.is_outdated() {
            true => Ok(()),
            false => self.obey_with(&mut self.lock_journal()),
        }
    }

    /// As [`Engine::obey`], by who holds the journal.
    pub(super) fn obey_with(&self, journal: &mut Journal) -> Result<()> {
        if !self.is_outdated() {
            return Ok(());
        }
        self.check_writable()?;
        let mut flushing = self.flushing();
        self.renew_epoch(journal, &mut flushing)
    }

    /// Publishes a new epoch for those who may read now.
    fn renew_epoch(&self, journal: &mut Journal, flushing: &mut Flushing) -> Result<()> {
        self.stop_on_error(self.check_may_write(now()))?;
        let access = self.identity.rights.now().access.clone();
        let next = self.next_epoch(&access)?;
        self.stop_on_error(self.check_size("epochs", next.bytes.len(), true))?;
        self.begin_epoch(journal, flushing, access, next)
    }

    /// Whether these records, if they count, end the right to write of the principal of this process.
    pub(crate) fn would_end_writing(&self, records: &[Vec<u8>]) -> bool {
        let before = self.identity.rights.now();
        let ends = |appended: Appended| !before.under(appended.access).may_write(now());
        !self.read_only && before.may_write(now()) && self.verified(&before.access, records).is_ok_and(ends)
    }

    /// The log with these records behind it, all of them verified.
    fn verified(&self, access: &AccessLog, records: &[Vec<u8>]) -> Result<Appended> {
        let mut access = access.clone();
        let (mut revoked, mut only_takes) = (Vec::new(), true);
        for record in records {
            let record = AccessRecord::decode(record).map_err(bt_tree::AccessError::from)?;
            let signer = record.statement().signer;
            let standing = access.standing(&signer, now());
            let appended = access.append(record)?;
            check_standing(signer, standing, &appended.statement().action)?;
            let ahead = appended.statement().time.seconds.saturating_sub(now().seconds);
            if ahead > CLOCK_SECONDS {
                return Err(EngineError::ClockAhead { days: ahead / CLOCK_SECONDS });
            }
            let action = &appended.statement().action;
            only_takes &= !matches!(action, Action::Grant { .. } | Action::App { record: Some(_), .. });
            if let (Some(principal), Action::Revoke { last, .. } | Action::Succeed { last, .. }) =
                (action.principal(), action)
            {
                revoked.push((principal, *last));
            }
        }
        Ok(Appended { access, revoked, only_takes })
    }

    /// Verifies signed access records, appends them to the log, and obeys them. Durable when this returns.
    pub(crate) fn append_access(&self, records: &[Vec<u8>]) -> Result<()> {
        if self.storage_read_only {
            return Err(bt_vfs::Refusal::ReadOnly.into());
        }
        let mut journal = self.lock_journal();
        let mut flushing = self.flushing();
        let mut before = self.identity.rights.now();
        if !self.read_only && before.may_write(now()) {
            self.check_writable()?;
        }
        let Appended { access, revoked, only_takes } = self.verified(&before.access, records)?;
        let loses_write = before.may_write(now()) && !before.under(access.clone()).may_write(now());
        if loses_write && !self.read_only && self.read().is_changed() {
            match before.needs_epoch(now()) {
                true => self.renew_epoch(&mut journal, &mut flushing)?,
                false => self.commit_locked(&mut flushing, None).map(drop)?,
            }
            before = self.identity.rights.now();
        }
        let after = before.under(access.clone());
        for (principal, last) in revoked {
            self.check_last_head(&flushing, loses_write && principal == self.identity.node.principal(), last)?;
        }
        // A zone whose right was over before stays stopped: the keys follow when it is opened again.
        let writes = !self.read_only && self.stopped().is_none() && after.may_write(now());
        let has_same_readers = access.has_same_rights_since(&before.access.newest())? && !after.needs_epoch(now());
        let next = if writes && !has_same_readers { Some(self.next_epoch(&access)?) } else { None };
        let bytes = access.to_bytes();
        self.check_size("access", bytes.len(), only_takes)?;
        self.check_size("epochs", next.as_ref().map_or(0, |next| next.bytes.len()), only_takes)?;
        self.stop_on_error(self.replace(&self.identity.layout.access(), &bytes))?;
        self.identity.rights.set(after);
        match next {
            Some(next) => self.begin_epoch(&mut journal, &mut flushing, access, next),
            None if writes => self.publish_under(&mut flushing),
            None => {
                if loses_write {
                    self.stop(&EngineError::RightsEnded(self.identity.node.principal()));
                }
                Ok(())
            }
        }
    }

    /// Publishes a head that names the newest access record, so that the log cannot be put back without it.
    fn publish_under(&self, flushing: &mut Flushing) -> Result<()> {
        if self.read().is_changed() {
            return self.commit_locked(flushing, None).map(drop);
        }
        let position = *self.position.lock().expect("no panic under this lock");
        self.republish(flushing, position)
    }

    /// The newest head that counts.
    pub(crate) fn newest_head(&self) -> Option<LastHead> {
        self.flushing().recent.back().copied()
    }

    /// A revocation names a head of this zone. Where it is ours, nothing may have followed that head.
    fn check_last_head(&self, flushing: &Flushing, is_own: bool, last: Option<LastHead>) -> Result<()> {
        let known = flushing.recent.back().copied();
        let fits = match last {
            None => known.is_none(),
            Some(_) if is_own => last == known,
            Some(last) => flushing.recent.contains(&last),
        };
        if fits { Ok(()) } else { Err(EngineError::OutdatedHead) }
    }

    /// Refuses a file of the zone's records that would be too long to be read again. What takes rights away may fill it.
    fn check_size(&self, file: &'static str, bytes: usize, only_takes: bool) -> Result<()> {
        let most = self.limits.record_bytes;
        let limit = if only_takes { most } else { most - most / HELD_BACK };
        match bytes as u64 > limit {
            true => Err(EngineError::RecordsFull { file, bytes: bytes as u64, limit }),
            false => Ok(()),
        }
    }

    /// The next epoch, for those who may read under `access`; nothing is written yet.
    fn next_epoch(&self, access: &AccessLog) -> Result<NextEpoch> {
        let rights = self.identity.rights.now();
        let (mut epochs, mut keys) = (rights.epochs.clone(), rights.keys.clone());
        let session = self.fresh_session()?;
        let epoch = epochs.advance(access, &mut keys, &session, now(), &mut SystemEntropy)?;
        tracing::info!(epoch, "the zone gets new keys");
        let bytes = epochs.to_bytes();
        Ok(NextEpoch { epochs, keys, bytes })
    }

    /// Writes a new epoch, and publishes a head under it that covers everything and names no journal. A failure is
    /// final: what is sealed from now on is under the new key, and the old journal must not go on.
    fn begin_epoch(
        &self,
        journal: &mut Journal,
        flushing: &mut Flushing,
        access: AccessLog,
        next: NextEpoch,
    ) -> Result<()> {
        let NextEpoch { epochs, keys, bytes } = next;
        self.stop_on_error(self.replace(&self.identity.layout.epochs(), &bytes))?;
        self.identity.rights.set(Rights::new(access, epochs, keys, self.identity.node.principal()));
        self.stop_on_error(self.commit_without_journal(journal, flushing))
    }

    /// Publishes a head that covers everything, under the newest epoch, and ends the journal.
    fn commit_without_journal(&self, journal: &mut Journal, flushing: &mut Flushing) -> Result<()> {
        let offset = {
            let mut position = self.position.lock().expect("no panic under this lock");
            *position = super::open::no_journal(0, position.offset);
            position.offset
        };
        journal.end();
        if self.read().is_changed() {
            self.stop_on_error(self.commit_locked(flushing, None))?;
        } else {
            self.republish(flushing, super::open::no_journal(0, offset))?;
        }
        let file = self.journal_file.as_ref().expect("a writable zone has a journal");
        self.stop_on_error(file.resume(offset, offset).map_err(EngineError::from))
    }

    /// Ends the journal and overwrites it: it holds what was synced under earlier keys.
    pub(super) fn erase_journal(&self) -> Result<()> {
        self.obey()?;
        let mut journal = self.lock_journal();
        let mut flushing = self.flushing();
        self.check_writable()?;
        // Neither of the two newest heads may name it: each may be what a crash leaves.
        for _ in 0..2 {
            self.stop_on_error(self.commit_without_journal(&mut journal, &mut flushing))?;
        }
        let file = self.journal_file.as_ref().expect("a writable zone has a journal");
        self.stop_on_error(file.erase().map_err(EngineError::from))
    }

    /// Replaces a file of the zone's records, at need with the room that is held back for a full disk.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let replace = || identity::replace(&*self.storage, name, bytes).map_err(EngineError::from);
        match replace() {
            Err(error) if error.is_no_space() && self.release_ballast() => replace(),
            other => other,
        }
    }
}

/// Whoever signed may still decide by the clock here: a record names a time itself, and one whose right is over would name
/// an earlier one. A root that takes over had no standing before.
fn check_standing(signer: PrincipalId, standing: Option<(Level, Option<Timestamp>)>, action: &Action) -> Result<()> {
    match (standing, action) {
        (Some((Level::Admin, _)), _) | (_, Action::Succeed { .. }) => Ok(()),
        _ => Err(EngineError::AdminEnded(signer)),
    }
}
