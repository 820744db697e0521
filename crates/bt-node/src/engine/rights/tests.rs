//! Rights that change while the zone is open.

use bt_base::Timestamp;
use bt_crypto::{KeyStore, SoftwareKeyStore};
use bt_store::Storage;
use bt_tree::{AccessError, Action, EpochError, LastHead, Rights as Level};

use crate::engine::check;
use crate::engine::testing::{ROOT, TestZone, open, open_as, principal};
use crate::error::EngineError;
use crate::identity;
use crate::system::{CLOCK_AHEAD, now};

fn ahead(seconds: i64) -> Timestamp {
    Timestamp::new(now().seconds + seconds, 0)
}

fn head(zone: &TestZone) -> bt_tree::Head {
    check::newest_head(&zone.engine.storage, &zone.engine.identity).unwrap().unverified().clone()
}

fn revocation(of: &dyn KeyStore, last: Option<LastHead>) -> Action {
    Action::Revoke { principal: of.credential().id(), last }
}

#[test]
fn a_grant_gives_keys_to_what_was_and_what_is_to_come_and_a_revocation_only_takes_the_latter() {
    let zone = TestZone::new();
    let guest = principal(7);
    zone.file(ROOT, "before", b"before");
    assert!(open_as(&zone.storage, &guest).is_err());
    zone.grant(&guest, Level::Read);
    assert_eq!(head(&zone).epoch, 2);
    assert_eq!(head(&zone).access, zone.engine.identity.rights.now().access.newest());
    zone.file(ROOT, "while", b"while");
    zone.engine.commit().unwrap();
    let copy = zone.storage.deep_copy();
    zone.revoke(&guest);
    assert_eq!(head(&zone).epoch, 3);
    zone.file(ROOT, "after", b"after");
    zone.engine.commit().unwrap();
    let kept = open_as(&copy, &guest).unwrap();
    assert!(kept.is_read_only());
    assert!(kept.lookup(ROOT, b"before").unwrap().is_some() && kept.lookup(ROOT, b"while").unwrap().is_some());
    let refused = open_as(&zone.storage, &guest).err().expect("no box for one who was revoked");
    assert!(refused.what.contains("not a reader"), "{refused:?}");
    zone.reopen().expect_clean();
}

#[test]
fn a_record_about_an_app_is_obeyed_by_the_next_head_under_the_same_keys_and_journal() {
    let zone = TestZone::new();
    let inode = zone.file(ROOT, "file", b"one");
    zone.engine.sync_file(Some(inode)).unwrap();
    let before = head(&zone);
    let app = |record: Option<u8>| {
        let record = record.map(|byte| bt_base::RecordHash([byte; 32]));
        zone.decide(&zone.root, Action::App { name: "notes".parse().unwrap(), record }).unwrap();
        let after = head(&zone);
        assert_eq!(after.access, zone.engine.identity.rights.now().access.newest());
        assert_eq!((after.epoch, after.journal.id), (before.epoch, before.journal.id));
    };
    // With a change that only the journal has, and without one.
    app(Some(1));
    app(Some(2));
    zone.file(ROOT, "file", b"two");
    zone.engine.sync_file(Some(inode)).unwrap();
    app(None);
    app(Some(3));
    zone.file(ROOT, "file", b"three");
    zone.engine.sync_file(Some(inode)).unwrap();
    let zone = zone.crash();
    assert_eq!(zone.content(inode), b"three");
    let rights = zone.engine.identity.rights.now();
    assert_eq!(rights.access.apps()[&"notes".parse().unwrap()].record.0, [3; 32]);
    assert!(!rights.needs_epoch(now()));
    zone.expect_clean();
    zone.reopen().expect_clean();
}

#[test]
fn the_journal_goes_on_under_the_new_keys() {
    let zone = TestZone::new();
    let inode = zone.file(ROOT, "file", b"one");
    zone.engine.sync_file(Some(inode)).unwrap();
    let journal = head(&zone).journal.id;
    zone.grant(&principal(7), Level::Read);
    assert_eq!(head(&zone).journal.id, Default::default(), "everything is in the head");
    zone.file(ROOT, "file", b"two");
    zone.engine.sync_file(Some(inode)).unwrap();
    assert_eq!(head(&zone).epoch, 2);
    assert!(![journal, Default::default()].contains(&head(&zone).journal.id));
    zone.file(ROOT, "file", b"three");
    zone.engine.sync_file(Some(inode)).unwrap();
    let zone = zone.crash();
    assert_eq!(zone.content(inode), b"three");
    zone.expect_clean();
}

#[test]
fn what_was_synced_before_the_keys_changed_survives_a_crash() {
    let zone = TestZone::new();
    let inode = zone.file(ROOT, "file", b"one");
    zone.engine.sync_file(Some(inode)).unwrap();
    zone.grant(&principal(7), Level::Write);
    let zone = zone.crash();
    assert_eq!(zone.content(inode), b"one");
    assert_eq!(head(&zone).epoch, 2);
    zone.expect_clean();
}

/// The access log is written before the epochs, and they before the head.
#[test]
fn a_crash_between_the_files_is_made_good_by_the_next_commit() {
    let zone = TestZone::new();
    let inode = zone.file(ROOT, "file", b"one");
    zone.engine.sync_file(Some(inode)).unwrap();
    let before = zone.storage.deep_copy();
    let guest = principal(7);
    zone.grant(&guest, Level::Read);
    let layout = crate::layout::ZoneLayout::new(&zone.engine.identity.zone());
    for with_epochs in [false, true] {
        let crashed = before.deep_copy();
        let files = [layout.access()].into_iter().chain(with_epochs.then(|| layout.epochs()));
        for name in files {
            let bytes = identity::read(&zone.storage, &name).unwrap();
            identity::replace(&crashed, &name, &bytes).unwrap();
        }
        let engine = open(&crashed).unwrap();
        engine.commit().unwrap();
        assert_eq!(engine.source.epoch(), 2);
        let opened = TestZone { storage: crashed, engine, root: principal(1) };
        assert_eq!(opened.content(inode), b"one");
        assert_eq!(head(&opened).epoch, 2);
        opened.expect_clean();
        let opened = opened.reopen_as(&guest);
        assert_eq!(opened.content(inode), b"one");
    }
}

#[test]
fn a_right_ends_with_its_time_and_the_keys_with_it() {
    let zone = TestZone::new();
    let guest = principal(7);
    let grant = Action::Grant { principal: *guest.credential(), rights: Level::Read, until: Some(ahead(50)) };
    zone.decide(&zone.root, grant).unwrap();
    zone.file(ROOT, "file", b"one");
    zone.engine.commit().unwrap();
    assert_eq!(head(&zone).epoch, 2);
    CLOCK_AHEAD.set(100);
    let inode = zone.file(ROOT, "file", b"two");
    zone.engine.sync_file(Some(inode)).unwrap();
    assert_eq!(head(&zone).epoch, 3, "an fsync writes nothing under keys that the guest has");
    let error = zone.engine.identity.rights.now().epochs.open_with(&guest).unwrap_err();
    assert!(matches!(error, EpochError::NotAReader { number: 3, .. }), "{error}");
    zone.reopen().expect_clean();
}

#[test]
fn one_who_lost_the_right_to_write_keeps_what_was_written_and_writes_nothing_more() {
    let zone = TestZone::new();
    let node = zone.engine.identity.node.who.clone();
    let inode = zone.file(ROOT, "file", b"synced");
    zone.engine.sync_file(Some(inode)).unwrap();
    zone.file(ROOT, "other", b"not synced");
    let outdated = zone.decide(&zone.root, revocation(&*node, zone.last_head()));
    assert!(matches!(outdated, Err(EngineError::OutdatedHead)), "a head followed: {outdated:?}");
    zone.decide(&zone.root, revocation(&*node, zone.last_head())).unwrap();
    let stopped = zone.engine.write_file(inode, 0, b"more", false).unwrap_err();
    assert!(stopped.to_string().contains("may not write"), "{stopped}");
    assert_eq!(zone.content(inode), b"synced");
    let opened = open(&zone.storage).unwrap();
    assert!(opened.is_read_only(), "until a writer makes new keys, it can read what it could");
    let zone = TestZone { engine: opened, ..zone };
    assert_eq!(zone.content(inode), b"synced");
    let (other, _) = zone.engine.lookup(ROOT, b"other").unwrap().unwrap();
    assert_eq!(zone.content(other), b"not synced", "the last commit took it along");
}

#[test]
fn the_root_takes_over_from_a_node_that_was_revoked() {
    let zone = TestZone::new();
    let node = zone.engine.identity.node.who.clone();
    let inode = zone.file(ROOT, "file", b"content");
    zone.engine.commit().unwrap();
    zone.decide(&zone.root, revocation(&*node, zone.last_head())).unwrap();
    drop(zone.engine);
    let (storage, root) = (zone.storage, zone.root);
    let engine = open_as(&storage, &root).unwrap();
    engine.write_file(inode, 0, b"CONTENT", false).unwrap();
    engine.commit().unwrap();
    let zone = TestZone { storage, engine, root };
    assert_eq!(head(&zone).epoch, 2);
    assert_eq!(zone.content(inode), b"CONTENT");
    assert!(open(&zone.storage).is_err());
}

#[test]
fn what_is_not_signed_by_an_admin_or_does_not_follow_changes_nothing() {
    let zone = TestZone::new();
    let (writer, guest) = (principal(7), principal(8));
    zone.grant(&writer, Level::Write);
    let before = zone.storage.deep_copy();
    let grant = Action::Grant { principal: *guest.credential(), rights: Level::Read, until: None };
    let error = zone.decide(&writer, grant.clone()).unwrap_err();
    assert!(matches!(error, EngineError::Access(AccessError::NotAdmin { .. })), "{error}");
    let access = zone.engine.identity.rights.now().access.clone();
    let statement = access.next_statement(zone.root.credential().id(), now(), grant);
    let signed = bt_tree::AccessRecord::sign(&zone.root, statement).unwrap().to_bytes();
    let mut flipped = signed.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let error = zone.engine.append_access(&[flipped]).unwrap_err();
    assert!(matches!(error, EngineError::Access(AccessError::Signature { .. })), "{error}");
    let twice = zone.engine.append_access(&[signed.clone(), signed]).unwrap_err();
    assert!(matches!(twice, EngineError::Access(AccessError::Chain { .. })), "{twice}");
    let layout = &zone.engine.identity.layout;
    for name in [layout.access(), layout.epochs()] {
        assert_eq!(identity::read(&zone.storage, &name), identity::read(&before, &name), "{name}");
    }
}

#[test]
fn a_reader_s_mount_takes_records_and_a_writer_makes_the_keys() {
    let zone = TestZone::new();
    let (reader, guest) = (principal(7), principal(8));
    zone.grant(&reader, Level::Read);
    let zone = zone.reopen_as(&reader);
    assert!(zone.engine.is_read_only());
    let epochs = identity::read(&zone.storage, &zone.engine.identity.layout.epochs()).unwrap();
    zone.grant(&guest, Level::Read);
    assert_eq!(identity::read(&zone.storage, &zone.engine.identity.layout.epochs()).unwrap(), epochs);
    assert!(open_as(&zone.storage, &guest).is_err(), "no writer has been there");
    let engine = open(&zone.storage).unwrap();
    engine.commit().unwrap();
    engine.close().unwrap();
    open_as(&zone.storage, &guest).unwrap();
}

#[test]
fn a_zone_without_a_writer_key_is_not_changed_by_opening_it() {
    let zone = TestZone::new();
    let reader: SoftwareKeyStore = principal(7);
    zone.grant(&reader, Level::Read);
    let inode = zone.file(ROOT, "file", b"content");
    zone.engine.sync_file(Some(inode)).unwrap();
    let before = zone.storage.deep_copy();
    let engine = open_as(&zone.storage, &reader).unwrap();
    assert!(engine.write_file(inode, 0, b"x", false).is_err());
    engine.close().unwrap();
    for name in ["heads.a", "heads.b", "journal", "epochs", "access"] {
        let name = format!("{}/{name}", engine.identity.layout.directory);
        assert!(zone.storage.exists(&name).unwrap());
        assert_eq!(identity::read(&zone.storage, &name), identity::read(&before, &name), "{name}");
    }
}

/// A zone whose newest head and journal are by the node, and a revocation of the node that names the head before.
fn revoked_behind_its_back() -> (TestZone, u64) {
    let zone = TestZone::new();
    let inode = zone.file(ROOT, "file", b"begun");
    zone.engine.sync_file(Some(inode)).unwrap();
    zone.file(ROOT, "file", b"counts");
    zone.engine.commit().unwrap();
    let last = zone.last_head();
    zone.file(ROOT, "file", b"REFUSED");
    zone.engine.commit().unwrap();
    zone.file(ROOT, "file", b"neither");
    zone.engine.sync_file(Some(inode)).unwrap();
    let mut access = zone.engine.identity.rights.now().access.clone();
    let node = zone.engine.identity.node.who.clone();
    access.decide(&zone.root, now(), revocation(&*node, last)).unwrap();
    access
        .decide(&zone.root, now(), Action::Grant { principal: *node.credential(), rights: Level::Write, until: None })
        .unwrap();
    identity::replace(&zone.storage, &zone.engine.identity.layout.access(), &access.to_bytes()).unwrap();
    (zone, inode)
}

#[test]
fn a_head_after_the_last_that_counts_is_refused_kept_aside_and_shown_for_good() {
    let (zone, inode) = revoked_behind_its_back();
    let refused = zone.last_head().unwrap();
    let report = crate::engine::testing::check(&zone.storage);
    assert_eq!(report.refused.iter().map(|head| head.hash).collect::<Vec<_>>(), [refused.hash]);
    let TestZone { storage, root, .. } = zone;
    let mut zone = TestZone { engine: open_as(&storage, &root).unwrap(), storage, root };
    for round in 0..4 {
        assert_eq!(zone.content(inode), b"counts", "round {round}");
        let report = zone.expect_clean();
        assert_eq!(report.refused.len(), 1, "round {round}");
        assert!(report.refused[0].refused.as_ref().unwrap().contains("rights ended"), "{:?}", report.refused);
        let log = zone.engine.log(100).unwrap();
        let shown = log.heads.iter().chain(&log.refused).filter(|head| head.refused.is_some());
        assert_eq!(shown.map(|head| head.hash).collect::<Vec<_>>(), [refused.hash], "round {round}");
        zone.file(ROOT, "other", &[round; 100]);
        zone = zone.reopen();
    }
}

#[test]
fn what_a_revoked_principal_wrote_to_the_journal_after_its_last_head_is_refused() {
    let zone = TestZone::new();
    let inode = zone.file(ROOT, "file", b"begun");
    zone.engine.sync_file(Some(inode)).unwrap();
    zone.file(ROOT, "file", b"counts");
    zone.engine.commit().unwrap();
    zone.file(ROOT, "file", b"refused");
    zone.engine.sync_file(Some(inode)).unwrap();
    let mut access = zone.engine.identity.rights.now().access.clone();
    let node = zone.engine.identity.node.who.clone();
    let before = zone.storage.deep_copy();
    for granted_again in [false, true] {
        if granted_again {
            let grant = Action::Grant { principal: *node.credential(), rights: Level::Write, until: None };
            access.decide(&zone.root, now(), grant).unwrap();
        } else {
            access.decide(&zone.root, now(), revocation(&*node, zone.last_head())).unwrap();
        }
        let storage = before.deep_copy();
        identity::replace(&storage, &zone.engine.identity.layout.access(), &access.to_bytes()).unwrap();
        assert_eq!(crate::engine::testing::check(&storage).problems, []);
        let opened = TestZone { engine: open_as(&storage, &zone.root).unwrap(), storage, root: principal(1) };
        assert_eq!(opened.content(inode), b"counts", "granted again: {granted_again}");
        opened.expect_clean();
    }
}

#[test]
fn a_zone_of_which_no_stored_head_counts_says_so() {
    let zone = TestZone::new();
    let first = zone.last_head();
    for _ in 0..3 {
        zone.file(ROOT, "file", b"content");
        zone.engine.commit().unwrap();
    }
    let mut access = zone.engine.identity.rights.now().access.clone();
    let node = zone.engine.identity.node.who.clone();
    access.decide(&zone.root, now(), revocation(&*node, first)).unwrap();
    identity::replace(&zone.storage, &zone.engine.identity.layout.access(), &access.to_bytes()).unwrap();
    let error = open_as(&zone.storage, &zone.root).err().expect("nothing counts");
    assert!(error.what.contains("no stored head of the zone counts"), "{error:?}");
}

#[test]
fn the_log_says_who_wrote_by_whose_word() {
    let zone = TestZone::new();
    let writer = principal(7);
    zone.grant(&writer, Level::Write);
    let zone = zone.reopen_as(&writer);
    zone.file(ROOT, "file", b"content");
    zone.engine.commit().unwrap();
    let log = zone.engine.log(1).unwrap();
    assert_eq!((log.heads.len(), log.refused.len()), (1, 0));
    assert!(log.earlier > 0);
    let head = &log.heads[0];
    assert_eq!((head.signer, head.granted_by), (writer.credential().id(), Some(zone.root.credential().id())));
    assert_eq!((head.revision, head.epoch, head.refused.clone()), (zone.last_head().unwrap().revision, 2, None));
    assert!(zone.engine.log(100).unwrap().heads.iter().all(|head| head.refused.is_none()));
}

#[test]
fn a_clock_that_is_wrong_by_days_writes_nothing_and_says_so() {
    let zone = TestZone::new();
    let inode = zone.file(ROOT, "file", b"content");
    zone.engine.close().unwrap();
    CLOCK_AHEAD.set(-2 * 86_400);
    let refused = open(&zone.storage).err().expect("the clock is wrong");
    assert!(refused.what.contains("clock is wrong by days") && refused.hint.contains("timedatectl"), "{refused:?}");
    let identity = identity::load_top(&zone.storage).unwrap();
    let options = crate::options::OpenOptions { read_only: true, ..Default::default() };
    let engine = crate::engine::Engine::open(std::sync::Arc::new(zone.storage.clone()), identity, &options).unwrap();
    assert_eq!(engine.inode(inode).unwrap().size, 7);
    CLOCK_AHEAD.set(-3600);
    open(&zone.storage).unwrap();
    CLOCK_AHEAD.set(0);
    let access = zone.engine.identity.rights.now().access.clone();
    let grant = Action::Grant { principal: *principal(7).credential(), rights: Level::Read, until: None };
    let statement = access.next_statement(zone.root.credential().id(), ahead(3 * 86_400), grant);
    let record = bt_tree::AccessRecord::sign(&zone.root, statement).unwrap().to_bytes();
    let error = zone.engine.append_access(&[record]).unwrap_err();
    assert!(matches!(error, EngineError::ClockAhead { days: 2.. }), "{error}");
}

#[test]
fn recorded_times_never_go_back() {
    let zone = TestZone::new();
    zone.grant(&principal(7), Level::Read);
    let (head_time, record_time) =
        (head(&zone).time, zone.engine.identity.rights.now().access.records().last().unwrap().statement().time);
    CLOCK_AHEAD.set(-3600);
    zone.grant(&principal(8), Level::Read);
    assert!(head(&zone).time >= head_time);
    let rights = zone.engine.identity.rights.now();
    assert!(rights.access.records().last().unwrap().statement().time >= record_time);
    zone.reopen().expect_clean();
}

#[test]
fn an_admin_whose_time_is_over_decides_nothing_more_whatever_time_it_names() {
    let zone = TestZone::new();
    let (admin, guest) = (principal(7), principal(8));
    let until = Some(ahead(50));
    zone.decide(&zone.root, Action::Grant { principal: *admin.credential(), rights: Level::Admin, until }).unwrap();
    let signed_at = ahead(40);
    CLOCK_AHEAD.set(1000);
    let access = zone.engine.identity.rights.now().access.clone();
    let grant = Action::Grant { principal: *guest.credential(), rights: Level::Read, until: None };
    let statement = access.next_statement(admin.credential().id(), signed_at, grant);
    let record = bt_tree::AccessRecord::sign(&admin, statement).unwrap().to_bytes();
    let error = zone.engine.append_access(&[record]).unwrap_err();
    assert!(error.to_string().contains("is over"), "{error}");
    assert_eq!(zone.engine.identity.rights.now().access.newest(), access.newest());
}

#[test]
fn a_large_fsync_after_an_expiry_seals_nothing_under_the_old_key() {
    let zone = TestZone::new();
    let guest = principal(7);
    let grant = Action::Grant { principal: *guest.credential(), rights: Level::Read, until: Some(ahead(50)) };
    zone.decide(&zone.root, grant).unwrap();
    CLOCK_AHEAD.set(100);
    let inode = zone.file(ROOT, "file", &crate::engine::testing::noise(1 << 20, 3));
    zone.engine.sync_file(Some(inode)).unwrap();
    let vfs = zone.engine.read();
    let extent = bt_vfs::view::extent(vfs.zone().tree(), &zone.engine.source, inode, 0).unwrap();
    let epochs: Vec<u32> = extent.slots.iter().flatten().map(|slot| slot.block.epoch).collect();
    assert_eq!(epochs, [3; bt_base::limits::EXTENT_BLOCKS]);
}

#[test]
fn a_right_that_ends_during_a_commit_takes_nothing_along_that_was_synced() {
    let zone = TestZone::new();
    let writer = principal(7);
    let until = Some(ahead(50));
    zone.decide(&zone.root, Action::Grant { principal: *writer.credential(), rights: Level::Write, until }).unwrap();
    let zone = zone.reopen_as(&writer);
    let inode = zone.file(ROOT, "file", b"synced");
    zone.engine.sync_file(Some(inode)).unwrap();
    zone.engine.obey().unwrap();
    CLOCK_AHEAD.set(100);
    let error = zone.engine.commit_changes().unwrap_err();
    assert!(matches!(error, EngineError::RightsEnded(_)), "{error}");
    let TestZone { storage, root, .. } = zone;
    let zone = TestZone { engine: open_as(&storage, &root).unwrap(), storage, root };
    assert_eq!(zone.content(inode), b"synced");
    zone.expect_clean();
}

#[test]
fn records_that_could_not_be_read_again_are_not_written() {
    let mut zone = TestZone::new();
    zone.grant(&principal(7), Level::Read);
    let layout = crate::layout::ZoneLayout::new(&zone.engine.identity.zone());
    let files =
        |zone: &TestZone| [layout.access(), layout.epochs()].map(|name| identity::read(&zone.storage, &name).unwrap());
    let before = files(&zone);
    let grown = std::sync::Arc::get_mut(&mut zone.engine).unwrap();
    // There is room for a revocation, but no more for a grant.
    grown.limits.record_bytes = before[1].len() as u64 * 8 / 5;
    let grant = Action::Grant { principal: *principal(8).credential(), rights: Level::Read, until: None };
    let error = zone.decide(&zone.root, grant).unwrap_err();
    assert!(matches!(error, EngineError::RecordsFull { file: "epochs", .. }), "{error}");
    assert_eq!(files(&zone), before);
    let inode = zone.file(ROOT, "file", b"it goes on");
    zone.revoke(&principal(7));
    zone.engine.commit().unwrap();
    zone.decide(&zone.root, revocation(&*zone.engine.identity.node.who.clone(), zone.last_head())).unwrap();
    assert_eq!(TestZone { engine: open(&zone.storage).unwrap(), ..zone }.content(inode), b"it goes on");
}

#[test]
fn an_expiry_for_which_there_is_no_room_stops_the_zone_before_it_cannot_be_opened() {
    let mut zone = TestZone::new();
    let grant = Action::Grant { principal: *principal(7).credential(), rights: Level::Read, until: Some(ahead(50)) };
    zone.decide(&zone.root, grant).unwrap();
    let inode = zone.file(ROOT, "file", b"synced");
    zone.engine.sync_file(Some(inode)).unwrap();
    std::sync::Arc::get_mut(&mut zone.engine).unwrap().limits.record_bytes = 100;
    CLOCK_AHEAD.set(100);
    let error = zone.engine.commit().unwrap_err();
    assert!(matches!(error, EngineError::RecordsFull { file: "epochs", .. }), "{error}");
    assert_eq!(zone.crash().content(inode), b"synced");
}

#[test]
fn what_a_crash_left_of_files_that_were_not_in_place_goes_when_the_zone_is_opened() {
    let zone = TestZone::new();
    zone.file(ROOT, "file", b"content");
    let left = format!("{}/access.new", zone.engine.identity.layout.directory);
    zone.storage.open(&left, true).unwrap();
    let zone = zone.reopen();
    assert!(!zone.storage.exists(&left).unwrap());
    zone.expect_clean();
}

#[test]
fn what_comes_after_the_right_to_write_ended_is_told_by_name() {
    let zone = TestZone::new();
    let writer = principal(7);
    let until = Some(ahead(50));
    zone.decide(&zone.root, Action::Grant { principal: *writer.credential(), rights: Level::Write, until }).unwrap();
    let zone = zone.reopen_as(&writer);
    assert_eq!(zone.engine.writes_until(), until);
    let inode = zone.file(zone.directory(ROOT, "below"), "kept", b"kept");
    zone.engine.commit().unwrap();
    let lost = zone.file(ROOT, "lost", b"not yet committed");
    CLOCK_AHEAD.set(100);
    assert!(zone.engine.sync_file(Some(lost)).is_err() && zone.engine.writes_until().is_none());
    assert_eq!(zone.engine.tell_unkept(), ["/lost"]);
    // The kernel brings more, later.
    assert!(zone.engine.write_file(inode, 0, b"late", false).is_err());
    assert!(zone.engine.sync_file(Some(inode)).is_err());
    assert_eq!(zone.engine.tell_unkept(), ["/below/kept"]);
    assert_eq!(zone.engine.tell_unkept(), [""; 0], "each is told once");
    assert!(zone.engine.write_file(inode, 0, b"later", false).is_err());
    assert!(zone.engine.close().is_err(), "unmounting says that something is lost");
    assert_eq!(zone.engine.tell_unkept(), [""; 0], "it was told when the zone was closed");
    let zone = zone.crash();
    assert_eq!(zone.content(inode), b"kept");
    let mut read_only = TestZone { engine: open_as(&zone.storage, &writer).unwrap(), ..zone };
    assert!(read_only.engine.write_file(inode, 0, b"late", false).is_err());
    assert_eq!(read_only.engine.tell_unkept(), ["/below/kept"]);
    read_only.engine = open(&read_only.storage).unwrap();
    read_only.expect_clean();
}

#[test]
fn a_zone_whose_right_to_write_ended_is_closed_in_order_when_nothing_waits() {
    let zone = TestZone::new();
    let inode = zone.file(ROOT, "file", b"kept");
    zone.engine.sync_file(Some(inode)).unwrap();
    zone.engine.commit().unwrap();
    let node = zone.engine.identity.node.who.clone();
    zone.decide(&zone.root, revocation(&*node, zone.last_head())).unwrap();
    zone.engine.commit().unwrap();
    assert_eq!(zone.reopen().content(inode), b"kept");
}

#[test]
fn a_revocation_that_ends_writing_here_is_known_before_it_counts() {
    let zone = TestZone::new();
    let (node, other) = (zone.engine.identity.node.who.clone(), principal(7));
    zone.grant(&other, Level::Write);
    let signed = |signer: &SoftwareKeyStore, of: &dyn KeyStore| {
        let access = &zone.engine.identity.rights.now().access;
        let statement = access.next_statement(signer.credential().id(), now(), revocation(of, zone.last_head()));
        [bt_tree::AccessRecord::sign(signer, statement).unwrap().to_bytes()]
    };
    assert!(zone.engine.would_end_writing(&signed(&zone.root, &*node)));
    assert!(!zone.engine.would_end_writing(&signed(&zone.root, &other)), "it is another's right");
    assert!(!zone.engine.would_end_writing(&signed(&other, &*node)), "it does not count");
}

#[test]
fn the_last_commit_before_a_right_ends_is_under_no_key_of_one_whose_right_ended_before() {
    let zone = TestZone::new();
    let (node, guest) = (zone.engine.identity.node.who.clone(), principal(7));
    let grant = Action::Grant { principal: *guest.credential(), rights: Level::Read, until: Some(ahead(50)) };
    zone.decide(&zone.root, grant).unwrap();
    CLOCK_AHEAD.set(100);
    zone.file(ROOT, "file", b"not for the guest");
    let outdated = zone.decide(&zone.root, revocation(&*node, zone.last_head()));
    assert!(matches!(outdated, Err(EngineError::OutdatedHead)), "a head followed: {outdated:?}");
    assert_eq!(head(&zone).epoch, 3, "the guest has the key of epoch 2");
    zone.decide(&zone.root, revocation(&*node, zone.last_head())).unwrap();
    assert!(zone.engine.stopped().is_some());
}

#[test]
fn a_grant_that_comes_after_the_end_counts_when_the_zone_is_opened_again() {
    let zone = TestZone::new();
    let node = zone.engine.identity.node.who.clone();
    let inode = zone.file(ROOT, "file", b"content");
    zone.engine.commit().unwrap();
    zone.decide(&zone.root, revocation(&*node, zone.last_head())).unwrap();
    let before = head(&zone).revision;
    let grant = Action::Grant { principal: *node.credential(), rights: Level::Write, until: None };
    zone.decide(&zone.root, grant).unwrap();
    assert_eq!(head(&zone).revision, before, "a zone that stopped publishes nothing");
    assert!(zone.engine.write_file(inode, 0, b"x", false).is_err());
    let zone = zone.crash();
    zone.file(ROOT, "file", b"CONTENT");
    zone.engine.commit().unwrap();
    zone.reopen().expect_clean();
}
