//! The way from the root to a key: found with everything loaded, before anything changes.

use std::sync::Arc;

use super::node::{LEVELS, Node};
use super::tree::Root;
use super::{IndexError, NodeSource};
use crate::block::BlockRef;

/// Which child leads to a key at each level, and the nodes on the way that were not in memory.
pub(super) struct Path {
    /// At each level above 0 the child that was taken.
    pub index: [u16; LEVELS],
    /// At each level the node, if it came from the source.
    pub loaded: [Option<Arc<Node>>; LEVELS],
    /// In the leaf, where the key is, or else belongs.
    pub slot: Result<usize, usize>,
    /// The level below the lowest branch of the path that has more than one child.
    pub single_below: u8,
    /// Records in the leaf.
    pub leaf_len: usize,
}

impl Path {
    /// The way to `key`.
    pub fn find(root: &Root, level: u8, source: &dyn NodeSource, key: &[u8]) -> Result<Self, IndexError> {
        let mut path = Self {
            index: [0; LEVELS],
            loaded: [const { None }; LEVELS],
            slot: Err(0),
            single_below: level,
            leaf_len: 0,
        };
        match root {
            Root::Memory(node) => path.descend(node, source, key, None)?,
            Root::Disk(..) => {
                let node = root.load(source, level)?.clone();
                path.descend(&node, source, key, None)?;
                path.loaded[level as usize] = Some(node);
            }
        }
        Ok(path)
    }

    fn descend(
        &mut self,
        node: &Node,
        source: &dyn NodeSource,
        key: &[u8],
        above: Option<&Above<'_>>,
    ) -> Result<(), IndexError> {
        if node.level == 0 {
            (self.slot, self.leaf_len) = (node.page.search(key), node.len());
            return Ok(());
        }
        let index = node.child_for(key);
        self.index[node.level as usize] = index as u16;
        if node.len() > 1 {
            self.single_below = node.level - 1;
        }
        let here = Above { node, index, above };
        if let Some(child) = &node.children[index] {
            return self.descend(child, source, key, Some(&here));
        }
        let child = here.load(source)?;
        self.descend(&child, source, key, Some(&here))?;
        self.loaded[node.level as usize - 1] = Some(child);
        Ok(())
    }
}

/// A branch on the way down, the child taken, and what is above: gives the bounds of the child's keys.
pub(super) struct Above<'a> {
    pub node: &'a Node,
    pub index: usize,
    pub above: Option<&'a Above<'a>>,
}

impl<'a> Above<'a> {
    /// The child's reference, for a child that is not in memory.
    pub fn reference(&self) -> BlockRef {
        self.node.reference(self.index)
    }

    /// The child from the source, with its level and keys checked.
    pub fn load(&self, source: &dyn NodeSource) -> Result<Arc<Node>, IndexError> {
        let child = self.load_unbounded(source)?;
        self.check_bounds(&child)?;
        Ok(child)
    }

    /// The child from the source, with only its level checked.
    pub fn load_unbounded(&self, source: &dyn NodeSource) -> Result<Arc<Node>, IndexError> {
        load(&self.reference(), self.node.level - 1, source)
    }

    /// Checks that the child's keys are where they belong; the child came from the source.
    pub fn check_bounds(&self, child: &Node) -> Result<(), IndexError> {
        // The empty first key of a branch is no bound.
        let first = usize::from(child.level > 0);
        let starts = child.len() <= first || child.page.key(first) >= self.lower();
        let ends = self.upper().is_none_or(|upper| child.page.key(child.len() - 1) < upper);
        if starts && ends { Ok(()) } else { Err(IndexError::OutOfBounds { block: Box::new(self.reference()) }) }
    }

    /// Checks a child's keys if it came from the source; this tree's own nodes need no check.
    pub fn check_unless_in_memory(&self, child: &Node) -> Result<(), IndexError> {
        if self.node.children[self.index].is_some() { Ok(()) } else { self.check_bounds(child) }
    }

    /// No key of the child is below.
    pub fn lower(&self) -> &'a [u8] {
        match (self.index, self.above) {
            (0, Some(above)) => above.lower(),
            (index, _) => self.node.page.key(index),
        }
    }

    /// All keys of the child are below, if there is any node to its right.
    pub fn upper(&self) -> Option<&'a [u8]> {
        if self.index + 1 < self.node.len() {
            return Some(self.node.page.key(self.index + 1));
        }
        self.above.and_then(Above::upper)
    }
}

/// A node from the source, its level and size checked.
pub(super) fn load(block: &BlockRef, level: u8, source: &dyn NodeSource) -> Result<Arc<Node>, IndexError> {
    let node = source.load(block)?;
    if node.level != level {
        return Err(IndexError::WrongLevel { block: Box::new(*block), expected: level, found: node.level });
    }
    if node.encoded_size() != block.len as usize {
        return Err(IndexError::WrongSize { block: Box::new(*block), found: node.encoded_size() });
    }
    Ok(node)
}
