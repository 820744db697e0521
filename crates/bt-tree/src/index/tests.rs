//! What the tree promises beyond being a map: damage, space, commits, and the cost of each.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::testing::{Random, Store};
use super::tree::Root;
use super::{DeadNode, IndexError, KEY_SIZE, NODE_SIZE, Node, Tree, VALUE_SIZE, Walk};
use crate::block::BlockRef;

fn key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

fn filled(store: &Store, numbers: impl IntoIterator<Item = u32>, value: &[u8]) -> Tree {
    let mut tree = Tree::empty();
    for number in numbers {
        tree.insert(store, &key(number), value).unwrap();
    }
    tree
}

/// A tree of a few leaves, written and released.
fn written(store: &Store) -> Tree {
    let mut tree = filled(store, (0..1000).map(|number| number * 10), &[7; 100]);
    commit(&mut tree, store);
    tree.take_dead();
    tree
}

fn commit(tree: &mut Tree, store: &Store) -> Option<(BlockRef, u8)> {
    let root = tree.clone().seal(&mut store.sink()).unwrap();
    tree.release_clean();
    root
}

fn count(tree: &Tree, store: &Store) -> usize {
    let mut count = 0;
    let mut visit = |_: &[u8], _: &[u8]| {
        count += 1;
        ControlFlow::Continue(())
    };
    tree.scan(store, &[], &mut visit).unwrap();
    count
}

/// The blocks of the leaves, each with its first key.
fn leaves(tree: &Tree, store: &Store) -> Vec<(BlockRef, Vec<u8>)> {
    let mut leaves = Vec::new();
    tree.walk_nodes(store, &mut |visit| {
        if let (0, Some(block)) = (visit.level, visit.block) {
            let first = visit.node.unwrap().records().next().unwrap().0.to_vec();
            leaves.push((*block, first));
        }
        Walk::Into
    });
    leaves
}

/// How full the leaves are on average.
fn fill(tree: &Tree, store: &Store) -> f64 {
    let (mut bytes, mut nodes) = (0, 0);
    tree.walk_nodes(store, &mut |visit| {
        if visit.level == 0 {
            bytes += visit.node.unwrap().encoded_size();
            nodes += 1;
        }
        Walk::Into
    });
    bytes as f64 / (nodes * NODE_SIZE) as f64
}

#[test]
fn keys_that_rise_leave_full_leaves() {
    let store = Store::default();
    assert!(fill(&filled(&store, 0..20_000, &[7; 80]), &store) > 0.98);
}

#[test]
fn families_of_keys_that_rise_in_turns_leave_full_leaves() {
    let store = Store::default();
    let numbers = (0..4000).flat_map(|number| (0..20).map(move |family| (family << 24) + number));
    let tree = filled(&store, numbers, &[7; 80]);
    assert!(fill(&tree, &store) > 0.85, "{}", fill(&tree, &store));
}

#[test]
fn keys_in_any_order_leave_leaves_two_thirds_full() {
    let (store, mut random) = (Store::default(), Random(1));
    let tree = filled(&store, (0..20_000).map(|_| random.next() as u32), &[7; 80]);
    assert!(fill(&tree, &store) > 0.6);
}

#[test]
fn what_shrinks_evenly_is_merged() {
    let store = Store::default();
    let mut tree = filled(&store, 0..20_000, &[7; 80]);
    for number in (0..20_000).filter(|number| number % 20 != 0) {
        tree.remove(&store, &key(number)).unwrap();
    }
    assert_eq!(count(&tree, &store), 1000);
    assert!(fill(&tree, &store) > 0.35, "{}", fill(&tree, &store));
}

#[test]
fn the_largest_record_fits_between_large_ones() {
    let store = Store::default();
    let mut tree = Tree::empty();
    let long = |byte| [byte; KEY_SIZE];
    tree.insert(&store, &long(1), &[1; 7600]).unwrap();
    tree.insert(&store, &long(3), &[3; 7600]).unwrap();
    assert_eq!(leaves_in_memory(&tree, &store), 1);
    tree.insert(&store, &long(2), &[2; VALUE_SIZE]).unwrap();
    assert_eq!(leaves_in_memory(&tree, &store), 3);
    for (byte, len) in [(1, 7600), (2, VALUE_SIZE), (3, 7600)] {
        assert_eq!(tree.get(&store, &long(byte), <[u8]>::to_vec).unwrap(), Some(vec![byte; len]));
    }
}

fn leaves_in_memory(tree: &Tree, store: &Store) -> usize {
    let mut leaves = 0;
    tree.walk_nodes(store, &mut |visit| {
        leaves += usize::from(visit.level == 0 && visit.block.is_none());
        Walk::Into
    });
    leaves
}

#[test]
fn leaves_and_branches_may_split_at_once() {
    (0..6).for_each(split_leaves_and_branches);
}

fn split_leaves_and_branches(seed: u64) {
    println!("seed {seed}");
    let (store, mut random) = (Store::default(), Random(seed));
    let key = |pair: u16, place: u8| [&pair.to_be_bytes()[..], &[b'x'; 509], &[place]].concat();
    let mut tree = Tree::empty();
    let mut pairs: Vec<u16> = (0..800).collect();
    for pair in &pairs {
        tree.insert(&store, &key(*pair, 1), &[1; 7600]).unwrap();
        tree.insert(&store, &key(*pair, 3), &[3; 7600]).unwrap();
    }
    (1..pairs.len()).for_each(|at| pairs.swap(at, random.below(at + 1)));
    for pair in &pairs {
        tree.insert(&store, &key(*pair, 2), &[2; VALUE_SIZE]).unwrap();
    }
    let expected = (0..800).flat_map(|pair| (1..=3).map(move |place| key(pair, place)));
    let mut found = Vec::new();
    let mut collect = |key: &[u8], _: &[u8]| {
        found.push(key.to_vec());
        ControlFlow::Continue(())
    };
    tree.scan(&store, &[], &mut collect).unwrap();
    assert!(found.into_iter().eq(expected));
    for pair in 0..800 {
        assert!((1..=3).all(|place| tree.contains(&store, &key(pair, place)).unwrap()), "{pair}");
    }
}

#[test]
fn a_leaf_takes_little_more_memory_than_a_page() {
    let (store, mut random) = (Store::default(), Random(5));
    let mut tree = filled(&store, 0..50, &[7; 200]);
    for _ in 0..1000 {
        let len = 100 + random.below(150);
        tree.insert(&store, &key(random.below(50) as u32), &vec![8; len]).unwrap();
    }
    tree.walk_nodes(&store, &mut |visit| {
        let size = visit.node.unwrap().memory_size();
        assert!(size < NODE_SIZE * 3 / 2, "{size} bytes");
        Walk::Into
    });
}

#[test]
fn three_inline_files_fit_in_a_leaf() {
    let store = Store::default();
    let tree = filled(&store, 0..3, &[7; 4096]);
    assert_eq!(leaves_in_memory(&tree, &store), 1);
}

#[test]
fn a_record_that_is_too_large_is_refused() {
    let store = Store::default();
    let mut tree = Tree::empty();
    for (key, value) in [(KEY_SIZE + 1, 0), (0, VALUE_SIZE + 1)] {
        let error = tree.insert(&store, &vec![1; key], &vec![1; value]).unwrap_err();
        assert!(matches!(error, IndexError::TooLarge { .. }), "{error}");
    }
    assert!(tree.is_empty());
}

#[test]
fn damage_fails_what_needs_it_and_changes_nothing() {
    let store = Store::default();
    let mut tree = written(&store);
    let leaves = leaves(&tree, &store);
    let (damaged, first) = &leaves[2];
    store.damage(damaged);
    assert!(matches!(tree.get(&store, first, |_| ()), Err(IndexError::Source { .. })));
    assert!(matches!(tree.insert(&store, first, b"new"), Err(IndexError::Source { .. })));
    assert!(matches!(tree.update(&store, first, |_| ()), Err(IndexError::Source { .. })));
    assert!(matches!(tree.remove(&store, first), Err(IndexError::Source { .. })));
    assert!(tree.scan(&store, &[], &mut |_, _| ControlFlow::Continue(())).is_err());
    assert_eq!(tree.dirty_nodes(), 0);
    assert!(tree.take_dead().is_empty());

    let (_, elsewhere) = &leaves[4];
    assert!(tree.insert(&store, elsewhere, b"new").unwrap());
    assert_eq!(tree.get(&store, elsewhere, <[u8]>::to_vec).unwrap(), Some(b"new".to_vec()));
}

#[test]
fn a_neighbour_that_is_damaged_does_not_keep_records_from_being_removed() {
    let store = Store::default();
    let mut tree = filled(&store, 0..600, &[7; 100]);
    commit(&mut tree, &store);
    let second = leaves(&tree, &store)[1].1.clone();
    let second = u32::from_be_bytes(second.try_into().unwrap());
    for number in second..second + 100 {
        tree.remove(&store, &key(number)).unwrap();
    }
    commit(&mut tree, &store);
    let small = leaves(&tree, &store)[1].0;
    assert!(small.len < NODE_SIZE as u32 * 2 / 5, "the second leaf is ready to be merged");
    store.damage(&small);
    for number in 0..second {
        assert!(tree.remove(&store, &key(number)).unwrap(), "{number}");
    }
}

#[test]
fn a_walk_names_what_is_damaged_and_goes_on() {
    let store = Store::default();
    let tree = written(&store);
    let leaves = leaves(&tree, &store);
    store.damage(&leaves[1].0);
    store.damage(&leaves[3].0);
    let (mut damaged, mut sound) = (Vec::new(), 0);
    tree.walk_nodes(&store, &mut |visit| {
        match visit.node {
            Ok(_) => sound += 1,
            Err(_) => damaged.push((*visit.block.unwrap(), visit.level, visit.depth)),
        }
        Walk::Into
    });
    assert_eq!(damaged, [(leaves[1].0, 0, 1), (leaves[3].0, 0, 1)]);
    assert_eq!(sound, leaves.len() + 1 - 2);
}

/// Puts the bytes of another block where `block` is.
fn swap_in(store: &Store, block: &BlockRef, other: &BlockRef) {
    let bytes = store.blocks.borrow()[other].clone();
    store.blocks.borrow_mut().insert(*block, bytes);
}

#[test]
fn a_leaf_in_the_wrong_place_is_noticed() {
    let store = Store::default();
    let mut tree = written(&store);
    let leaves = leaves(&tree, &store);
    let same_size = leaves[2].0.len == leaves[3].0.len;
    assert!(same_size, "the leaves of equal records are equally full");
    swap_in(&store, &leaves[2].0, &leaves[3].0);
    let wrong = |error: IndexError| assert!(matches!(error, IndexError::OutOfBounds { .. }), "{error}");
    let first = &leaves[2].1;
    wrong(tree.get(&store, first, |_| ()).unwrap_err());
    wrong(tree.insert(&store, first, b"new").unwrap_err());
    wrong(tree.remove(&store, first).unwrap_err());
    wrong(tree.scan(&store, first, &mut |_, _| ControlFlow::Continue(())).unwrap_err());
    wrong(tree.scan_back(&store, None, &mut |_, _| ControlFlow::Continue(())).unwrap_err());
}

#[test]
fn a_node_of_the_wrong_level_is_noticed() {
    let store = Store::default();
    let mut tree = written(&store);
    let (root, level) = tree.root().unwrap();
    let wrong = Tree::open(root, level + 1).get(&store, b"key", |_| ()).unwrap_err();
    assert!(matches!(wrong, IndexError::WrongLevel { expected: 2, found: 1, .. }), "{wrong}");
    let wrong = Tree::open(root, 200).insert(&store, b"key", b"").unwrap_err();
    assert!(matches!(wrong, IndexError::TooHigh { level: 200 }), "{wrong}");
    assert!(tree.remove(&store, &key(0)).unwrap());
}

#[test]
fn a_node_of_the_wrong_size_is_noticed() {
    let store = Store::default();
    let mut tree = written(&store);
    let leaves = leaves(&tree, &store);
    let (last, full) = (leaves.last().unwrap(), &leaves[0].0);
    assert_ne!(last.0.len, full.len);
    swap_in(&store, &last.0, full);
    let wrong = tree.insert(&store, &last.1, b"").unwrap_err();
    assert!(matches!(wrong, IndexError::WrongSize { found, .. } if found == full.len as usize), "{wrong}");
}

#[test]
fn a_commit_that_changed_nothing_writes_nothing() {
    let store = Store::default();
    let mut tree = written(&store);
    let (root, blocks) = (tree.root(), store.blocks.borrow().len());
    assert!(!tree.remove(&store, &key(5)).unwrap());
    assert_eq!(tree.update(&store, &key(5), |_| ()).unwrap(), None);
    assert_eq!(tree.dirty_nodes(), 0);
    assert_eq!(commit(&mut tree, &store), root);
    assert_eq!(store.blocks.borrow().len(), blocks);
}

#[test]
fn a_small_change_writes_one_node_a_level() {
    let store = Store::default();
    let mut tree = written(&store);
    let (before, blocks) = (tree.clone(), store.blocks.borrow().len());
    tree.update(&store, &key(500), |value| value[0] = 8).unwrap();
    assert_eq!(tree.dirty_nodes(), 2);
    assert_eq!(tree.take_dead().len(), 2);
    commit(&mut tree, &store);
    assert_eq!(store.blocks.borrow().len(), blocks + 2);

    store.loads.set(0);
    let mut changed = Vec::new();
    Tree::diff(&before, &tree, &store, &mut |key, old, new| {
        changed.push((key.to_vec(), old.unwrap()[0], new.unwrap()[0]));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(changed, [(key(500).to_vec(), 7, 8)]);
    assert!(store.loads.get() <= 6, "{} nodes read for two that differ", store.loads.get());
}

#[test]
fn a_release_leaves_nothing_in_memory() {
    let store = Store::default();
    let tree = written(&store);
    store.loads.set(0);
    count(&tree, &store);
    assert_eq!(store.loads.get(), leaves(&tree, &store).len() + 1);
}

#[test]
fn a_release_keeps_what_changed_during_the_commit_and_nothing_else() {
    let store = Store::default();
    let mut tree = filled(&store, 0..1000, &[7; 100]);
    let frozen = tree.clone();
    tree.update(&store, &key(500), |value| value[0] = 8).unwrap();
    frozen.seal(&mut store.sink()).unwrap();
    drop(frozen);
    tree.release_clean();
    assert_eq!(tree.dirty_nodes(), 2);
    let Some(Root::Memory(root)) = &tree.root else { panic!("the root changed") };
    assert_eq!(root.children.iter().flatten().count(), 1);
    assert_eq!(count(&tree, &store), 1000);
}

#[test]
fn a_seal_that_fails_has_sealed_nothing() {
    let store = Store::default();
    let mut tree = filled(&store, 0..1000, &[7; 100]);
    let dirty = tree.dirty_nodes();
    for (writes, finish_fails) in [(Some(3), false), (None, true)] {
        store.writes_left.set(writes);
        store.finish_fails.set(finish_fails);
        assert!(matches!(tree.clone().seal(&mut store.sink()), Err(IndexError::Sink(_))));
        tree.release_clean();
        assert_eq!((tree.dirty_nodes(), tree.root()), (dirty, None));
    }
    store.finish_fails.set(false);
    commit(&mut tree, &store);
    assert_eq!((tree.dirty_nodes(), tree.root().is_some()), (0, true));
    assert_eq!(count(&tree, &store), 1000);
}

#[test]
fn a_node_changed_while_it_is_sealed_dies_once_it_was() {
    let store = Store::default();
    let mut tree = filled(&store, 0..10, b"old");
    let frozen = tree.clone();
    tree.update(&store, &key(3), |value| value.copy_from_slice(b"new")).unwrap();
    let dead = tree.take_dead();
    assert!(matches!(&dead[..], [DeadNode::Pending(_)]));
    assert_eq!(dead[0].block(), None);
    let sealed = frozen.seal(&mut store.sink()).unwrap().unwrap().0;
    assert_eq!(dead[0].block(), Some(sealed));
    assert_eq!(frozen.get(&store, &key(3), <[u8]>::to_vec).unwrap(), Some(b"old".to_vec()));
}

#[test]
fn branches_that_get_empty_while_they_are_sealed_die_with_their_leaves() {
    let store = Store { caches: true, ..Store::default() };
    let key = |number: u16| [&[b'x'; 505][..], &number.to_be_bytes()].concat();
    let mut tree = Tree::empty();
    for number in 0..300 {
        tree.insert(&store, &key(number), &[7; 5000]).unwrap();
    }
    let mut dead = Vec::new();
    for number in 0..300 {
        // Dirty when it is frozen, and sealed only when its copy has lost a record.
        tree.update(&store, &key(number), |value| value[0] = 8).unwrap();
        let frozen = tree.clone();
        tree.remove(&store, &key(number)).unwrap();
        frozen.seal(&mut store.sink()).unwrap();
        drop(frozen);
        tree.release_clean();
        dead.append(&mut tree.take_dead());
        let mut live: HashSet<_> = store.blocks.borrow().keys().copied().collect();
        assert!(dead.iter().filter_map(DeadNode::block).all(|block| live.remove(&block)), "a block died twice");
        tree.walk_nodes(&store, &mut |visit| {
            assert!(visit.block.is_none_or(|block| live.remove(block)), "a block of the tree died");
            Walk::Into
        });
        assert!(live.is_empty(), "{} blocks are neither dead nor in the tree", live.len());
    }
}

#[test]
fn removing_all_records_in_order_reads_no_neighbours() {
    let store = Store::default();
    let mut tree = written(&store);
    let nodes = leaves(&tree, &store).len() + 1;
    store.loads.set(0);
    for number in 0..1000 {
        tree.remove(&store, &key(number * 10)).unwrap();
    }
    assert!(tree.is_empty());
    assert_eq!(store.loads.get(), nodes);
    assert_eq!(tree.take_dead().len(), nodes);
}

#[test]
fn a_node_and_a_tree_can_go_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<Node>();
    check::<Tree>();
    check::<DeadNode>();
    check::<IndexError>();
}
