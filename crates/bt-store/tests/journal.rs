//! The journal's ring: what is needed is never overwritten, and a crash takes only what was not synced.

mod support;

use std::collections::VecDeque;

use bt_store::storage::{Call, Fault, FaultPlan, Repeat};
use bt_store::{FaultStorage, FileStorage, JournalFile, MemoryStorage, Storage, StoreError, WriteMode};
use proptest::prelude::*;
use support::hooked::{HookedStorage, Hooks};

const PAGE: u64 = 4096;

/// A batch that can be recognised: its number in every eighth byte and its pages in the first.
fn batch(number: u64, pages: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = number.to_le_bytes().repeat((pages * PAGE / 8) as usize);
    bytes[0] = pages as u8;
    bytes
}

/// What a caller's recovery does: the newest numbered batches that follow each other, from the first one needed.
fn recover(journal: &JournalFile, first_offset: u64, first_number: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    let (mut at, mut number) = (first_offset, first_number);
    while let Some(end) = [at, 0].into_iter().find_map(|place| end_of_batch(journal, place, number)) {
        numbers.push(number);
        (at, number) = (end % journal.size(), number + 1);
    }
    numbers
}

fn end_of_batch(journal: &JournalFile, at: u64, number: u64) -> Option<u64> {
    let pages = u64::from(journal.read_at(at, 1).ok()?[0]);
    let bytes = journal.read_at(at, (pages * PAGE) as usize).ok().filter(|bytes| !bytes.is_empty())?;
    (bytes == batch(number, pages)).then_some(at + pages * PAGE)
}

fn new_journal(storage: &dyn Storage, pages: u64) -> JournalFile {
    JournalFile::create(storage, "journal", pages * PAGE).unwrap()
}

#[test]
fn batches_go_around_and_never_across_the_end() {
    let storage = MemoryStorage::new();
    let journal = new_journal(&storage, 8);
    assert_eq!(journal.append(&batch(1, 3)).unwrap(), 0);
    assert_eq!(journal.append_sync(&batch(2, 3)).unwrap(), 3 * PAGE);
    let error = journal.append(&batch(3, 3)).unwrap_err();
    assert!(matches!(error, StoreError::Full { needed: 12288, free: 4096, .. }), "{error}");
    journal.release_up_to(3 * PAGE).unwrap();
    assert_eq!(journal.free(), 2 * PAGE, "the two pages at the end, or two of the three at the start");
    journal.release_up_to(6 * PAGE).unwrap();
    assert_eq!((journal.used(), journal.free()), (0, 5 * PAGE));
    assert_eq!(journal.append(&batch(3, 3)).unwrap(), 0, "it does not fit before the end");
    assert_eq!(recover(&journal, 0, 3), [3]);
    journal.sync().unwrap();
}

/// A head may name the place where the ring stood empty, and be published after the next batch: that place stays the
/// begin of what is needed, also when the batch does not fit behind it.
#[test]
fn where_an_empty_ring_stood_can_be_named_later() {
    for stand in 1..8 {
        let journal = new_journal(&MemoryStorage::new(), 8);
        journal.append(&batch(1, stand)).unwrap();
        let named = stand * PAGE % journal.size();
        journal.release_up_to(named).unwrap();
        let pages = (8 - stand).max(stand - 1);
        assert_eq!(journal.free(), pages.min(7) * PAGE, "after {stand} pages");
        journal.append(&batch(2, pages)).unwrap();
        let used = journal.used();
        journal.release_up_to(named).unwrap();
        assert_eq!(journal.used(), used, "the batch after {stand} pages is still needed");
    }
}

#[test]
fn what_is_not_a_journal_or_a_batch_is_refused() {
    let storage = MemoryStorage::new();
    for size in [0, 4096, 5 * 4096 + 1] {
        assert!(matches!(JournalFile::create(&storage, "journal", size), Err(StoreError::Refused { .. })), "{size}");
    }
    let journal = new_journal(&storage, 8);
    for len in [0, 1, 4095, 4097] {
        assert!(matches!(journal.append(&vec![0; len]), Err(StoreError::Refused { .. })), "{len}");
    }
    journal.append(&batch(1, 2)).unwrap();
    for position in [1, 3 * PAGE, 9 * PAGE, u64::MAX] {
        assert!(matches!(journal.release_up_to(position), Err(StoreError::Refused { .. })), "{position}");
    }
    assert!(journal.read_at(7 * PAGE, 2 * PAGE as usize).unwrap_err().is_damage());
    assert!(journal.read_at(u64::MAX, 1).unwrap_err().is_damage());
    assert!(journal.scan_from(9 * PAGE).is_err());
    storage.open("journal", false).unwrap().set_len(8 * PAGE - 1).unwrap();
    assert!(JournalFile::open(&storage, "journal").unwrap_err().is_damage());
}

#[test]
fn a_scan_visits_every_page_once_in_ring_order() {
    let journal = new_journal(&MemoryStorage::new(), 600);
    journal.append(&batch(7, 200)).unwrap();
    let pages: Vec<_> = journal.scan_from(590 * PAGE).unwrap().map(|page| page.unwrap()).collect();
    let offsets: Vec<u64> = pages.iter().map(|page| page.offset / PAGE).collect();
    assert_eq!(offsets, (590..600).chain(0..590).collect::<Vec<_>>());
    assert!(pages[..10].iter().all(|page| page.bytes == [0; 4096]));
    assert_eq!(pages[10].bytes, batch(7, 200)[..4096]);
    assert_eq!(journal.scan_from(600 * PAGE).unwrap().next().unwrap().unwrap().offset, 0);
}

#[test]
fn a_failed_write_or_sync_is_final() {
    for on in [Call::Write, Call::Sync] {
        let storage = FaultStorage::new();
        new_journal(&storage, 8);
        let journal = JournalFile::open_with(&storage, "journal", WriteMode::Buffered).unwrap();
        journal.append_sync(&batch(1, 1)).unwrap();
        storage.inject(Some(FaultPlan { on: Some(on), after: 0, fault: Fault::Eio, repeat: Repeat::Once }));
        assert!(journal.append_sync(&batch(2, 1)).is_err());
        assert!(matches!(journal.append(&batch(3, 1)), Err(StoreError::Io { .. })), "{on:?}");
        assert!(matches!(journal.sync(), Err(StoreError::Io { .. })), "{on:?}");
    }
}

#[test]
fn the_real_file_works_in_every_mode_and_can_be_reopened() {
    let directory = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(directory.path()).unwrap();
    let mode = new_journal(&storage, 16).mode();
    assert!(mode == WriteMode::DirectDurable || mode == WriteMode::Buffered);
    let mut next = 0;
    for (number, mode) in [WriteMode::Buffered, WriteMode::Direct, WriteMode::BufferedDurable, WriteMode::DirectDurable]
        .iter()
        .enumerate()
    {
        let journal = match JournalFile::open_with(&storage, "journal", *mode) {
            Err(StoreError::Refused { .. }) if mode.is_direct() => continue,
            opened => opened.unwrap(),
        };
        journal.resume(0, next).unwrap();
        next = journal.append_sync(&batch(number as u64, 2)).unwrap() + 2 * PAGE;
    }
    let journal = JournalFile::open(&storage, "journal").unwrap();
    assert_eq!(recover(&journal, 0, 0).len() as u64, next / PAGE / 2);
}

#[test]
fn a_file_system_without_direct_writes_has_a_journal_too() {
    let hooks = Hooks { refuse_direct: true, ..Hooks::default() };
    let storage = HookedStorage(MemoryStorage::new(), hooks);
    let journal = new_journal(&storage, 8);
    assert_eq!(journal.mode(), WriteMode::Buffered);
    journal.append_sync(&batch(1, 2)).unwrap();
    assert_eq!(recover(&journal, 0, 1), [1]);
    let containers = support::open(&storage);
    support::put(&containers, 1, 100).unwrap();
    containers.compact_segment(&support::id(1), &|_| true).unwrap();
    support::require(&containers, 1, 0..100);
}

#[test]
fn a_journal_is_made_and_replaced_whole_or_not_at_all() {
    let storage = FaultStorage::new();
    new_journal(&storage, 8);
    let made = storage.operation_count();
    let journal = JournalFile::open(&storage, "journal").unwrap();
    journal.append_sync(&batch(1, 2)).unwrap();
    let written = storage.operation_count();
    new_journal(&storage, 6);
    for point in 0..=storage.operation_count() {
        for seed in 0..20 {
            let crashed = storage.crash(point, seed);
            match JournalFile::open(&crashed, "journal") {
                Ok(journal) if journal.size() == 6 * PAGE => assert!(point >= written),
                Ok(journal) if point >= written => assert_eq!(recover(&journal, 0, 1), [1]),
                Ok(journal) => assert_eq!(journal.size(), 8 * PAGE),
                Err(error) => assert!(error.is_not_found() && point < made, "point {point}: {error}"),
            }
            new_journal(&crashed, 8);
        }
    }
}

/// One batch of a run: its pages, whether it is synced, and how many of the needed batches are released after it.
fn steps() -> impl Strategy<Value = Vec<(u64, bool, usize)>> {
    prop::collection::vec((1..6u64, any::<bool>(), 0..4usize), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn needed_batches_stay_and_a_crash_takes_only_unsynced_ones(steps in steps(), durable in any::<bool>(), seed: u64) {
        let storage = FaultStorage::new();
        new_journal(&storage, 12);
        let mode = if durable { WriteMode::DirectDurable } else { WriteMode::Buffered };
        let journal = JournalFile::open_with(&storage, "journal", mode).unwrap();
        // The needed batches: number and offset; how many of the numbers so far are durable.
        let mut needed: VecDeque<(u64, u64)> = VecDeque::new();
        let mut synced = 0;
        let mut end = 0;
        for (number, (pages, sync, release)) in (1u64..).zip(&steps) {
            let offset = loop {
                match journal.append(&batch(number, *pages)) {
                    Ok(offset) => break offset,
                    Err(StoreError::Full { .. }) => {
                        prop_assert!(needed.pop_front().is_some(), "full without anything needed");
                        journal.release_up_to(needed.front().map_or(end, |(_, offset)| *offset)).unwrap();
                    }
                    Err(error) => panic!("{error}"),
                }
            };
            needed.push_back((number, offset));
            end = offset + pages * PAGE;
            if *sync {
                journal.sync().unwrap();
            }
            if *sync || durable {
                synced = number;
            }
            let (first, place) = needed[0];
            prop_assert_eq!(recover(&journal, place, first), (first..=number).collect::<Vec<_>>());

            let crashed = JournalFile::open(&storage.crash(storage.operation_count(), seed ^ number), "journal").unwrap();
            let found = recover(&crashed, place, first);
            prop_assert!(found.len() as u64 + first > synced, "{found:?} from {first}, but {synced} was synced");

            // Only what is synced may be released: a head covers no batch that a crash could take.
            for _ in 0..*release {
                if needed.front().is_some_and(|(number, _)| *number <= synced) {
                    needed.pop_front();
                }
            }
            journal.release_up_to(needed.front().map_or(end, |(_, offset)| *offset)).unwrap();
        }
    }
}

#[test]
fn a_journal_that_nobody_needs_is_overwritten() {
    let storage = MemoryStorage::new();
    let journal = new_journal(&storage, 8);
    journal.append_sync(&batch(1, 3)).unwrap();
    let error = journal.erase().unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    assert_eq!(recover(&journal, 0, 1), [1]);
    journal.release_up_to(3 * PAGE).unwrap();
    journal.erase().unwrap();
    assert_eq!(journal.read_at(0, 8 * PAGE as usize).unwrap(), vec![0; 8 * PAGE as usize]);
    assert_eq!(journal.append_sync(&batch(2, 3)).unwrap(), 3 * PAGE, "it goes on where it was");
}
