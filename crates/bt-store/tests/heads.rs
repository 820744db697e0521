//! Heads: a crash leaves the one before or the new one, damage to one file costs nothing.

use std::sync::Arc;

use bt_base::Revision;
use bt_store::heads::{HEAD_BYTES, HEAD_FILES};
use bt_store::limits::HEAD_SLOT_BYTES;
use bt_store::storage::{Call, Fault, FaultPlan, Repeat};
use bt_store::{FaultStorage, Heads, MemoryStorage, Storage, StoreError};
use proptest::prelude::*;

fn heads_on(storage: impl Storage + 'static) -> Heads {
    Heads::new(Arc::new(storage), "zone")
}

fn made_on(storage: impl Storage + Clone + 'static) -> Heads {
    storage.create_dir("zone").unwrap();
    let heads = heads_on(storage.clone());
    heads.create().unwrap();
    storage.sync_dir("").unwrap();
    heads
}

fn head(revision: u64) -> Vec<u8> {
    format!("head {revision} ").repeat(1 + revision as usize * 97 % 5000).into_bytes()
}

fn revisions(heads: &Heads) -> Vec<u64> {
    heads.load().unwrap().copies.iter().map(|copy| copy.revision.0).collect()
}

#[test]
fn the_last_two_heads_are_there_twice() {
    let heads = made_on(MemoryStorage::new());
    assert!(heads.load().unwrap().copies.is_empty());
    for revision in 1..=5 {
        heads.publish(Revision(revision), &head(revision)).unwrap();
    }
    let loaded = heads.load().unwrap();
    assert!(loaded.damaged.is_empty());
    assert_eq!(revisions(&heads), [5, 5, 4, 4]);
    assert!(loaded.copies.iter().all(|copy| copy.bytes == head(copy.revision.0)));
    assert!(heads.repair().unwrap().is_empty());
    heads.publish(Revision(6), &vec![1; HEAD_BYTES]).unwrap();
    assert_eq!(heads.load().unwrap().copies[0].bytes, vec![1; HEAD_BYTES]);
}

#[test]
fn heads_that_do_not_fit_and_files_that_exist_are_refused() {
    let heads = made_on(MemoryStorage::new());
    assert!(matches!(heads.publish(Revision(1), &[]), Err(StoreError::Refused { .. })));
    assert!(matches!(heads.publish(Revision(1), &vec![0; HEAD_BYTES + 1]), Err(StoreError::Refused { .. })));
    assert!(matches!(heads.create(), Err(StoreError::Refused { .. })));
    let error = heads_on(MemoryStorage::new()).publish(Revision(1), b"x").unwrap_err();
    assert!(error.is_not_found());
}

#[test]
fn a_missing_file_is_named_and_made_again() {
    for name in HEAD_FILES {
        let storage = MemoryStorage::new();
        let heads = made_on(storage.clone());
        (1..=3).for_each(|revision| heads.publish(Revision(revision), &head(revision)).unwrap());
        let name = format!("zone/{name}");
        storage.remove(&name).unwrap();
        let loaded = heads.load().unwrap();
        assert!(matches!(&loaded.damaged[..], [StoreError::Damaged { file, .. }] if *file == name));
        assert_eq!(heads.repair().unwrap().len(), 2);
        assert_eq!(revisions(&heads), [3, 3, 2, 2]);
    }
}

#[test]
fn an_older_file_and_swapped_files_are_brought_up_to_date() {
    let storage = MemoryStorage::new();
    let heads = made_on(storage.clone());
    (1..=3).for_each(|revision| heads.publish(Revision(revision), &head(revision)).unwrap());
    let older = storage.deep_copy();
    heads.publish(Revision(4), &head(4)).unwrap();
    let mut old = vec![0; 2 * HEAD_SLOT_BYTES as usize];
    older.open("zone/heads.b", false).unwrap().read_exact_at(&mut old, 0).unwrap();
    storage.open("zone/heads.b", false).unwrap().write_at(&old, 0).unwrap();
    storage.rename("zone/heads.a", "zone/x").unwrap();
    storage.rename("zone/heads.b", "zone/heads.a").unwrap();
    storage.rename("zone/x", "zone/heads.b").unwrap();
    assert_eq!(revisions(&heads), [4, 3, 3, 2]);
    assert_eq!(heads.repair().unwrap().len(), 1);
    assert_eq!(revisions(&heads), [4, 4, 3, 3]);
}

#[test]
fn a_crash_at_any_point_leaves_the_head_before_or_the_new_one() {
    let storage = FaultStorage::new();
    let heads = made_on(storage.clone());
    let mut published = vec![(storage.operation_count(), 0)];
    for revision in 1..=4 {
        heads.publish(Revision(revision), &head(revision)).unwrap();
        published.push((storage.operation_count(), revision));
    }
    for point in published[0].0..=storage.operation_count() {
        let durable = published.iter().rev().find(|(at, _)| *at <= point).unwrap().1;
        for seed in 0..60 {
            let crashed = heads_on(storage.crash(point, seed));
            let loaded = crashed.load().unwrap();
            let newest = loaded.copies.first().map_or(0, |copy| copy.revision.0);
            assert!(newest == durable || newest == durable + 1, "point {point}, seed {seed}: {newest}, {durable}");
            assert!(loaded.copies.iter().all(|copy| copy.bytes == head(copy.revision.0)));
            crashed.repair().unwrap();
            assert_eq!(crashed.load().unwrap().copies.first().map_or(0, |copy| copy.revision.0), newest);
            crashed.publish(Revision(newest + 1), &head(newest + 1)).unwrap();
        }
    }
}

#[test]
fn a_failed_publication_is_an_error_and_loses_no_head() {
    for after in 0..8 {
        for fault in [Fault::Eio, Fault::NoSpace, Fault::ShortWrite] {
            let storage = FaultStorage::new();
            let heads = made_on(storage.clone());
            heads.publish(Revision(1), &head(1)).unwrap();
            let plan = FaultPlan { on: None, after, fault, repeat: Repeat::Forever };
            storage.inject(Some(plan));
            let published = heads.publish(Revision(2), &head(2));
            storage.inject(None);
            let newest = heads.load().unwrap().copies[0].clone();
            assert_eq!(newest.bytes, head(newest.revision.0));
            assert!(newest.revision.0 == 2 || published.is_err());
            assert!(storage.calls(Call::Sync) >= 2);
        }
    }
}

proptest! {
    #[test]
    fn whatever_one_file_holds_the_other_has_the_heads(
        which in 0..2usize,
        flips in prop::collection::vec((0..2 * HEAD_SLOT_BYTES, 0..8u32), 0..20),
        header_flips in prop::collection::vec((0..64u64, 0..2u64, 0..8u32), 0..4),
        cut in prop::option::of(0..2 * HEAD_SLOT_BYTES),
    ) {
        let storage = MemoryStorage::new();
        let heads = made_on(storage.clone());
        (1..=6).for_each(|revision| heads.publish(Revision(revision), &head(revision)).unwrap());
        let name = format!("zone/{}", HEAD_FILES[which]);
        let file = storage.open(&name, false).unwrap();
        let header_flips = header_flips.iter().map(|(at, slot, bit)| (at + slot * HEAD_SLOT_BYTES, *bit));
        for (at, bit) in flips.iter().copied().chain(header_flips) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_at(&[byte[0] ^ 1 << bit], at).unwrap();
        }
        if let Some(cut) = cut {
            file.set_len(cut).unwrap();
        }
        let loaded = heads.load().unwrap();
        prop_assert!(loaded.copies.iter().all(|copy| copy.bytes == head(copy.revision.0)));
        prop_assert_eq!(loaded.copies[0].revision, Revision(6));
        prop_assert_eq!(loaded.copies.len() + loaded.damaged.len(), 4, "every damaged slot is named");
        let named = |error: &StoreError| matches!(error, StoreError::Damaged { file, .. } if *file == name);
        prop_assert!(loaded.damaged.iter().all(named));
        heads.repair().unwrap();
        prop_assert_eq!(revisions(&heads), [6, 6, 5, 5]);
    }
}
