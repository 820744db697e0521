//! What is written is read; what is dropped gives its space back; moving changes no byte.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bt_base::ZoneId;
use bt_store::limits::CONTAINER_BYTES;
use bt_store::storage::{Call, Fault, FaultPlan, Repeat};
use bt_store::{FaultStorage, FileStorage, MemoryStorage, SegmentWrite, Storage, StoreError};
use support::{block, id, open, put, require, segment};

#[test]
fn blocks_and_runs_are_read_as_they_were_written() {
    let directory = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(directory.path()).unwrap();
    for round in 0..2 {
        let containers = open(&storage);
        for number in 1..20 {
            // The second round meets the same segments: they are left alone.
            put(&containers, number, number as u32 * 3).unwrap();
        }
        containers.sync().unwrap();
        for number in 1..20 {
            require(&containers, number, 0..number as u32 * 3);
        }
        let (mut out, mut lens) = (Vec::new(), Vec::new());
        containers.prefetch_run(&id(9), 3, 5);
        containers.read_run(&id(9), 3, 5, &mut out, &mut lens).unwrap();
        assert_eq!(out, (3..8).flat_map(|index| block(9, index)).collect::<Vec<_>>());
        assert_eq!(lens, (3..8).map(|index| block(9, index).len() as u32).collect::<Vec<_>>());
        let usage = containers.usage();
        assert_eq!((usage.segments, usage.containers), (19, 1), "round {round}");
        let mut infos = containers.segments();
        infos.sort_by_key(|info| info.blocks);
        assert_eq!(infos[4].id, id(5));
        assert_eq!((infos[4].zone, infos[4].epoch, infos[4].blocks), (ZoneId([5; 32]), 0, 15));
        assert!(containers.check().unwrap().is_empty() && containers.findings().is_empty());
    }
}

#[test]
fn what_is_not_there_is_named() {
    let containers = open(&MemoryStorage::new());
    put(&containers, 1, 4).unwrap();
    let mut out = Vec::new();
    let error = containers.read_block(&id(2), 0, &mut out).unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains(&id(2).to_string()), "{error}");
    let error = containers.read_block(&id(1), 4, &mut out).unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("block 4 of segment"), "{error}");
    for (first, count) in [(0, 5), (4, 1), (0, 0), (3, u32::MAX), (u32::MAX, 2)] {
        let error = containers.read_run(&id(1), first, count, &mut out, &mut Vec::new()).unwrap_err();
        assert!(error.is_not_found(), "{first} {count}: {error}");
    }
    assert!(containers.drop_segment(&id(2)).unwrap_err().is_not_found());
    assert!(containers.compact_segment(&id(2), &|_| true).unwrap_err().is_not_found());
}

#[test]
fn other_bytes_under_a_known_id_are_refused() {
    let containers = open(&MemoryStorage::new());
    put(&containers, 1, 4).unwrap();
    put(&containers, 1, 4).unwrap();
    let mut other = segment(1, 0..4);
    other.bytes[0] ^= 1;
    for other in [other, segment(1, 0..5), segment(1, 1..5)] {
        assert!(matches!(containers.write_segment(other.write()), Err(StoreError::Refused { .. })));
    }
    require(&containers, 1, 0..4);
    assert_eq!(containers.usage().segments, 1);
}

#[test]
fn segments_that_break_a_rule_are_refused() {
    let containers = open(&MemoryStorage::new());
    let bytes = vec![0; (8 << 20) + 1];
    let refused = |blocks: &[(u32, std::ops::Range<usize>)], bytes: &[u8]| {
        let write = SegmentWrite { zone: ZoneId::default(), id: id(1), epoch: 0, blocks, bytes };
        matches!(containers.write_segment(write), Err(StoreError::Refused { .. }))
    };
    assert!(refused(&[], &[]), "no blocks");
    assert!(refused(&[(0, 0..10)], &bytes[..11]), "bytes of no block");
    assert!(refused(&[(0, 0..11)], &bytes[..10]), "a block beyond the bytes");
    assert!(refused(&[(0, 0..5), (1, 6..10)], &bytes[..10]), "a gap");
    assert!(refused(&[(1, 0..5), (1, 5..10)], &bytes[..10]), "an index twice");
    assert!(refused(&[(2, 0..5), (1, 5..10)], &bytes[..10]), "indices that fall");
    #[expect(clippy::reversed_empty_ranges, reason = "a caller may make one")]
    let reversed = refused(&[(0, 0..10), (1, 10..5), (2, 5..10)], &bytes[..10]);
    assert!(reversed, "a range that ends before it begins");
    assert!(refused(&[(0, 0..bytes.len())], &bytes), "too many bytes");
    let many: Vec<_> = (0..4097u32).map(|index| (index, index as usize..index as usize + 1)).collect();
    assert!(refused(&many, &bytes[..4097]), "too many blocks");
    let write =
        SegmentWrite { zone: ZoneId::default(), id: id(1), epoch: 0, blocks: &many[..4096], bytes: &bytes[..4096] };
    containers.write_segment(write).unwrap();
}

#[test]
fn containers_fill_and_go_with_their_last_segment() {
    let storage = MemoryStorage::new();
    let containers = open(&storage);
    let bytes = vec![7; 8 << 20];
    let big = |number: u64| SegmentWrite {
        zone: ZoneId::default(),
        id: id(number),
        epoch: 1,
        blocks: &[(0, 0..8 << 20)],
        bytes: &bytes,
    };
    (0..16).for_each(|number| containers.write_segment(big(number)).unwrap());
    containers.sync().unwrap();
    // Seven segments and their headers fit 64 MiB.
    assert_eq!(storage.list("containers").unwrap().len(), 3);
    for name in storage.list("containers").unwrap() {
        assert!(storage.open(&name, false).unwrap().len().unwrap() <= CONTAINER_BYTES);
    }
    let free = storage.space().unwrap().free;
    containers.drop_segment(&id(3)).unwrap();
    assert!(storage.space().unwrap().free >= free + (8 << 20), "a hole is punched at once");
    (0..7).filter(|number| *number != 3).for_each(|number| containers.drop_segment(&id(number)).unwrap());
    assert_eq!(storage.list("containers").unwrap(), ["containers/00000002", "containers/00000003"]);
    containers.sync().unwrap();
    let containers = open(&storage);
    assert!(containers.findings().is_empty());
    assert_eq!(containers.segments().len(), 9);
    // The newest container empties while it is the current one, and goes when it is full.
    (7..16).for_each(|number| containers.drop_segment(&id(number)).unwrap());
    (20..30).for_each(|number| {
        containers.write_segment(big(number)).unwrap();
        containers.drop_segment(&id(number)).unwrap();
        containers.sync().unwrap();
    });
    assert_eq!(containers.usage().segments, 0);
    assert_eq!(storage.list("containers").unwrap().len(), 1);
}

#[test]
fn compaction_keeps_live_blocks_and_frees_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(directory.path()).unwrap();
    let containers = open(&storage);
    (1..4).for_each(|number| put(&containers, number, 200).unwrap());
    containers.sync().unwrap();
    let before = containers.usage();
    let live = |index: u32| index % 10 == 3;
    let compaction = containers.compact_segment(&id(2), &live).unwrap();
    assert_eq!(compaction.blocks, 20);
    assert!(compaction.copied_bytes * 5 < compaction.freed_bytes);
    let after = containers.usage();
    assert_eq!(after.segment_bytes, before.segment_bytes - compaction.freed_bytes + compaction.copied_bytes);
    for containers in [containers, open(&storage)] {
        require(&containers, 2, (0..200).filter(|index| live(*index)));
        let mut out = Vec::new();
        assert!(containers.read_block(&id(2), 4, &mut out).unwrap_err().is_not_found());
        assert!(containers.read_run(&id(2), 3, 2, &mut out, &mut Vec::new()).unwrap_err().is_not_found());
        containers.read_run(&id(2), 13, 1, &mut out, &mut Vec::new()).unwrap();
        assert_eq!(out, block(2, 13));
        require(&containers, 1, 0..200);
        require(&containers, 3, 0..200);
        assert!(containers.check().unwrap().is_empty());
        containers.sync().unwrap();
    }
    let containers = open(&storage);
    containers.compact_segment(&id(2), &|index| index == 13).unwrap();
    require(&containers, 2, [13]);
    containers.compact_segment(&id(2), &|_| false).unwrap();
    assert!(!containers.contains(&id(2)));
}

#[test]
fn reads_go_on_while_segments_move_and_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let containers = Arc::new(open(&FileStorage::open(directory.path()).unwrap()));
    (0..8).for_each(|number| put(&containers, number, 20).unwrap());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..4u64 {
            let (containers, done) = (&containers, &done);
            scope.spawn(move || {
                let mut reads = reader;
                while !done.load(Ordering::Relaxed) {
                    require(containers, reads % 8, [reads as u32 % 20]);
                    reads += 1;
                }
            });
        }
        for round in 0..15 {
            (0..8)
                .for_each(|number| assert_eq!(containers.compact_segment(&id(number), &|_| true).unwrap().blocks, 20));
            put(&containers, 100 + round, 5).unwrap();
            containers.sync().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(containers.check().unwrap().is_empty());
}

#[test]
fn threads_write_side_by_side() {
    let storage = MemoryStorage::new();
    let containers = open(&storage);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let containers = &containers;
            scope.spawn(move || {
                for number in 0..20 {
                    put(containers, thread * 100 + number, 10).unwrap();
                    // All threads write this one.
                    put(containers, 1000 + number, 3).unwrap();
                    containers.sync().unwrap();
                }
            });
        }
    });
    let containers = open(&storage);
    assert_eq!(containers.segments().len(), 100);
    assert!(containers.check().unwrap().is_empty());
}

#[test]
fn the_location_map_does_not_grow_with_garbage() {
    let storage = MemoryStorage::new();
    let containers = open(&storage);
    put(&containers, 0, 1).unwrap();
    for number in 1..3000 {
        put(&containers, number, 1).unwrap();
        containers.drop_segment(&id(number)).unwrap();
        containers.sync().unwrap();
    }
    assert!(storage.open("locations", false).unwrap().len().unwrap() < 96 * 1100);
    assert_eq!(open(&storage).segments().len(), 1);
}

#[test]
fn a_failed_sync_ends_all_writing_but_not_reading() {
    let storage = FaultStorage::new();
    let containers = open(&storage);
    put(&containers, 1, 3).unwrap();
    containers.sync().unwrap();
    put(&containers, 2, 3).unwrap();
    storage.inject(Some(FaultPlan { on: Some(Call::Sync), after: 0, fault: Fault::Eio, repeat: Repeat::Once }));
    assert!(containers.sync().is_err());
    assert!(matches!(containers.sync(), Err(StoreError::Io { .. })));
    assert!(matches!(put(&containers, 3, 3), Err(StoreError::Io { .. })));
    assert!(containers.compact_segment(&id(1), &|_| true).is_err());
    require(&containers, 1, 0..3);
}

#[test]
fn a_full_disk_is_an_error_that_passes() {
    let storage = MemoryStorage::with_capacity(1 << 20);
    let containers = open(&storage);
    let mut written = 0;
    let error = loop {
        match put(&containers, written, 20) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_no_space() && written > 2, "{error}");
    assert!(!containers.contains(&id(written)));
    containers.sync().unwrap();
    (0..written).for_each(|number| require(&containers, number, 0..20));
    containers.drop_segment(&id(0)).unwrap();
    containers.drop_segment(&id(1)).unwrap();
    put(&containers, written, 20).unwrap();
    containers.sync().unwrap();
    let containers = open(&storage);
    (2..=written).for_each(|number| require(&containers, number, 0..20));
}

#[test]
fn every_injected_fault_is_an_error_and_what_was_synced_stays() {
    let run = |plan: Option<FaultPlan>| {
        let storage = FaultStorage::new();
        let containers = open(&storage);
        put(&containers, 1, 30).unwrap();
        put(&containers, 2, 30).unwrap();
        containers.sync().unwrap();
        storage.inject(plan);
        let calls = storage.all_calls();
        let mut first_error: Option<StoreError> = None;
        let mut step = |result: bt_store::Result<()>| first_error = first_error.take().or(result.err());
        step(put(&containers, 3, 30));
        step(containers.sync());
        step(containers.compact_segment(&id(1), &|index| index % 2 == 0).map(drop));
        step(containers.drop_segment(&id(2)));
        step(containers.sync());
        let calls = storage.all_calls() - calls;
        storage.inject(None);
        for containers in [open(&storage.crash(storage.operation_count(), 1)), containers] {
            require(&containers, 1, (0..30).filter(|index| index % 2 == 0));
            if first_error.is_none() {
                require(&containers, 3, 0..30);
            }
        }
        calls
    };
    let calls = run(None);
    for after in 0..calls {
        for (fault, repeat) in
            [(Fault::Eio, Repeat::Once), (Fault::NoSpace, Repeat::Forever), (Fault::ShortWrite, Repeat::Once)]
        {
            println!("the fault: {fault:?} {repeat:?} after {after} calls");
            run(Some(FaultPlan { on: None, after, fault, repeat }));
        }
    }
}

#[test]
fn an_unknown_segment_is_searched_for_once() {
    let storage = FaultStorage::new();
    let containers = open(&storage);
    put(&containers, 1, 3).unwrap();
    containers.sync().unwrap();
    let mut out = Vec::new();
    assert!(containers.read_block(&id(9), 0, &mut out).unwrap_err().is_not_found());
    let lists = storage.calls(Call::List);
    (10..20).for_each(|number| drop(containers.read_block(&id(number), 0, &mut out).unwrap_err()));
    assert_eq!(storage.calls(Call::List), lists);
    require(&containers, 1, 0..3);
}
