//! What differs between two trees, without looking at the nodes that both have.

use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::node::Node;
use super::path::load;
use super::tree::{Root, Tree};
use super::{IndexError, NodeSource, VisitChange};
use crate::block::BlockRef;

impl Tree {
    /// Visits each key whose value differs, with the old and the new value, in rising order until told to stop.
    ///
    /// Nodes that both trees share are skipped, so two versions of one tree take time by what changed.
    pub fn diff(
        old: &Self,
        new: &Self,
        source: &dyn NodeSource,
        visit: &mut VisitChange<'_>,
    ) -> Result<(), IndexError> {
        let (mut old, mut new) = (Cursor::start(old, source)?, Cursor::start(new, source)?);
        loop {
            let flow = match (old.at(), new.at()) {
                (None, None) => return Ok(()),
                (Some(a), Some(b)) if a.is_same_node(&b) => {
                    old.skip();
                    new.skip();
                    continue;
                }
                (Some(a), b) if a.goes_first(b.as_ref()) => {
                    old.expand(source)?;
                    continue;
                }
                (a, Some(b)) if b.goes_first(a.as_ref()) => {
                    new.expand(source)?;
                    continue;
                }
                (Some(a), b) if b.as_ref().is_none_or(|b| a.key < b.key) => visit(a.key, Some(a.value()), None),
                (a, Some(b)) if a.as_ref().is_none_or(|a| b.key < a.key) => visit(b.key, None, Some(b.value())),
                (Some(a), Some(b)) if a.value() != b.value() => visit(a.key, Some(a.value()), Some(b.value())),
                _ => ControlFlow::Continue(()),
            };
            if flow.is_break() {
                return Ok(());
            }
            advance(&mut old, &mut new);
        }
    }
}

/// Goes on with whichever of two records comes first, or both.
fn advance(old: &mut Cursor, new: &mut Cursor) {
    let order = match (old.at(), new.at()) {
        (Some(a), Some(b)) => a.key.cmp(b.key),
        (Some(_), None) => Ordering::Less,
        _ => Ordering::Greater,
    };
    if order.is_le() {
        old.skip();
    }
    if order.is_ge() {
        new.skip();
    }
}

/// A place in a tree: a record, or a node that was not entered.
struct Cursor {
    /// The node to enter first; then it is the bottom of the stack.
    root: Option<Child>,
    stack: Vec<(Arc<Node>, usize)>,
}

enum Child {
    Memory(Arc<Node>),
    Disk(BlockRef, u8),
}

/// What a cursor stands at.
struct At<'a> {
    /// The record's key, or a lower bound of the node's.
    key: &'a [u8],
    what: What<'a>,
}

enum What<'a> {
    Record(&'a [u8]),
    Memory(&'a Arc<Node>),
    Disk(BlockRef, u8),
}

impl At<'_> {
    fn level(&self) -> Option<u8> {
        match &self.what {
            What::Record(_) => None,
            What::Memory(node) => Some(node.level),
            What::Disk(_, level) => Some(*level),
        }
    }

    fn value(&self) -> &[u8] {
        match self.what {
            What::Record(value) => value,
            _ => unreachable!("nodes are entered before their records are compared"),
        }
    }

    fn block(&self) -> Option<BlockRef> {
        match &self.what {
            What::Record(_) => None,
            What::Memory(node) => node.sealed_as().copied(),
            What::Disk(block, _) => Some(*block),
        }
    }

    fn is_same_node(&self, other: &At<'_>) -> bool {
        match (&self.what, &other.what) {
            (What::Memory(a), What::Memory(b)) if Arc::ptr_eq(a, b) => true,
            _ => self.block().is_some() && self.block() == other.block(),
        }
    }

    /// Whether this is a node that must be entered before `other` is looked at.
    fn goes_first(&self, other: Option<&At<'_>>) -> bool {
        let Some(level) = self.level() else { return false };
        match other.map(|other| (other.level(), other.key)) {
            None => true,
            // A record below all of this node's keys comes before it.
            Some((None, key)) => key >= self.key,
            Some((Some(other_level), key)) => (level, key) >= (other_level, self.key),
        }
    }
}

impl Cursor {
    fn start(tree: &Tree, source: &dyn NodeSource) -> Result<Self, IndexError> {
        let root = match &tree.root {
            None => None,
            Some(Root::Memory(node)) => Some(Child::Memory(node.clone())),
            Some(root @ Root::Disk(block, _)) => {
                root.load(source, tree.level)?;
                Some(Child::Disk(*block, tree.level))
            }
        };
        Ok(Self { root, stack: Vec::new() })
    }

    fn at(&self) -> Option<At<'_>> {
        if let Some(root) = &self.root {
            let what = match root {
                Child::Memory(node) => What::Memory(node),
                Child::Disk(block, level) => What::Disk(*block, *level),
            };
            return Some(At { key: &[], what });
        }
        let (node, index) = self.stack.last()?;
        let what = match node.level {
            0 => What::Record(node.page.value(*index)),
            level => match &node.children[*index] {
                Some(child) => What::Memory(child),
                None => What::Disk(node.reference(*index), level - 1),
            },
        };
        // The first child begins where its parent does.
        let key = self.stack.iter().rev().map(|(node, index)| (node.page.key(*index), node.level));
        let key = key.map(|(key, level)| (key, level == 0)).find(|(key, is_record)| *is_record || !key.is_empty());
        Some(At { key: key.map_or(&[], |(key, _)| key), what })
    }

    /// Enters the node that the cursor is at.
    fn expand(&mut self, source: &dyn NodeSource) -> Result<(), IndexError> {
        let node = match self.at().map(|at| at.what) {
            Some(What::Memory(node)) => node.clone(),
            Some(What::Disk(block, level)) => load(&block, level, source)?,
            _ => unreachable!("only a node is entered"),
        };
        self.root = None;
        self.stack.push((node, 0));
        Ok(())
    }

    /// Goes past the record or node that the cursor is at.
    fn skip(&mut self) {
        if self.root.take().is_some() {
            return;
        }
        while let Some((node, index)) = self.stack.last_mut() {
            *index += 1;
            if *index < node.len() {
                return;
            }
            self.stack.pop();
        }
    }
}
