//! The index of a zone: one copy-on-write B+tree from byte strings to byte strings.
//!
//! [`Tree`] is the map. Changing it changes nodes in memory only; [`Tree::seal`] writes what is dirty through a
//! [`NodeSink`], children before parents, and nodes that were written are read back through a [`NodeSource`],
//! which verifies, decodes ([`Node::decode`]) and caches them.
//!
//! A commit: `let frozen = tree.clone()` (constant time), `frozen.seal(sink)` on any thread while `tree` goes on,
//! then drop `frozen`, and `tree.release_clean()` hands what was written over to the source's cache.
//!
//! Invariants:
//! * A node that was sealed, or that a frozen tree shares, is never changed: the change goes to a copy, and the
//!   old node's block is reported by [`Tree::take_dead`].
//! * Whatever an operation needs is loaded before it changes anything: one that fails leaves the tree as it was.
//! * Nodes from a source are not trusted: level and key range are checked against the parent's.
//!
//! The format is in `doc/format/index-node.md`. Start with `tree`, then `node` and `page`.

mod diff;
mod encoding;
mod node;
mod page;
mod path;
mod remove;
mod rewrite;
mod scan;
mod seal;
mod slot;
mod tree;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::sync::Arc;

pub(crate) use node::LEVELS;
pub use node::Node;
pub use page::{KEY_SIZE, NODE_VERSION, PAGE_SIZE as NODE_SIZE, VALUE_SIZE};
pub use rewrite::load_node;
pub use scan::{NodeVisit, Walk};
pub use tree::Tree;

use crate::block::BlockRef;

/// What a scan calls with each key and value.
pub type VisitRecord<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// What a comparison calls with each key whose value differs, the old value and the new one.
pub type VisitChange<'a> = dyn FnMut(&[u8], Option<&[u8]>, Option<&[u8]>) -> ControlFlow<()> + 'a;

/// Where nodes that were written are read from.
pub trait NodeSource {
    /// The node of a block: read, verified against the reference, decoded with [`Node::decode`], and cached.
    fn load(&self, block: &BlockRef) -> Result<Arc<Node>, IndexError>;
}

/// Where [`Tree::seal`] writes nodes.
pub trait NodeSink {
    /// Seals the plaintext of one node, at most [`NODE_SIZE`] bytes, and says where it went.
    fn write(&mut self, encoded: &[u8]) -> Result<BlockRef, IndexError>;

    /// All nodes were written: what is still held back goes out now, or fails now. Only after this do they count
    /// as sealed; what fails later cannot be tried again.
    fn finish(&mut self) -> Result<(), IndexError> {
        Ok(())
    }

    /// Hands over each node after [`NodeSink::finish`], so that it can be cached.
    fn sealed(&mut self, block: &BlockRef, node: &Arc<Node>);
}

/// A node that left the tree.
#[derive(Debug, Clone)]
pub enum DeadNode {
    /// Its block.
    Block(BlockRef),
    /// A node that a frozen tree has too, and may be sealing at this moment.
    Pending(Arc<Node>),
}

impl DeadNode {
    /// The block that died, if there ever was one; ask when the commit that was in flight is over.
    pub fn block(&self) -> Option<BlockRef> {
        match self {
            Self::Block(block) => Some(*block),
            Self::Pending(node) => node.sealed_as().copied(),
        }
    }
}

/// Why an operation on the index failed; the tree is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The source could not give the node.
    #[error("node {} of segment {} of the index cannot be read: {source}", block.index, block.segment)]
    Source {
        /// The node's block.
        block: Box<BlockRef>,
        /// What the source found; run `bt check` to see what is affected.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The node belongs elsewhere in the tree: the reference to it is wrong.
    #[error("node {} of segment {} of the index has level {found} where {expected} belongs", block.index, block.segment)]
    WrongLevel {
        /// The node's block.
        block: Box<BlockRef>,
        /// Level that the parent says.
        expected: u8,
        /// Level of the node.
        found: u8,
    },
    /// The node is not as long as the reference says.
    #[error("node {} of segment {} of the index has {found} bytes, not the {} of its reference", block.index, block.segment, block.len)]
    WrongSize {
        /// The node's block.
        block: Box<BlockRef>,
        /// Bytes of the node.
        found: usize,
    },
    /// The node has keys that its parent says are elsewhere.
    #[error("node {} of segment {} of the index has keys outside of its parent's bounds", block.index, block.segment)]
    OutOfBounds {
        /// The node's block.
        block: Box<BlockRef>,
    },
    /// The reference to the root names a level that no tree reaches.
    #[error("the index has {level} levels above its leaves, more than a tree can have: the head is damaged")]
    TooHigh {
        /// Level of the root.
        level: u8,
    },
    /// The record is too large for a node.
    #[error("a record of {key} + {value} bytes is larger than the {KEY_SIZE} + {VALUE_SIZE} that the index takes")]
    TooLarge {
        /// Bytes of the key.
        key: usize,
        /// Bytes of the value.
        value: usize,
    },
    /// The sink could not take a node.
    #[error("a node of the index cannot be written: {0}")]
    Sink(Box<dyn std::error::Error + Send + Sync>),
}
