//! Records put into the journal by one who may only read.

use bt_crypto::JournalCipher;
use bt_tree::checks::Check;
use bt_tree::{BatchReader, BatchWriter, Rights};

use super::*;
use crate::engine::open::batch_at;
use crate::engine::testing::{ROOT, principal};

/// A batch of the journal above the newest head: its first record, their count, and its plaintext.
fn read_batch(zone: &TestZone) -> (u64, u32, Vec<u8>) {
    let head = newest(zone).unverified().clone();
    let rights = zone.engine.identity.rights.now();
    let key = rights.keys.key(head.epoch).unwrap();
    let cipher = JournalCipher::new(key, &head.tree, &head.zone, &head.journal.id);
    let mut reader = BatchReader::new(cipher, &rights.access, head.access, &head.journal);
    let file = zone.engine.journal_file.as_ref().unwrap();
    let batch = reader.open(&batch_at(file, head.journal.offset).unwrap().unwrap()).unwrap();
    (batch.first_record, batch.record_count, batch.payload)
}

#[test]
fn a_reader_forges_a_journal_record() {
    let zone = TestZone::new();
    let reader = principal(7);
    zone.grant(&reader, Rights::Read);
    let inode = zone.file(ROOT, "file", b"honest");
    let zone = zone.reopen();
    let other = TestZone { storage: zone.storage.deep_copy(), engine: zone.engine.clone(), root: principal(1) }.crash();
    zone.file(ROOT, "file", b"honest, and synced");
    zone.engine.sync_file(Some(inode)).unwrap();
    other.file(ROOT, "file", b"forged");
    other.engine.sync_file(Some(inode)).unwrap();
    // The same records, under the honest journal's id and key, signed by the reader.
    let (first, count, payload) = read_batch(&other);
    let head = newest(&zone).unverified().clone();
    let key = zone.engine.identity.rights.now().epochs.open_with(&reader).unwrap();
    let cipher = JournalCipher::new(key.key(head.epoch).unwrap(), &head.tree, &head.zone, &head.journal.id);
    let session = Arc::new(session(&zone, &reader));
    let mut bytes = Vec::new();
    BatchWriter::new(cipher, session, head.zone, head.journal.id, first)
        .seal(now(), first, count, &payload, &mut bytes)
        .unwrap();
    let storage = zone.storage.deep_copy();
    let name = zone.engine.identity.layout.journal();
    storage.open(&name, false).unwrap().write_at(&bytes, head.journal.offset).unwrap();
    assert!(fooled(&storage, Check::Rights).content(inode).starts_with(b"forged"));
    let told = refused(&storage);
    assert!(told.contains("had no right to write"), "{told}");
}
