//! Making batches.

use std::sync::Arc;

use bt_base::label::JOURNAL_BATCH;
use bt_base::limits::TAG_SIZE;
use bt_base::{JournalId, Timestamp, ZoneId};
use bt_crypto::JournalCipher;

use super::frame::{BatchFrame, batch_hash};
use super::{BATCH_PAYLOAD, BatchError};
use crate::session::SessionKey;

/// A batch that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchInfo {
    /// Its number in the journal.
    pub number: u64,
    /// Its hash, which the next batch names.
    pub hash: [u8; 32],
    /// Its bytes, a multiple of [`super::BATCH_ALIGN`].
    pub len: usize,
}

/// Makes the batches of one journal, one after the other.
///
/// It does no I/O: whoever writes the bytes must write them in order, and must stop for good when a write fails,
/// because the batches after it name the one that was lost.
pub struct BatchWriter {
    cipher: JournalCipher,
    session: Arc<SessionKey>,
    zone: ZoneId,
    journal: JournalId,
    next_number: u64,
    next_record: u64,
    previous: [u8; 32],
}

impl BatchWriter {
    /// The writer of a new journal, whose records begin with `first_record`.
    ///
    /// `journal` must be fresh random bytes, and `cipher` that of this journal.
    pub fn new(
        cipher: JournalCipher,
        session: Arc<SessionKey>,
        zone: ZoneId,
        journal: JournalId,
        first_record: u64,
    ) -> Self {
        Self { cipher, session, zone, journal, next_number: 0, next_record: first_record, previous: [0; 32] }
    }

    /// Signs with another session from the next batch on.
    pub fn renew(&mut self, session: Arc<SessionKey>) {
        self.session = session;
    }

    /// Goes on with record `record`: a published head covers those in between, and nobody waits for them any more.
    pub fn skip_to(&mut self, record: u64) {
        self.next_record = self.next_record.max(record);
    }

    /// Appends a batch of `record_count` records to `out`: seals `payload`, signs, and pads with zeros.
    ///
    /// `time` is raised to the session's begin, if it is earlier. Fails, and uses up no number, where the payload is larger than [`BATCH_PAYLOAD`], the records do not begin
    /// where those before ended, or the session does not hold any more at `time`: then [`BatchWriter::renew`] it.
    pub fn seal(
        &mut self,
        time: Timestamp,
        first_record: u64,
        record_count: u32,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<BatchInfo, BatchError> {
        let (number, certificate) = (self.next_number, self.session.certificate());
        let time = certificate.no_earlier(time);
        self.check(time, first_record, payload)?;
        let frame = BatchFrame {
            journal: self.journal,
            zone: self.zone,
            number,
            first_record,
            record_count,
            time,
            previous: self.previous,
            certificate_len: certificate.as_bytes().len(),
            sealed_len: payload.len() + TAG_SIZE,
        };
        self.next_number += 1;
        self.next_record += u64::from(record_count);
        let (start, header) = (out.len(), frame.to_bytes());
        out.reserve(frame.total_len());
        out.extend_from_slice(&header);
        out.extend_from_slice(certificate.as_bytes());
        self.cipher.seal(number, &header, payload, out);
        self.previous = batch_hash(certificate.tree(), &out[start..]);
        out.extend_from_slice(&self.session.sign(JOURNAL_BATCH, &self.previous).0);
        out.resize(start + frame.total_len(), 0);
        Ok(BatchInfo { number, hash: self.previous, len: frame.total_len() })
    }

    /// The journal.
    pub fn journal(&self) -> JournalId {
        self.journal
    }

    /// The number of the next batch.
    pub fn next_number(&self) -> u64 {
        self.next_number
    }

    /// The number of the next record.
    pub fn next_record(&self) -> u64 {
        self.next_record
    }

    /// The hash that the next batch will name.
    pub fn previous_hash(&self) -> [u8; 32] {
        self.previous
    }

    fn check(&self, time: Timestamp, first_record: u64, payload: &[u8]) -> Result<(), BatchError> {
        let number = self.next_number;
        if payload.len() > BATCH_PAYLOAD {
            return Err(BatchError::TooLarge { bytes: payload.len() });
        }
        if first_record != self.next_record {
            return Err(BatchError::Records { number, expected: self.next_record, found: first_record });
        }
        self.session.certificate().check_time(time).map_err(|error| BatchError::Session { number, error })
    }
}
