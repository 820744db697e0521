//! Heads that are forged, replayed or swapped.

use bt_tree::checks::Check;
use bt_tree::{Rights, SignedHead};

use super::*;
use crate::engine::testing::{ROOT, principal};
use crate::identity;
use crate::system::CLOCK_AHEAD;

#[test]
fn a_reader_signs_a_head() {
    let zone = TestZone::new();
    let reader = principal(7);
    zone.grant(&reader, Rights::Read);
    zone.file(ROOT, "file", b"content");
    zone.engine.close().unwrap();
    let storage = zone.storage.deep_copy();
    let forged = SignedHead::sign(next_head(&zone), &session(&zone, &reader)).unwrap();
    publish(&storage, &zone, &forged);
    let fooled = fooled(&storage, Check::Rights);
    assert_eq!(newest_hash_after(&fooled), forged.unverified().revision);
    let opened = open(&storage).unwrap();
    assert!(opened.newest_head().unwrap().revision < forged.unverified().revision, "it does not count");
    assert_eq!(opened.log(100).unwrap().refused.len(), 1, "it is shown");
}

fn newest_hash_after(zone: &TestZone) -> bt_base::Revision {
    zone.engine.newest_head().unwrap().revision
}

#[test]
fn a_head_with_a_flipped_bit_in_what_is_signed() {
    let zone = TestZone::new();
    zone.engine.close().unwrap();
    let storage = zone.storage.deep_copy();
    let honest = SignedHead::sign(next_head(&zone), &zone.engine.session()).unwrap();
    let other = SignedHead::sign(bt_tree::Head { lease_token: 7, ..next_head(&zone) }, &zone.engine.session()).unwrap();
    // The fields of one under the signature of the other.
    let (mut bytes, signature) = (other.to_bytes(), honest.to_bytes());
    let from = bytes.len() - 64;
    bytes[from..].copy_from_slice(&signature[signature.len() - 64..]);
    let forged = SignedHead::decode(&bytes).unwrap();
    publish(&storage, &zone, &forged);
    assert_eq!(newest_hash_after(&fooled(&storage, Check::HeadSignature)), forged.unverified().revision);
    assert!(refused(&storage).contains("both copies of one head are damaged"));
}

#[test]
fn a_writer_signs_a_head_of_a_zone_that_is_not_its_own() {
    let (zone, other) = (TestZone::new(), TestZone::new());
    let writer = principal(7);
    other.grant(&writer, Rights::Write);
    zone.engine.close().unwrap();
    let storage = zone.storage.deep_copy();
    publish(&storage, &zone, &SignedHead::sign(next_head(&zone), &session(&zone, &writer)).unwrap());
    fooled(&storage, Check::Rights);
    let opened = open(&storage).unwrap();
    assert_eq!(opened.log(100).unwrap().refused.len(), 1);
    // A head that counts in the other zone.
    let elsewhere = SignedHead::sign(next_head(&other), &session(&other, &writer)).unwrap();
    elsewhere.verify(&other.engine.identity.rights.now().access).unwrap();
    let log = &zone.engine.identity.rights.now().access;
    assert!(matches!(elsewhere.verify(log), Err(bt_tree::HeadError::OtherZone { .. })));
}

#[test]
fn a_head_of_another_tree_or_zone_is_put_in_place() {
    let (zone, other) = (TestZone::new(), TestZone::new());
    for _ in 0..4 {
        other.file(ROOT, "file", b"of the other");
        other.engine.commit().unwrap();
    }
    for _ in 0..2 {
        zone.file(ROOT, "file", b"of this one");
        zone.engine.commit().unwrap();
    }
    zone.engine.close().unwrap();
    let storage = zone.storage.deep_copy();
    publish(&storage, &zone, &newest(&other));
    let foreign = newest(&other);
    let log = zone.engine.identity.rights.now();
    let error = foreign.verify(&log.access).unwrap_err();
    assert!(matches!(error, bt_tree::HeadError::OtherZone { .. }), "{error}");
    let next = without(Check::HeadZone, || foreign.verify(&log.access)).unwrap_err();
    assert!(!matches!(next, bt_tree::HeadError::OtherZone { .. }), "another check stands behind: {next}");
    assert!(refused(&storage).contains("both copies of one head are damaged"));
}

#[test]
fn a_directory_takes_the_place_of_another_zone_s() {
    let (zone, other) = (TestZone::new(), TestZone::new());
    zone.engine.close().unwrap();
    other.engine.close().unwrap();
    let storage = zone.storage.deep_copy();
    let (here, there) = (&zone.engine.identity.layout, &other.engine.identity.layout);
    // The same tree is needed to come so far: the birth of a second zone of this tree, made by its root.
    let second =
        bt_tree::Birth::create(&zone.root, &zone.engine.identity.node.genesis, None, &mut SystemEntropy).unwrap();
    identity::replace(&storage, &here.birth(), second.as_bytes()).unwrap();
    let told =
        without(Check::ZoneName, || open(&storage)).err().expect("the access log is that of the first zone").what;
    assert!(!told.contains("birth record"), "without the check the record is taken: {told}");
    assert!(refused(&storage).contains("the birth record is that of zone"));
    let storage = zone.storage.deep_copy();
    for (from, to) in [(there.birth(), here.birth()), (there.access(), here.access()), (there.epochs(), here.epochs())]
    {
        copy_file(&other.storage, &storage, &from, &to);
    }
    assert!(refused(&storage).contains("the zone was born in tree"));
}

#[test]
fn a_head_is_replayed() {
    let zone = TestZone::new();
    let directory = zone.engine.identity.layout.directory.clone();
    let names = ["heads.a", "heads.b"].map(|file| format!("{directory}/{file}"));
    zone.file(ROOT, "file", b"old");
    zone.engine.commit().unwrap();
    let before = zone.storage.deep_copy();
    for round in 0..3 {
        zone.file(ROOT, "file", &[round; 100]);
        zone.engine.commit().unwrap();
    }
    let newest = zone.last_head().unwrap().revision;
    zone.engine.close().unwrap();
    let storage = zone.storage.deep_copy();
    names.iter().for_each(|name| copy_file(&before, &storage, name, name));
    assert!(begins_from(&storage, Check::NewestSeen) < newest, "without the check the old head is taken");
    assert!(refused(&storage).contains("the files of heads are older than the zone"));
}

/// The revision that opening begins from while one check is left out.
#[track_caller]
fn begins_from(storage: &MemoryStorage, check: Check) -> bt_base::Revision {
    let identity = identity::load_top(storage).unwrap();
    let shared: Arc<dyn Storage> = Arc::new(storage.deep_copy());
    let found = without(check, || crate::engine::newest::newest_head(&shared, &identity, false));
    found.expect("without the check the attack works").head.unverified().revision
}

#[test]
fn an_older_head_is_passed_off_as_the_next() {
    let zone = TestZone::new();
    zone.file(ROOT, "file", b"old");
    zone.engine.commit().unwrap();
    let old = newest(&zone);
    zone.file(ROOT, "file", b"new");
    zone.engine.commit().unwrap();
    let log = zone.engine.identity.rights.now();
    old.verify(&log.access).unwrap();
    without(Check::Follows, || old.verify_follows(&newest(&zone), &log.access)).unwrap();
    old.verify_follows(&newest(&zone), &log.access).unwrap_err();
}

#[test]
fn a_fork_is_shown_to_two_mounts() {
    let zone = TestZone::new();
    zone.file(ROOT, "file", b"common");
    let zone = zone.reopen();
    zone.engine.close().unwrap();
    let copies = [b"one", b"two"].map(|content| {
        let storage = zone.storage.deep_copy();
        let copy = TestZone { engine: open(&storage).unwrap(), storage, root: principal(1) };
        copy.file(ROOT, "file", content);
        copy.engine.commit().unwrap();
        copy
    });
    let [one, two] = &copies;
    let (first, second) = (newest(one), newest(two));
    assert_eq!(first.unverified().revision, second.unverified().revision);
    assert_ne!(first.hash(), second.hash());
    // One mount is shown the head of the other beside its own.
    let name = format!("{}/heads.b", one.engine.identity.layout.directory);
    let storage = one.storage.deep_copy();
    copy_file(&two.storage, &storage, &name, &name);
    assert_eq!(begins_from(&storage, Check::Fork), first.unverified().revision, "one of the two is taken");
    assert!(refused(&storage).contains("two different heads have revision"));
}

#[test]
fn a_stolen_session_key_signs_a_backdated_head() {
    let zone = TestZone::new();
    let node = zone.engine.identity.node.who.clone();
    let tree = *zone.engine.identity.tree();
    let stolen = SessionKey::issue(&*node, &tree, now(), 60, &mut SystemEntropy).unwrap();
    let in_time = now();
    CLOCK_AHEAD.set(3600);
    zone.file(ROOT, "file", b"later");
    zone.engine.commit().unwrap();
    let log = zone.engine.identity.rights.now();
    // Within the time of the session, but before the head that it follows.
    let backdated = SignedHead::sign(bt_tree::Head { time: in_time, ..next_head(&zone) }, &stolen).unwrap();
    backdated.verify(&log.access).unwrap();
    without(Check::Follows, || backdated.verify_follows(&newest(&zone), &log.access)).unwrap();
    let error = backdated.verify_follows(&newest(&zone), &log.access).unwrap_err();
    assert!(error.to_string().ends_with("its time is wrong"), "{error}");
    // With the true time, after the session.
    let late = without(Check::SessionTime, || SignedHead::sign(next_head(&zone), &stolen)).unwrap();
    without(Check::SessionTime, || late.verify(&log.access).map(drop)).unwrap();
    assert!(matches!(late.verify(&log.access), Err(bt_tree::HeadError::Session { .. })));
}
