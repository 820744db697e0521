//! What happens between two system calls of one operation: a storage that runs something at exactly that moment.

mod support;

use std::sync::Arc;

use bt_store::{Containers, MemoryStorage};
use support::hooked::{HookedStorage, Hooks};
use support::{id, put, require};

fn hooked() -> (Arc<Containers>, Hooks) {
    let hooks = Hooks::default();
    let storage = HookedStorage(MemoryStorage::new(), hooks.clone());
    (Arc::new(Containers::open_sized(Arc::new(storage), 256 << 10).unwrap()), hooks)
}

fn before_next_read(hooks: &Hooks, action: impl FnOnce() + Send + 'static) {
    *hooks.before_read.lock().unwrap() = Some(Box::new(action));
}

#[test]
fn a_segment_that_moves_before_the_read_of_a_block_is_read_at_its_new_place() {
    let (containers, hooks) = hooked();
    put(&containers, 1, 10).unwrap();
    for cold in [false, true] {
        if !cold {
            require(&containers, 1, [1]);
        }
        let moving = containers.clone();
        before_next_read(&hooks, move || {
            moving.compact_segment(&id(1), &|_| true).unwrap();
        });
        require(&containers, 1, [3]);
        let moving = containers.clone();
        before_next_read(&hooks, move || {
            moving.compact_segment(&id(1), &|_| true).unwrap();
        });
        let (blocks, _) = containers.read_segment(&id(1)).unwrap();
        assert_eq!(blocks.len(), 10);
        // The next round reads the header first: the place is new.
        containers.compact_segment(&id(1), &|_| true).unwrap();
    }
}

#[test]
fn a_block_that_is_dropped_before_its_read_is_not_found() {
    let (containers, hooks) = hooked();
    put(&containers, 1, 10).unwrap();
    put(&containers, 2, 1).unwrap();
    require(&containers, 1, [1]);
    let dropping = containers.clone();
    before_next_read(&hooks, move || dropping.drop_segment(&id(1)).unwrap());
    let error = containers.read_block(&id(1), 3, &mut Vec::new()).unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[test]
fn a_segment_that_is_dropped_while_it_is_compacted_stays_dropped() {
    let (containers, hooks) = hooked();
    (1..3).for_each(|number| put(&containers, number, 10).unwrap());
    let dropping = containers.clone();
    containers.blocks(&id(1)).unwrap();
    before_next_read(&hooks, move || dropping.drop_segment(&id(1)).unwrap());
    assert!(containers.compact_segment(&id(1), &|_| true).is_err());
    assert!(!containers.contains(&id(1)));
    require(&containers, 2, 0..10);
    assert!(containers.check().unwrap().is_empty());
}

#[test]
fn a_container_stays_while_a_segment_is_being_written_to_it() {
    let (containers, hooks) = hooked();
    put(&containers, 1, 3).unwrap();
    let others = containers.clone();
    *hooks.before_write.lock().unwrap() = Some(Box::new(move || {
        // Fill this container so that the next one is used, then drop all that is known to be in it.
        (10..30).for_each(|number| put(&others, number, 10).unwrap());
        others.sync().unwrap();
        others.drop_segment(&id(1)).unwrap();
        (10..29).for_each(|number| others.drop_segment(&id(number)).unwrap());
        others.sync().unwrap();
    }));
    put(&containers, 2, 3).unwrap();
    containers.sync().unwrap();
    require(&containers, 2, 0..3);
    require(&containers, 29, 0..10);
}

#[test]
fn a_search_that_meets_a_segment_being_written_takes_it_as_it_is() {
    let (containers, hooks) = hooked();
    put(&containers, 1, 3).unwrap();
    let others = containers.clone();
    *hooks.before_write.lock().unwrap() = Some(Box::new(move || {
        assert!(others.read_block(&id(9), 0, &mut Vec::new()).unwrap_err().is_not_found());
    }));
    put(&containers, 2, 3).unwrap();
    containers.sync().unwrap();
    require(&containers, 1, 0..3);
    require(&containers, 2, 0..3);
}
