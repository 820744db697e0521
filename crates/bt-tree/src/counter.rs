//! What a counter that only rises vouches for: the newest head of each zone when the counter was stepped.
//!
//! A node whose key is in a TPM may have a counter there. Before each step the node signs, with its own key, the value
//! that the counter is going to have and the heads that it knows as newest. A directory whose record has a lower value
//! than the counter is an older copy; a zone whose newest head is older than the record says was put back.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::codec::{DecodeError, encode};
use bt_base::{PrincipalId, Timestamp, TreeId, ZoneId, label};
use bt_crypto::{Credential, KeyError, KeyStore};

use crate::access::LastHead;
use crate::envelope::{Envelope, Kind};

const KIND: Kind = Kind { what: "counter record", label: label::COUNTER, limit: CounterRecord::LIMIT };

/// Why a counter record does not count.
#[derive(Debug, thiserror::Error)]
pub enum CounterError {
    /// The bytes are no counter record.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The node did not sign the record, or not these bytes, or it is of another tree.
    #[error("the signature of the counter record is wrong: the record is damaged, forged, or another node's")]
    Signature,
    /// The record is about another counter.
    #[error("the counter record is about another counter than this node's")]
    OtherCounter,
    /// More zones than a record has room for.
    #[error("a counter record has no room for {zones} zones")]
    TooManyZones {
        /// Zones to be recorded.
        zones: usize,
    },
    /// The node's key did not sign.
    #[error("the node's key could not sign the counter record: {0}")]
    Key(#[from] KeyError),
}

/// How a record stands to the counter's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is the newest: its value is the counter's, or one more where a crash came between record and step.
    Newest,
    /// The counter was stepped since: the record is of an older copy of the directory.
    Older,
    /// The counter is behind: it was exchanged.
    Beyond,
}

/// The newest heads when a counter was stepped.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct CounterRecord {
    /// The tree.
    pub tree: TreeId,
    /// The node whose counter it is.
    pub node: PrincipalId,
    /// Which counter: what the node's key file calls it.
    pub counter: [u8; 32],
    /// The value that the counter has after the step.
    pub value: u64,
    /// The newest head of each zone.
    pub heads: BTreeMap<ZoneId, LastHead>,
    /// When, by the node's clock.
    pub time: Timestamp,
}

impl CounterRecord {
    /// The most bytes of an encoded record.
    pub const LIMIT: usize = 4 << 20;
    /// The most zones of one record.
    pub const ZONES: usize = 50_000;

    /// The encoded record, signed by the node's own key.
    pub fn sign(&self, store: &dyn KeyStore) -> Result<Vec<u8>, CounterError> {
        if self.heads.len() > Self::ZONES {
            return Err(CounterError::TooManyZones { zones: self.heads.len() });
        }
        Ok(Envelope::by_credential(KIND, &self.tree, store, encode(self))?.to_bytes())
    }

    /// Decodes and verifies the record of a node of `tree` with this counter.
    pub fn decode(tree: &TreeId, node: &Credential, counter: &[u8; 32], bytes: &[u8]) -> Result<Self, CounterError> {
        let envelope = Envelope::decode(KIND, bytes)?;
        let record: Self = envelope.decode_body(KIND)?;
        let own = record.tree == *tree && record.node == node.id();
        if !own || !envelope.is_signed_by_credential(KIND, tree, &node.verifying_key) {
            return Err(CounterError::Signature);
        }
        match record.counter == *counter {
            true => Ok(record),
            false => Err(CounterError::OtherCounter),
        }
    }

    /// How the record stands to the counter's present value.
    pub fn standing(&self, value: u64) -> Standing {
        match self.value {
            recorded if recorded < value => Standing::Older,
            recorded if recorded - value > 1 => Standing::Beyond,
            _ => Standing::Newest,
        }
    }

    /// Whether `head` cannot be what followed `known`: it is older, or another of the same revision.
    pub fn is_before(head: LastHead, known: LastHead) -> bool {
        head.revision < known.revision || head.revision == known.revision && head.hash != known.hash
    }
}

#[cfg(test)]
mod tests {
    use bt_base::{HeadHash, Revision};

    use super::*;
    use crate::testing::{NOW, World, golden, store};

    const COUNTER: [u8; 32] = [6; 32];

    fn head(revision: u64, hash: u8) -> LastHead {
        LastHead { revision: Revision(revision), hash: HeadHash([hash; 32]) }
    }

    fn record(world: &World) -> CounterRecord {
        CounterRecord {
            tree: *world.genesis.tree(),
            node: world.node.credential().id(),
            counter: COUNTER,
            value: 7,
            heads: BTreeMap::from([(ZoneId([1; 32]), head(3, 3)), (ZoneId([2; 32]), head(9, 9))]),
            time: NOW,
        }
    }

    #[test]
    fn the_golden_record_is_understood() {
        let world = World::new();
        let bytes = golden("counter-v1", || record(&world).sign(&world.node).unwrap());
        let decoded = CounterRecord::decode(world.genesis.tree(), world.node.credential(), &COUNTER, &bytes);
        assert_eq!(decoded.unwrap(), record(&world));
    }

    #[test]
    fn a_record_counts_for_its_node_tree_and_counter() {
        let world = World::new();
        let bytes = record(&world).sign(&world.node).unwrap();
        let (tree, node) = (world.genesis.tree(), world.node.credential());
        let decode = CounterRecord::decode;
        assert!(matches!(decode(tree, node, &[7; 32], &bytes), Err(CounterError::OtherCounter)));
        assert!(matches!(decode(tree, store(9).credential(), &COUNTER, &bytes), Err(CounterError::Signature)));
        assert!(matches!(decode(&TreeId([1; 32]), node, &COUNTER, &bytes), Err(CounterError::Signature)));
        // Signed by somebody else, with the node's name in it.
        let forged = record(&world).sign(&store(9)).unwrap();
        assert!(matches!(decode(tree, node, &COUNTER, &forged), Err(CounterError::Signature)));
    }

    #[test]
    fn the_value_tells_the_newest_from_older_copies() {
        let record = record(&World::new());
        for (value, standing) in
            [(5, Standing::Beyond), (6, Standing::Newest), (7, Standing::Newest), (8, Standing::Older)]
        {
            assert_eq!(record.standing(value), standing, "the counter is at {value}");
        }
        assert_eq!(CounterRecord { value: 0, ..record }.standing(u64::MAX), Standing::Older);
    }

    #[test]
    fn a_head_is_before_another_where_it_is_older_or_a_fork() {
        let known = head(9, 9);
        assert!(CounterRecord::is_before(head(8, 8), known));
        assert!(CounterRecord::is_before(head(9, 8), known), "another head of the same revision");
        assert!(!CounterRecord::is_before(known, known));
        assert!(!CounterRecord::is_before(head(10, 1), known));
    }

    #[test]
    fn a_record_with_too_many_zones_is_not_made() {
        let world = World::new();
        let heads: BTreeMap<ZoneId, LastHead> = (0..=CounterRecord::ZONES as u64)
            .map(|number| {
                let mut id = [0; 32];
                id[..8].copy_from_slice(&number.to_le_bytes());
                (ZoneId(id), head(number, 1))
            })
            .collect();
        let most = CounterRecord {
            heads: heads.iter().skip(1).map(|(zone, head)| (*zone, *head)).collect(),
            ..record(&world)
        };
        let bytes = most.sign(&world.node).unwrap();
        let (tree, node) = (world.genesis.tree(), world.node.credential());
        assert_eq!(CounterRecord::decode(tree, node, &COUNTER, &bytes).unwrap(), most);
        let more = CounterRecord { heads, ..most };
        assert!(matches!(more.sign(&world.node), Err(CounterError::TooManyZones { .. })));
    }
}
