//! The birth record of a zone: the statement whose hash names the zone.
//!
//! Version 1 is of the time of the tree's first root; version 2 names the newest succession, so that a zone obeys no
//! root that was succeeded before the zone was born.

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::codec::{DecodeError, encode};
use bt_base::label::{self, Label};
use bt_base::{Entropy, RecordHash, TreeId, ZoneId};
use bt_crypto::{Credential, KeyError, KeyStore};

use crate::checks::{Check, enforce};
use crate::envelope::{Envelope, Kind, version_of};
use crate::genesis::Genesis;

const FIRST: Kind = Kind { what: "birth record", label: label::BIRTH, limit: 1024 };
const SECOND: Kind = Kind { label: Label { version: 2, ..label::BIRTH }, ..FIRST };

/// Why there is no trustworthy birth record.
#[derive(Debug, thiserror::Error)]
pub enum BirthError {
    /// The bytes are no birth record.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The creator did not sign the record, or not these bytes.
    #[error("the signature of a zone's birth record is wrong: the file is damaged, restore it from another node")]
    Signature,
    /// The zone was born in another tree.
    #[error("the zone was born in tree {found}, this is tree {expected}")]
    OtherTree {
        /// The tree at hand.
        expected: TreeId,
        /// The tree that the record names.
        found: TreeId,
    },
    /// The record is that of another zone.
    #[error("the birth record is that of zone {found}, expected was zone {expected}")]
    OtherZone {
        /// The zone at hand.
        expected: ZoneId,
        /// The zone that the record gives birth to.
        found: ZoneId,
    },
    /// The creator's key did not sign.
    #[error("the creator's key could not sign the birth record: {0}")]
    Key(#[from] KeyError),
}

#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
struct Body {
    tree: TreeId,
    parent: Option<ZoneId>,
    creator: Credential,
    random: [u8; 32],
}

#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
struct SecondBody {
    body: Body,
    succession: RecordHash,
}

/// A verified birth record; its hash is the zone's id.
///
/// Anyone can make one: a zone matters only because its parent holds a name for it. The creator is the zone's first
/// admin until the zone's access log says otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Birth {
    body: Body,
    succession: RecordHash,
    zone: ZoneId,
    bytes: Vec<u8>,
}

impl Birth {
    /// The most bytes of an encoded record.
    pub const LIMIT: usize = FIRST.limit;

    /// Makes a zone of the tree, under its newest root; `parent` is none for the zone at the tree's top.
    pub fn create(
        creator: &dyn KeyStore,
        genesis: &Genesis,
        parent: Option<ZoneId>,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, BirthError> {
        let mut random = [0; 32];
        entropy.fill(&mut random);
        let tree = genesis.tree();
        let body = Body { tree: *tree, parent, creator: *creator.credential(), random };
        let succession = genesis.newest_succession();
        let (kind, bytes) = match genesis.successions() {
            [] => (FIRST, encode(&body)),
            _ => (SECOND, encode(&SecondBody { body: body.clone(), succession })),
        };
        let envelope = Envelope::by_credential(kind, tree, creator, bytes)?;
        Ok(Self { body, succession, zone: ZoneId(envelope.hash(kind, tree)), bytes: envelope.to_bytes() })
    }

    /// Decodes and verifies the record of a zone of `tree`.
    pub fn decode(tree: &TreeId, bytes: &[u8]) -> Result<Self, BirthError> {
        let kind = if version_of(bytes) == Some(FIRST.label.version) { FIRST } else { SECOND };
        let envelope = Envelope::decode(kind, bytes)?;
        let SecondBody { body, succession } = match kind.label.version {
            1 => SecondBody { body: envelope.decode_body(kind)?, succession: RecordHash(tree.0) },
            _ => envelope.decode_body(kind)?,
        };
        if body.tree != *tree {
            return Err(BirthError::OtherTree { expected: *tree, found: body.tree });
        }
        if !envelope.is_signed_by_credential(kind, tree, &body.creator.verifying_key) {
            return Err(BirthError::Signature);
        }
        Ok(Self { body, succession, zone: ZoneId(envelope.hash(kind, tree)), bytes: bytes.to_vec() })
    }

    /// Decodes and verifies the record of a zone whose id is known.
    pub fn decode_for(tree: &TreeId, expected: &ZoneId, bytes: &[u8]) -> Result<Self, BirthError> {
        let birth = Self::decode(tree, bytes)?;
        let named = match birth.zone == *expected {
            true => Ok(()),
            false => Err(BirthError::OtherZone { expected: *expected, found: birth.zone }),
        };
        enforce(Check::ZoneName, named).map(|()| birth)
    }

    /// The zone's id.
    pub fn zone(&self) -> &ZoneId {
        &self.zone
    }

    /// The tree that the zone belongs to.
    pub fn tree(&self) -> &TreeId {
        &self.body.tree
    }

    /// The zone in which this one was born; none at the top of the tree.
    pub fn parent(&self) -> Option<&ZoneId> {
        self.body.parent.as_ref()
    }

    /// Whether this is the zone at the top of the tree: born without a parent, of the first root itself, and the one
    /// that the newest succession names, if there is one.
    pub fn is_top_of(&self, genesis: &Genesis) -> bool {
        let of_founder = self.body.tree == *genesis.tree() && self.body.creator == *genesis.founder();
        let named = genesis.successions().last().is_none_or(|last| last.statement().top == self.zone);
        self.body.parent.is_none() && of_founder && named
    }

    /// The newest succession when the zone was born, as its creator knew it; the tree's id for none.
    pub fn succession(&self) -> &RecordHash {
        &self.succession
    }

    /// The zone's first admin.
    pub fn creator(&self) -> &Credential {
        &self.body.creator
    }

    /// The encoded record.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{SeededEntropy, World, assert_only_exact, golden, store};

    #[test]
    fn a_birth_record_survives_its_encoding() {
        let World { genesis, birth, node, .. } = World::new();
        assert_eq!(Birth::decode(genesis.tree(), birth.as_bytes()).unwrap(), birth);
        let child = Birth::create(&node, &genesis, Some(*birth.zone()), &mut SeededEntropy::new(3)).unwrap();
        let decoded = Birth::decode_for(genesis.tree(), child.zone(), child.as_bytes()).unwrap();
        assert_eq!(decoded.parent(), Some(birth.zone()));
        assert_eq!(decoded.creator(), node.credential());
    }

    #[test]
    fn a_damaged_birth_record_is_refused() {
        let World { genesis, birth, .. } = World::new();
        assert_only_exact(birth.as_bytes(), |bytes| Birth::decode(genesis.tree(), bytes));
    }

    #[test]
    fn a_zone_of_another_tree_is_refused() {
        let birth = World::new().birth;
        let result = Birth::decode(&TreeId([7; 32]), birth.as_bytes());
        assert!(matches!(result, Err(BirthError::OtherTree { .. })), "{result:?}");
    }

    #[test]
    fn only_a_parentless_zone_of_the_root_is_the_top() {
        let World { genesis, birth, node, root, .. } = World::new();
        assert!(birth.is_top_of(&genesis));
        let mut entropy = SeededEntropy::new(3);
        let strangers = Birth::create(&node, &genesis, None, &mut entropy).unwrap();
        assert!(!strangers.is_top_of(&genesis));
        let child = Birth::create(&root, &genesis, Some(*birth.zone()), &mut entropy).unwrap();
        assert!(!child.is_top_of(&genesis));
    }

    #[test]
    fn the_golden_birth_is_understood() {
        let genesis = World::new().genesis;
        let bytes = golden("birth-v1", || {
            let birth = Birth::create(&store(1), &genesis, Some(ZoneId([3; 32])), &mut SeededEntropy::new(1));
            birth.unwrap().as_bytes().to_vec()
        });
        let birth = Birth::decode(genesis.tree(), &bytes).unwrap();
        assert_eq!(birth.zone().to_string(), "782c9dfb7c1424f37ad84d804503fa2e3e7b494c63a61d20953b6662ee656f0a");
        assert_eq!(birth.parent(), Some(&ZoneId([3; 32])));
    }
}
