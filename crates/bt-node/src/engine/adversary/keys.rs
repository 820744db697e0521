//! Blocks forged by one who knows the key, and keys of one who is no reader any more.

use bt_crypto::{EpochKey, SegmentCipher, SegmentContext};
use bt_tree::checks::Check;
use bt_tree::{Keyring, Rights};

use super::*;
use crate::engine::testing::{ROOT, check as check_all, noise, principal};

fn cipher(zone: &TestZone, key: &EpochKey, segment: bt_base::SegmentId, epoch: u32) -> SegmentCipher {
    let (tree, zone) = (*zone.engine.identity.tree(), zone.engine.identity.zone());
    SegmentCipher::new(key, &SegmentContext { tree, zone, segment, epoch })
}

/// The newest segment of file data.
fn data_segment(zone: &TestZone) -> bt_tree::SegmentSummary {
    let head = newest(zone).unverified().clone();
    *head.added.iter().find(|added| !added.index_blocks).expect("the commit brought file data")
}

#[test]
fn a_reader_forges_a_block() {
    let zone = TestZone::new();
    let reader = principal(7);
    zone.grant(&reader, Rights::Read);
    let inode = zone.file(ROOT, "file", &noise(16 << 10, 1));
    zone.engine.commit().unwrap();
    let segment = data_segment(&zone);
    let keys = zone.engine.identity.rights.now().epochs.open_with(&reader).unwrap();
    let mut forged = Vec::new();
    let hash = cipher(&zone, keys.key(segment.epoch).unwrap(), segment.id, segment.epoch).seal(
        0,
        &noise(16 << 10, 2),
        &mut forged,
    );
    let place = zone.engine.inspect_block(&segment.id, 0).unwrap();
    zone.engine.close().unwrap();
    let storage = zone.storage.deep_copy();
    storage.open(&place.container, false).unwrap().write_at(&forged, place.offset_bytes).unwrap();
    // The tag is right: only the hash in the reference, which the index's signature covers, tells.
    let opener = cipher(&zone, keys.key(segment.epoch).unwrap(), segment.id, segment.epoch);
    let mut plain = vec![0; 16 << 10];
    opener.open(0, &hash, &forged, &mut plain).expect("without the reference's hash the forged block opens");
    assert_eq!(plain, noise(16 << 10, 2));
    let opened = open(&storage).unwrap();
    assert!(opened.read_file(inode, 0, &mut plain).is_err());
    assert!(check_all(&storage).problem_count > 0);
}

/// Whether one of the keys opens a block of the zone's newest file data.
fn opens_new_data(zone: &TestZone, keys: &Keyring) -> bool {
    let segment = data_segment(zone);
    let mut sealed = Vec::new();
    zone.engine.containers.read_block(&segment.id, 0, &mut sealed).unwrap();
    let mut plain = vec![0; sealed.len() - bt_base::limits::TAG_SIZE];
    keys.iter().any(|(_, key)| {
        let cipher = cipher(zone, key, segment.id, segment.epoch);
        let hash = cipher.hasher().hash(0, &sealed);
        cipher.open(0, &hash, &sealed, &mut plain).is_ok()
    })
}

#[test]
fn the_keys_of_a_revoked_reader_are_tried_on_new_blocks() {
    let zone = TestZone::new();
    let reader = principal(7);
    zone.grant(&reader, Rights::Read);
    let keys = zone.engine.identity.rights.now().epochs.open_with(&reader).unwrap();
    zone.file(ROOT, "before", &noise(16 << 10, 1));
    zone.engine.commit().unwrap();
    assert!(opens_new_data(&zone, &keys));
    zone.engine.close().unwrap();
    // The revocation lies in the directory; whoever opens the zone is to obey it.
    let mut access = zone.engine.identity.rights.now().access.clone();
    let revoke =
        bt_tree::Action::Revoke { principal: bt_crypto::KeyStore::credential(&reader).id(), last: zone.last_head() };
    access.decide(&zone.root, now(), revoke).unwrap();
    crate::identity::replace(&zone.storage, &zone.engine.identity.layout.access(), &access.to_bytes()).unwrap();
    let write = |storage: MemoryStorage| {
        let zone = TestZone { engine: open(&storage).unwrap(), storage, root: principal(1) };
        zone.file(ROOT, "after", &noise(16 << 10, 2));
        zone.engine.commit().unwrap();
        zone
    };
    let careless = without(Check::NewKeys, || write(zone.storage.deep_copy()));
    assert!(opens_new_data(&careless, &keys), "without new keys it reads on");
    assert!(!opens_new_data(&write(zone.storage.deep_copy()), &keys));
}
