//! What is sealed under the newest key, and what stays as it is.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bt_store::{MemoryStorage, Storage};
use bt_tree::Rights;

use crate::control::report::RekeyReport;
use crate::engine::rekey::BackgroundRekey;
use crate::engine::testing::{ROOT, TestZone, go_on, noise, open, principal};
use crate::options::Compression;
use crate::system::CLOCK_AHEAD;

/// A zone with content of all kinds, whose reader was revoked.
fn revoked() -> (TestZone, Vec<(u64, Vec<u8>)>) {
    let zone = TestZone::new();
    let reader = principal(7);
    zone.grant(&reader, Rights::Read);
    let mut files = Vec::new();
    for i in 0..40_u64 {
        let content = noise((i * i * 97) as usize + 1, i + 1);
        files.push((zone.file(ROOT, &format!("file{i}"), &content), content));
    }
    let copy = zone.file(ROOT, "copy", b"");
    let (from, content) = files.last().unwrap().clone();
    zone.share(from, copy, content.len() as u64);
    files.push((copy, content));
    zone.engine.commit().unwrap();
    zone.revoke(&reader);
    (zone, files)
}

fn rekey(zone: &TestZone) -> RekeyReport {
    zone.engine.rekey(true, &mut go_on).unwrap()
}

#[track_caller]
fn same(zone: &TestZone, files: &[(u64, Vec<u8>)]) {
    for (inode, content) in files {
        assert!(zone.content(*inode) == *content, "inode {inode} changed");
    }
}

#[test]
fn nothing_is_left_under_the_old_keys() {
    let (zone, files) = revoked();
    let live = zone.engine.live_bytes().unwrap();
    let before = zone.engine.rekey(false, &mut go_on).unwrap();
    assert!(before.left_bytes > 0 && before.sealed_bytes == 0);
    let report = rekey(&zone);
    assert_eq!((report.epoch, report.left_segments, report.left_bytes), (3, 0, 0));
    assert!(report.sealed_bytes > 0);
    same(&zone, &files);
    zone.expect_clean();
    let grown = zone.engine.live_bytes().unwrap();
    assert!(grown < live + live / 4, "shared blocks stay shared: {live} bytes, then {grown}");
    let zone = zone.reopen();
    same(&zone, &files);
    zone.expect_clean();
    assert_eq!(rekey(&zone).sealed_bytes, 0, "there is nothing to do a second time");
}

#[test]
fn a_crash_in_the_middle_leaves_a_whole_state() {
    let (zone, files) = revoked();
    let mut steps = 0;
    let interrupted = zone.engine.rekey(true, &mut |_| {
        steps += 1;
        if steps > 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(interrupted.is_err());
    zone.file(ROOT, "file3", b"written in the middle");
    zone.engine.sync_file(Some(files[3].0)).unwrap();
    let zone = zone.crash();
    let mut files = files;
    let tail = files[3].1.len().max(21);
    files[3].1.resize(tail, 0);
    files[3].1[..21].copy_from_slice(b"written in the middle");
    same(&zone, &files);
    zone.expect_clean();
    assert_eq!(rekey(&zone).left_bytes, 0);
    same(&zone, &files);
    zone.expect_clean();
}

#[test]
fn the_background_comes_to_the_end_while_files_change() {
    let (zone, mut files) = revoked();
    let mut background = BackgroundRekey::default();
    for round in 0..50_usize {
        zone.engine.rekey_in_background(&mut background).unwrap();
        let at = round % files.len();
        let content = noise(5000, round as u64 + 500);
        zone.engine.set_attributes(files[at].0, Some(0), |_| None, false).unwrap();
        zone.engine.write_file(files[at].0, 0, &content, false).unwrap();
        files[at].1 = content;
        if round % 7 == 0 {
            zone.engine.commit().unwrap();
        }
    }
    zone.engine.commit().unwrap();
    zone.engine.commit().unwrap();
    zone.engine.commit().unwrap();
    assert_eq!(zone.engine.rekey(false, &mut go_on).unwrap().left_segments, 0);
    same(&zone, &files);
    zone.expect_clean();
}

/// What a snapshot shows: the content of each file by name.
pub(super) type Shown = BTreeMap<Vec<u8>, Vec<u8>>;

/// Files of the present by inode, with their content.
type Files = Vec<(u64, Vec<u8>)>;

pub(super) fn shown(zone: &TestZone, snapshot: &str) -> Shown {
    let records = zone.engine.snapshot_records().unwrap();
    let (_, record) = records.iter().find(|(name, _)| name == snapshot.as_bytes()).unwrap();
    let (tree, source) = (record.tree(), &zone.engine.source);
    let mut names = Vec::new();
    bt_vfs::view::list(&tree, source, ROOT, 0, &mut |listed| {
        names.push((listed.name.to_vec(), listed.inode));
        ControlFlow::Continue(())
    })
    .unwrap();
    let content = |inode| {
        let mut out = vec![0; bt_vfs::view::inode(&tree, source, inode).unwrap().size as usize];
        assert_eq!(zone.engine.read_frozen(&tree, inode, 0, &mut out).unwrap(), out.len());
        out
    };
    names.into_iter().map(|(name, inode)| (name, content(inode))).collect()
}

/// A zone with three snapshots, of which the last is from after the revocation, and what they show.
fn with_snapshots() -> (TestZone, Files, Vec<(&'static str, Shown)>) {
    with_snapshots_on(MemoryStorage::new())
}

fn with_snapshots_on(storage: MemoryStorage) -> (TestZone, Files, Vec<(&'static str, Shown)>) {
    let zone = TestZone::on(storage, Some(Compression::Lz4));
    let reader = principal(7);
    zone.grant(&reader, Rights::Read);
    let mut files: Vec<(u64, Vec<u8>)> = Vec::new();
    for i in 0..30_u64 {
        let content = noise((i * i * 311) as usize + 1, i + 1);
        files.push((zone.file(ROOT, &format!("file{i}"), &content), content));
        zone.engine.commit().unwrap();
    }
    zone.file(ROOT, "text", "the same again and again ".repeat(9000).as_bytes());
    let copy = zone.file(ROOT, "copy", b"");
    let (from, content) = files.last().unwrap().clone();
    zone.share(from, copy, content.len() as u64);
    files.push((copy, content));
    CLOCK_AHEAD.set(10);
    zone.engine.create_snapshot(b"one").unwrap();
    // Blocks in the middle of runs die, others stay; a shared one loses one of its two places.
    for i in (5..30).step_by(2) {
        let middle = noise(9000, i as u64 + 100);
        let (inode, content) = &mut files[i];
        let at = content.len() / 3;
        zone.engine.write_file(*inode, at as u64, &middle, false).unwrap();
        content.resize(content.len().max(at + 9000), 0);
        content[at..at + 9000].copy_from_slice(&middle);
    }
    for gone in ["file0", "file8", "copy"] {
        zone.remove(ROOT, gone);
    }
    zone.engine.commit().unwrap();
    // No time passes: that some files were not written to after the snapshot is seen by their content alone.
    zone.engine.create_snapshot(b"two").unwrap();
    zone.engine.sync_file(Some(zone.file(ROOT, "text", b"in the journal"))).unwrap();
    zone.remove(ROOT, "file12");
    zone.remove(ROOT, "file29");
    zone.revoke(&reader);
    zone.file(ROOT, "new", &noise(100_000, 999));
    zone.engine.create_snapshot(b"three").unwrap();
    let kept = files.iter().enumerate().filter(|(i, _)| ![0, 8, 12, 29, 30].contains(i));
    let files = kept.map(|(_, file)| file.clone()).collect();
    let shows = ["one", "two", "three"].map(|name| (name, shown(&zone, name))).to_vec();
    (zone, files, shows)
}

#[track_caller]
fn show_the_same(zone: &TestZone, snapshots: &[(&str, Shown)]) {
    for (name, before) in snapshots {
        assert!(shown(zone, name) == *before, "snapshot {name} changed");
    }
}

/// Whatever is stored, nothing of it opens with a key from before the newest epoch.
#[track_caller]
pub(super) fn nothing_stored_is_old(zone: &TestZone) {
    let epoch = zone.engine.source.epoch();
    let old: Vec<_> = zone.engine.containers.segments().into_iter().filter(|info| info.epoch < epoch).collect();
    assert!(old.is_empty(), "{} segments of {epoch}: {old:?}", old.len());
    let journal = crate::identity::read(&zone.storage, &zone.engine.identity.layout.journal()).unwrap();
    assert!(journal.iter().all(|byte| *byte == 0), "the journal holds something");
}

#[test]
fn snapshots_are_sealed_anew_and_show_what_they_showed() {
    let (zone, files, snapshots) = with_snapshots();
    let live = zone.engine.live_bytes().unwrap();
    let changes = zone.engine.diff("one", Some("three"), &mut go_on).unwrap();
    let since = zone.engine.diff("two", None, &mut go_on).unwrap();
    zone.expect_clean();
    let report = rekey(&zone);
    assert_eq!((report.epoch, report.left_segments, report.left_bytes), (3, 0, 0));
    nothing_stored_is_old(&zone);
    show_the_same(&zone, &snapshots);
    same(&zone, &files);
    zone.expect_clean();
    let grown = zone.engine.live_bytes().unwrap();
    assert!(grown < 2 * live, "snapshots share what they shared: {live} bytes, then {grown}");
    assert_eq!(zone.engine.diff("one", Some("three"), &mut go_on).unwrap(), changes);
    assert_eq!(zone.engine.diff("two", None, &mut go_on).unwrap(), since);
    zone.engine.sync_file(Some(zone.file(ROOT, "text", b"it goes on"))).unwrap();
    let mut zone = zone.crash();
    assert_eq!(zone.content(zone.engine.lookup(ROOT, b"text").unwrap().unwrap().0)[..10], *b"it goes on");
    assert_eq!(rekey(&zone).sealed_bytes, 0, "there is nothing to do a second time");
    for gone in ["two", "three", "one"] {
        show_the_same(&zone, &snapshots.iter().filter(|(name, _)| *name == gone).cloned().collect::<Vec<_>>());
        zone.delete_snapshot(gone.as_bytes());
        zone.expect_clean();
        zone = zone.reopen();
        zone.expect_clean();
    }
    same(&zone, &files);
}

/// A zone of which each step seals little.
pub(super) fn in_small_steps(mut zone: TestZone) -> TestZone {
    let limits = &mut Arc::get_mut(&mut zone.engine).unwrap().limits;
    (limits.reseal_bytes, limits.reseal_nodes) = (200_000, 2);
    zone
}

#[test]
fn a_crash_among_the_snapshots_leaves_a_whole_state_and_less_to_do() {
    let (zone, files, snapshots) = with_snapshots();
    zone.engine.commit().unwrap();
    let (mut stop, mut left) = (3, u64::MAX);
    loop {
        let storage = zone.storage.deep_copy();
        let crashed = TestZone { engine: open(&storage).unwrap(), storage, root: principal(1) };
        let crashed = in_small_steps(crashed);
        let mut steps = 0;
        let ended = crashed.engine.rekey(true, &mut |_| {
            steps += 1;
            if steps > stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let is_whole = ended.is_ok();
        let crashed = crashed.crash();
        crashed.expect_clean();
        show_the_same(&crashed, &snapshots);
        same(&crashed, &files);
        let still = crashed.engine.rekey(false, &mut go_on).unwrap().left_bytes;
        assert!(still <= left, "after {stop} steps {still} bytes are left, before {left}");
        left = still;
        assert_eq!(rekey(&crashed).left_bytes, 0);
        nothing_stored_is_old(&crashed);
        show_the_same(&crashed, &snapshots);
        crashed.expect_clean();
        if is_whole {
            break;
        }
        stop += 3;
    }
    assert!(stop > 12, "there were steps among the snapshots");
}

#[test]
fn what_changes_between_the_steps_is_no_hindrance() {
    let (zone, files, mut snapshots) = with_snapshots();
    let zone = in_small_steps(zone);
    let (from, content) = files.last().unwrap().clone();
    let mut step = 0;
    let report = zone.engine.rekey(true, &mut |_| {
        step += 1;
        if step % 3 == 1 {
            let copy = zone.file(ROOT, &format!("copy{step}"), b"");
            zone.share(from, copy, content.len() as u64);
        }
        match step {
            5 => drop(zone.engine.create_snapshot(b"four").unwrap()),
            // And then there is another epoch.
            6 => zone.grant(&principal(9), Rights::Read),
            // Its deletion stays unfinished.
            8 => {
                let mut vfs = zone.engine.write();
                vfs.begin_snapshot_delete(&zone.engine.source, b"two").unwrap();
            }
            _ => {}
        }
        ControlFlow::Continue(())
    });
    let report = report.unwrap();
    assert_eq!((report.epoch, report.left_bytes), (4, 0));
    nothing_stored_is_old(&zone);
    assert!(step > 12);
    snapshots.remove(1);
    show_the_same(&zone, &snapshots);
    same(&zone, &files);
    zone.expect_clean();
    for name in ["one", "four", "three"] {
        zone.delete_snapshot(name.as_bytes());
        zone.expect_clean();
    }
}

#[test]
fn the_background_leaves_a_pass_alone() {
    let (zone, ..) = with_snapshots();
    let zone = in_small_steps(zone);
    let mut background = BackgroundRekey::default();
    let report = zone.engine.rekey(true, &mut |_| {
        std::thread::scope(|scope| {
            scope.spawn(|| zone.engine.rekey_in_background(&mut background).unwrap());
        });
        assert!(background.pass.is_none(), "it waits");
        ControlFlow::Continue(())
    });
    assert_eq!(report.unwrap().left_bytes, 0);
    zone.engine.rekey_in_background(&mut background).unwrap();
    assert_eq!(background.settled, 3);
}

#[test]
fn no_pass_begins_that_may_fill_the_disk() {
    let (zone, files, snapshots) = with_snapshots_on(MemoryStorage::with_capacity(400 << 20));
    let filler = zone.storage.open("filler", true).unwrap();
    let free = || zone.storage.space().unwrap().free;
    let needed = 2 * zone.engine.stored_before(3).1;
    // A tenth of the disk is not for the background; `bt rekey --now` may have all but the reserve.
    filler.allocate(0, free() - zone.storage.space().unwrap().total / 20).unwrap();
    let mut background = BackgroundRekey::default();
    zone.engine.rekey_in_background(&mut background).unwrap();
    assert!(background.pass.is_none() && background.settled == 3, "it does not begin");
    filler.allocate(0, filler.len().unwrap() + free() - needed / 2).unwrap();
    let refused = zone.engine.rekey(true, &mut go_on).expect_err("there is no room");
    assert!(refused.what.contains("stored twice"), "{refused}");
    show_the_same(&zone, &snapshots);
    same(&zone, &files);
    filler.set_len(0).unwrap();
    assert_eq!(rekey(&zone).left_bytes, 0);
    zone.expect_clean();
}

/// A step of which something changed after it was written.
#[test]
fn a_step_that_something_came_in_between_is_void() {
    for between in [0, 1, 2] {
        let (zone, files, snapshots) = with_snapshots();
        let zone = in_small_steps(zone);
        let (mut pass, mut index) = (super::Pass::new(zone.engine.source.epoch()), 0);
        while !matches!(pass.at, super::Stage::Snapshots) {
            zone.engine.rekey_step(&mut pass).unwrap();
            index += 1;
        }
        assert!(index > 1);
        zone.engine.commit_for_space().unwrap();
        let all = zone.engine.ready_snapshots().unwrap().unwrap();
        let epoch = zone.engine.source.epoch();
        let step = zone.engine.write_step(&mut pass.resealing, &all).unwrap().unwrap();
        let written: Vec<_> = step.segments.iter().map(|summary| summary.id).collect();
        match between {
            0 => zone.grant(&principal(9), Rights::Read),
            1 => zone.engine.write().begin_snapshot_delete(&zone.engine.source, b"one").unwrap(),
            _ => {}
        }
        let taken = zone.engine.take_step(step, epoch).unwrap();
        assert_eq!(matches!(taken, super::Resealed::Changed), between < 2);
        assert!(written.iter().all(|id| zone.engine.containers.contains(id) == (between == 2)));
        let left = if between == 1 { &snapshots[1..] } else { &snapshots[..] };
        show_the_same(&zone, left);
        zone.expect_clean();
        assert_eq!(rekey(&zone).left_bytes, 0);
        show_the_same(&zone, left);
        same(&zone, &files);
        zone.expect_clean();
    }
}

/// A step that is void: the present got a reference to an old block after it was gone through.
#[test]
fn a_block_that_the_present_still_has_is_not_taken_from_it() {
    let (zone, files, snapshots) = with_snapshots();
    let mut resealing = bt_tree::zone::Resealing::new(zone.engine.source.epoch());
    let before = zone.engine.live_bytes().unwrap();
    for _ in 0..3 {
        assert!(matches!(zone.engine.reseal_snapshots(&mut resealing).unwrap(), super::Resealed::Changed));
    }
    assert!(zone.engine.live_bytes().unwrap() < before + before / 4);
    show_the_same(&zone, &snapshots);
    same(&zone, &files);
    zone.expect_clean();
}
