//! Files of a node's directory, as the store reads them.

use std::ops::ControlFlow;
use std::sync::Arc;

use bt_node::SlotList;
use bt_store::{Containers, Heads, JournalFile, MemoryStorage, RecordFile, Storage};

use crate::vector;

/// Segments and blocks that one input is asked for.
const READS: usize = 64;

fn storage_with(directory: &str, files: &[(&str, &[u8])]) -> Arc<MemoryStorage> {
    let storage = MemoryStorage::new();
    storage.create_dir(directory).expect("memory takes it");
    for (name, bytes) in files {
        let file = storage.open(name, true).expect("memory takes it");
        file.write_at(bytes, 0).expect("memory takes it");
    }
    Arc::new(storage)
}

/// Opens the containers and reads what they say they hold.
fn read_all(storage: Arc<MemoryStorage>) {
    let Ok(containers) = Containers::open(storage) else { return };
    let mut block = Vec::new();
    for segment in containers.segments().into_iter().take(READS) {
        drop(containers.read_segment(&segment.id));
        let Ok(places) = containers.blocks(&segment.id) else { continue };
        for place in places.iter().take(READS) {
            drop(containers.read_block(&segment.id, place.index, &mut block));
        }
    }
}

pub(crate) fn container(data: &[u8]) {
    read_all(storage_with("containers", &[("containers/00000001", data)]));
}

pub(crate) fn container_seeds() -> Vec<Vec<u8>> {
    vec![vector("bt-store/vectors/container-v1.bin")]
}

pub(crate) fn locations(data: &[u8]) {
    let container = vector("bt-store/vectors/container-v1.bin");
    read_all(storage_with("containers", &[("containers/00000001", &container), ("locations", data)]));
}

pub(crate) fn locations_seeds() -> Vec<Vec<u8>> {
    vec![vector("bt-store/vectors/locations-v1.bin")]
}

pub(crate) fn head_slots(data: &[u8]) {
    let heads = Heads::new(storage_with("zone", &[("zone/heads.a", data), ("zone/heads.b", data)]), "zone");
    let Ok(loaded) = heads.load() else { return };
    drop(heads.repair());
    let again = heads.load().expect("it was read before");
    assert!(loaded.copies.iter().all(|copy| again.copies.contains(copy)), "repairing loses nothing");
}

pub(crate) fn head_slots_seeds() -> Vec<Vec<u8>> {
    vec![vector("bt-store/vectors/head-slot-v1.bin")]
}

pub(crate) fn record_file(data: &[u8]) {
    let file = RecordFile::new(storage_with("zone", &[("zone/history", data)]), "zone/history");
    let Ok(loaded) = file.load() else { return };
    file.replace(loaded.records.iter().map(Vec::as_slice)).expect("they were in such a file");
    let again = file.load().expect("it was just written");
    assert_eq!((again.records, again.damaged.len()), (loaded.records, 0), "records survive");
}

pub(crate) fn record_file_seeds() -> Vec<Vec<u8>> {
    vec![vector("bt-store/vectors/records-v1.bin")]
}

pub(crate) fn journal_file(data: &[u8]) {
    let storage = storage_with("zone", &[("zone/journal", data)]);
    let Ok(journal) = JournalFile::open(&*storage, "zone/journal") else { return };
    let Ok(pages) = journal.scan_from(0) else { return };
    let seen = |page: bt_store::Result<bt_store::JournalPage>| match page {
        Ok(page) if page.offset < journal.size() => ControlFlow::Continue(()),
        Ok(page) => panic!("a page at {} of {}", page.offset, journal.size()),
        Err(_) => ControlFlow::Break(()),
    };
    let _ = pages.take(READS).try_for_each(seen);
}

pub(crate) fn journal_file_seeds() -> Vec<Vec<u8>> {
    // A batch, and nothing behind it.
    let mut file = vector("bt-tree/vectors/batch-v2.hex");
    file.resize(64 << 10, 0);
    vec![file]
}

pub(crate) fn slots(data: &[u8]) {
    let Some(list) = SlotList::decode(data) else { return };
    assert_eq!(SlotList::decode(&list.encode()), Some(list), "slots survive");
}

pub(crate) fn slots_seeds() -> Vec<Vec<u8>> {
    let (one, two) = ("0a".repeat(32), "ff".repeat(32));
    vec![format!("blocktree zone slots, version 1\n{one}\n-\n{two} filling\n").into_bytes()]
}
