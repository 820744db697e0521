//! Successions: the root principal hands the tree to another. The tree keeps its name, its first root and its past.
//!
//! A record names the root that follows; the root before signs it, and the one that follows accepts it with a second
//! signature, so that nobody is made root of a tree it knows nothing of. Each record names the one before, the first
//! names the tree, so one hash stands for all roots up to it: births and access logs name it to say which root they
//! obey ([`crate::birth`], [`crate::access`]).
//!
//! The chain alone does not say that it is the *only* one: a root whose keys were stolen can sign two successors. What
//! counts in a zone is the one that its access log names.

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::codec::{DecodeError, decode_exact, encode};
use bt_base::{RecordHash, Timestamp, TreeId, ZoneId, label};
use bt_crypto::{Credential, KeyError, KeyStore, Signature, labelled_hash};

use crate::envelope::check_version;
use crate::frame;

const WHAT: &str = "succession";
const LIST: &str = "list of successions";

/// Why a succession does not count.
#[derive(Debug, thiserror::Error)]
pub enum SuccessionError {
    /// The bytes are no list of successions.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A record is about another tree.
    #[error("succession {number} is of tree {found}, this is tree {expected}")]
    OtherTree {
        /// The record's place, from 1.
        number: u32,
        /// The tree at hand.
        expected: TreeId,
        /// The tree that the record names.
        found: TreeId,
    },
    /// A record does not follow the one before it.
    #[error("succession {number} does not follow the one before it: the list is damaged, or was put together anew")]
    Chain {
        /// The place at which the record was found.
        number: u32,
    },
    /// The root before did not sign the record, or not these bytes.
    #[error("succession {number} is not signed by the root before it: the list is damaged or forged")]
    Signature {
        /// The record's place.
        number: u32,
    },
    /// The successor did not accept, or not these bytes.
    #[error("succession {number} was not accepted by the root that it names: the list is damaged or forged")]
    NotAccepted {
        /// The record's place.
        number: u32,
    },
    /// One who was root before is to be root again.
    #[error("succession {number} names a root that the tree had before: a successor has new keys")]
    RootAgain {
        /// The record's place.
        number: u32,
    },
    /// The list has no room for one more.
    #[error("the tree has had {0} successions, its list is full")]
    Full(usize),
    /// A root's key did not sign.
    #[error("a root's key could not sign the succession: {0}")]
    Key(#[from] KeyError),
}

/// What a succession says.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct SuccessionStatement {
    /// The tree.
    pub tree: TreeId,
    /// The record's place, from 1.
    pub number: u32,
    /// The record before; the tree's id for the first.
    pub previous: RecordHash,
    /// When, by the clock of the root before; never before the record before.
    pub time: Timestamp,
    /// The zone at the top of the tree: the root before may have made others without a parent.
    pub top: ZoneId,
    /// The root from now on.
    pub successor: Credential,
}

#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
struct Encoded {
    version: u16,
    body: Vec<u8>,
    accepted: Signature,
    signed: Signature,
}

/// A succession that was verified against all before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Succession {
    statement: SuccessionStatement,
    encoded: Encoded,
    hash: RecordHash,
}

impl Succession {
    /// The most bytes of an encoded record.
    pub const LIMIT: usize = 1024;
    /// The most records of one tree.
    pub const RECORDS: usize = 1024;

    fn sign(statement: SuccessionStatement, old: &dyn KeyStore, new: &dyn KeyStore) -> Result<Self, KeyError> {
        let body = encode(&statement);
        let accepted = new.sign(label::SUCCESSION_ACCEPTED, &statement.tree, &body)?;
        let signed = old.sign(label::SUCCESSION, &statement.tree, &body)?;
        Ok(Self::new(statement, Encoded { version: label::SUCCESSION.version, body, accepted, signed }))
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        check_version(WHAT, bytes, label::SUCCESSION.version)?;
        let encoded: Encoded = decode_exact(WHAT, bytes, Self::LIMIT)?;
        Ok(Self::new(decode_exact(WHAT, &encoded.body, Self::LIMIT)?, encoded))
    }

    fn new(statement: SuccessionStatement, encoded: Encoded) -> Self {
        let hash = RecordHash(labelled_hash(label::SUCCESSION, &statement.tree, &[&encoded.body]));
        Self { statement, encoded, hash }
    }

    /// What the record says.
    pub fn statement(&self) -> &SuccessionStatement {
        &self.statement
    }

    /// The record's name.
    pub fn hash(&self) -> RecordHash {
        self.hash
    }
}

/// The roots of one tree in their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Roots {
    tree: TreeId,
    founder: Credential,
    records: Vec<Succession>,
}

impl Roots {
    /// Those of a tree whose founder still is the root.
    pub fn new(tree: TreeId, founder: Credential) -> Self {
        Self { tree, founder, records: Vec::new() }
    }

    /// Decodes and verifies all successions of a tree.
    pub fn decode(tree: TreeId, founder: Credential, bytes: &[u8]) -> Result<Self, SuccessionError> {
        let mut roots = Self::new(tree, founder);
        for record in frame::split(LIST, bytes, Succession::RECORDS)? {
            roots.append(Succession::decode(record)?)?;
        }
        Ok(roots)
    }

    /// The encoded list.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.records.iter().for_each(|record| frame::push(&mut bytes, &encode(&record.encoded)));
        bytes
    }

    /// Makes `new` the root after `old`, which must be the newest.
    pub fn succeed(
        &mut self,
        old: &dyn KeyStore,
        new: &dyn KeyStore,
        top: ZoneId,
        time: Timestamp,
    ) -> Result<(), SuccessionError> {
        let statement = SuccessionStatement {
            tree: self.tree,
            number: self.next_number(),
            previous: self.newest(),
            time: time.max(self.newest_time()),
            top,
            successor: *new.credential(),
        };
        self.append(Succession::sign(statement, old, new)?)
    }

    /// The newest record; the tree's id before the first.
    pub fn newest(&self) -> RecordHash {
        self.records.last().map_or(RecordHash(self.tree.0), Succession::hash)
    }

    /// The root under a succession, and its place among all roots; none for a record that is not of this chain.
    pub fn under(&self, succession: &RecordHash) -> Option<(usize, &Credential)> {
        if succession.0 == self.tree.0 {
            return Some((0, &self.founder));
        }
        let at = self.records.iter().position(|record| record.hash == *succession)?;
        Some((at + 1, &self.records[at].statement.successor))
    }

    pub fn founder(&self) -> &Credential {
        &self.founder
    }

    pub fn root(&self) -> &Credential {
        self.records.last().map_or(&self.founder, |record| &record.statement.successor)
    }

    pub fn records(&self) -> &[Succession] {
        &self.records
    }

    fn append(&mut self, record: Succession) -> Result<(), SuccessionError> {
        let number = self.next_number();
        let SuccessionStatement { tree, previous, time, top, successor, .. } = &record.statement;
        if self.records.len() == Succession::RECORDS {
            return Err(SuccessionError::Full(Succession::RECORDS));
        }
        if *tree != self.tree {
            return Err(SuccessionError::OtherTree { number, expected: self.tree, found: *tree });
        }
        let same_top = self.records.last().is_none_or(|last| last.statement.top == *top);
        let follows = record.statement.number == number && *previous == self.newest();
        if !follows || !same_top || *time < self.newest_time() {
            return Err(SuccessionError::Chain { number });
        }
        if self.all().any(|root| root.id() == successor.id()) {
            return Err(SuccessionError::RootAgain { number });
        }
        let Encoded { body, accepted, signed, .. } = &record.encoded;
        let holds = |by: &Credential, label, signature| by.verifying_key.verify(label, tree, body, signature).is_ok();
        if !holds(self.root(), label::SUCCESSION, signed) {
            return Err(SuccessionError::Signature { number });
        }
        if !holds(successor, label::SUCCESSION_ACCEPTED, accepted) {
            return Err(SuccessionError::NotAccepted { number });
        }
        self.records.push(record);
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &Credential> {
        std::iter::once(&self.founder).chain(self.records.iter().map(|record| &record.statement.successor))
    }

    fn next_number(&self) -> u32 {
        u32::try_from(self.records.len() + 1).expect("a tree has at most 1024 successions")
    }

    fn newest_time(&self) -> Timestamp {
        self.records.last().map_or(Timestamp::new(i64::MIN, 0), |record| record.statement.time)
    }
}

#[cfg(test)]
mod tests;
