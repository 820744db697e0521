//! One record of an epoch list, with the boxes that hold its key.

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::codec::{DecodeError, encode};
use bt_base::label::{self, EPOCH_CHAIN, EPOCH_COMMITMENT, READCAP};
use bt_base::{Entropy, PrincipalId, RecordHash, Timestamp, TreeId, ZoneId};
use bt_crypto::{
    AgreementKey, AgreementPublic, Credential, EpochKey, KeyStore, SharedSecret, WRAPPED_KEY_SIZE, derive_key,
    labelled_hash, unwrap_key, wrap_key,
};

use super::EpochError;
use crate::checks::{Check, enforce};
use crate::envelope::{Envelope, Kind};
use crate::session::{SessionCertificate, SessionKey};

const KIND: Kind = Kind { what: "epoch record", label: label::EPOCH, limit: 280 * 1024 };

/// Bytes of a box's label.
const BOX_LABEL: usize = 16;
/// The fewest boxes, so that a zone of one person does not look like one.
const BOXES_MIN: usize = 4;

/// The new key, sealed to one reader; or random bytes that look the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, BorshSerialize, BorshDeserialize)]
struct KeyBox {
    label: [u8; BOX_LABEL],
    sealed: [u8; WRAPPED_KEY_SIZE],
}

/// Which epoch of which zone a record begins, and under which access record.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct EpochStatement {
    /// The tree.
    pub tree: TreeId,
    /// The zone.
    pub zone: ZoneId,
    /// The epoch, from 1.
    pub number: u32,
    /// The record before; the zone's id for the first.
    pub previous: RecordHash,
    /// The newest access record when the epoch was made: it says who the readers are.
    pub access: RecordHash,
    /// When the epoch was made, by the signer's clock.
    pub time: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
struct Body {
    statement: EpochStatement,
    commitment: [u8; 32],
    previous_key: Option<[u8; WRAPPED_KEY_SIZE]>,
    ephemeral: AgreementPublic,
    boxes: Vec<KeyBox>,
}

/// A signed record. Only [`super::EpochList`] says whether it counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EpochRecord {
    body: Body,
    certificate: SessionCertificate,
    envelope: Envelope,
    hash: RecordHash,
}

impl EpochRecord {
    /// The most bytes of an encoded record.
    pub const LIMIT: usize = KIND.limit;
    /// The most boxes, and so the most readers of a zone.
    pub const BOXES: usize = 4096;

    /// Seals `key` to `readers` and `previous_key` under it, and signs all that.
    ///
    /// A reader whose public key is no point of the curve gets no box: nobody could open it.
    pub(super) fn make(
        statement: EpochStatement,
        key: &EpochKey,
        previous_key: Option<&EpochKey>,
        readers: &[Credential],
        session: &SessionKey,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, EpochError> {
        if readers.len() > Self::BOXES {
            return Err(EpochError::TooManyReaders { readers: readers.len(), limit: Self::BOXES });
        }
        let ephemeral = AgreementKey::generate(entropy);
        let mut boxes: Vec<KeyBox> = readers
            .iter()
            .filter_map(|reader| {
                let secret = ephemeral.agree(&reader.agreement_public).ok()?;
                let lock = BoxLock { statement: &statement, ephemeral: ephemeral.public(), reader: reader.id() };
                Some(lock.close(&secret, key))
            })
            .collect();
        boxes.resize_with(readers.len().next_power_of_two().max(BOXES_MIN), || decoy(entropy));
        boxes.sort();
        let body = Body {
            commitment: commitment(&statement, key),
            previous_key: previous_key.map(|previous| seal_previous(&statement, key, previous)),
            ephemeral: ephemeral.public(),
            boxes,
            statement,
        };
        let envelope = Envelope::by_session(KIND, session, encode(&body));
        Ok(Self::new(body, session.certificate().clone(), envelope))
    }

    /// Decodes a record; nothing is verified yet.
    pub fn decode(bytes: &[u8]) -> Result<Self, EpochError> {
        let envelope = Envelope::decode(KIND, bytes)?;
        let body: Body = envelope.decode_body(KIND)?;
        let malformed = |why| EpochError::Decode(DecodeError::malformed(KIND.what, why));
        let count = body.boxes.len();
        if !count.is_power_of_two() || !(BOXES_MIN..=Self::BOXES).contains(&count) {
            return Err(malformed("the number of boxes is no power of two from 4 to 4096"));
        }
        if !body.boxes.is_sorted_by(|a, b| a.label < b.label) {
            return Err(malformed("the boxes are not in the order of their labels"));
        }
        let number = body.statement.number;
        if number == 0 || body.previous_key.is_none() != (number == 1) {
            return Err(malformed("every epoch but the first holds the key before it"));
        }
        let certificate =
            SessionCertificate::decode(&envelope.certificate).map_err(|error| EpochError::Session { number, error })?;
        Ok(Self::new(body, certificate, envelope))
    }

    /// Checks that the session holds at the record's time and signed the record.
    pub(super) fn verify_signature(&self) -> Result<(), EpochError> {
        let EpochStatement { tree, number, time, .. } = self.body.statement;
        self.certificate.verify(&tree, time).map_err(|error| EpochError::Session { number, error })?;
        match self.envelope.is_signed_by_session(KIND, &self.certificate) {
            true => Ok(()),
            false => Err(EpochError::Signature { number }),
        }
    }

    /// The epoch's key, from the box of the principal in `store`; one key agreement, however many boxes.
    pub(super) fn open_with(&self, store: &dyn KeyStore) -> Result<EpochKey, EpochError> {
        let (statement, ephemeral) = (&self.body.statement, self.body.ephemeral);
        let reader = store.credential().id();
        let secret = store.agree(&ephemeral)?;
        let lock = BoxLock { statement, ephemeral, reader };
        let label = lock.label(&secret);
        let at = self.body.boxes.binary_search_by(|candidate| candidate.label.cmp(&label));
        let at = at.map_err(|_| EpochError::NotAReader { principal: reader, number: statement.number })?;
        self.checked(lock.open(&secret, &self.body.boxes[at].sealed))
    }

    /// The key of the epoch before `self`, opened with the key of `self`.
    pub(super) fn open_previous(&self, key: &EpochKey, previous: &EpochRecord) -> Result<EpochKey, EpochError> {
        let statement = &self.body.statement;
        let sealed =
            self.body.previous_key.expect("only the first epoch lacks the key before, and has no epoch before");
        let parts: [&[u8]; 2] = [&statement.zone.0, &statement.number.to_le_bytes()];
        previous.checked(unwrap_key(key.as_bytes(), EPOCH_CHAIN, &statement.tree, &parts, &sealed).ok())
    }

    /// Which epoch this is.
    pub fn statement(&self) -> &EpochStatement {
        &self.body.statement
    }

    /// The certificate of the session that signed.
    pub fn certificate(&self) -> &SessionCertificate {
        &self.certificate
    }

    /// The record's name.
    pub fn hash(&self) -> RecordHash {
        self.hash
    }

    /// The encoded record.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.envelope.to_bytes()
    }

    /// The tag of a sealed key does not bind it, the commitment does: AES-GCM opens one ciphertext under many keys.
    fn checked(&self, key: Option<EpochKey>) -> Result<EpochKey, EpochError> {
        let wrong = || EpochError::WrongKey { number: self.body.statement.number };
        let key = key.ok_or_else(wrong)?;
        let fits = match commitment(&self.body.statement, &key) == self.body.commitment {
            true => Ok(()),
            false => Err(wrong()),
        };
        enforce(Check::Commitment, fits).map(|()| key)
    }

    fn new(body: Body, certificate: SessionCertificate, envelope: Envelope) -> Self {
        let hash = RecordHash(envelope.hash_with_signer(KIND, &body.statement.tree, certificate.node()));
        Self { body, certificate, envelope, hash }
    }
}

/// What a box is derived from besides the secret: epoch, ephemeral key and reader.
struct BoxLock<'a> {
    statement: &'a EpochStatement,
    ephemeral: AgreementPublic,
    reader: PrincipalId,
}

impl BoxLock<'_> {
    fn close(&self, secret: &SharedSecret, key: &EpochKey) -> KeyBox {
        let sealed =
            self.with_parts(b"key", |parts| wrap_key(secret.as_bytes(), READCAP, &self.statement.tree, parts, key));
        KeyBox { label: self.label(secret), sealed }
    }

    fn open(&self, secret: &SharedSecret, sealed: &[u8; WRAPPED_KEY_SIZE]) -> Option<EpochKey> {
        self.with_parts(b"key", |parts| {
            unwrap_key(secret.as_bytes(), READCAP, &self.statement.tree, parts, sealed).ok()
        })
    }

    fn label(&self, secret: &SharedSecret) -> [u8; BOX_LABEL] {
        let label =
            self.with_parts(b"label", |parts| derive_key(secret.as_bytes(), READCAP, &self.statement.tree, parts));
        *label.first_chunk().expect("a derived key is longer than a label")
    }

    fn with_parts<T>(&self, purpose: &[u8], derive: impl FnOnce(&[&[u8]]) -> T) -> T {
        let number = self.statement.number.to_le_bytes();
        derive(&[purpose, &self.statement.zone.0, &number, &self.ephemeral.0, &self.reader.0])
    }
}

fn decoy(entropy: &mut dyn Entropy) -> KeyBox {
    let mut decoy = KeyBox { label: [0; BOX_LABEL], sealed: [0; WRAPPED_KEY_SIZE] };
    entropy.fill(&mut decoy.label);
    entropy.fill(&mut decoy.sealed);
    decoy
}

fn commitment(statement: &EpochStatement, key: &EpochKey) -> [u8; 32] {
    let parts: [&[u8]; 3] = [&statement.zone.0, &statement.number.to_le_bytes(), key.as_bytes()];
    labelled_hash(EPOCH_COMMITMENT, &statement.tree, &parts)
}

fn seal_previous(statement: &EpochStatement, key: &EpochKey, previous: &EpochKey) -> [u8; WRAPPED_KEY_SIZE] {
    let parts: [&[u8]; 2] = [&statement.zone.0, &statement.number.to_le_bytes()];
    wrap_key(key.as_bytes(), EPOCH_CHAIN, &statement.tree, &parts, previous)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, SeededEntropy, World};

    fn decode(change: impl FnOnce(&mut Body)) -> Result<EpochRecord, EpochError> {
        let World { log, session, .. } = World::new();
        let statement = EpochStatement {
            tree: *log.tree(),
            zone: *log.zone(),
            number: 1,
            previous: RecordHash(log.zone().0),
            access: log.newest(),
            time: NOW,
        };
        let (key, readers) = (EpochKey::from_bytes([1; 32]), log.readers(NOW));
        let record = EpochRecord::make(statement, &key, None, &readers, &session, &mut SeededEntropy::new(6));
        let mut body = record.unwrap().body;
        change(&mut body);
        EpochRecord::decode(&Envelope::by_session(KIND, &session, encode(&body)).to_bytes())
    }

    #[test]
    fn a_box_that_opens_to_another_key_than_the_commitment_is_reported() {
        let store = crate::testing::store(2);
        assert!(decode(|_| ()).unwrap().open_with(&store).is_ok());
        let other = decode(|body| body.commitment = commitment(&body.statement, &EpochKey::from_bytes([2; 32])));
        let result = other.unwrap().open_with(&store);
        assert!(matches!(result, Err(EpochError::WrongKey { number: 1 })), "{result:?}");
        let damaged = decode(|body| body.boxes.iter_mut().for_each(|found| found.sealed[0] ^= 1));
        let result = damaged.unwrap().open_with(&store);
        assert!(matches!(result, Err(EpochError::WrongKey { number: 1 })), "{result:?}");
    }

    #[test]
    fn nothing_links_the_boxes_of_a_reader_in_two_epochs() {
        let World { log, session, .. } = World::new();
        let statement = |number| EpochStatement {
            tree: *log.tree(),
            zone: *log.zone(),
            number,
            previous: RecordHash(log.zone().0),
            access: log.newest(),
            time: NOW,
        };
        let (key, readers) = (EpochKey::from_bytes([1; 32]), log.readers(NOW));
        let mut entropy = SeededEntropy::new(6);
        let mut make = |number, previous: Option<&EpochKey>| {
            EpochRecord::make(statement(number), &key, previous, &readers, &session, &mut entropy).unwrap().body
        };
        let (one, two, three) = (make(1, None), make(1, None), make(2, Some(&key)));
        for (a, b) in [(&one, &two), (&one, &three), (&two, &three)] {
            assert_ne!(a.ephemeral, b.ephemeral, "each record has its own");
            let labels = |body: &Body| body.boxes.iter().map(|found| found.label).collect::<Vec<_>>();
            assert!(labels(a).iter().all(|label| !labels(b).contains(label)));
        }
        assert_eq!(one.boxes.len(), BOXES_MIN);
    }

    #[test]
    fn a_signed_record_that_leaves_the_format_is_refused() {
        decode(|_| ()).unwrap();
        type Case = (&'static str, fn(&mut Body));
        let wrong: [Case; 6] = [
            ("order", |body| body.boxes.swap(0, 1)),
            ("a label twice", |body| body.boxes[1] = body.boxes[0].clone()),
            ("three boxes", |body| body.boxes.truncate(3)),
            ("two boxes", |body| body.boxes.truncate(2)),
            ("number 0", |body| body.statement.number = 0),
            ("a key before the first", |body| body.previous_key = Some([0; WRAPPED_KEY_SIZE])),
        ];
        for (name, change) in wrong {
            let result = decode(change);
            assert!(matches!(result, Err(EpochError::Decode(_))), "{name}: {result:?}");
        }
    }
}
