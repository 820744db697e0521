//! A node again, with other references or values of the same length: what sealing a snapshot anew needs.

use std::sync::Arc;

use super::node::{LEVELS, Node};
use super::path::load;
use super::{IndexError, NodeSource};
use crate::block::BlockRef;

/// A node from the source, its level and size checked.
pub fn load_node(source: &dyn NodeSource, block: &BlockRef, level: u8) -> Result<Arc<Node>, IndexError> {
    match level as usize {
        0..LEVELS => load(block, level, source),
        _ => Err(IndexError::TooHigh { level }),
    }
}

impl Node {
    /// The same branch with other references to children, by their places. No child is in memory.
    pub fn with_references(&self, new: &[(usize, BlockRef)]) -> Self {
        let mut node = self.copy();
        new.iter().for_each(|(place, block)| node.set_reference(*place, block));
        node
    }

    /// The same leaf with other values, by their places; each is as long as the one before.
    pub fn with_values(&self, new: &[(usize, Vec<u8>)]) -> Self {
        let mut node = self.copy();
        for (place, value) in new {
            node.page.value_mut(*place).copy_from_slice(value);
        }
        node
    }

    /// The encoded node.
    pub fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_size());
        self.encode(&mut bytes);
        bytes
    }
}
