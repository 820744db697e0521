//! Who may do what in one zone, and its keys: one state that is replaced whole while the zone is open.

use std::sync::{Arc, RwLock};

use bt_base::{PrincipalId, Timestamp};
use bt_tree::checks::{Check, enforce};
use bt_tree::{AccessLog, EpochList, Keyring, Rights as Level};

/// A time that never comes.
const NEVER: Timestamp = Timestamp::new(i64::MAX, 0);

/// The access log of a zone, its epochs, and their keys, at one moment, as the principal of this process sees them.
pub(crate) struct Rights {
    pub(crate) access: AccessLog,
    pub(crate) epochs: EpochList,
    pub(crate) keys: Keyring,
    who: PrincipalId,
    /// The last time at which the newest epoch is for exactly those who may read; none where it is not now.
    current_until: Option<Timestamp>,
    /// The last time at which the principal may write; none where it may not.
    writes_until: Option<Timestamp>,
}

impl Rights {
    pub(crate) fn new(access: AccessLog, epochs: EpochList, keys: Keyring, who: PrincipalId) -> Self {
        let current_until = epochs.current_until(&access);
        let grant = access.newest_grant(&who).filter(|grant| grant.rights >= Level::Write);
        let writes_until = grant.map(|grant| grant.until.unwrap_or(NEVER));
        Self { access, epochs, keys, who, current_until, writes_until }
    }

    /// The same keys under another access log.
    pub(crate) fn under(&self, access: AccessLog) -> Self {
        Self::new(access, self.epochs.clone(), self.keys.clone(), self.who)
    }

    /// Whether the newest epoch is not for exactly those who may read: the next one is to be made before anything
    /// more is written.
    pub(crate) fn needs_epoch(&self, now: Timestamp) -> bool {
        let outdated = self.current_until.is_none_or(|until| until < now);
        enforce(Check::NewKeys, if outdated { Err(()) } else { Ok(()) }).is_err()
    }

    /// Whether the principal of this process may write.
    pub(crate) fn may_write(&self, now: Timestamp) -> bool {
        self.writes_until.is_some_and(|until| now <= until)
    }

    /// The last time at which the principal may write, unless that never comes.
    pub(crate) fn writes_end(&self) -> Option<Timestamp> {
        self.writes_until.filter(|until| *until != NEVER)
    }

    /// Whether the principal's right to write ends within so many seconds, or has ended.
    pub(crate) fn write_ends_within(&self, seconds: i64, now: Timestamp) -> bool {
        self.writes_until.is_some_and(|until| until.seconds.saturating_sub(now.seconds) <= seconds)
    }
}

/// The rights of a zone as they are now. Reading them is a reference count; whoever replaces them holds the engine's
/// `journal` and `flushing` locks, so that no batch, segment or head is made under two of them.
pub(crate) struct ZoneRights(RwLock<Arc<Rights>>);

impl ZoneRights {
    pub(crate) fn new(rights: Rights) -> Self {
        Self(RwLock::new(Arc::new(rights)))
    }

    /// As they are now.
    pub(crate) fn now(&self) -> Arc<Rights> {
        self.0.read().expect("no panic under this lock").clone()
    }

    /// Replaces them.
    pub(crate) fn set(&self, rights: Rights) {
        *self.0.write().expect("no panic under this lock") = Arc::new(rights);
    }
}
