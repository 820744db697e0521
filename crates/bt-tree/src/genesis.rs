//! The genesis record: the first statement of a tree, by the principal that owns it; and the roots that followed.

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::codec::{DecodeError, encode};
use bt_base::{Entropy, RecordHash, Timestamp, TreeId, ZoneId, label};
use bt_crypto::{Credential, KeyError, KeyStore, NO_TREE};

use crate::envelope::{Envelope, Kind};
use crate::succession::{Roots, Succession, SuccessionError};

const KIND: Kind = Kind { what: "genesis record", label: label::GENESIS, limit: 1024 };

/// Why there is no trustworthy genesis record.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// The bytes are no genesis record.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The root did not sign the record, or not these bytes.
    #[error("the signature of the genesis record is wrong: the file is damaged, restore it from another node")]
    Signature,
    /// The record founds another tree.
    #[error("the genesis record is that of tree {found}, expected was tree {expected}")]
    OtherTree {
        /// The tree at hand.
        expected: TreeId,
        /// The tree that the record founds.
        found: TreeId,
    },
    /// The roots after the first are not to be trusted.
    #[error(transparent)]
    Succession(#[from] SuccessionError),
    /// The root's key did not sign.
    #[error("the root key could not sign the genesis record: {0}")]
    Key(#[from] KeyError),
}

#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
struct Body {
    root: Credential,
    time: Timestamp,
    random: [u8; 32],
}

/// A verified genesis record, whose hash is the tree's id, with the successions that are known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Genesis {
    body: Body,
    tree: TreeId,
    bytes: Vec<u8>,
    roots: Roots,
}

impl Genesis {
    /// The most bytes of an encoded record.
    pub const LIMIT: usize = KIND.limit;

    /// Founds a tree owned by the credential in `root`.
    pub fn create(root: &dyn KeyStore, time: Timestamp, entropy: &mut dyn Entropy) -> Result<Self, GenesisError> {
        let mut random = [0; 32];
        entropy.fill(&mut random);
        let body = Body { root: *root.credential(), time, random };
        let envelope = Envelope::by_credential(KIND, &NO_TREE, root, encode(&body))?;
        Ok(Self::new(body, &envelope))
    }

    /// Decodes and verifies a record. Which tree it founds is for the caller to compare, or see
    /// [`Genesis::decode_for`].
    pub fn decode(bytes: &[u8]) -> Result<Self, GenesisError> {
        let envelope = Envelope::decode(KIND, bytes)?;
        let body: Body = envelope.decode_body(KIND)?;
        if !envelope.is_signed_by_credential(KIND, &NO_TREE, &body.root.verifying_key) {
            return Err(GenesisError::Signature);
        }
        Ok(Self::new(body, &envelope))
    }

    /// Decodes and verifies the record of a tree whose id is known.
    pub fn decode_for(expected: &TreeId, bytes: &[u8]) -> Result<Self, GenesisError> {
        let genesis = Self::decode(bytes)?;
        match genesis.tree == *expected {
            true => Ok(genesis),
            false => Err(GenesisError::OtherTree { expected: *expected, found: genesis.tree }),
        }
    }

    /// The same with the successions in `bytes`, verified; what they replace does not matter.
    pub fn with_successions(mut self, bytes: &[u8]) -> Result<Self, GenesisError> {
        self.roots = Roots::decode(self.tree, self.body.root, bytes)?;
        Ok(self)
    }

    /// Makes the principal in `new` the root after that in `old`, which must be the newest. `top` is the zone at the
    /// top of the tree; `time` is raised to that of the succession before, if it is earlier.
    pub fn succeed(
        &mut self,
        old: &dyn KeyStore,
        new: &dyn KeyStore,
        top: ZoneId,
        time: Timestamp,
    ) -> Result<(), GenesisError> {
        Ok(self.roots.succeed(old, new, top, time)?)
    }

    /// The tree's id.
    pub fn tree(&self) -> &TreeId {
        &self.tree
    }

    /// The credential that every right in the tree comes from: that of the newest root.
    pub fn root(&self) -> &Credential {
        self.roots.root()
    }

    /// The credential that founded the tree: the first root.
    pub fn founder(&self) -> &Credential {
        self.roots.founder()
    }

    /// The successions, oldest first.
    pub fn successions(&self) -> &[Succession] {
        self.roots.records()
    }

    /// The encoded successions.
    pub fn successions_to_bytes(&self) -> Vec<u8> {
        self.roots.to_bytes()
    }

    /// The newest succession; the tree's id where its founder still is the root.
    pub fn newest_succession(&self) -> RecordHash {
        self.roots.newest()
    }

    /// The root under a succession (the tree's id: the founder) and its place among all roots; none where the
    /// succession is not known here.
    pub fn root_under(&self, succession: &RecordHash) -> Option<(usize, &Credential)> {
        self.roots.under(succession)
    }

    /// When the tree was founded.
    pub fn time(&self) -> Timestamp {
        self.body.time
    }

    /// The encoded record, without the successions.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn new(body: Body, envelope: &Envelope) -> Self {
        let tree = TreeId(envelope.hash(KIND, &NO_TREE));
        Self { roots: Roots::new(tree, body.root), body, tree, bytes: envelope.to_bytes() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, SeededEntropy, World, assert_only_exact, golden, store};

    #[test]
    fn a_genesis_record_survives_its_encoding() {
        let World { genesis, root, .. } = World::new();
        assert_eq!(Genesis::decode(genesis.as_bytes()).unwrap(), genesis);
        assert_eq!(genesis.root(), root.credential());
        assert_eq!(genesis.time(), NOW);
    }

    #[test]
    fn a_damaged_genesis_record_is_refused() {
        assert_only_exact(World::new().genesis.as_bytes(), Genesis::decode);
    }

    #[test]
    fn a_certificate_smuggled_into_a_record_signed_without_one_is_refused() {
        let bytes = World::new().genesis.as_bytes().to_vec();
        let (front, signature) = bytes.split_at(bytes.len() - 64);
        let front = &front[..front.len() - 4];
        let smuggled = [front, &[1, 0, 0, 0, 7], signature].concat();
        assert!(matches!(Genesis::decode(&smuggled), Err(GenesisError::Signature)));
    }

    #[test]
    fn two_trees_of_one_root_have_two_names() {
        let root = store(1);
        let one = Genesis::create(&root, NOW, &mut SeededEntropy::new(1)).unwrap();
        let two = Genesis::create(&root, NOW, &mut SeededEntropy::new(2)).unwrap();
        assert_ne!(one.tree(), two.tree());
        assert!(matches!(Genesis::decode_for(two.tree(), one.as_bytes()), Err(GenesisError::OtherTree { .. })));
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut bytes = World::new().genesis.as_bytes().to_vec();
        bytes[0] = 2;
        let error = Genesis::decode(&bytes).unwrap_err().to_string();
        assert_eq!(error, "a genesis record has format version 2, this program knows 1: use a newer bt");
    }

    #[test]
    fn the_golden_genesis_is_understood() {
        let genesis = Genesis::decode(&golden("genesis-v1", || World::new().genesis.as_bytes().to_vec())).unwrap();
        assert_eq!(genesis.tree().to_string(), "b255542caa357988f4aa543b0ae76ca2bc267906ffbcfc4bf6a77eabd0ef0afa");
        assert_eq!(genesis.root(), store(1).credential());
    }
}
