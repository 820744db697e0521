//! The access log of a zone: who may do what, decided by the root and the zone's admins, in one order.
//!
//! [`record`] is one signed statement, [`log`] the chain of them and the answers it gives. Each record names the
//! hash of the one before, the first names the zone's birth; so the hash of a record stands for everything decided
//! up to it, and a head says with one hash under which rules it was made.

pub mod log;
#[cfg(test)]
mod model_tests;
pub mod record;
#[cfg(test)]
mod tests;

pub use log::{AccessLog, Grant, InstalledApp};
pub use record::{AccessRecord, Action, LastHead, Rights, Statement};

use bt_base::codec::DecodeError;
use bt_base::{HeadHash, PrincipalId, RecordHash, Revision, Timestamp, ZoneId};
use bt_crypto::KeyError;

use crate::app::AppName;

/// Why a record does not belong to a log, or a right is not given by it.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The bytes are no access log.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A record is about another zone.
    #[error("access record {number} is for zone {found}, this is the log of zone {expected}")]
    OtherZone {
        /// The record's place in the log.
        number: u64,
        /// The log's zone.
        expected: ZoneId,
        /// The zone that the record names.
        found: ZoneId,
    },
    /// A record does not follow the one before it.
    #[error("access record {number} does not follow the record before it: the log is damaged or was cut")]
    Chain {
        /// The place at which the record was found.
        number: u64,
    },
    /// The signer did not sign the record, or not these bytes.
    #[error("the signature of access record {number} is wrong: the log is damaged or forged")]
    Signature {
        /// The record's place in the log.
        number: u64,
    },
    /// The signer was not an admin of the zone when the record was made.
    #[error("access record {number} is signed by {signer}, who is not an admin of the zone at that point")]
    NotAdmin {
        /// The record's place in the log.
        number: u64,
        /// Who signed.
        signer: PrincipalId,
    },
    /// A record would take rights from the root.
    #[error("access record {number} revokes the root, which cannot be revoked")]
    RevokesRoot {
        /// The record's place in the log.
        number: u64,
    },
    /// A grant would give less than the one it replaces, and so not say from which head on the loss counts.
    #[error("access record {number} would lower the rights of {principal}: revoke them first, then grant what stays")]
    Lowers {
        /// The record's place in the log.
        number: u64,
        /// Whose rights would shrink.
        principal: PrincipalId,
    },
    /// A record removes an app that is not installed.
    #[error("access record {number} removes the app {name}, which is not installed")]
    NoSuchApp {
        /// The record's place in the log.
        number: u64,
        /// The name.
        name: AppName,
    },
    /// There are too many apps.
    #[error("access record {number} installs one app more than the {apps} that a zone can have")]
    TooManyApps {
        /// The record's place in the log.
        number: u64,
        /// The most apps of a zone.
        apps: usize,
    },
    /// A zone or its log obeys a root that the tree's list of successions does not know, or goes back to an older one.
    #[error("the zone obeys succession {0}, which is not among those of the tree at hand: fetch its file `succession`")]
    UnknownSuccession(RecordHash),
    /// A record would make the zone obey a root that it obeys already, or one before that.
    #[error("access record {number} names no newer root than the zone obeys already")]
    NotNewer {
        /// The record's place in the log.
        number: u64,
    },
    /// The log has no room for one more record.
    #[error("the access log of the zone is full at {records} records")]
    Full {
        /// Records in the log.
        records: usize,
    },
    /// Something was made under a record that this log does not have.
    #[error("access record {0} is not in the log: the log here is older than what it is to judge, fetch a newer one")]
    UnknownRecord(RecordHash),
    /// The principal has no such right.
    #[error("{principal} had no right to {needed} the zone at {at:?} under access record {record}")]
    Denied {
        /// Who acted.
        principal: PrincipalId,
        /// What it takes.
        needed: Rights,
        /// The newest record that counted.
        record: RecordHash,
        /// When it was done.
        at: Timestamp,
    },
    /// A head was signed by a principal whose heads end before it.
    #[error("head {head} of revision {revision} is signed by {principal}, whose rights ended before it")]
    Revoked {
        /// Who signed the head.
        principal: PrincipalId,
        /// The head.
        head: HeadHash,
        /// Its revision.
        revision: Revision,
    },
    /// A journal batch was signed by a principal that was revoked after the head that the journal follows.
    #[error("it is signed by {principal}, whose rights ended with the head before it")]
    Ended {
        /// Who signed.
        principal: PrincipalId,
    },
    /// The signer's key did not sign.
    #[error("the access record could not be signed: {0}")]
    Key(#[from] KeyError),
}
