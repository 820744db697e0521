//! What is sealed under the newest key, and what stays as it is.

use std::ops::ControlFlow;

use bt_tree::Rights;

use crate::control::report::RekeyReport;
use crate::engine::rekey::BackgroundRekey;
use crate::engine::testing::{ROOT, TestZone, go_on, noise, principal};

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

#[test]
fn what_snapshots_need_is_told_and_goes_with_them() {
    let (zone, files) = revoked();
    zone.engine.create_snapshot(b"kept").unwrap();
    let report = rekey(&zone);
    assert!(report.left_bytes > 0, "the snapshot holds old blocks");
    assert_eq!(report.snapshots, ["kept"]);
    same(&zone, &files);
    zone.expect_clean();
    zone.delete_snapshot(b"kept");
    assert_eq!(rekey(&zone).left_bytes, 0);
    same(&zone, &files);
    zone.expect_clean();
}
