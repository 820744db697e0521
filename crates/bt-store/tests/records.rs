//! Files of records: what was appended comes back, and damage stays where it is.

mod support;

use std::sync::Arc;

use bt_store::{FaultStorage, MemoryStorage, RecordFile, Storage, StoreError};
use proptest::prelude::*;

fn file(storage: &MemoryStorage) -> RecordFile {
    RecordFile::new(Arc::new(storage.clone()), "records")
}

fn content(storage: &MemoryStorage) -> Vec<u8> {
    let file = storage.open("records", false).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn with_content(bytes: &[u8]) -> MemoryStorage {
    let storage = MemoryStorage::new();
    storage.open("records", true).unwrap().write_at(bytes, 0).unwrap();
    storage
}

/// Three records, of one unit, of two, and of exactly one.
fn example() -> Vec<Vec<u8>> {
    vec![vec![1; 10], vec![2; 700], vec![3; 512 - 48]]
}

fn example_storage() -> MemoryStorage {
    let storage = MemoryStorage::new();
    let records = file(&storage);
    example().iter().for_each(|record| records.append(record).unwrap());
    storage
}

#[test]
fn records_come_back_in_their_order_and_are_appended_by_later_openings() {
    let storage = example_storage();
    file(&storage).append(b"four").unwrap();
    let loaded = file(&storage).load().unwrap();
    assert_eq!(loaded.records[..3], example()[..]);
    assert_eq!(loaded.records[3], b"four");
    assert!(loaded.damaged.is_empty() && !loaded.has_torn_end);
    assert_eq!(loaded.bytes, 512 * 5);
    assert!(file(&MemoryStorage::new()).load().unwrap().records.is_empty(), "no file is no record");
}

#[test]
fn a_file_is_written_anew_and_appended_to_then() {
    let storage = example_storage();
    let records = file(&storage);
    records.append(b"gone").unwrap();
    records.replace([&b"first"[..], b"second"]).unwrap();
    records.append(b"third").unwrap();
    assert_eq!(records.load().unwrap().records, [&b"first"[..], b"second", b"third"]);
}

#[test]
fn what_is_too_long_is_refused() {
    let records = file(&MemoryStorage::new());
    for wrong in [0, bt_store::limits::RECORD_BYTES + 1] {
        assert!(matches!(records.append(&vec![1; wrong]), Err(StoreError::Refused { .. })), "{wrong}");
    }
    let full = vec![1; bt_store::limits::RECORD_BYTES];
    while records.append(&full).is_ok() {}
    assert!(records.load().unwrap().bytes <= bt_store::limits::RECORD_FILE_BYTES);
    assert!(matches!(records.append(&full), Err(StoreError::Refused { .. })));
}

#[test]
fn a_damaged_record_is_named_and_hides_no_other() {
    let bytes = content(&example_storage());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let loaded = file(&with_content(&flipped)).load().unwrap();
        let lost = 3 - loaded.records.len();
        assert!(loaded.records.iter().all(|record| example().contains(record)), "bit {bit}");
        let told = loaded.damaged.len() + usize::from(loaded.has_torn_end);
        assert_eq!((lost, told), (lost.min(1), lost), "bit {bit}");
    }
}

#[test]
fn a_cut_file_keeps_the_records_before_the_cut() {
    let bytes = content(&example_storage());
    for len in 0..bytes.len() {
        let loaded = file(&with_content(&bytes[..len])).load().unwrap();
        assert!(loaded.damaged.is_empty(), "{len}");
        assert_eq!(loaded.records[..], example()[..loaded.records.len()], "{len}");
    }
}

#[test]
fn a_crash_loses_only_what_was_not_synced() {
    for seed in 0..40 {
        let storage = FaultStorage::over(&MemoryStorage::new());
        let records = RecordFile::new(Arc::new(storage.clone()), "records");
        records.append(b"kept").unwrap();
        records.sync().unwrap();
        records.append(&[7; 3000]).unwrap();
        let after = storage.crash(storage.operation_count(), seed);
        let loaded = file(&after).load().unwrap();
        assert_eq!(loaded.records[0], b"kept", "seed {seed}");
        assert!(loaded.damaged.is_empty(), "seed {seed}");
        file(&after).append(b"later").unwrap();
        assert_eq!(file(&after).load().unwrap().records.last().unwrap(), b"later", "seed {seed}");
    }
}

#[test]
fn the_golden_file_is_written_and_understood() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/records-v1.bin");
    let bytes = content(&example_storage());
    if std::env::var_os("BLESS").is_some() && !path.exists() {
        std::fs::write(&path, &bytes).unwrap();
    }
    let golden = std::fs::read(&path).unwrap();
    assert!(golden == bytes, "the format changed");
    assert_eq!(file(&with_content(&golden)).load().unwrap().records, example());
}

proptest! {
    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let loaded = file(&with_content(&bytes)).load().unwrap();
        prop_assert!(loaded.records.is_empty() || bytes.len() > 48);
    }
}
