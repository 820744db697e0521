//! The tree: lookup, insert, and changing records in place.

use std::sync::{Arc, OnceLock};

use super::node::{LEVELS, Node, Split};
use super::page::{KEY_SIZE, VALUE_SIZE};
use super::path::{Above, Path, load};
use super::{DeadNode, IndexError, NodeSource};
use crate::block::BlockRef;

/// A map from byte strings to byte strings, in nodes that are in memory while they are dirty.
///
/// Keys have up to [`KEY_SIZE`] bytes and are ordered by memcmp, values up to
/// [`VALUE_SIZE`] bytes. A clone is a frozen copy made in constant time; the original keeps the
/// account of nodes that die, so of two copies only one should go on being changed.
pub struct Tree {
    pub(super) root: Option<Root>,
    pub(super) level: u8,
    pub(super) account: Account,
}

/// The topmost node.
#[derive(Clone)]
pub(super) enum Root {
    /// In memory.
    Memory(Arc<Node>),
    /// Written, with the node once it was read.
    Disk(BlockRef, OnceLock<Arc<Node>>),
}

impl Root {
    /// The root's node, read if it has not been.
    pub fn load(&self, source: &dyn NodeSource, level: u8) -> Result<&Arc<Node>, IndexError> {
        match self {
            Self::Memory(node) => Ok(node),
            Self::Disk(block, node) => match node.get() {
                Some(node) => Ok(node),
                None if level as usize >= LEVELS => Err(IndexError::TooHigh { level }),
                None => {
                    let loaded = load(block, level, source)?;
                    Ok(node.get_or_init(|| loaded))
                }
            },
        }
    }
}

/// What becomes of nodes: those that died, and how many are dirty.
#[derive(Default)]
pub(super) struct Account {
    pub dead: Vec<DeadNode>,
    pub dirty: usize,
}

impl Account {
    /// Makes a node in memory this tree's own and dirty, so that it can be changed.
    pub fn own<'a>(&mut self, node: &'a mut Arc<Node>) -> &'a mut Node {
        if Arc::strong_count(node) > 1 {
            let copy = Arc::new(node.copy());
            self.replaced(std::mem::replace(node, copy));
        }
        let owned = Arc::get_mut(node).expect("what nobody else has nobody else can get, and there are no weak ones");
        if let Some(block) = owned.take_sealed() {
            self.dead.push(DeadNode::Block(block));
            self.dirty += 1;
        }
        owned
    }

    /// Makes a node from the source this tree's own and dirty.
    pub fn own_loaded(&mut self, block: BlockRef, node: Arc<Node>) -> Arc<Node> {
        self.dead.push(DeadNode::Block(block));
        self.dirty += 1;
        Arc::new(node.copy())
    }

    /// Makes a child this tree's own; one that is not in memory is on the path, or was loaded otherwise.
    pub fn own_child<'a>(
        &mut self,
        parent: &'a mut Node,
        index: usize,
        loaded: impl FnOnce() -> Option<Arc<Node>>,
    ) -> &'a mut Node {
        if parent.children[index].is_none() {
            let node = loaded().expect("a path has every node that is not in memory");
            parent.children[index] = Some(self.own_loaded(parent.reference(index), node));
        }
        self.own(parent.children[index].as_mut().expect("the child is in memory now"))
    }

    /// Counts a node that a copy replaced while others have it.
    fn replaced(&mut self, node: Arc<Node>) {
        match node.sealed_as() {
            Some(block) => {
                self.dead.push(DeadNode::Block(*block));
                self.dirty += 1;
            }
            None => self.dead.push(DeadNode::Pending(node)),
        }
    }
}

impl Clone for Tree {
    /// A frozen copy, in constant time; it has no account of dead nodes.
    fn clone(&self) -> Self {
        let account = Account { dead: Vec::new(), dirty: self.account.dirty };
        Self { root: self.root.clone(), level: self.level, account }
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::empty()
    }
}

impl Tree {
    /// A tree without records.
    pub fn empty() -> Self {
        Self { root: None, level: 0, account: Account::default() }
    }

    /// A tree that was written; nothing is read until it is used.
    pub fn open(root: BlockRef, level: u8) -> Self {
        Self { root: Some(Root::Disk(root, OnceLock::new())), level, account: Account::default() }
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// The root's block and level, if there are records and none changed since they were written.
    pub fn root(&self) -> Option<(BlockRef, u8)> {
        match self.root.as_ref()? {
            Root::Disk(block, _) => Some((*block, self.level)),
            Root::Memory(node) => node.sealed_as().map(|block| (*block, self.level)),
        }
    }

    /// Nodes that the next commit writes: at most so many, and exactly after [`Tree::release_clean`].
    pub fn dirty_nodes(&self) -> usize {
        self.account.dirty
    }

    /// The nodes that left the tree since the last call.
    pub fn take_dead(&mut self) -> Vec<DeadNode> {
        std::mem::take(&mut self.account.dead)
    }

    /// Gives the value of `key` to `read`.
    pub fn get<R>(
        &self,
        source: &dyn NodeSource,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, IndexError> {
        match &self.root {
            Some(root) => get_in(root.load(source, self.level)?, source, key, None, read),
            None => Ok(None),
        }
    }

    /// Whether there is a record of `key`.
    pub fn contains(&self, source: &dyn NodeSource, key: &[u8]) -> Result<bool, IndexError> {
        Ok(self.get(source, key, |_| ())?.is_some())
    }

    /// Sets the value of `key`; says whether there was one before.
    pub fn insert(&mut self, source: &dyn NodeSource, key: &[u8], value: &[u8]) -> Result<bool, IndexError> {
        if key.len() > KEY_SIZE || value.len() > VALUE_SIZE {
            return Err(IndexError::TooLarge { key: key.len(), value: value.len() });
        }
        let mut path = match &self.root {
            None => {
                self.plant(key, value);
                return Ok(false);
            }
            Some(root) => Path::find(root, self.level, source, key)?,
        };
        let (root, account) = self.own_root(&mut path);
        let splits = insert_in(root, &mut path, key, value, account);
        if !splits.is_empty() {
            self.grow(splits);
        }
        Ok(path.slot.is_ok())
    }

    /// Lets `change` change the value of `key` in place, which keeps its length.
    pub fn update<R>(
        &mut self,
        source: &dyn NodeSource,
        key: &[u8],
        change: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<Option<R>, IndexError> {
        let Some(root) = &self.root else { return Ok(None) };
        let mut path = Path::find(root, self.level, source, key)?;
        let Ok(slot) = path.slot else { return Ok(None) };
        let (mut node, account) = self.own_root(&mut path);
        while node.level > 0 {
            let (index, below) = (path.index[node.level as usize] as usize, node.level as usize - 1);
            node = account.own_child(node, index, || path.loaded[below].take());
        }
        Ok(Some(change(node.page.value_mut(slot))))
    }

    /// The root, dirty, and the account that changes below it go to.
    pub(super) fn own_root(&mut self, path: &mut Path) -> (&mut Node, &mut Account) {
        let account = &mut self.account;
        let root = self.root.as_mut().expect("a path was found from it");
        if let Root::Disk(block, node) = root {
            let node = path.loaded[self.level as usize].take().or_else(|| node.take());
            *root = Root::Memory(account.own_loaded(*block, node.expect("a path has every node on its way")));
        }
        let Root::Memory(node) = root else { unreachable!("the root is in memory now") };
        (account.own(node), account)
    }

    fn plant(&mut self, key: &[u8], value: &[u8]) {
        let mut leaf = Node::leaf();
        leaf.insert_record(0, key, value);
        self.set_root(Arc::new(leaf));
    }

    /// Puts a branch over a root that split.
    fn grow(&mut self, splits: Vec<Split>) {
        let Some(Root::Memory(old)) = self.root.take() else { unreachable!("only a root in memory splits") };
        let mut root = Node::branch_over(old);
        self.account.dirty += splits.len();
        for (index, split) in splits.into_iter().enumerate() {
            let more = root.insert_child(index + 1, split);
            assert!(more.is_empty(), "a new root has room for what split off the old one");
        }
        self.set_root(Arc::new(root));
    }

    fn set_root(&mut self, root: Arc<Node>) {
        self.level = root.level;
        assert!((self.level as usize) < LEVELS, "no tree in this world has {} levels", self.level);
        self.root = Some(Root::Memory(root));
        self.account.dirty += 1;
    }
}

fn get_in<R>(
    node: &Node,
    source: &dyn NodeSource,
    key: &[u8],
    above: Option<&Above<'_>>,
    read: impl FnOnce(&[u8]) -> R,
) -> Result<Option<R>, IndexError> {
    if node.level > 0 {
        let index = node.child_for(key);
        let here = Above { node, index, above };
        return match &node.children[index] {
            Some(child) => get_in(child, source, key, Some(&here), read),
            None => get_in(&*here.load_unbounded(source)?, source, key, Some(&here), read),
        };
    }
    match (node.page.search(key), above) {
        (Ok(slot), _) => Ok(Some(read(node.page.value(slot)))),
        // Beyond all keys of a leaf: then, and only then, it may be the wrong leaf.
        (Err(slot), Some(above)) if slot == 0 || slot == node.len() => {
            above.check_unless_in_memory(node).map(|()| None)
        }
        _ => Ok(None),
    }
}

fn insert_in(node: &mut Node, path: &mut Path, key: &[u8], value: &[u8], account: &mut Account) -> Vec<Split> {
    if node.level == 0 {
        return insert_into_leaf(node, path.slot, key, value);
    }
    let (index, below) = (path.index[node.level as usize] as usize, node.level as usize - 1);
    let child = account.own_child(node, index, || path.loaded[below].take());
    let splits = insert_in(child, path, key, value, account);
    account.dirty += splits.len();
    adopt(node, index, splits)
}

/// Hangs what split off child `index` beside it.
fn adopt(node: &mut Node, index: usize, splits: Vec<Split>) -> Vec<Split> {
    let mut splits = splits.into_iter();
    let (Some(first), second) = (splits.next(), splits.next()) else { return Vec::new() };
    let mut more = node.insert_child(index + 1, first);
    let Some(second) = second else { return more };
    let at = index + 2;
    let again = match more.first_mut() {
        Some((_, right)) if at > node.len() => {
            let right = Arc::get_mut(right).expect("what just split off is nobody else's");
            right.insert_child(at - node.len(), second)
        }
        _ => node.insert_child(at, second),
    };
    assert!(again.is_empty() || more.is_empty(), "a branch that just split has room");
    more.extend(again);
    more
}

fn insert_into_leaf(leaf: &mut Node, slot: Result<usize, usize>, key: &[u8], value: &[u8]) -> Vec<Split> {
    let index = match slot {
        Err(index) => index,
        Ok(index) => {
            let grows_by = value.len().saturating_sub(leaf.page.value(index).len());
            if leaf.page.has_room(grows_by) {
                leaf.page.replace(index, value);
                return Vec::new();
            }
            leaf.page.remove(index);
            index
        }
    };
    leaf.insert_record(index, key, value)
}
