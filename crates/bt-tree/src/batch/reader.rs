//! Verifying and opening batches.

use bt_base::label::JOURNAL_BATCH;
use bt_base::{JournalId, RecordHash, Timestamp};
use bt_crypto::{JournalCipher, PreparedKey, Signature};

use super::BatchError;
use super::frame::{BatchFrame, SIGNATURE, batch_hash};
use crate::access::AccessLog;
use crate::head::JournalPosition;
use crate::session::{SessionCertificate, SessionError};

/// A batch that counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenedBatch {
    /// Its number in the journal.
    pub number: u64,
    /// The number of its first record.
    pub first_record: u64,
    /// How many records it holds.
    pub record_count: u32,
    /// When it was made, by the signer's clock.
    pub time: Timestamp,
    /// The records, as they were given to the writer.
    pub payload: Vec<u8>,
    /// Its hash, which the next batch names.
    pub hash: [u8; 32],
    /// Its bytes, a multiple of [`super::BATCH_ALIGN`].
    pub len: usize,
}

/// Reads the batches of one journal from a head's position on, each verified before it counts.
///
/// A batch that does not open is the journal's end, if its error [may be the end](BatchError::may_be_the_end) and no
/// [good one](BatchReader::is_good_later_batch) follows. Which bytes to look at is the caller's to know.
pub struct BatchReader<'a> {
    cipher: JournalCipher,
    log: &'a AccessLog,
    /// The access record of the head that the batches follow.
    access: RecordHash,
    journal: JournalId,
    next_number: u64,
    next_record: Option<u64>,
    /// Records up to this number are in the head: batches may leave them out.
    covered: u64,
    previous: [u8; 32],
    /// The signer of the batch before: nearly always that of the next one.
    signer: Option<Signer>,
}

/// A session whose certificate was found to be signed by its node.
struct Signer {
    certificate: SessionCertificate,
    key: PreparedKey,
}

/// What a batch says, once its signature is known to be right.
struct Verified<'b> {
    hash: [u8; 32],
    header: &'b [u8],
    sealed: &'b [u8],
}

impl<'a> BatchReader<'a> {
    /// A reader that goes on at `position` of a head; `cipher` is that of the journal, `log` the zone's newest, `access`
    /// the record that the head obeys.
    pub fn new(cipher: JournalCipher, log: &'a AccessLog, access: RecordHash, position: &JournalPosition) -> Self {
        Self {
            cipher,
            log,
            access,
            journal: position.id,
            next_number: position.next_batch,
            next_record: None,
            covered: position.covered,
            previous: position.previous_batch_hash,
            signer: None,
        }
    }

    /// Verifies and opens the next batch, which begins at the start of `bytes` and may end before they do.
    pub fn open(&mut self, bytes: &[u8]) -> Result<OpenedBatch, BatchError> {
        let frame = BatchFrame::peek(bytes)?.ok_or(BatchError::NotABatch)?;
        self.check_place(&frame)?;
        let Verified { hash, header, sealed } = self.verify(frame, bytes)?;
        let BatchFrame { number, first_record, record_count, time, .. } = frame;
        let payload = self.cipher.open(number, header, sealed).map_err(|_| BatchError::Sealed { number })?;
        self.next_number = number + 1;
        self.next_record = Some(first_record + u64::from(record_count));
        self.previous = hash;
        Ok(OpenedBatch { number, first_record, record_count, time, payload, hash, len: frame.total_len() })
    }

    /// Whether a whole batch of this journal, after the next one and rightly signed, begins at the start of `bytes`.
    ///
    /// If there is one behind a place where [`BatchReader::open`] failed, something that was written is missing: the
    /// journal is damaged there. If there is none, that place is its end.
    pub fn is_good_later_batch(&mut self, bytes: &[u8]) -> bool {
        let Ok(Some(frame)) = BatchFrame::peek(bytes) else { return false };
        frame.journal == self.journal && frame.number > self.next_number && self.verify(frame, bytes).is_ok()
    }

    /// The number of the next batch.
    pub fn next_number(&self) -> u64 {
        self.next_number
    }

    /// The number of the next record; none before the first batch.
    pub fn next_record(&self) -> Option<u64> {
        self.next_record
    }

    /// The hash that the next batch must name.
    pub fn previous_hash(&self) -> [u8; 32] {
        self.previous
    }

    fn check_place(&self, frame: &BatchFrame) -> Result<(), BatchError> {
        let number = frame.number;
        if frame.journal != self.journal {
            return Err(BatchError::OtherJournal { expected: self.journal, found: frame.journal });
        }
        if number != self.next_number {
            return Err(BatchError::Number { expected: self.next_number, found: number });
        }
        if frame.previous != self.previous {
            return Err(BatchError::Previous { number });
        }
        let uncovered = self.covered.saturating_add(1);
        let expected = self.next_record.unwrap_or(uncovered);
        let fits = match self.next_record {
            Some(next) => frame.first_record >= next && frame.first_record <= next.max(uncovered),
            None => frame.first_record <= uncovered,
        };
        if fits { Ok(()) } else { Err(BatchError::Records { number, expected, found: frame.first_record }) }
    }

    /// Checks everything that does not depend on the batches before.
    fn verify<'b>(&mut self, frame: BatchFrame, bytes: &'b [u8]) -> Result<Verified<'b>, BatchError> {
        let (number, need) = (frame.number, frame.total_len());
        if frame.zone != *self.log.zone() {
            return Err(BatchError::OtherZone { expected: *self.log.zone(), found: frame.zone });
        }
        let batch = bytes.get(..need).ok_or(BatchError::Cut { number, need, have: bytes.len() })?;
        let (signed, rest) = batch.split_at(frame.signed_len());
        let (signature, padding) = rest.split_at(SIGNATURE);
        if padding.iter().any(|byte| *byte != 0) {
            return Err(BatchError::Padding { number });
        }
        let (header, body) = signed.split_at(BatchFrame::SIZE);
        let (certificate, sealed) = body.split_at(frame.certificate_len);
        let hash = batch_hash(self.log.tree(), signed);
        let signature = Signature(signature.try_into().expect("a signature has 64 bytes"));
        let signer = self.signer(number, certificate, frame.time)?;
        let right = signer.key.verify(JOURNAL_BATCH, signer.certificate.tree(), &hash, &signature);
        right.map_err(|_| BatchError::Signature { number })?;
        Ok(Verified { hash, header, sealed })
    }

    /// The signer named by a certificate, if it may write the zone at the time `at`.
    fn signer(&mut self, number: u64, certificate: &[u8], at: Timestamp) -> Result<&Signer, BatchError> {
        let session = |error| BatchError::Session { number, error };
        let signer = match self.signer.take().filter(|known| known.certificate.as_bytes() == certificate) {
            Some(known) => known,
            None => {
                let certificate = SessionCertificate::decode(certificate).map_err(session)?;
                certificate.verify(self.log.tree(), at).map_err(session)?;
                let key = certificate.session().prepare().map_err(|_| session(SessionError::Signature))?;
                Signer { certificate, key }
            }
        };
        signer.certificate.check_time(at).map_err(session)?;
        self.log
            .accepts_batch(&signer.certificate.node().id(), &self.access, at)
            .map_err(|error| BatchError::Access { number, error })?;
        Ok(self.signer.insert(signer))
    }
}
