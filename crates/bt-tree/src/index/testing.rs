//! A store of nodes in memory, and reproducible randomness.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bt_base::{BlockHash, Revision, SegmentId};

use super::{IndexError, Node, NodeSink, NodeSource};
use crate::block::BlockRef;

/// Blocks as they were written; decodes them anew, or once with `caches`.
#[derive(Default)]
pub(super) struct Store {
    pub blocks: RefCell<HashMap<BlockRef, Vec<u8>>>,
    pub cache: RefCell<HashMap<BlockRef, Arc<Node>>>,
    pub caches: bool,
    pub damaged: RefCell<HashSet<BlockRef>>,
    pub loads: Cell<usize>,
    /// Writes that still succeed.
    pub writes_left: Cell<Option<usize>>,
    pub finish_fails: Cell<bool>,
}

impl Store {
    pub fn sink(&self) -> Sink<'_> {
        Sink(self)
    }

    pub fn put(&self, encoded: &[u8]) -> BlockRef {
        let mut blocks = self.blocks.borrow_mut();
        let block = reference(blocks.len() as u64, encoded.len());
        blocks.insert(block, encoded.to_vec());
        block
    }

    pub fn damage(&self, block: &BlockRef) {
        self.damaged.borrow_mut().insert(*block);
    }
}

/// A reference unlike any other.
pub(super) fn reference(number: u64, len: usize) -> BlockRef {
    let mut hash = [0x5a; 32];
    hash[..8].copy_from_slice(&number.to_le_bytes());
    BlockRef {
        segment: SegmentId([(number / 4096) as u8; 32]),
        index: (number % 4096) as u32,
        len: len as u32,
        epoch: 1,
        birth: Revision(number),
        hash: BlockHash(hash),
    }
}

fn damage(block: &BlockRef) -> IndexError {
    IndexError::Source { block: Box::new(*block), source: "a bit flipped".into() }
}

impl NodeSource for Store {
    fn load(&self, block: &BlockRef) -> Result<Arc<Node>, IndexError> {
        self.loads.set(self.loads.get() + 1);
        if self.damaged.borrow().contains(block) {
            return Err(damage(block));
        }
        if let Some(node) = self.cache.borrow().get(block) {
            return Ok(node.clone());
        }
        let bytes = self.blocks.borrow().get(block).cloned().expect("only blocks that were written are read");
        let node = Arc::new(Node::decode(bytes).expect("what was written can be decoded"));
        if self.caches {
            self.cache.borrow_mut().insert(*block, node.clone());
        }
        Ok(node)
    }
}

pub(super) struct Sink<'a>(&'a Store);

impl NodeSink for Sink<'_> {
    fn write(&mut self, encoded: &[u8]) -> Result<BlockRef, IndexError> {
        match self.0.writes_left.get() {
            Some(0) => return Err(IndexError::Sink("the disk is full".into())),
            left => self.0.writes_left.set(left.map(|left| left - 1)),
        }
        Ok(self.0.put(encoded))
    }

    fn finish(&mut self) -> Result<(), IndexError> {
        if self.0.finish_fails.get() { Err(IndexError::Sink("the last write failed".into())) } else { Ok(()) }
    }

    fn sealed(&mut self, block: &BlockRef, node: &Arc<Node>) {
        assert!(node.children.iter().all(Option::is_none), "a cached node would hold others in memory");
        if self.0.caches {
            self.0.cache.borrow_mut().insert(*block, node.clone());
        }
    }
}

/// SplitMix64.
pub(super) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
