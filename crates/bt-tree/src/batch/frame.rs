//! The fixed part of a batch, and what can be told from it without keys.

use bt_base::codec::DecodeError;
use bt_base::label::JOURNAL_BATCH;
use bt_base::limits::TAG_SIZE;
use bt_base::{JournalId, Timestamp, TreeId, ZoneId};
use bt_crypto::labelled_hash;

use super::{BATCH_ALIGN, BATCH_PAYLOAD};
use crate::session::SessionCertificate;

const MAGIC: &[u8; 8] = b"BTBATCH\n";
const VERSION: u16 = 2;
const WHAT: &str = "journal batch";

/// Bytes of a signature.
pub(super) const SIGNATURE: usize = 64;

/// What the first [`BatchFrame::SIZE`] bytes of a batch say of it. Nothing of it is verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchFrame {
    /// The journal that the batch belongs to.
    pub journal: JournalId,
    /// The zone that the journal belongs to.
    pub zone: ZoneId,
    /// The batch's number in its journal, from 0.
    pub number: u64,
    /// The number of its first record.
    pub first_record: u64,
    /// How many records it holds.
    pub record_count: u32,
    /// When it was made, by the signer's clock.
    pub time: Timestamp,
    /// The hash of the batch before; zeros for the first.
    pub previous: [u8; 32],
    pub(super) certificate_len: usize,
    pub(super) sealed_len: usize,
}

impl BatchFrame {
    /// Bytes that [`BatchFrame::peek`] needs.
    pub const SIZE: usize = 152;

    /// Looks whether a batch begins at the start of `bytes`, which may end before the batch does.
    ///
    /// Cheap and sure of nothing: none where the bytes cannot be the begin of a batch, an error where they are that
    /// of a batch in a newer format.
    pub fn peek(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let Some(bytes) = bytes.first_chunk::<{ Self::SIZE }>().filter(|bytes| bytes.starts_with(MAGIC)) else {
            return Ok(None);
        };
        let found = u16::from_le_bytes(array(bytes, 8));
        if found > VERSION {
            return Err(DecodeError::Version { what: WHAT, found, known: VERSION });
        }
        if (1..VERSION).contains(&found) {
            return Err(DecodeError::Outdated { what: WHAT, found, known: VERSION });
        }
        let frame = Self {
            journal: JournalId(array(bytes, 16)),
            zone: ZoneId(array(bytes, 48)),
            number: u64::from_le_bytes(array(bytes, 80)),
            first_record: u64::from_le_bytes(array(bytes, 88)),
            record_count: u32::from_le_bytes(array(bytes, 96)),
            time: Timestamp::new(i64::from_le_bytes(array(bytes, 112)), u32::from_le_bytes(array(bytes, 108))),
            previous: array(bytes, 120),
            certificate_len: u32::from_le_bytes(array(bytes, 12)) as usize,
            sealed_len: u32::from_le_bytes(array(bytes, 100)) as usize,
        };
        let possible = frame.certificate_len <= SessionCertificate::LIMIT
            && (TAG_SIZE..=BATCH_PAYLOAD + TAG_SIZE).contains(&frame.sealed_len)
            && frame.number < u64::MAX
            && frame.first_record.checked_add(u64::from(frame.record_count)).is_some()
            && frame.to_bytes() == *bytes;
        Ok(possible.then_some(frame))
    }

    /// Bytes of the whole batch, a multiple of [`BATCH_ALIGN`].
    pub fn total_len(&self) -> usize {
        (self.signed_len() + SIGNATURE).next_multiple_of(BATCH_ALIGN)
    }

    /// Bytes before the signature.
    pub(super) fn signed_len(&self) -> usize {
        Self::SIZE + self.certificate_len + self.sealed_len
    }

    pub(super) fn to_bytes(self) -> [u8; Self::SIZE] {
        let u32_bytes = |len: usize| u32::try_from(len).expect("the parts of a batch are below 4 GiB").to_le_bytes();
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&(Self::SIZE as u16).to_le_bytes());
        bytes[12..16].copy_from_slice(&u32_bytes(self.certificate_len));
        bytes[16..48].copy_from_slice(&self.journal.0);
        bytes[48..80].copy_from_slice(&self.zone.0);
        bytes[80..88].copy_from_slice(&self.number.to_le_bytes());
        bytes[88..96].copy_from_slice(&self.first_record.to_le_bytes());
        bytes[96..100].copy_from_slice(&self.record_count.to_le_bytes());
        bytes[100..104].copy_from_slice(&u32_bytes(self.sealed_len));
        bytes[104..108].copy_from_slice(&u32_bytes(self.total_len()));
        bytes[108..112].copy_from_slice(&self.time.nanos.to_le_bytes());
        bytes[112..120].copy_from_slice(&self.time.seconds.to_le_bytes());
        bytes[120..].copy_from_slice(&self.previous);
        bytes
    }
}

/// The name of a batch: the hash of everything before its signature; also what is signed.
pub(super) fn batch_hash(tree: &TreeId, signed: &[u8]) -> [u8; 32] {
    labelled_hash(JOURNAL_BATCH, tree, &[signed])
}

fn array<const N: usize>(bytes: &[u8; BatchFrame::SIZE], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the fields lie within the frame")
}
