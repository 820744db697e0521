//! Journal batches: what one group commit writes and fsync waits for.
//!
//! A batch holds journal records, sealed under the journal's key, and is signed by the session key over everything
//! before the signature, which includes the hash of the batch before. Its signer's certificate travels in it, so it
//! can be verified alone. It begins at a multiple of [`BATCH_ALIGN`] bytes in the journal's file and fills whole
//! such units, the rest with zeros. The byte table is in `doc/format/journal.md`.
//!
//! Invariants:
//! * A journal id is used for one opening of a zone: the batch number is the nonce, so a [`BatchWriter`] never
//!   starts where another stopped, and a number that was given to a batch is never given again, even if writing
//!   the batch failed.
//! * Batch numbers rise without gap. So do record numbers, but for records that a published head covers, which no
//!   batch need hold any more.
//! * [`BatchFrame::peek`] believes what it reads, [`BatchReader`] nothing.

mod frame;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use frame::BatchFrame;
pub use reader::{BatchReader, OpenedBatch};
pub use writer::{BatchInfo, BatchWriter};

use bt_base::codec::DecodeError;
use bt_base::{JournalId, ZoneId};

use crate::access::AccessError;
use crate::session::SessionError;

/// The unit in which batches lie in the journal's file, in bytes.
pub const BATCH_ALIGN: usize = 4096;
/// The most bytes of records in one batch.
pub const BATCH_PAYLOAD: usize = 32 * 1024 * 1024;

/// Why a batch cannot be made or trusted.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The bytes have a version that is not known here.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The bytes do not begin like a batch.
    #[error("there is no journal batch here")]
    NotABatch,
    /// The batch is of an earlier opening of the journal.
    #[error("the batch is of journal {found}, expected was journal {expected}")]
    OtherJournal {
        /// The journal being read.
        expected: JournalId,
        /// The journal that the batch names.
        found: JournalId,
    },
    /// The batch is of another zone's journal.
    #[error("the batch is of zone {found}, expected was zone {expected}")]
    OtherZone {
        /// The zone being read.
        expected: ZoneId,
        /// The zone that the batch names.
        found: ZoneId,
    },
    /// The batch is not the next one: an older one that was not overwritten yet, or one after a gap.
    #[error("this is batch {found} of the journal, expected was batch {expected}")]
    Number {
        /// The next batch.
        expected: u64,
        /// The batch found.
        found: u64,
    },
    /// The batch was made after another batch than the one read before it.
    #[error("batch {number} does not name the batch before it: the journal is damaged or forged")]
    Previous {
        /// The batch.
        number: u64,
    },
    /// The batch's records do not continue those of the batch before.
    #[error("batch {number} begins with record {found}, expected was record {expected}")]
    Records {
        /// The batch.
        number: u64,
        /// The next record.
        expected: u64,
        /// The first record of the batch.
        found: u64,
    },
    /// Fewer bytes than the batch has.
    #[error("batch {number} has {need} bytes, only {have} are here")]
    Cut {
        /// The batch.
        number: u64,
        /// Bytes of the batch.
        need: usize,
        /// Bytes at hand.
        have: usize,
    },
    /// The bytes after the signature are not zeros.
    #[error("the padding of batch {number} is not zero: the journal is damaged")]
    Padding {
        /// The batch.
        number: u64,
    },
    /// The session that signed the batch, or is to sign it, cannot be trusted at the batch's time.
    #[error("batch {number}: {error}")]
    Session {
        /// The batch.
        number: u64,
        /// What is wrong with the session.
        error: SessionError,
    },
    /// The session's key did not sign the batch, or not these bytes.
    #[error("the signature of batch {number} is wrong: it was cut by a crash, damaged or forged")]
    Signature {
        /// The batch.
        number: u64,
    },
    /// The signer had no right to write the zone.
    #[error("batch {number} does not count: {error}")]
    Access {
        /// The batch.
        number: u64,
        /// Which right was missing.
        error: AccessError,
    },
    /// The records are not sealed under the journal's key, though the signature is right.
    #[error("the records of batch {number} do not open under the journal's key: its writer broke the journal")]
    Sealed {
        /// The batch.
        number: u64,
    },
    /// More records than one batch may hold.
    #[error("{bytes} bytes of records do not fit in one batch, which holds {BATCH_PAYLOAD}: write several")]
    TooLarge {
        /// Bytes of the records.
        bytes: usize,
    },
}

impl BatchError {
    /// Whether the batch is whole and rightly signed, but by one whose rights were taken away: it and all that follows
    /// do not count.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Access { error: AccessError::Ended { .. }, .. })
    }

    /// Whether this is what the end of a journal may look like: nothing, an older batch that was not overwritten yet,
    /// or one that a crash cut short. Otherwise the journal is damaged, or not for this program to read.
    ///
    /// A disk writes sectors of 512 bytes whole or not at all, and header and certificate lie in the first: a crash
    /// leaves both right or both old.
    pub fn may_be_the_end(&self) -> bool {
        match self {
            Self::NotABatch
            | Self::OtherJournal { .. }
            | Self::Cut { .. }
            | Self::Padding { .. }
            | Self::Signature { .. } => true,
            Self::Number { expected, found } => found < expected,
            _ => false,
        }
    }
}
