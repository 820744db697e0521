//! A node of the index: a leaf of records, or a branch of references to nodes one level below.
//!
//! The value of a branch's cell is the encoded reference of the child; its key is a lower bound of every key in
//! the child, and an upper bound of those before. The first cell's key is empty. A child that is in memory hangs
//! on the branch beside its cell, whose reference then says nothing.

use std::sync::{Arc, OnceLock};

use bt_base::codec::DecodeError;

use super::page::{self, HEADER, PAGE_SIZE, Page, cell_size, common};
use crate::block::BlockRef;

/// Levels of the highest tree: with the smallest branches this holds far more than 2^64 records.
pub(crate) const LEVELS: usize = 16;

/// What stands in a cell whose child is in memory.
const NO_REFERENCE: [u8; BlockRef::SIZE] = [0; BlockRef::SIZE];
const WHAT: &str = "index node";

/// A node of the index, at most [`NODE_SIZE`](super::NODE_SIZE) bytes encoded.
pub struct Node {
    pub(super) page: Page,
    pub(super) level: u8,
    /// The children in memory, one place per cell; empty in a leaf.
    pub(super) children: Vec<Option<Arc<Node>>>,
    sealed_as: OnceLock<BlockRef>,
}

/// A node that split off to the right, and the lower bound of its keys.
pub(super) type Split = (Vec<u8>, Arc<Node>);

impl Node {
    pub(super) fn leaf() -> Self {
        Self::with(0, Page::new(), Vec::new())
    }

    fn with(level: u8, page: Page, children: Vec<Option<Arc<Node>>>) -> Self {
        Self { page, level, children, sealed_as: OnceLock::new() }
    }

    /// A branch over one child, which is in memory.
    pub(super) fn branch_over(child: Arc<Node>) -> Self {
        let mut page = Page::new();
        page.insert(0, &[], &NO_REFERENCE);
        Self::with(child.level + 1, page, vec![Some(child)])
    }

    /// A dirty node with the same content.
    pub(super) fn copy(&self) -> Self {
        Self::with(self.level, self.page.copy(), self.children.clone())
    }

    /// Reads an encoded node, at most [`NODE_SIZE`](super::NODE_SIZE) bytes.
    ///
    /// Fails on anything that is not one whole, well-ordered node of a known version; never panics.
    pub fn decode(bytes: Vec<u8>) -> Result<Self, DecodeError> {
        let (level, page) = Page::decode(bytes)?;
        if level as usize >= LEVELS {
            return Err(DecodeError::malformed(WHAT, format!("level {level}")));
        }
        let children = if level == 0 { Vec::new() } else { vec![None; page.len()] };
        let node = Self::with(level, page, children);
        node.check_references()?;
        Ok(node)
    }

    fn check_references(&self) -> Result<(), DecodeError> {
        for index in 0..self.children.len() {
            if self.page.key(index).is_empty() != (index == 0) {
                return Err(DecodeError::malformed(WHAT, format!("the bound of child {index}")));
            }
            if self.page.value(index).len() != BlockRef::SIZE {
                return Err(DecodeError::malformed(WHAT, format!("the reference to child {index}")));
            }
            BlockRef::read_from(self.page.value(index))?;
        }
        Ok(())
    }

    /// Appends the encoded node to `out`; meaningful when no child is in memory.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.page.encode(self.level, out);
    }

    /// Levels below this node: 0 for a leaf.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// The number of records or children; never 0 in a node that was decoded.
    #[expect(clippy::len_without_is_empty, reason = "a node is never empty")]
    pub fn len(&self) -> usize {
        self.page.len()
    }

    /// Bytes of the encoded node.
    pub fn encoded_size(&self) -> usize {
        self.page.used()
    }

    /// Bytes that the node takes in memory without its children, for the account of a cache.
    pub fn memory_size(&self) -> usize {
        size_of::<Self>() + self.page.memory() + self.children.capacity() * size_of::<Option<Arc<Node>>>()
    }

    /// The records of a leaf in key order; nothing for a branch.
    pub fn records(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let count = if self.level == 0 { self.len() } else { 0 };
        (0..count).map(|index| (self.page.key(index), self.page.value(index)))
    }

    /// The references to children on disk; those in memory have none yet.
    pub fn references(&self) -> impl Iterator<Item = BlockRef> {
        (0..self.children.len()).filter(|&index| self.children[index].is_none()).map(|index| self.reference(index))
    }

    /// The block that the node was written as, once it was.
    pub fn sealed_as(&self) -> Option<&BlockRef> {
        self.sealed_as.get()
    }

    pub(super) fn set_sealed(&self, block: BlockRef) {
        assert!(self.sealed_as.set(block).is_ok(), "a node is sealed once, by the one commit in flight");
    }

    pub(super) fn take_sealed(&mut self) -> Option<BlockRef> {
        self.sealed_as.take()
    }

    /// The reference to a child that is not in memory.
    pub(super) fn reference(&self, index: usize) -> BlockRef {
        debug_assert!(self.children[index].is_none(), "child {index} is in memory");
        BlockRef::read_from(self.page.value(index)).expect("references are checked when a node is decoded")
    }

    /// Lets go of a child in memory that was written as `block`.
    pub(super) fn set_reference(&mut self, index: usize, block: &BlockRef) {
        let mut bytes = Vec::with_capacity(BlockRef::SIZE);
        block.write_to(&mut bytes);
        self.page.value_mut(index).copy_from_slice(&bytes);
        self.children[index] = None;
    }

    /// The same branch with no child in memory; the references to those that were are not valid.
    pub(super) fn without_children(&self) -> Self {
        Self::with(self.level, self.page.copy(), vec![None; self.len()])
    }

    /// The child under which `key` belongs.
    pub(super) fn child_for(&self, key: &[u8]) -> usize {
        match self.page.search(key) {
            Ok(index) => index,
            Err(index) => index.saturating_sub(1),
        }
    }

    /// Encoded bytes of a child.
    pub(super) fn child_size(&self, index: usize) -> usize {
        match &self.children[index] {
            Some(child) => child.encoded_size(),
            None => self.reference(index).len as usize,
        }
    }

    /// Inserts a record into a leaf at the place of [`Page::search`]; what no longer fits splits off.
    pub(super) fn insert_record(&mut self, index: usize, key: &[u8], value: &[u8]) -> Vec<Split> {
        if self.page.has_room(cell_size(key, value)) {
            self.page.insert(index, key, value);
            return Vec::new();
        }
        self.split_for(index, key, value, None)
    }

    /// Inserts what split off the child before `index`.
    pub(super) fn insert_child(&mut self, index: usize, (key, child): Split) -> Vec<Split> {
        if self.page.has_room(cell_size(&key, &NO_REFERENCE)) {
            self.place(index, &key, &NO_REFERENCE, Some(child));
            return Vec::new();
        }
        self.split_for(index, &key, &NO_REFERENCE, Some(child))
    }

    fn place(&mut self, index: usize, key: &[u8], value: &[u8], child: Option<Arc<Node>>) {
        self.page.insert(index, key, value);
        if self.level > 0 {
            self.children.insert(index, child);
        }
    }

    /// Splits a full node while inserting; gives one new node to the right, or two around a large record.
    fn split_for(&mut self, index: usize, key: &[u8], value: &[u8], child: Option<Arc<Node>>) -> Vec<Split> {
        let is_run = self.page.is_run(index);
        let Some(boundary) = boundary(&self.page, index, cell_size(key, value), is_run) else {
            return self.split_around(index, key, value, child);
        };
        let mut right = if boundary <= index { self.cut(boundary) } else { self.cut(boundary - 1) };
        let (home, at) = if boundary <= index { (&mut right, index - boundary) } else { (&mut *self, index) };
        home.place(at, key, value, child);
        if is_run {
            home.page.adopt_run(at);
        }
        vec![right.bounded(self)]
    }

    /// Splits a node in three, the new cell alone in the middle.
    fn split_around(&mut self, index: usize, key: &[u8], value: &[u8], child: Option<Arc<Node>>) -> Vec<Split> {
        let after = self.cut(index);
        let mut middle = Self::with(self.level, Page::new(), Vec::new());
        middle.place(0, key, value, child);
        let after = after.bounded(&middle);
        vec![middle.bounded(self), after]
    }

    /// Moves the cells from `at` on to a new node.
    fn cut(&mut self, at: usize) -> Self {
        let children = if self.level == 0 { Vec::new() } else { self.children.split_off(at) };
        Self::with(self.level, self.page.split_off(at), children)
    }

    /// This node with the shortest bound between it and the one to its left.
    fn bounded(mut self, left: &Self) -> Split {
        let first = self.page.key(0);
        let bound = if self.level == 0 {
            first[..common(left.page.key(left.len() - 1), first) + 1].to_vec()
        } else {
            let bound = first.to_vec();
            self.page.rename_first(&[]);
            bound
        };
        (bound, Arc::new(self))
    }

    /// Removes a child; the one after it, if it was the first, becomes the first.
    pub(super) fn remove_child(&mut self, index: usize) -> Option<Arc<Node>> {
        self.page.remove(index);
        if index == 0 && self.len() > 0 {
            self.page.rename_first(&[]);
        }
        self.children.remove(index)
    }

    /// Appends all of `right`, whose keys are not below `bound`; both are known to fit into one node.
    pub(super) fn append(&mut self, right: &Self, bound: &[u8]) {
        self.page.append_all(&right.page, (self.level > 0).then_some(bound));
        self.children.extend_from_slice(&right.children);
    }
}

/// How many of the cells, with a new one of `size` bytes at `index` counted in, stay in the left node.
///
/// Keys that arrive in order leave the left node as full as it is. None when no single cut makes both fit.
fn boundary(page: &Page, index: usize, size: usize, is_run: bool) -> Option<usize> {
    let room = PAGE_SIZE - HEADER;
    let total = page.used() - HEADER + size;
    let fits = |left: usize| left <= room && total - left <= room;
    let size_at = |at: usize| match at.cmp(&index) {
        std::cmp::Ordering::Less => page.size_at(at),
        std::cmp::Ordering::Equal => size,
        std::cmp::Ordering::Greater => page.size_at(at - 1),
    };
    if is_run && index == page.len() {
        return Some(index);
    }
    let (mut left, mut best, mut best_distance) = (0, None, usize::MAX);
    for at in 0..page.len() {
        if is_run && at == index && left >= room / 2 && fits(left) {
            return Some(index);
        }
        left += size_at(at);
        if is_run && at == index && left < room && fits(left) {
            return Some(index + 1);
        }
        let distance = left.abs_diff(total - left);
        if fits(left) && distance < best_distance {
            (best, best_distance) = (Some(at + 1), distance);
        }
    }
    best
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("level", &self.level)
            .field("len", &self.len())
            .field("encoded_size", &self.encoded_size())
            .field("sealed_as", &self.sealed_as.get())
            .finish()
    }
}

const _: () = assert!(3 * (page::KEY_SIZE + 4096 + 4) + HEADER <= PAGE_SIZE, "three inline files fit in a leaf");
