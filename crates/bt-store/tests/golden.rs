//! The formats stay what they are: files made by version 1 of each, byte for byte.
//!
//! A new version adds files here and changes none. `BLESS=1 cargo test -p bt-store --test golden` writes missing ones.

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use bt_base::Revision;
use bt_store::{Heads, MemoryStorage, Storage};
use support::{id, open, put, require};

fn content(storage: &MemoryStorage, name: &str) -> Vec<u8> {
    let file = storage.open(name, false).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name)
}

/// Requires `bytes` to be those of the golden file, and returns them as they are there.
#[track_caller]
fn require_golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = golden(name);
    if std::env::var_os("BLESS").is_some() && !path.exists() {
        std::fs::write(&path, bytes).unwrap();
    }
    let expected = std::fs::read(&path).unwrap();
    let differs = expected.iter().zip(bytes).position(|(a, b)| a != b);
    assert!(
        expected == bytes,
        "{name}: {} bytes, not {}; first other byte at {differs:?}",
        bytes.len(),
        expected.len()
    );
    expected
}

fn written() -> MemoryStorage {
    let storage = MemoryStorage::new();
    let containers = open(&storage);
    put(&containers, 7, 1).unwrap();
    put(&containers, 8, 2).unwrap();
    put(&containers, 9, 1).unwrap();
    containers.compact_segment(&id(8), &|index| index == 1).unwrap();
    containers.drop_segment(&id(9)).unwrap();
    containers.sync().unwrap();
    storage
}

#[test]
fn containers_and_locations_of_version_1_are_written_and_read() {
    let storage = written();
    let container = require_golden("container-v1.bin", &content(&storage, "containers/00000001"));
    let locations = require_golden("locations-v1.bin", &content(&storage, "locations"));
    for with_map in [true, false] {
        let old = MemoryStorage::new();
        old.create_dir("containers").unwrap();
        old.open("containers/00000001", true).unwrap().write_at(&container, 0).unwrap();
        if with_map {
            old.open("locations", true).unwrap().write_at(&locations, 0).unwrap();
        }
        let containers = open(&old);
        assert_eq!((containers.segments().len(), containers.findings().len()), (2, 0));
        require(&containers, 7, [0]);
        require(&containers, 8, [1]);
    }
}

#[test]
fn heads_of_version_1_are_written_and_read() {
    let storage = MemoryStorage::new();
    storage.create_dir("zone").unwrap();
    let heads = Heads::new(Arc::new(storage.clone()), "zone");
    heads.create().unwrap();
    heads.publish(Revision(0x0102_0304), b"a head record, as far as the store knows").unwrap();
    let slot = &content(&storage, "zone/heads.a")[..4096];
    let slot = require_golden("head-slot-v1.bin", slot);
    let old = MemoryStorage::new();
    old.create_dir("zone").unwrap();
    let heads = Heads::new(Arc::new(old.clone()), "zone");
    heads.create().unwrap();
    old.open("zone/heads.b", false).unwrap().write_at(&slot, 0).unwrap();
    let copies = heads.load().unwrap().copies;
    assert_eq!(copies.len(), 1);
    assert_eq!(copies[0].revision, Revision(0x0102_0304));
    assert_eq!(copies[0].bytes, b"a head record, as far as the store knows");
}
