//! Heads: the signed record of a zone's newest revision.
//!
//! A head names the root of the zone's index, and with it, by hashes, every byte of the zone. To trust bytes one
//! needs a head, the certificate that travels with it, the zone's access log and an epoch key. Whether a head is
//! the *newest* is not written in it.

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::codec::{DecodeError, encode};
use bt_base::{HeadHash, JournalId, RecordHash, Revision, SegmentId, Timestamp, TreeId, ZoneId, label};

use crate::access::{AccessError, AccessLog};
use crate::block::BlockRef;
use crate::checks::{Check, enforce};
use crate::envelope::{Envelope, Kind};
use crate::epoch::EpochList;
use crate::session::{SessionCertificate, SessionError, SessionKey};

const KIND: Kind = Kind { what: "head", label: label::HEAD, limit: SignedHead::LIMIT };

/// Why a head cannot be made or trusted.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// The bytes are no head.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// More segments than a head has room for.
    #[error("a head with {added} added and {removed} removed segments is too large: commit in smaller steps")]
    TooManySegments {
        /// Segments added.
        added: usize,
        /// Segments removed.
        removed: usize,
    },
    /// The head is that of another zone, or of a zone in another tree.
    #[error("the head is that of zone {found}, expected was zone {expected} of this tree")]
    OtherZone {
        /// The zone at hand.
        expected: ZoneId,
        /// The zone that the head names.
        found: ZoneId,
    },
    /// The session that signed it cannot be trusted, or not at the head's time.
    #[error("the head of revision {revision}: {error}")]
    Session {
        /// The head's revision.
        revision: Revision,
        /// What is wrong with the session.
        error: SessionError,
    },
    /// The session's key did not sign the head, or not these bytes.
    #[error("the signature of the head of revision {revision} is wrong: the record is damaged or forged")]
    Signature {
        /// The head's revision.
        revision: Revision,
    },
    /// The signer had no right to sign it.
    #[error("the head of revision {revision} does not count: {error}")]
    Access {
        /// The head's revision.
        revision: Revision,
        /// Which right was missing.
        error: AccessError,
    },
    /// The head obeys an older access record than its epoch was made for, or its epoch is none of the zone's.
    #[error("the head of revision {revision} is outdated: it does not obey the access record of its epoch {epoch}")]
    Outdated {
        /// The head's revision.
        revision: Revision,
        /// The epoch that it names.
        epoch: u32,
    },
    /// The head does not continue the one it was compared with.
    #[error("the head of revision {revision} does not follow the head of revision {previous}: its {what} is wrong")]
    NotSuccessor {
        /// The head's revision.
        revision: Revision,
        /// The revision of the head it was compared with.
        previous: Revision,
        /// The field that does not fit.
        what: &'static str,
    },
}

impl HeadError {
    /// Whether the head is whole and rightly signed, but by one who had no right to sign it.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Access { error: AccessError::Denied { .. } | AccessError::Revoked { .. }, .. })
    }
}

/// Where reading of the journal goes on after a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct JournalPosition {
    /// Which opening of the journal.
    pub id: JournalId,
    /// The head holds the effect of all journal records up to this number, and of none after it.
    pub covered: u64,
    /// The number of the next batch.
    pub next_batch: u64,
    /// The hash of the batch before the next; zeros where the next is the first.
    pub previous_batch_hash: [u8; 32],
    /// Where the next batch begins in the journal's file, in bytes; a multiple of 4096.
    pub offset: u64,
}

/// What a store without keys needs to know of a segment to scrub it, account for it and collect it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct SegmentSummary {
    /// The segment.
    pub id: SegmentId,
    /// The epoch whose key sealed it.
    pub epoch: u32,
    /// Blocks in it.
    pub blocks: u32,
    /// Bytes of all its sealed blocks, tags included.
    pub sealed_bytes: u64,
    /// The hash over its blocks' hashes in order.
    pub hash: [u8; 32],
    /// Whether it holds nodes of the index rather than file data.
    pub index_blocks: bool,
}

impl SegmentSummary {
    /// Bytes of an encoded summary.
    pub const SIZE: usize = 81;
}

/// What a revision of a zone consists of.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Head {
    /// The tree.
    pub tree: TreeId,
    /// The zone.
    pub zone: ZoneId,
    /// One more than that of the head before; the first is 1.
    pub revision: Revision,
    /// The head before; zeros for the first.
    pub previous: HeadHash,
    /// The root of the index; none while the zone is empty.
    pub root: Option<BlockRef>,
    /// The level of the root in the index, 0 for a leaf.
    pub root_level: u8,
    /// The newest epoch when the head was made.
    pub epoch: u32,
    /// The newest access record when the head was made.
    pub access: RecordHash,
    /// Where the journal goes on.
    pub journal: JournalPosition,
    /// The fencing token of the lease under which the head was made.
    pub lease_token: u64,
    /// Segments that this revision brought.
    pub added: Vec<SegmentSummary>,
    /// Segments that nothing in this revision needs any more.
    pub removed: Vec<SegmentId>,
    /// When the head was made, by the signer's clock.
    pub time: Timestamp,
}

impl Head {
    /// The most bytes that the lists of added and removed segments may take together.
    pub const SEGMENT_BYTES: usize = 60 * 1024;

    /// Whether a head has room for so many added and removed segments.
    pub fn has_room_for(added: usize, removed: usize) -> bool {
        let added = added.saturating_mul(SegmentSummary::SIZE);
        added.saturating_add(removed.saturating_mul(size_of::<SegmentId>())) <= Self::SEGMENT_BYTES
    }

    fn check_room(&self) -> Result<(), HeadError> {
        let (added, removed) = (self.added.len(), self.removed.len());
        match Self::has_room_for(added, removed) {
            true => Ok(()),
            false => Err(HeadError::TooManySegments { added, removed }),
        }
    }
}

/// A head as it was signed, with the certificate of its signer.
///
/// Decoding says only that the bytes are well formed; [`SignedHead::verify`] says whether they count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedHead {
    head: Head,
    certificate: SessionCertificate,
    envelope: Envelope,
    hash: HeadHash,
}

impl SignedHead {
    /// The most bytes of an encoded head.
    pub const LIMIT: usize = 64 * 1024;

    /// Signs a head. Its time is raised to the session's begin, if it is earlier. Fails where it has too many
    /// segments, is of another tree than the session, or was made after the session's end.
    pub fn sign(mut head: Head, session: &SessionKey) -> Result<Self, HeadError> {
        head.check_room()?;
        let certificate = session.certificate().clone();
        head.time = certificate.no_earlier(head.time);
        let session_error = |error| HeadError::Session { revision: head.revision, error };
        certificate.check_tree(&head.tree).map_err(session_error)?;
        certificate.check_time(head.time).map_err(session_error)?;
        let envelope = Envelope::by_session(KIND, session, encode(&head));
        Ok(Self::new(head, certificate, envelope))
    }

    /// Decodes a head; nothing is verified yet.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeadError> {
        let envelope = Envelope::decode(KIND, bytes)?;
        let head: Head = envelope.decode_body(KIND)?;
        head.check_room()?;
        let certificate = SessionCertificate::decode(&envelope.certificate)
            .map_err(|error| HeadError::Session { revision: head.revision, error })?;
        Ok(Self::new(head, certificate, envelope))
    }

    /// Checks the signature, the session at the head's time, and the signer's right to write the zone under the
    /// access record that the head names and under every revocation since.
    pub fn verify(&self, log: &AccessLog) -> Result<&Head, HeadError> {
        let Head { tree, zone, revision, access, time, .. } = self.head;
        let of_zone = match tree == *log.tree() && zone == *log.zone() {
            true => Ok(()),
            false => Err(HeadError::OtherZone { expected: *log.zone(), found: zone }),
        };
        enforce(Check::HeadZone, of_zone)?;
        self.certificate.verify(&tree, time).map_err(|error| HeadError::Session { revision, error })?;
        let signed = match self.envelope.is_signed_by_session(KIND, &self.certificate) {
            true => Ok(()),
            false => Err(HeadError::Signature { revision }),
        };
        enforce(Check::HeadSignature, signed)?;
        log.accepts_head(&self.certificate.node().id(), &access, time, revision, &self.hash)
            .map_err(|error| HeadError::Access { revision, error })?;
        Ok(&self.head)
    }

    /// Checks that the head's epoch is one of the zone's, and that it obeys the access record of that epoch or a later
    /// one. The head must have been verified against `log`.
    pub fn verify_epoch(&self, epochs: &EpochList, log: &AccessLog) -> Result<(), HeadError> {
        let Head { revision, epoch, access, .. } = self.head;
        let made_for = epoch.checked_sub(1).and_then(|at| epochs.records().get(at as usize));
        let obeys = made_for.map(|record| log.is_at_or_after(&access, &record.statement().access));
        match obeys {
            Some(Ok(true)) => Ok(()),
            Some(Err(error)) => Err(HeadError::Access { revision, error }),
            Some(Ok(false)) | None => Err(HeadError::Outdated { revision, epoch }),
        }
    }

    /// Checks that this head continues `previous` in the same zone: one revision on, naming its hash, with no older
    /// epoch, lease token, access record or time, and with a new journal or none where the epoch is new: a journal's key is
    /// that of the head's epoch. Both heads must have been verified against `log`.
    pub fn verify_follows(&self, previous: &SignedHead, log: &AccessLog) -> Result<(), HeadError> {
        let (head, before) = (&self.head, &previous.head);
        let access = log
            .is_at_or_after(&head.access, &before.access)
            .map_err(|error| HeadError::Access { revision: head.revision, error })?;
        let keeps_no_old_journal = head.epoch == before.epoch
            || head.journal.id != before.journal.id
            || head.journal.id == JournalId::default();
        let checks = [
            ("zone", head.tree == before.tree && head.zone == before.zone),
            ("revision", before.revision.0.checked_add(1) == Some(head.revision.0)),
            ("previous head", head.previous == previous.hash),
            ("epoch", head.epoch >= before.epoch),
            ("lease token", head.lease_token >= before.lease_token),
            ("access record", access),
            ("time", head.time >= before.time),
            ("journal", keeps_no_old_journal),
        ];
        let follows = match checks.into_iter().find(|(_, holds)| !holds) {
            None => Ok(()),
            Some((what, _)) => {
                Err(HeadError::NotSuccessor { revision: head.revision, previous: before.revision, what })
            }
        };
        enforce(Check::Follows, follows)
    }

    /// What the head says; call [`SignedHead::verify`] before believing it.
    pub fn unverified(&self) -> &Head {
        &self.head
    }

    /// The head's name.
    pub fn hash(&self) -> HeadHash {
        self.hash
    }

    /// The certificate of the session that signed.
    pub fn certificate(&self) -> &SessionCertificate {
        &self.certificate
    }

    /// The encoded head.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.envelope.to_bytes()
    }

    fn new(head: Head, certificate: SessionCertificate, envelope: Envelope) -> Self {
        let hash = HeadHash(envelope.hash_with_signer(KIND, &head.tree, certificate.node()));
        Self { head, certificate, envelope, hash }
    }
}

#[cfg(test)]
mod tests;
