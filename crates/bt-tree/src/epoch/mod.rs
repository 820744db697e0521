//! Epochs: the generations of a zone's keys, and how a reader comes by them.
//!
//! [`record`] is one signed statement: here is a new key, as a commitment, and here it lies sealed to each reader
//! and always to the root. [`list`] is the chain of them, [`keyring`] what a reader gets out of it: each record
//! also holds the key before, sealed under its own, so one box opens the whole past.
//!
//! A store that holds the list learns neither who the readers are nor, within a power of two, how many: boxes are
//! found by labels that only writer and reader can compute, and the list of boxes is padded.

pub mod keyring;
pub mod list;
pub mod record;
#[cfg(test)]
mod tests;

pub use keyring::Keyring;
pub use list::EpochList;
pub use record::EpochRecord;

use bt_base::codec::DecodeError;
use bt_base::{PrincipalId, ZoneId};
use bt_crypto::KeyError;

use crate::access::AccessError;
use crate::session::SessionError;

/// Why an epoch cannot be made, trusted or opened.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// The bytes are no list of epochs.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A record is about another zone.
    #[error("epoch {number} is of zone {found}, this is the list of zone {expected}")]
    OtherZone {
        /// The epoch at that place.
        number: u32,
        /// The list's zone.
        expected: ZoneId,
        /// The zone that the record names.
        found: ZoneId,
    },
    /// A record does not follow the one before it.
    #[error("the record of epoch {number} does not follow the one before it: the list is damaged or was cut")]
    Chain {
        /// The epoch at that place.
        number: u32,
    },
    /// The session that signed a record cannot be trusted, or not at the record's time.
    #[error("epoch {number}: {error}")]
    Session {
        /// The epoch.
        number: u32,
        /// What is wrong with the session.
        error: SessionError,
    },
    /// The session's key did not sign a record, or not these bytes.
    #[error("the signature of epoch {number} is wrong: the list is damaged or forged")]
    Signature {
        /// The epoch.
        number: u32,
    },
    /// The signer had no right to make an epoch.
    #[error("epoch {number} does not count: {error}")]
    Access {
        /// The epoch.
        number: u32,
        /// Which right was missing.
        error: AccessError,
    },
    /// More readers than a record has boxes for.
    #[error("the zone has {readers} readers, an epoch has boxes for {limit}: revoke some")]
    TooManyReaders {
        /// Readers, the root included.
        readers: usize,
        /// The most boxes.
        limit: usize,
    },
    /// The list has no room for one more epoch.
    #[error("the zone has had {epochs} epochs, its list is full")]
    Full {
        /// Epochs in the list.
        epochs: usize,
    },
    /// There is no epoch yet, so nothing to open.
    #[error("the zone has no epoch yet")]
    NoEpoch,
    /// No box of the newest epoch is for this principal.
    #[error("{principal} is not a reader of the zone in epoch {number}: have an admin grant it, then commit")]
    NotAReader {
        /// Who tried.
        principal: PrincipalId,
        /// The newest epoch.
        number: u32,
    },
    /// A key that was found is not the one its epoch commits to.
    #[error("the key found for epoch {number} is not the one its record commits to: its writer broke the list")]
    WrongKey {
        /// The epoch.
        number: u32,
    },
    /// The keys at hand are not those of the list's newest epoch.
    #[error("the keys at hand end with epoch {held}, the list with epoch {newest}: open the list again")]
    StaleKeyring {
        /// The newest key at hand; 0 for none.
        held: u32,
        /// The list's newest epoch; 0 for none.
        newest: u32,
    },
    /// The reader's own key could not be used.
    #[error("the reader's key could not be used: {0}")]
    Key(#[from] KeyError),
}
