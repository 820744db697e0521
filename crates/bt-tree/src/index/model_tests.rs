//! The tree against a `BTreeMap`: random operations mixed with commits, reopening and frozen copies.
//!
//! A failure names its seed; `BT_SEED=<seed> cargo test -p bt-tree index::model` runs that case alone.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use super::testing::{Random, Store};
use super::{DeadNode, IndexError, Node, NodeSink, NodeSource, Tree, Walk};
use crate::block::BlockRef;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A tree, what it should hold, and where its blocks are.
struct Model {
    random: Random,
    store: Store,
    tree: Tree,
    map: Map,
    /// Frozen copies that are compared later, and whether they were sealed.
    frozen: Vec<(Tree, Map)>,
    /// A commit in flight.
    sealing: Option<Tree>,
    dead: Vec<DeadNode>,
    /// How keys are made.
    shape: usize,
    next_key: u64,
    /// Whether removals are rare for now.
    grows: bool,
    highest: u8,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let store = Store { caches: random.below(2) == 0, ..Store::default() };
        Self {
            shape: random.below(5),
            random,
            store,
            tree: Tree::empty(),
            map: Map::new(),
            frozen: Vec::new(),
            sealing: None,
            dead: Vec::new(),
            next_key: 0,
            grows: true,
            highest: 0,
        }
    }

    fn key(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        match self.shape {
            0 => (random.next() % 20_000).to_be_bytes().to_vec(),
            1 => {
                let family = random.below(4) as u8;
                self.next_key += 1;
                let number = if random.below(3) == 0 { random.next() % (self.next_key + 1) } else { self.next_key };
                [&[family][..], &number.to_be_bytes()].concat()
            }
            2 => {
                let len = random.below(11);
                (0..len).map(|_| random.below(3) as u8).collect()
            }
            3 => {
                let len = [3, 60, 500][random.below(3)];
                let mut key = vec![b'x'; len];
                key.extend_from_slice(&(random.below(10_000) as u16).to_be_bytes());
                key
            }
            // The largest records: few in a leaf, few children in a branch, a high tree.
            _ => [&[b'x'; 505][..], &(random.below(20_000) as u16).to_be_bytes()].concat(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let limit = [30, 120, 600, 4097, 8704][self.random.below(25) / 6];
        let len = if self.shape == 4 { 5000 + self.random.below(3705) } else { self.random.below(limit + 1) };
        vec![self.random.next() as u8; len]
    }

    fn known_key(&mut self) -> Vec<u8> {
        let from = self.key();
        let found = self.map.range(from.clone()..).next().map(|(key, _)| key.clone());
        found.unwrap_or(from)
    }

    fn step(&mut self) {
        self.highest = self.highest.max(self.tree.level);
        if self.random.below(if self.shape == 4 { 2500 } else { 700 }) == 0 {
            self.grows = !self.grows;
        }
        match self.random.below(100) {
            55..75 | 94 if self.grows => self.insert(),
            0..45 => self.insert(),
            45..75 => {
                let key = if self.random.below(8) == 0 { self.key() } else { self.known_key() };
                let was = self.tree.remove(&self.store, &key).unwrap();
                assert_eq!(was, self.map.remove(&key).is_some());
            }
            75..82 => {
                let (key, byte) = (self.known_key(), self.random.next() as u8);
                let was = self.tree.update(&self.store, &key, |value| value.fill(byte)).unwrap();
                assert_eq!(was, self.map.get_mut(&key).map(|value| value.fill(byte)));
            }
            82..92 => {
                let key = if self.random.below(2) == 0 { self.key() } else { self.known_key() };
                let found = self.tree.get(&self.store, &key, <[u8]>::to_vec).unwrap();
                assert_eq!(found.as_ref(), self.map.get(&key));
            }
            92..94 => self.scan_some(),
            94 => self.remove_range(),
            95 => self.begin_commit(),
            96 => self.end_commit(),
            97 => {
                self.begin_commit();
                self.end_commit();
                self.check_blocks();
            }
            98 if self.random.below(4) == 0 => self.reopen(),
            99 if self.random.below(4) == 0 && self.frozen.len() < 3 => {
                self.frozen.push((self.tree.clone(), self.map.clone()));
            }
            99 if self.random.below(8) == 0 => self.check_frozen(),
            _ => {}
        }
    }

    fn insert(&mut self) {
        let (key, value) = (self.key(), self.value());
        let was = self.tree.insert(&self.store, &key, &value).unwrap();
        assert_eq!(was, self.map.insert(key, value).is_some());
    }

    fn scan_some(&mut self) {
        let (from, limit) = (self.key(), self.random.below(50) + 1);
        let mut found = Vec::new();
        let mut collect = |key: &[u8], value: &[u8]| {
            found.push((key.to_vec(), value.to_vec()));
            if found.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let owned = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
        if limit.is_multiple_of(2) {
            self.tree.scan(&self.store, &from, &mut collect).unwrap();
            let expected: Vec<_> = self.map.range(from..).take(limit).map(owned).collect();
            assert_eq!(found, expected);
        } else {
            self.tree.scan_back(&self.store, Some(&from), &mut collect).unwrap();
            let expected: Vec<_> = self.map.range(..from).rev().take(limit).map(owned).collect();
            assert_eq!(found, expected);
        }
    }

    fn remove_range(&mut self) {
        let (from, count) = (self.key(), self.random.below(300));
        let keys: Vec<_> = self.map.range(from..).take(count).map(|(key, _)| key.clone()).collect();
        for key in keys {
            assert!(self.tree.remove(&self.store, &key).unwrap());
            self.map.remove(&key);
        }
    }

    /// Freezes and seals; operations may go on before the commit ends, with and without the frozen tree alive.
    fn begin_commit(&mut self) {
        if self.sealing.is_none() {
            let frozen = self.tree.clone();
            if self.random.below(2) == 0 {
                // The live tree changes between freezing and sealing.
                for _ in 0..self.random.below(20) {
                    self.insert();
                }
            }
            if self.random.below(6) == 0 {
                self.store.writes_left.set(Some(self.random.below(4)));
            }
            if frozen.seal(&mut self.store.sink()).is_err() {
                self.forget_failed_writes(&frozen);
            }
            self.store.writes_left.set(None);
            self.sealing = Some(frozen);
        }
    }

    /// A failed seal leaves blocks that belong to nothing; the second attempt must work.
    fn forget_failed_writes(&mut self, frozen: &Tree) {
        self.store.writes_left.set(None);
        let keep = reachable(frozen, &self.store);
        let live = reachable(&self.tree, &self.store);
        let dead: HashSet<_> = self.dead.iter().chain(&self.tree.account.dead).filter_map(DeadNode::block).collect();
        let used = |block: &BlockRef| keep.contains(block) || live.contains(block) || dead.contains(block);
        for block in self.store.blocks.borrow().keys().filter(|block| !used(block)) {
            self.dead.push(DeadNode::Block(*block));
        }
        frozen.seal(&mut self.store.sink()).unwrap();
    }

    fn end_commit(&mut self) {
        let Some(frozen) = self.sealing.take() else { return };
        assert!(self.random.below(2) == 0 || frozen.root().is_some() || frozen.is_empty());
        drop(frozen);
        self.tree.release_clean();
        assert_eq!(self.tree.dirty_nodes(), dirty(&self.tree, &self.store));
    }

    /// Everything that was sealed and did not die is in the tree, and nothing else.
    fn check_blocks(&mut self) {
        self.dead.append(&mut self.tree.take_dead());
        let mut live: HashSet<_> = self.store.blocks.borrow().keys().copied().collect();
        for block in self.dead.iter().filter_map(DeadNode::block) {
            assert!(live.remove(&block), "a block died twice, or was never sealed: {block:?}");
        }
        assert_eq!(live, reachable(&self.tree, &self.store));
    }

    fn reopen(&mut self) {
        self.begin_commit();
        self.end_commit();
        // What changed during the commit needs another one.
        self.begin_commit();
        self.end_commit();
        self.check_blocks();
        if let Some((block, level)) = self.tree.seal(&mut self.store.sink()).unwrap() {
            self.check_blocks();
            self.tree = Tree::open(block, level);
        }
    }

    fn check_frozen(&mut self) {
        for (tree, map) in std::mem::take(&mut self.frozen) {
            assert_eq!(content(&tree, &self.store), map);
            self.check_diff(&tree, &map);
        }
    }

    fn check_diff(&self, old: &Tree, old_map: &Map) {
        let mut changed = Vec::new();
        let mut collect = |key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>| {
            changed.push((key.to_vec(), old.map(<[u8]>::to_vec), new.map(<[u8]>::to_vec)));
            ControlFlow::Continue(())
        };
        Tree::diff(old, &self.tree, &self.store, &mut collect).unwrap();
        let keys = old_map.keys().chain(self.map.keys()).collect::<std::collections::BTreeSet<_>>();
        let differing = keys.into_iter().filter(|key| old_map.get(*key) != self.map.get(*key));
        let expected: Vec<_> =
            differing.map(|key| (key.clone(), old_map.get(key).cloned(), self.map.get(key).cloned())).collect();
        assert_eq!(changed, expected);
    }

    fn finish(&mut self) {
        assert_eq!(content(&self.tree, &self.store), self.map);
        self.check_frozen();
        self.end_commit();
        let mut keys: Vec<_> = std::mem::take(&mut self.map).into_keys().collect();
        match self.random.below(3) {
            0 => {}
            1 => keys.reverse(),
            _ => (1..keys.len()).for_each(|at| keys.swap(at, self.random.below(at + 1))),
        }
        for key in keys {
            assert!(self.tree.remove(&self.store, &key).unwrap());
        }
        assert!(self.tree.is_empty());
        assert_eq!(self.tree.dirty_nodes(), 0);
        self.check_blocks();
    }
}

fn content(tree: &Tree, store: &Store) -> Map {
    let mut map = Map::new();
    let mut collect = |key: &[u8], value: &[u8]| {
        map.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    };
    tree.scan(store, &[], &mut collect).unwrap();
    map
}

/// The blocks of a tree, whose shape is checked on the way.
fn reachable(tree: &Tree, store: &Store) -> HashSet<BlockRef> {
    let mut blocks = HashSet::new();
    tree.walk_nodes(store, &mut |visit| {
        let node = visit.node.unwrap();
        assert!(node.len() > 0 && node.encoded_size() <= super::NODE_SIZE, "{node:?}");
        assert!(visit.depth > 0 || node.level() == 0 || node.len() > 1, "a root with one child");
        blocks.extend(visit.block.copied());
        Walk::Into
    });
    blocks
}

fn dirty(tree: &Tree, store: &Store) -> usize {
    let mut count = 0;
    tree.walk_nodes(store, &mut |visit| {
        count += usize::from(visit.block.is_none());
        Walk::Into
    });
    count
}

/// Gives the highest level that the tree had.
fn run(seed: u64, steps: usize) -> u8 {
    println!("run this case alone: BT_SEED={seed} cargo test -p bt-tree index::model");
    let mut model = Model::new(seed);
    (0..steps).for_each(|_| model.step());
    model.finish();
    model.highest
}

#[test]
fn the_tree_is_a_map_whatever_is_frozen_sealed_and_reopened() {
    match std::env::var("BT_SEED") {
        Ok(seed) => {
            run(seed.parse().expect("a seed is a number"), 4000);
        }
        Err(_) => {
            let highest = (0..60).map(|seed| run(seed, 4000)).max();
            assert!(highest >= Some(3), "the cases must reach branches over branches, {highest:?} is too low");
        }
    }
}

/// A store for two threads.
struct Shared(Mutex<Store>);

impl NodeSource for Shared {
    fn load(&self, block: &BlockRef) -> Result<Arc<Node>, IndexError> {
        self.0.lock().unwrap().load(block)
    }
}

impl NodeSink for &Shared {
    fn write(&mut self, encoded: &[u8]) -> Result<BlockRef, IndexError> {
        self.0.lock().unwrap().sink().write(encoded)
    }

    fn sealed(&mut self, block: &BlockRef, node: &Arc<Node>) {
        self.0.lock().unwrap().sink().sealed(block, node);
    }
}

/// One thread commits, and lets go of the frozen tree at any moment, while the other goes on.
#[test]
fn a_tree_goes_on_while_another_thread_seals_it() {
    let store = Shared(Mutex::new(Store { caches: true, ..Store::default() }));
    let (mut tree, mut map, mut random, mut dead) = (Tree::empty(), Map::new(), Random(7), Vec::new());
    for round in 0..60 {
        let (frozen, expected) = (tree.clone(), map.clone());
        std::thread::scope(|scope| {
            let sealing = scope.spawn(|| {
                let frozen = frozen;
                frozen.seal(&mut &store).unwrap()
            });
            for _ in 0..400 {
                let key = (random.below(3000) as u16).to_be_bytes();
                if random.below(5) < 2 + round % 3 {
                    tree.insert(&store, &key, &[round as u8; 100]).unwrap();
                    map.insert(key.to_vec(), vec![round as u8; 100]);
                } else {
                    tree.remove(&store, &key).unwrap();
                    map.remove(&key[..]);
                }
            }
            let committed = sealing.join().unwrap().map(|(block, level)| Tree::open(block, level));
            assert_eq!(content(&committed.unwrap_or_default(), &store.0.lock().unwrap()), expected);
        });
        tree.release_clean();
        dead.extend(tree.take_dead());
        let store = store.0.lock().unwrap();
        assert_eq!(content(&tree, &store), map);
        let mut live: HashSet<_> = store.blocks.borrow().keys().copied().collect();
        assert!(dead.iter().filter_map(DeadNode::block).all(|block| live.remove(&block)), "a block died twice");
        assert_eq!(live, reachable(&tree, &store));
        assert_eq!(tree.dirty_nodes(), dirty(&tree, &store));
    }
}
