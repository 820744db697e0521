use std::ops::ControlFlow;

use bt_store::Storage;
use bt_tree::schema::{DeadRecord, Death, Inode, Key, ZoneRecord};
use bt_tree::zone::Zone;
use bt_vfs::{FrozenVfs, RenameFlags};

use super::*;
use crate::engine::testing::{ROOT, TestZone, assert_names, check, flip, go_on, noise};
use crate::options::Compression;

const LARGE: usize = 300_000;

/// Files of every kind, in two directories.
fn fill(zone: &TestZone) -> (u64, u64) {
    let directory = zone.directory(ROOT, "directory");
    zone.file(directory, "small", b"a few bytes");
    zone.file(ROOT, "empty", b"");
    let large = zone.file(directory, "large", &noise(LARGE, 1));
    for i in 0..200 {
        zone.file(directory, &format!("file {i}"), &noise(i * 50, i as u64));
    }
    zone.engine.make(ROOT, b"link", 0o120777, 0, b"directory/small", (0, 0, 0)).unwrap();
    zone.engine.make(ROOT, b"fifo", 0o010644, 0, b"", (0, 0, 0)).unwrap();
    zone.engine.link(large, ROOT, b"second name").unwrap();
    let flags = bt_vfs::AttributeFlags::default();
    zone.engine.set_attribute(large, b"user.colour", b"blue", flags, false).unwrap();
    (directory, large)
}

#[test]
fn a_new_zone_is_clean() {
    let zone = TestZone::new();
    let report = zone.expect_clean();
    assert_eq!((report.inodes, report.snapshots, report.leftovers), (1, 0, 0));
    assert!(report.heads >= 2 && report.blocks > 0);
    zone.engine.close().unwrap();
    assert_eq!(check(&zone.storage).problems, []);
}

#[test]
fn a_zone_is_clean_after_every_kind_of_change() {
    for compression in [None, Some(Compression::Zstd)] {
        let zone = TestZone::with(compression);
        let (directory, large) = fill(&zone);
        zone.engine.commit().unwrap();
        assert_eq!(zone.expect_clean().inodes, zone.engine.inode_count());
        for i in (0..200).step_by(3) {
            zone.remove(directory, &format!("file {i}"));
        }
        zone.file(directory, "large", &noise(40_000, 2));
        zone.engine.set_attributes(large, Some(170_001), |_| None, false).unwrap();
        zone.engine.rename((directory, b"file 1"), (ROOT, b"second name"), RenameFlags::Replace).unwrap();
        zone.engine.rename((directory, b"file 2"), (directory, b"file 4"), RenameFlags::Exchange).unwrap();
        zone.expect_clean();
        zone.engine.commit().unwrap();
        zone.expect_clean();
        let zone = zone.reopen();
        zone.expect_clean();
        assert_eq!(zone.content(large).len(), 170_001);
    }
}

#[test]
fn shared_blocks_and_snapshots_are_accounted() {
    let zone = TestZone::new();
    let (directory, large) = fill(&zone);
    zone.engine.commit().unwrap();
    let copy = zone.file(ROOT, "copy", b"");
    zone.share(large, copy, LARGE as u64);
    zone.engine.commit().unwrap();
    zone.expect_clean();
    zone.engine.create_snapshot(b"one").unwrap();
    assert_eq!(zone.expect_clean().snapshots, 1);
    zone.file(directory, "large", &noise(100_000, 3));
    zone.remove(ROOT, "copy");
    zone.engine.commit().unwrap();
    zone.expect_clean();
    zone.engine.create_snapshot(b"two").unwrap();
    let third = zone.file(ROOT, "third", b"");
    zone.share(large, third, LARGE as u64);
    zone.remove(ROOT, "second name");
    zone.engine.commit().unwrap();
    let zone = zone.crash();
    assert_eq!(zone.expect_clean().snapshots, 2);
    zone.delete_snapshot(b"one");
    zone.expect_clean();
    zone.delete_snapshot(b"two");
    let zone = zone.reopen();
    zone.expect_clean();
    assert_eq!(check(&zone.storage).problems, []);
}

#[test]
fn a_journal_above_the_head_is_checked_and_recovered() {
    let zone = TestZone::new();
    let (_, large) = fill(&zone);
    zone.engine.sync_file(Some(large)).unwrap();
    let small = zone.file(ROOT, "small", b"synced");
    zone.engine.sync_file(Some(small)).unwrap();
    drop(zone.engine);
    let report = check(&zone.storage);
    assert_eq!(report.problems, []);
    assert!(report.journal_batches >= 2);
    let engine = crate::engine::testing::open(&zone.storage).unwrap();
    let zone = TestZone { storage: zone.storage, engine, root: zone.root };
    let head = heads::newest(&zone.engine.storage, &zone.engine.identity).unwrap();
    let brought: Vec<_> = head.unverified().added.iter().filter(|summary| !summary.index_blocks).collect();
    assert!(!brought.is_empty(), "the head after a recovery lists the segments that the journal brought");
    zone.expect_clean();
    assert_eq!(zone.content(small), b"synced");
    assert_eq!(zone.content(large), noise(LARGE, 1));
}

#[test]
fn a_check_keeps_what_it_reads_while_the_zone_goes_on() {
    let zone = TestZone::new();
    let (directory, _) = fill(&zone);
    zone.engine.commit().unwrap();
    let mut steps = 0;
    let report = zone.engine.check(true, &mut |_| {
        steps += 1;
        if steps == 1 {
            for i in 0..200 {
                zone.remove(directory, &format!("file {i}"));
            }
            zone.remove(directory, "large");
            zone.remove(ROOT, "second name");
            for i in 0..4 {
                zone.file(directory, "new", &noise(50_000, i));
                zone.engine.commit().unwrap();
            }
        }
        ControlFlow::Continue(())
    });
    assert!(steps > 0, "the check told nothing of its progress");
    assert_eq!(report.unwrap().report.problems, []);
    assert_eq!(zone.engine.flushing().deferred, []);
    zone.expect_clean();
}

#[test]
fn a_check_ends_when_it_is_asked_to() {
    let zone = TestZone::new();
    fill(&zone);
    zone.engine.commit().unwrap();
    let failure = zone.engine.check(true, &mut |_| ControlFlow::Break(())).unwrap_err();
    assert_eq!(failure, Failure::interrupted());
    assert_eq!(zone.engine.flushing().pins, 0);
}

/// The container bytes of every block of a file, by its inode.
fn places(zone: &TestZone, inode: u64) -> Vec<(String, u64)> {
    let vfs = zone.engine.read();
    let mut places = Vec::new();
    bt_vfs::view::for_extents(vfs.zone().tree(), &zone.engine.source, inode, 0, &mut |_, extent| {
        for slot in extent.slots.iter().flatten() {
            let info = zone.engine.containers.segment(&slot.block.segment).unwrap();
            let blocks = zone.engine.containers.blocks(&slot.block.segment).unwrap();
            let block = blocks.iter().find(|place| place.index == slot.block.index).unwrap();
            places.push((zone.engine.containers.file_of(&info), info.offset + u64::from(block.offset)));
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    places
}

#[test]
fn damaged_file_data_is_named_by_its_path() {
    let zone = TestZone::new();
    let (_, large) = fill(&zone);
    zone.engine.create_snapshot(b"before").unwrap();
    let (file, offset) = places(&zone, large)[3].clone();
    flip(&zone.storage, &file, offset + 77);
    let report = zone.check();
    assert_eq!(report.problem_count, 1, "{:#?}", report.problems);
    assert!(report.problems[0].what.contains("from byte 49152 on"));
    let place = &report.problems[0].where_;
    assert!(place.starts_with("/directory/large") || place.starts_with("/second name"), "{place}");
    assert_eq!(zone.engine.check(false, &mut go_on).unwrap().report.problems, [], "a quick check reads no file data");
}

#[test]
fn every_damaged_node_of_the_index_is_named_and_the_rest_is_checked() {
    let zone = TestZone::new();
    fill(&zone);
    zone.engine.create_snapshot(b"kept").unwrap();
    zone.engine.close().unwrap();
    let mut nodes = Vec::new();
    let root = zone.engine.flushing().root.unwrap();
    Tree::open(root.0, root.1).walk_nodes(&zone.engine.source, &mut |visit| {
        let block = visit.block.unwrap();
        let info = zone.engine.containers.segment(&block.segment).unwrap();
        let places = zone.engine.containers.blocks(&block.segment).unwrap();
        let place = places.iter().find(|place| place.index == block.index).unwrap();
        nodes.push((zone.engine.containers.file_of(&info), info.offset + u64::from(place.offset)));
        bt_tree::index::Walk::Into
    });
    assert!(nodes.len() > 5);
    for (file, offset) in nodes {
        let damaged = zone.storage.deep_copy();
        flip(&damaged, &file, offset + 5);
        let report = check(&damaged);
        assert_names(&report.problems, &format!("in {file} at byte {offset}"));
        assert!(report.problem_count < 30, "{:#?}", report.problems);
    }
}

#[test]
fn a_bit_flipped_in_any_file_is_named_and_nothing_panics() {
    let zone = TestZone::new();
    let (_, large) = fill(&zone);
    zone.engine.commit().unwrap();
    zone.engine.write_file(large, 5, b"in the journal", false).unwrap();
    zone.engine.sync_file(Some(large)).unwrap();
    let directory = zone.engine.identity.layout.directory.clone();
    let root = zone.engine.flushing().root.unwrap().0.segment;
    let info = zone.engine.containers.segment(&root).unwrap();
    let (container, at) = (zone.engine.containers.file_of(&info), info.offset);
    let offset = bt_tree::Head::clone(heads::newest(&zone.engine.storage, &zone.engine.identity).unwrap().unverified());
    drop(zone.engine);
    assert_eq!(check(&zone.storage).problems, []);
    let files = [
        ("genesis".to_owned(), 40),
        ("node.key".to_owned(), 40),
        ("root.key".to_owned(), 90),
        (format!("{directory}/birth"), 40),
        (format!("{directory}/access"), 100),
        (format!("{directory}/epochs"), 100),
        (format!("{directory}/heads.a"), 100),
        (format!("{directory}/heads.b"), 65_536 + 100),
        (format!("{directory}/journal"), offset.journal.offset + 60),
        (container, at + 20),
        ("locations".to_owned(), 150),
    ];
    for (file, byte) in files {
        let damaged = zone.storage.deep_copy();
        flip(&damaged, &file, byte);
        let report = check(&damaged);
        assert_names(&report.problems, &file);
        assert!(report.problems.iter().all(|problem| !problem.hint.is_empty() && !problem.where_.is_empty()));
    }
}

#[test]
fn a_rolled_back_file_of_heads_is_named() {
    let zone = TestZone::new();
    let name = format!("{}/heads.b", zone.engine.identity.layout.directory);
    let old = crate::identity::read(&zone.storage, &name).unwrap();
    fill(&zone);
    for i in 0..3 {
        zone.file(ROOT, "file", &[i; 10]);
        zone.engine.commit().unwrap();
    }
    zone.storage.open(&name, false).unwrap().write_at(&old, 0).unwrap();
    let report = zone.check();
    assert_names(&report.problems, &name);
}

/// Changes a record of the index behind the accounts' back, commits, and checks.
fn tampered(change: impl FnOnce(&TestZone, &mut Zone, u64)) -> CheckReport {
    let zone = TestZone::new();
    let (_, large) = fill(&zone);
    zone.engine.commit().unwrap();
    {
        let engine = &zone.engine;
        let mut flushing = engine.flushing();
        let unaccounted = engine.read().zone().unaccounted().to_vec();
        let mut state = Zone::open(&engine.source, flushing.root.unwrap(), flushing.revision, unaccounted).unwrap();
        change(&zone, &mut state, large);
        let zone = state.freeze(&engine.source).unwrap();
        let position = *engine.position.lock().unwrap();
        let covered = engine.read().last_record();
        engine.write_frozen(&mut flushing, FrozenVfs { zone, covered }, position).unwrap();
    }
    check(&zone.storage)
}

#[test]
fn a_wrong_record_is_found_whatever_it_is() {
    type Tamper = fn(&TestZone, &mut Zone, u64);
    let cases: [(&str, Tamper); 12] = [
        ("counts as dead", |zone, state, large| {
            let slot = bt_vfs::view::slot(state.tree(), &zone.engine.source, large, 0).unwrap().unwrap();
            let mut account = state.account(&zone.engine.source, &slot.block.segment).unwrap().unwrap();
            account.dead[slot.block.index as usize / 8] |= 1 << (slot.block.index % 8);
            put(zone, state, &Key::account(&slot.block.segment), Some(&account.encode()));
        }),
        ("bytes are alive", |zone, state, large| {
            let slot = bt_vfs::view::slot(state.tree(), &zone.engine.source, large, 0).unwrap().unwrap();
            let mut account = state.account(&zone.engine.source, &slot.block.segment).unwrap().unwrap();
            account.live_bytes -= 1;
            put(zone, state, &Key::account(&slot.block.segment), Some(&account.encode()));
        }),
        ("has no account", |zone, state, large| {
            let slot = bt_vfs::view::slot(state.tree(), &zone.engine.source, large, 0).unwrap().unwrap();
            put(zone, state, &Key::account(&slot.block.segment), None);
        }),
        ("fewer than its count says", |zone, state, large| {
            let slot = bt_vfs::view::slot(state.tree(), &zone.engine.source, large, 0).unwrap().unwrap();
            put(zone, state, &Key::count(&slot.block.segment, slot.block.index), Some(&2u32.to_le_bytes()));
        }),
        ("as alive that nothing uses", |zone, state, large| {
            put(zone, state, &Key::extent(large, 0), None);
        }),
        ("bytes as stored and has", |zone, state, large| {
            put(zone, state, &Key::extent(large, 16), None);
        }),
        ("a listing lacks it", |zone, state, _| {
            let name = bt_vfs::view::name(state.tree(), &zone.engine.source, ROOT, b"fifo").unwrap().unwrap();
            put(zone, state, &Key::entry(ROOT, name.sequence), None);
        }),
        ("cannot be looked up", |zone, state, _| put(zone, state, &Key::name(ROOT, b"fifo"), None)),
        ("does not exist", |zone, state, large| put(zone, state, &Key::inode(large), None)),
        ("names fewer than it counts", |zone, state, large| {
            let mut inode = bt_vfs::view::inode(state.tree(), &zone.engine.source, large).unwrap();
            inode.nlink = 3;
            put(zone, state, &Key::inode(large), Some(&inode.encode()));
        }),
        ("beyond its end", |zone, state, large| {
            let mut inode = bt_vfs::view::inode(state.tree(), &zone.engine.source, large).unwrap();
            inode.size = 16384;
            put(zone, state, &Key::inode(large), Some(&inode.encode()));
        }),
        ("cannot be read", |zone, state, large| put(zone, state, &Key::inode(large), Some(b"short"))),
    ];
    for (part, tamper) in cases {
        let report = tampered(tamper);
        assert_names(&report.problems, part);
    }
}

/// Changes the record of an inode.
fn edit(zone: &TestZone, state: &mut Zone, number: u64, change: impl FnOnce(&mut Inode)) {
    let mut inode = bt_vfs::view::inode(state.tree(), &zone.engine.source, number).unwrap();
    change(&mut inode);
    put(zone, state, &Key::inode(number), Some(&inode.encode()));
}

#[test]
fn inodes_that_contradict_other_records_are_found() {
    type Tamper = fn(&TestZone, &mut Zone, u64);
    let cases: [(&str, Tamper); 13] = [
        ("links, 3 were expected", |zone, state, _| edit(zone, state, ROOT, |inode| inode.nlink = 9)),
        ("entries and has 5", |zone, state, _| edit(zone, state, ROOT, |inode| inode.entries = 4)),
        ("its orphan record says otherwise", |zone, state, large| {
            put(zone, state, &Key::orphan(large), Some(b""));
        }),
        ("an orphan record names", |zone, state, _| put(zone, state, &Key::orphan(99_999), Some(b""))),
        ("of an inode that says it has none: user.colour", |zone, state, large| {
            edit(zone, state, large, |inode| inode.has_attributes = false);
        }),
        ("the zone counts", |zone, state, _| edit_zone(zone, state, |record| record.inodes += 1)),
        ("give an inode number again", |zone, state, _| edit_zone(zone, state, |record| record.next_inode = 17)),
        ("blocks are kept for snapshot 9", |zone, state, large| {
            let slot = bt_vfs::view::slot(state.tree(), &zone.engine.source, large, 0).unwrap().unwrap();
            let record = DeadRecord { count: 1, len: slot.block.len };
            put(zone, state, &Key::dead(9, &Death::from(&slot.block)), Some(&record.encode()));
        }),
        ("small file or symbolic link is missing", |zone, state, _| {
            let link = bt_vfs::view::name(state.tree(), &zone.engine.source, ROOT, b"link").unwrap().unwrap();
            put(zone, state, &Key::inline(link.inode), None);
        }),
        ("says it has none in the index", |zone, state, large| {
            put(zone, state, &Key::inline(large), Some(b"content"));
        }),
        ("says that it is in another directory", |zone, state, _| {
            let name = bt_vfs::view::name(state.tree(), &zone.engine.source, ROOT, b"directory").unwrap().unwrap();
            edit(zone, state, name.inode, |inode| inode.parent = name.inode);
        }),
        ("of different types", |zone, state, large| {
            edit(zone, state, large, |inode| inode.mode = inode.mode & 0o7777 | 0o010000);
        }),
        ("no type of file", |zone, state, large| edit(zone, state, large, |inode| inode.mode = 0o644)),
    ];
    for (part, tamper) in cases {
        let report = tampered(tamper);
        assert_names(&report.problems, part);
        assert!(report.problems.iter().all(|problem| problem.where_.starts_with(['/', 's', 'b'])), "{report:#?}");
    }
}

fn edit_zone(zone: &TestZone, state: &mut Zone, change: impl FnOnce(&mut ZoneRecord)) {
    let mut record = state.record(&zone.engine.source).unwrap();
    change(&mut record);
    put(zone, state, &Key::zone(), Some(&record.encode()));
}

fn put(zone: &TestZone, state: &mut Zone, key: &Key, value: Option<&[u8]>) {
    let source = &zone.engine.source;
    match value {
        Some(value) => state.put(source, key, value).unwrap(),
        None => drop(state.remove(source, key).unwrap()),
    }
}
