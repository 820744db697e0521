//! Removing records: nodes that get empty leave the tree, small neighbours become one.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::node::Node;
use super::page::PAGE_SIZE;
use super::path::{Above, Path};
use super::tree::{Account, Root, Tree};
use super::{DeadNode, IndexError, NodeSource};

/// Two neighbours that are both smaller become one: it then has room to grow by a fifth of a page.
const SMALL: usize = PAGE_SIZE * 2 / 5;

impl Tree {
    /// Removes the record of `key`; says whether there was one.
    pub fn remove(&mut self, source: &dyn NodeSource, key: &[u8]) -> Result<bool, IndexError> {
        let Some(root) = &self.root else { return Ok(false) };
        let mut path = Path::find(root, self.level, source, key)?;
        let Ok(slot) = path.slot else { return Ok(false) };
        // A leaf that gets empty goes, and with it the branches that have only this child.
        let cut = (path.leaf_len == 1).then_some(path.single_below);
        if cut == Some(self.level) {
            self.clear(&mut path);
            return Ok(true);
        }
        let (root, account) = self.own_root(&mut path);
        Removal { source, path: &mut path, slot, cut, account }.descend(root);
        self.lower_root();
        Ok(true)
    }

    /// Removes all nodes of a tree whose last record goes.
    fn clear(&mut self, path: &mut Path) {
        match self.root.take().expect("it has a record") {
            Root::Memory(node) => self.account.bury(path, &node, false),
            Root::Disk(block, _) => {
                self.account.dead.push(DeadNode::Block(block));
                let node = path.loaded[self.level as usize].take().expect("a path has every node on its way");
                self.account.bury_child(path, &node, 0, false);
            }
        }
        (self.level, self.account.dirty) = (0, 0);
    }

    /// Makes an only child the root.
    fn lower_root(&mut self) {
        while let Some(Root::Memory(root)) = &mut self.root {
            if root.level == 0 || root.len() > 1 || Arc::get_mut(root).is_none() || root.sealed_as().is_some() {
                return;
            }
            self.level -= 1;
            self.account.dirty -= 1;
            let child = match root.children[0].clone() {
                Some(child) => Root::Memory(child),
                None => Root::Disk(root.reference(0), Default::default()),
            };
            self.root = Some(child);
        }
    }
}

/// One removal on its way down.
struct Removal<'a> {
    source: &'a dyn NodeSource,
    path: &'a mut Path,
    slot: usize,
    cut: Option<u8>,
    account: &'a mut Account,
}

impl Removal<'_> {
    fn descend(&mut self, node: &mut Node) {
        if node.level == 0 {
            return node.page.remove(self.slot);
        }
        let (index, below) = (self.path.index[node.level as usize] as usize, node.level - 1);
        if self.cut == Some(below) {
            return self.cut_child(node, index);
        }
        let path = &mut *self.path;
        let child = self.account.own_child(node, index, || path.loaded[below as usize].take());
        self.descend(child);
        self.merge_small(node, index);
    }

    /// Removes a child that has nothing but the record.
    fn cut_child(&mut self, node: &mut Node, index: usize) {
        match &node.children[index] {
            Some(child) => self.account.bury(self.path, child, false),
            None => self.account.bury_child(self.path, node, index, false),
        }
        node.remove_child(index);
    }

    /// Merges a child with a neighbour when both are small; damage to the neighbour is left for its readers.
    fn merge_small(&mut self, node: &mut Node, index: usize) {
        let is_small = |at: usize| node.child_size(at) < SMALL;
        if !is_small(index) {
            return;
        }
        if index + 1 < node.len() && is_small(index + 1) {
            let _ = self.merge(node, index, index + 1);
        } else if index > 0 && is_small(index - 1) {
            let _ = self.merge(node, index - 1, index - 1);
        }
    }

    /// Merges the children `left` and the one after; `other` of the two may not be in memory.
    fn merge(&mut self, node: &mut Node, left: usize, other: usize) -> Result<(), IndexError> {
        let loaded = match &node.children[other] {
            Some(_) => None,
            None => Some(Above { node, index: other, above: None }.load(self.source)?),
        };
        if let (Some(_), true) = (&loaded, other > left) {
            self.account.dead.push(DeadNode::Block(node.reference(other)));
        }
        let bound = node.page.key(left + 1).to_vec();
        let right = node.remove_child(left + 1);
        match (right, loaded) {
            (Some(right), loaded) => {
                self.account.own_child(node, left, || loaded).append(&right, &bound);
                self.account.dropped(right);
            }
            (None, Some(right)) => self.account.own_child(node, left, || None).append(&right, &bound),
            (None, None) => unreachable!("a child that is not in memory was loaded"),
        }
        Ok(())
    }
}

impl Account {
    /// Counts a node that left the tree.
    fn dropped(&mut self, node: Arc<Node>) {
        self.count_dead(&node, false);
    }

    /// Counts a node that leaves the tree; `is_shared` says that a frozen tree has its parent.
    fn count_dead(&mut self, node: &Arc<Node>, is_shared: bool) -> bool {
        let is_shared = is_shared || Arc::strong_count(node) > 1;
        // What a commit that has let go of the node did to it is seen from here on.
        fence(Ordering::Acquire);
        match node.sealed_as() {
            Some(block) => self.dead.push(DeadNode::Block(*block)),
            None => {
                self.dirty -= 1;
                if is_shared {
                    self.dead.push(DeadNode::Pending(node.clone()));
                }
            }
        }
        is_shared
    }

    /// Counts a node that leaves the tree with the one child that each of its branches has.
    fn bury(&mut self, path: &mut Path, node: &Arc<Node>, is_shared: bool) {
        let is_shared = self.count_dead(node, is_shared);
        self.bury_child(path, node, 0, is_shared);
    }

    fn bury_child(&mut self, path: &mut Path, parent: &Node, index: usize, is_shared: bool) {
        if parent.level == 0 {
            return;
        }
        if let Some(child) = &parent.children[index] {
            return self.bury(path, child, is_shared);
        }
        self.dead.push(DeadNode::Block(parent.reference(index)));
        let child = path.loaded[parent.level as usize - 1].take().expect("a path has every node on its way");
        self.bury_child(path, &child, 0, is_shared);
    }
}
