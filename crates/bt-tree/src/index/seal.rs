//! Writing what is dirty, and letting go of it.

use std::sync::Arc;

use super::node::Node;
use super::tree::{Root, Tree};
use super::{IndexError, NodeSink};
use crate::block::BlockRef;

impl Tree {
    /// Writes every dirty node, children before parents; gives the root's block and level, or none without records.
    ///
    /// Runs on a frozen copy while the tree it was made from goes on. Only when all nodes were written and
    /// [`NodeSink::finish`] agreed do they become clean: after an error nothing has happened, and a second attempt
    /// writes all of them again. What fails after this call is final.
    pub fn seal(&self, sink: &mut dyn NodeSink) -> Result<Option<(BlockRef, u8)>, IndexError> {
        let block = match &self.root {
            None => return Ok(None),
            Some(Root::Disk(block, _)) => *block,
            Some(Root::Memory(root)) => {
                let mut sealing = Sealing { sink, buffer: Vec::new(), written: Vec::new() };
                let block = sealing.write(root)?;
                sealing.sink.finish()?;
                sealing.settle();
                block
            }
        };
        Ok(Some((block, self.level)))
    }

    /// After a commit: replaces nodes that were written by references to their blocks, so that only the source's
    /// cache holds them. Takes time by what was dirty, not by the size of the tree.
    pub fn release_clean(&mut self) {
        let Some(Root::Memory(root)) = &mut self.root else { return };
        self.account.dirty = match root.sealed_as().copied() {
            None => release_below(root),
            Some(block) => {
                self.root = Some(Root::Disk(block, Default::default()));
                0
            }
        };
    }
}

/// Releases what is clean below a dirty node; gives the number of dirty ones.
fn release_below(node: &mut Arc<Node>) -> usize {
    let Some(node) = Arc::get_mut(node) else { return count_dirty(node) };
    let mut dirty = 1;
    for index in 0..node.children.len() {
        let Some(child) = &mut node.children[index] else { continue };
        match child.sealed_as().copied() {
            Some(block) => node.set_reference(index, &block),
            None => dirty += release_below(child),
        }
    }
    dirty
}

fn count_dirty(node: &Node) -> usize {
    let children = node.children.iter().flatten().filter(|child| child.sealed_as().is_none());
    1 + children.map(|child| count_dirty(child)).sum::<usize>()
}

/// A seal under way.
struct Sealing<'a> {
    sink: &'a mut dyn NodeSink,
    buffer: Vec<u8>,
    written: Vec<Written>,
}

struct Written {
    block: BlockRef,
    node: Arc<Node>,
    /// The node without children in memory: what a cache can hold.
    lone: Arc<Node>,
}

impl Sealing<'_> {
    fn write(&mut self, node: &Arc<Node>) -> Result<BlockRef, IndexError> {
        if let Some(block) = node.sealed_as() {
            return Ok(*block);
        }
        let lone = match node.level {
            0 => node.clone(),
            _ => Arc::new(self.write_children(node)?),
        };
        self.buffer.clear();
        lone.encode(&mut self.buffer);
        let block = self.sink.write(&self.buffer)?;
        self.written.push(Written { block, node: node.clone(), lone });
        Ok(block)
    }

    fn write_children(&mut self, node: &Node) -> Result<Node, IndexError> {
        let mut lone = node.without_children();
        for (index, child) in node.children.iter().enumerate() {
            if let Some(child) = child {
                lone.set_reference(index, &self.write(child)?);
            }
        }
        Ok(lone)
    }

    fn settle(self) {
        for Written { block, node, lone } in self.written {
            self.sink.sealed(&block, &lone);
            node.set_sealed(block);
        }
    }
}
