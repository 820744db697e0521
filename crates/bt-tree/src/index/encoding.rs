//! The bytes of a node, as in `doc/format/index-node.md`.

use std::cmp::Ordering;

use bt_base::codec::DecodeError;

use super::page::{CELL_HEADER, HEADER, KEY_SIZE, NODE_VERSION, PAGE_SIZE, Page, VALUE_SIZE};
use super::slot::Slot;

const WHAT: &str = "index node";

impl Page {
    /// Appends the encoded page to `out`.
    pub fn encode(&self, level: u8, out: &mut Vec<u8>) {
        out.reserve(self.used());
        out.extend_from_slice(&[NODE_VERSION, level]);
        out.extend_from_slice(&(self.len() as u16).to_le_bytes());
        // Cells that follow each other in the arena, as most do, are copied together.
        let mut together = 0..0;
        for slot in &self.slots {
            let end = slot.offset() + self.cell(*slot).len();
            if slot.offset() != together.end {
                out.extend_from_slice(&self.arena[together]);
                together = slot.offset()..end;
            }
            together.end = end;
        }
        out.extend_from_slice(&self.arena[together]);
    }

    /// Reads a page and its level; whatever the bytes are, a page that is given out keeps every invariant.
    pub fn decode(bytes: Vec<u8>) -> Result<(u8, Self), DecodeError> {
        let (level, count) = read_header(&bytes)?;
        let slots = read_slots(&bytes, count)?;
        let page = Self::over(bytes, slots);
        page.check_order()?;
        Ok((level, page))
    }

    fn check_order(&self) -> Result<(), DecodeError> {
        let prefix = self.prefix.as_bytes();
        let shares = |at: usize| self.key(at).starts_with(prefix) || at == 0 && self.key(0).is_empty();
        let rises = |at: usize| match self.slots[at - 1].head().cmp(&self.slots[at].head()) {
            Ordering::Less => true,
            Ordering::Equal => self.key(at - 1) < self.key(at),
            Ordering::Greater => false,
        };
        match (0..self.len()).find(|&at| !shares(at) || at > 0 && !rises(at)) {
            Some(at) => Err(DecodeError::malformed(WHAT, format!("cell {at} is not above the one before"))),
            None => Ok(()),
        }
    }
}

fn read_header(bytes: &[u8]) -> Result<(u8, usize), DecodeError> {
    if bytes.len() > PAGE_SIZE {
        return Err(DecodeError::TooLong { what: WHAT, len: bytes.len(), limit: PAGE_SIZE });
    }
    match bytes {
        [version, ..] if *version > NODE_VERSION => {
            Err(DecodeError::Version { what: WHAT, found: (*version).into(), known: NODE_VERSION.into() })
        }
        [version @ 1..NODE_VERSION, ..] => {
            Err(DecodeError::Outdated { what: WHAT, found: (*version).into(), known: NODE_VERSION.into() })
        }
        [NODE_VERSION, level, low, high, ..] => match u16::from_le_bytes([*low, *high]) {
            0 => Err(DecodeError::malformed(WHAT, "it has no cells")),
            count => Ok((*level, count.into())),
        },
        _ => Err(DecodeError::malformed(WHAT, "its header is cut short or has no version")),
    }
}

/// The places of `count` cells that follow the header and end with the bytes.
fn read_slots(bytes: &[u8], count: usize) -> Result<Vec<Slot>, DecodeError> {
    let cut = || DecodeError::malformed(WHAT, "a cell reaches beyond its end");
    let mut slots = Vec::with_capacity(count.min(bytes.len() / CELL_HEADER));
    let mut at = HEADER;
    for _ in 0..count {
        let lengths: &[u8; CELL_HEADER] = bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or_else(cut)?;
        let key_len = u16::from_le_bytes([lengths[0], lengths[1]]) as usize;
        let value_len = u16::from_le_bytes([lengths[2], lengths[3]]) as usize;
        if key_len > KEY_SIZE || value_len > VALUE_SIZE {
            return Err(DecodeError::malformed(WHAT, format!("a cell of {key_len} + {value_len} bytes")));
        }
        slots.push(Slot::new(0, at));
        at += CELL_HEADER + key_len + value_len;
    }
    match at.cmp(&bytes.len()) {
        Ordering::Equal => Ok(slots),
        Ordering::Greater => Err(cut()),
        Ordering::Less => Err(DecodeError::malformed(WHAT, format!("{} bytes follow it", bytes.len() - at))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::block::BlockRef;
    use crate::index::Node;
    use crate::index::testing::reference;

    const LEAF_V1: &str = include_str!("../../vectors/index-leaf-v1.hex");
    const BRANCH_V1: &str = include_str!("../../vectors/index-branch-v1.hex");
    const LEAF_V2: &str = include_str!("../../vectors/index-leaf-v2.hex");
    const BRANCH_V2: &str = include_str!("../../vectors/index-branch-v2.hex");

    fn leaf() -> Node {
        let mut leaf = Node::leaf();
        for (index, (key, value)) in [(&b""[..], &b"least"[..]), (b"ab", b""), (b"abc", b"value")].iter().enumerate() {
            leaf.insert_record(index, key, value);
        }
        leaf
    }

    fn branch() -> Node {
        let mut branch = Node::branch_over(Arc::new(leaf()));
        branch.insert_child(1, (b"middle".to_vec(), Arc::new(leaf())));
        branch.set_reference(0, &reference(1, 100));
        branch.set_reference(1, &reference(2, 16384));
        branch
    }

    fn encoded(node: &Node) -> Vec<u8> {
        let mut bytes = Vec::new();
        node.encode(&mut bytes);
        assert_eq!(bytes.len(), node.encoded_size());
        bytes
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn nodes_are_encoded_as_they_ever_were() {
        assert_eq!(hex(&encoded(&leaf())), LEAF_V2.trim());
        assert_eq!(hex(&encoded(&branch())), BRANCH_V2.trim());
    }

    #[test]
    fn nodes_survive_their_encoding() {
        let found = Node::decode(encoded(&leaf())).unwrap();
        assert!(found.records().eq(leaf().records()));
        assert_eq!(found.records().count(), 3);
        let found = Node::decode(encoded(&branch())).unwrap();
        assert_eq!((found.level(), found.len()), (1, 2));
        assert!(found.references().eq([reference(1, 100), reference(2, 16384)]));
    }

    #[test]
    fn a_node_cut_short_or_followed_by_bytes_is_refused() {
        for whole in [encoded(&leaf()), encoded(&branch())] {
            for len in 0..whole.len() {
                assert!(Node::decode(whole[..len].to_vec()).is_err(), "{len} of {} bytes", whole.len());
            }
            assert!(Node::decode([&whole[..], &[0]].concat()).is_err());
        }
    }

    #[test]
    fn a_newer_node_is_refused_as_such() {
        let mut bytes = encoded(&leaf());
        bytes[0] = NODE_VERSION + 1;
        let error = Node::decode(bytes).unwrap_err();
        assert_eq!(error, DecodeError::Version { what: WHAT, found: 3, known: 2 });
    }

    #[test]
    fn an_older_node_is_refused_as_such() {
        for text in [LEAF_V1, BRANCH_V1] {
            let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
            let bytes = digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect();
            let error = Node::decode(bytes).unwrap_err();
            assert_eq!(error, DecodeError::Outdated { what: WHAT, found: 1, known: 2 });
        }
    }

    fn cells(level: u8, cells: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut bytes = vec![NODE_VERSION, level, cells.len() as u8, 0];
        for (key, value) in cells {
            bytes.extend_from_slice(&(key.len() as u16).to_le_bytes());
            bytes.extend_from_slice(&(value.len() as u16).to_le_bytes());
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(value);
        }
        bytes
    }

    #[test]
    fn a_node_against_the_rules_is_refused() {
        let child = |number| {
            let mut bytes = Vec::new();
            reference(number, 100).write_to(&mut bytes);
            bytes
        };
        let (a, b) = (&child(1)[..], &child(2)[..]);
        assert!(Node::decode(cells(1, &[(b"", a), (b"x", b)])).is_ok());
        for (rule, bytes) in [
            ("no cells", cells(0, &[])),
            ("equal keys", cells(0, &[(b"a", b""), (b"a", b"")])),
            ("falling keys", cells(0, &[(b"prefix b", b""), (b"prefix a", b""), (b"prefix c", b"")])),
            ("falling long keys", cells(0, &[(&[7; 99], b""), (&[7; 98], b"")])),
            ("two empty keys", cells(0, &[(b"", b""), (b"", b"")])),
            ("a long key", cells(0, &[(&[1; KEY_SIZE + 1], b"")])),
            ("a long value", cells(0, &[(b"", &[1; VALUE_SIZE + 1])])),
            ("a branch with a first bound", cells(1, &[(b"a", a), (b"b", b)])),
            ("a short reference", cells(1, &[(b"", a), (b"x", &b[..83])])),
            ("a reference out of bounds", cells(1, &[(b"", &[0xff; BlockRef::SIZE])])),
            ("too high", cells(16, &[(b"", a), (b"x", b)])),
            ("too long", vec![1; PAGE_SIZE + 1]),
        ] {
            assert!(Node::decode(bytes).is_err(), "{rule} was accepted");
        }
    }

    /// What a decoder gave out can be used without a panic, and is in order.
    fn exercise(bytes: Vec<u8>) {
        let Ok(node) = Node::decode(bytes.clone()) else { return };
        assert_eq!(encoded(&node), bytes, "there is one encoding");
        for at in 0..node.len() {
            assert_eq!(node.page.search(node.page.key(at)), Ok(at));
            assert!(at == 0 || node.page.key(at - 1) < node.page.key(at));
        }
        assert_eq!(node.references().count(), if node.level() == 0 { 0 } else { node.len() });
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_good_node_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            exercise([&[NODE_VERSION, bytes.first().map_or(0, |byte| byte % 2)], &bytes[..]].concat());
            exercise(bytes);
        }

        #[test]
        fn a_flipped_bit_gives_a_good_node_or_an_error(
            keys in prop::collection::btree_set(prop::collection::vec(0u8..4, 0..6), 1..40),
            bit in any::<prop::sample::Index>(),
        ) {
            let mut leaf = Node::leaf();
            for (at, key) in keys.iter().enumerate() {
                leaf.insert_record(at, key, &key[..key.len() / 2]);
            }
            for mut bytes in [encoded(&leaf), encoded(&branch())] {
                let bit = bit.index(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
                exercise(bytes);
            }
        }

        #[test]
        fn a_search_finds_each_key_and_the_place_of_others(
            keys in prop::collection::btree_set(prop::collection::vec(prop::sample::select(vec![0u8, 1, 255]), 0..24), 1..99),
            others in prop::collection::vec(prop::collection::vec(prop::sample::select(vec![0u8, 1, 255]), 0..24), 50),
            prefix in 0usize..60,
        ) {
            let keys: Vec<_> = keys.into_iter().map(|key| [&vec![9; prefix][..], &key].concat()).collect();
            let mut leaf = Node::leaf();
            for key in keys.iter().rev() {
                leaf.insert_record(0, key, b"");
            }
            let reread = Node::decode(encoded(&leaf)).unwrap();
            let others = others.into_iter().flat_map(|other| [[&vec![9; prefix][..], &other].concat(), other]);
            for key in keys.iter().cloned().chain(others) {
                prop_assert_eq!(leaf.page.search(&key), keys.binary_search(&key));
                prop_assert_eq!(reread.page.search(&key), keys.binary_search(&key));
            }
        }
    }
}
