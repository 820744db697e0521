//! What every storage does: one suite, run on each.

use std::sync::Arc;

use super::{FaultStorage, FileStorage, MemoryStorage, Storage, StorageFile, WriteMode};
use crate::error::StoreError;

/// Runs each test of the suite on a fresh storage of each kind.
macro_rules! on_every_storage {
    ($($test:ident),* $(,)?) => {
        mod on_files {
            $(#[test] fn $test() {
                let directory = tempfile::tempdir().unwrap();
                super::$test(&super::FileStorage::open(directory.path().join("node")).unwrap());
            })*
        }
        mod in_memory {
            $(#[test] fn $test() { super::$test(&super::MemoryStorage::new()) })*
        }
        mod with_history {
            $(#[test] fn $test() { super::$test(&super::FaultStorage::new()) })*
        }
    };
}

on_every_storage![
    what_is_written_is_read,
    a_read_is_short_only_at_the_end,
    parts_are_written_one_after_the_other,
    every_mode_writes_the_same,
    holes_and_new_bytes_are_zeros,
    allocation_keeps_bytes_and_extends,
    a_cut_file_forgets,
    files_have_names,
    an_open_file_outlives_its_name,
    renaming_replaces,
    names_that_leave_the_directory_are_refused,
    ranges_beyond_a_file_are_refused,
    missing_files_are_not_found,
    there_is_space,
];

fn file(storage: &dyn Storage) -> Arc<dyn StorageFile> {
    storage.open("file", true).unwrap()
}

fn content(file: &dyn StorageFile) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn what_is_written_is_read(storage: &dyn Storage) {
    let file = file(storage);
    assert!(file.is_empty().unwrap());
    let bytes: Vec<u8> = (0..20_000u32).map(|i| i as u8).collect();
    file.write_at(&bytes, 0).unwrap();
    file.write_at(b"over", 4094).unwrap();
    file.sync_data().unwrap();
    file.prefetch(0, 100);
    assert_eq!(file.len().unwrap(), 20_000);
    let mut expected = bytes;
    expected[4094..4098].copy_from_slice(b"over");
    assert_eq!(content(&*storage.open("file", false).unwrap()), expected);
}

fn a_read_is_short_only_at_the_end(storage: &dyn Storage) {
    let file = file(storage);
    file.write_at(&[1; 100], 0).unwrap();
    let mut buf = [9; 60];
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 60);
    assert_eq!(file.read_at(&mut buf, 60).unwrap(), 40);
    assert_eq!(file.read_at(&mut buf, 100).unwrap(), 0);
    assert_eq!(file.read_at(&mut buf, 1 << 40).unwrap(), 0);
    let error = file.read_exact_at(&mut buf, 60).unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { file, offset: 100, .. } if file == "file"), "{error}");
}

fn parts_are_written_one_after_the_other(storage: &dyn Storage) {
    let file = file(storage);
    file.write_vectored_at(&[b"", b"ab", b"", b"cdef", b"g"], 3).unwrap();
    file.write_vectored_at(&[], 100).unwrap();
    file.write_vectored_at(&[b"", b""], 100).unwrap();
    assert_eq!(content(&*file), b"\0\0\0abcdefg");
    let many: Vec<Vec<u8>> = (0..3000u32).map(|i| vec![i as u8; 3]).collect();
    let parts: Vec<&[u8]> = many.iter().map(|part| &part[..]).collect();
    file.write_vectored_at(&parts, 0).unwrap();
    assert_eq!(content(&*file), many.concat());
}

fn every_mode_writes_the_same(storage: &dyn Storage) {
    for mode in [WriteMode::Buffered, WriteMode::Direct, WriteMode::BufferedDurable, WriteMode::DirectDurable] {
        let file = match storage.open_with("file", true, mode) {
            Err(StoreError::Refused { .. }) if mode.is_direct() => continue,
            opened => opened.unwrap(),
        };
        file.set_len(0).unwrap();
        file.zero_fill(0, 3 * 4096).unwrap();
        file.write_at(&[5; 8192], 4096).unwrap();
        file.write_vectored_at(&[&[6; 96], &[7; 4000]], 4096).unwrap();
        file.sync_data().unwrap();
        let expected = [vec![0; 4096], vec![6; 96], vec![7; 4000], vec![5; 4096]].concat();
        assert_eq!(content(&*file), expected, "{mode:?}");
        assert_eq!(content(&*storage.open("file", false).unwrap()), expected, "{mode:?}");
        let mut odd = [0; 100];
        file.read_exact_at(&mut odd, 4096 + 50).unwrap();
        assert_eq!(odd[..], expected[4146..4246], "{mode:?}");
        assert_eq!(file.read_at(&mut odd, 3 * 4096 - 50).unwrap(), 50, "{mode:?}");
    }
}

fn holes_and_new_bytes_are_zeros(storage: &dyn Storage) {
    let file = file(storage);
    file.write_at(&[1; 30_000], 0).unwrap();
    file.punch(100, 50).unwrap();
    file.punch(5_000, 15_000).unwrap();
    file.punch(29_000, 5_000).unwrap();
    assert_eq!(file.len().unwrap(), 30_000, "punching keeps the length");
    let mut expected = vec![1; 30_000];
    expected[100..150].fill(0);
    expected[5_000..20_000].fill(0);
    expected[29_000..].fill(0);
    assert_eq!(content(&*file), expected);
    file.write_at(&[2], 40_000).unwrap();
    expected.resize(40_000, 0);
    expected.push(2);
    assert_eq!(content(&*file), expected);
}

fn allocation_keeps_bytes_and_extends(storage: &dyn Storage) {
    let file = file(storage);
    file.write_at(&[1; 5000], 0).unwrap();
    file.allocate(4000, 6000).unwrap();
    file.allocate(0, 0).unwrap();
    assert_eq!(file.len().unwrap(), 10_000);
    let bytes = content(&*file);
    assert!(bytes[..5000].iter().all(|byte| *byte == 1) && bytes[5000..].iter().all(|byte| *byte == 0));
}

fn a_cut_file_forgets(storage: &dyn Storage) {
    let file = file(storage);
    file.write_at(&[1; 9000], 0).unwrap();
    file.set_len(4100).unwrap();
    file.set_len(9000).unwrap();
    let bytes = content(&*file);
    assert!(bytes[..4100].iter().all(|byte| *byte == 1) && bytes[4100..].iter().all(|byte| *byte == 0));
    file.set_len(0).unwrap();
    assert!(file.is_empty().unwrap());
}

fn files_have_names(storage: &dyn Storage) {
    assert!(storage.list("a").unwrap().is_empty());
    storage.create_dir("a/b").unwrap();
    storage.create_dir("a/b").unwrap();
    for name in ["a/b/2", "a/1", "a/b/1", "top"] {
        assert!(!storage.exists(name).unwrap());
        storage.open(name, true).unwrap();
        assert!(storage.exists(name).unwrap());
    }
    for directory in ["", "a", "a/b"] {
        storage.sync_dir(directory).unwrap();
    }
    assert!(storage.exists("a/b").unwrap());
    assert_eq!(storage.list("").unwrap(), ["top"]);
    assert_eq!(storage.list("a").unwrap(), ["a/1"]);
    assert_eq!(storage.list("a/b").unwrap(), ["a/b/1", "a/b/2"]);
    storage.remove("a/b/1").unwrap();
    assert_eq!(storage.list("a/b").unwrap(), ["a/b/2"]);
    assert!(storage.remove_dir("a/b").is_err(), "a file is in it");
    assert!(storage.remove_dir("a").is_err(), "a directory is in it");
    storage.remove("a/b/2").unwrap();
    storage.remove_dir("a/b").unwrap();
    storage.remove_dir("a/b").unwrap();
    assert!(!storage.exists("a/b").unwrap());
}

fn an_open_file_outlives_its_name(storage: &dyn Storage) {
    let file = file(storage);
    file.write_at(b"still here", 0).unwrap();
    storage.remove("file").unwrap();
    assert_eq!(content(&*file), b"still here");
    assert!(storage.open("file", true).unwrap().is_empty().unwrap());
}

fn renaming_replaces(storage: &dyn Storage) {
    file(storage).write_at(b"new", 0).unwrap();
    storage.open("other", true).unwrap().write_at(b"old and longer", 0).unwrap();
    storage.rename("file", "other").unwrap();
    assert_eq!(storage.list("").unwrap(), ["other"]);
    assert_eq!(content(&*storage.open("other", false).unwrap()), b"new");
}

fn names_that_leave_the_directory_are_refused(storage: &dyn Storage) {
    for name in ["", "/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "a\0b", &"x".repeat(600)] {
        assert!(matches!(storage.open(name, true), Err(StoreError::Refused { .. })), "{name:?}");
        assert!(matches!(storage.rename(name, "b"), Err(StoreError::Refused { .. })), "{name:?}");
        assert!(matches!(storage.remove(name), Err(StoreError::Refused { .. })), "{name:?}");
    }
}

fn ranges_beyond_a_file_are_refused(storage: &dyn Storage) {
    let file = file(storage);
    for offset in [u64::MAX, u64::MAX - 3, i64::MAX as u64] {
        assert!(file.read_at(&mut [0; 4], offset).is_err(), "read at {offset}");
        assert!(file.write_at(&[0; 4], offset).is_err(), "write at {offset}");
        assert!(file.punch(offset, 4).is_err(), "punch at {offset}");
        assert!(file.allocate(offset, 4).is_err(), "allocate at {offset}");
    }
    assert!(file.set_len(u64::MAX).is_err());
}

fn missing_files_are_not_found(storage: &dyn Storage) {
    assert!(storage.open("none", false).unwrap_err().is_not_found());
    assert!(storage.open("no/directory", true).unwrap_err().is_not_found());
    assert!(storage.remove("none").unwrap_err().is_not_found());
    assert!(storage.rename("none", "other").unwrap_err().is_not_found());
    assert!(storage.sync_dir("none").unwrap_err().is_not_found());
}

fn there_is_space(storage: &dyn Storage) {
    let space = storage.space().unwrap();
    assert!(space.free > 0 && space.total >= space.free);
}

#[test]
fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(directory.path().join("node")).unwrap();
    storage.create_dir("a/b").unwrap();
    storage.open("a/b/file", true).unwrap();
    let mode = |name: &str| std::fs::metadata(storage.root().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("a"), mode("a/b"), mode("a/b/file")), (0o700, 0o700, 0o700, 0o600));
}

#[test]
fn a_full_memory_says_so_and_punching_makes_room() {
    let storage = MemoryStorage::with_capacity(8 * 4096);
    let file = storage.open("file", true).unwrap();
    file.write_at(&[1; 8 * 4096], 0).unwrap();
    assert!(file.write_at(&[1], 8 * 4096).unwrap_err().is_no_space());
    assert!(file.allocate(0, 9 * 4096).unwrap_err().is_no_space());
    file.write_at(&[2; 8 * 4096], 0).unwrap();
    file.punch(0, 4096).unwrap();
    assert_eq!(storage.space().unwrap().free, 4096);
    file.write_at(&[1], 8 * 4096).unwrap();
    storage.remove("file").unwrap();
    assert_eq!(storage.space().unwrap().free, 8 * 4096);
}

mod faults {
    use std::collections::BTreeSet;

    use crate::storage::{Call, Fault, FaultPlan, FaultStorage, MemoryStorage, Repeat, Storage, WriteMode};

    fn read(storage: &MemoryStorage, name: &str) -> Option<Vec<u8>> {
        let file = storage.open(name, false).ok()?;
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        Some(bytes)
    }

    fn outcomes(storage: &FaultStorage, name: &str) -> BTreeSet<Option<Vec<u8>>> {
        (0..400).map(|seed| read(&storage.crash(storage.operation_count(), seed), name)).collect()
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_may_take_the_rest() {
        let storage = FaultStorage::new();
        let file = storage.open("file", true).unwrap();
        file.write_at(&[1; 1024], 0).unwrap();
        file.sync_data().unwrap();
        storage.sync_dir("").unwrap();
        assert_eq!(outcomes(&storage, "file"), [Some(vec![1; 1024])].into());
        file.write_at(&[2; 1024], 0).unwrap();
        let sector = |first: u8, second: u8| Some([[first; 512], [second; 512]].concat());
        let all = [sector(1, 1), sector(1, 2), sector(2, 1), sector(2, 2)];
        assert_eq!(outcomes(&storage, "file"), all.into(), "each sector on its own");
        file.sync_data().unwrap();
        assert_eq!(outcomes(&storage, "file"), [sector(2, 2)].into());
        assert_eq!(read(&storage.crash(4, 0), "file"), sector(1, 1), "an earlier point");
    }

    #[test]
    fn a_durable_write_may_be_torn_until_it_returns() {
        let storage = FaultStorage::new();
        let file = storage.open_with("file", true, WriteMode::DirectDurable).unwrap();
        storage.sync_dir("").unwrap();
        file.write_at(&[1; 1024], 0).unwrap();
        let before = storage.operation_count();
        file.write_at(&[2; 1024], 0).unwrap();
        let sector = |first: u8, second: u8| Some([[first; 512], [second; 512]].concat());
        assert_eq!(outcomes(&storage, "file"), [sector(2, 2)].into());
        let during: BTreeSet<_> = (0..400).map(|seed| read(&storage.crash_during(before, seed), "file")).collect();
        assert_eq!(during, [sector(1, 1), sector(1, 2), sector(2, 1), sector(2, 2)].into());
    }

    #[test]
    fn a_name_is_durable_after_a_sync_of_its_directory() {
        let storage = FaultStorage::new();
        storage.create_dir("d").unwrap();
        storage.sync_dir("").unwrap();
        let file = storage.open("d/a", true).unwrap();
        file.write_at(b"x", 0).unwrap();
        file.sync_data().unwrap();
        assert_eq!(outcomes(&storage, "d/a"), [None, Some(b"x".to_vec())].into());
        storage.sync_dir("d").unwrap();
        assert_eq!(outcomes(&storage, "d/a"), [Some(b"x".to_vec())].into());
        storage.rename("d/a", "d/b").unwrap();
        for seed in 0..100 {
            let crashed = storage.crash(storage.operation_count(), seed);
            assert_eq!(crashed.list("d").unwrap().len(), 1, "a rename is whole or not at all");
        }
        storage.remove("d/b").unwrap();
        storage.sync_dir("d").unwrap();
        assert_eq!(outcomes(&storage, "d/b"), [None].into());
        assert_eq!(outcomes(&storage, "d/a"), [None].into());
    }

    #[test]
    fn a_failed_sync_is_not_made_good_by_a_later_one() {
        let storage = FaultStorage::new();
        let file = storage.open("file", true).unwrap();
        storage.sync_dir("").unwrap();
        file.write_at(b"x", 0).unwrap();
        storage.inject(Some(FaultPlan { on: Some(Call::Sync), after: 0, fault: Fault::Eio, repeat: Repeat::Once }));
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        assert!(outcomes(&storage, "file").contains(&Some(Vec::new())));
    }

    #[test]
    fn faults_come_when_they_are_due() {
        let storage = FaultStorage::new();
        let file = storage.open("file", true).unwrap();
        let plan = FaultPlan { on: Some(Call::Write), after: 1, fault: Fault::ShortWrite, repeat: Repeat::Once };
        storage.inject(Some(plan));
        file.write_at(&[1; 10], 0).unwrap();
        assert!(file.write_at(&[2; 10], 0).unwrap_err().is_no_space());
        assert_eq!(super::content(&*file), [[2; 5], [1; 5]].concat());
        file.write_at(&[3; 10], 0).unwrap();
        assert_eq!((storage.calls(Call::Write), storage.calls(Call::Open)), (3, 1));
        let plan = FaultPlan { on: None, after: 0, fault: Fault::Eio, repeat: Repeat::Forever };
        storage.inject(Some(plan));
        assert!(file.write_at(&[4; 10], 0).is_err() && file.read_at(&mut [0], 0).is_err());
        assert!(storage.remove("file").is_err() && storage.sync_dir("").is_err());
        storage.inject(None);
        assert_eq!(super::content(&*file), [3; 10]);
    }

    #[test]
    fn a_crash_image_can_be_used_and_crash_again() {
        let storage = FaultStorage::new();
        storage.create_dir("d").unwrap();
        let file = storage.open("d/file", true).unwrap();
        file.write_at(b"first", 0).unwrap();
        file.sync_data().unwrap();
        storage.sync_dir("").unwrap();
        storage.sync_dir("d").unwrap();
        let second = FaultStorage::over(&storage.crash(storage.operation_count(), 1));
        second.open("d/file", false).unwrap().write_at(b"other", 0).unwrap();
        assert_eq!(outcomes(&second, "d/file").len(), 2);
    }
}
