use bt_store::MemoryStorage;

use super::*;
use crate::engine::testing::{ROOT, TestZone, check, go_on, noise};

const BLOCK: usize = bt_base::limits::BLOCK_SIZE;

fn stored(zone: &TestZone) -> u64 {
    zone.engine.containers.usage().segment_bytes
}

/// Files in one segment, of which all but a few are removed.
fn thinned(zone: &TestZone) -> Vec<(u64, u64)> {
    let files: Vec<(u64, u64)> = (0..40).map(|i| (zone.file(ROOT, &format!("{i}"), &noise(4 * BLOCK, i)), i)).collect();
    zone.engine.commit().unwrap();
    for i in (0..40).filter(|i| i % 8 != 0) {
        zone.remove(ROOT, &format!("{i}"));
    }
    files.into_iter().filter(|(_, i)| i % 8 == 0).collect()
}

fn expect_content(zone: &TestZone, files: &[(u64, u64)]) {
    for (inode, i) in files {
        assert_eq!(zone.content(*inode), noise(4 * BLOCK, *i), "file {i}");
    }
}

#[test]
fn dead_blocks_are_given_back_and_the_rest_stays() {
    let zone = TestZone::new();
    let kept = thinned(&zone);
    let before = stored(&zone);
    let report = zone.engine.reclaim(false, &mut go_on).unwrap();
    assert!(report.freed_bytes > 30 * 4 * BLOCK as u64, "{report:?}");
    assert!(report.moved_bytes >= kept.len() as u64 * 4 * BLOCK as u64);
    assert!(stored(&zone) + 30 * 4 * BLOCK as u64 <= before);
    expect_content(&zone, &kept);
    assert_eq!(zone.expect_clean().leftovers, 0);
    let zone = zone.reopen();
    expect_content(&zone, &kept);
    zone.expect_clean();
}

#[test]
fn what_snapshots_need_is_not_given_back() {
    let zone = TestZone::new();
    zone.file(ROOT, "shared", &noise(20 * BLOCK, 77));
    let (shared, _) = zone.engine.lookup(ROOT, b"shared").unwrap().unwrap();
    let copy = zone.file(ROOT, "copy", b"");
    zone.engine.commit().unwrap();
    zone.share(shared, copy, 20 * BLOCK as u64);
    zone.remove(ROOT, "shared");
    let record = zone.engine.create_snapshot(b"kept").unwrap();
    zone.remove(ROOT, "copy");
    let kept = thinned(&zone);
    zone.engine.reclaim(true, &mut go_on).unwrap();
    let mut content = vec![0; 20 * BLOCK];
    zone.engine.read_frozen(&record.tree(), copy, 0, &mut content).unwrap();
    assert_eq!(content, noise(20 * BLOCK, 77));
    zone.expect_clean();
    let zone = zone.crash();
    expect_content(&zone, &kept);
    zone.expect_clean();
    let before = stored(&zone);
    zone.delete_snapshot(b"kept");
    zone.engine.reclaim(true, &mut go_on).unwrap();
    assert!(stored(&zone) + 20 * BLOCK as u64 <= before);
    assert_eq!(zone.expect_clean().leftovers, 0);
    expect_content(&zone, &kept);
}

#[test]
fn a_crash_after_giving_back_loses_nothing() {
    let zone = TestZone::new();
    let kept = thinned(&zone);
    let (last, _) = kept[0];
    zone.engine.reclaim(true, &mut go_on).unwrap();
    zone.engine.write_file(last, 0, b"journalled", false).unwrap();
    zone.engine.sync_file(Some(last)).unwrap();
    let zone = zone.crash();
    assert!(zone.content(last).starts_with(b"journalled"));
    expect_content(&zone, &kept[1..]);
    zone.expect_clean();
}

#[test]
fn blocks_that_the_head_before_needs_stay() {
    let zone = TestZone::new();
    thinned(&zone);
    let old = zone.engine.flushing().root.unwrap();
    zone.engine.commit().unwrap();
    let roots = zone.engine.roots().unwrap();
    assert_eq!(roots.previous, old);
    let poor = zone.engine.find_poor(&roots, 100).unwrap();
    assert!(!poor.is_empty());
    let mut done = Reclaimed::default();
    poor.iter().for_each(|poor| zone.engine.compact(&roots, poor, &mut done).unwrap());
    let old = Tree::open(old.0, old.1);
    let mut content = vec![0; 4 * BLOCK];
    for i in 0..40 {
        let name = bt_vfs::view::name(&old, &zone.engine.source, ROOT, format!("{i}").as_bytes()).unwrap().unwrap();
        zone.engine.read_frozen(&old, name.inode, 0, &mut content).unwrap();
        assert_eq!(content, noise(4 * BLOCK, i), "file {i}");
    }
}

#[test]
fn leftovers_of_a_crash_are_counted_and_dropped() {
    let zone = TestZone::new();
    let file = zone.file(ROOT, "file", &noise(8 * BLOCK, 1));
    zone.engine.commit().unwrap();
    zone.file(ROOT, "lost", &noise(8 * BLOCK, 2));
    {
        let mut flushing = zone.engine.flushing();
        let dirty = zone.engine.read().dirty_files();
        zone.engine.flush(&mut flushing, &dirty).unwrap();
    }
    zone.engine.containers.sync().unwrap();
    let zone = zone.crash();
    assert!(check(&zone.storage).leftovers > 0);
    let mut background = Background::new();
    assert!(zone.engine.roots().is_none(), "nothing is dropped before the second head");
    assert_eq!(zone.engine.drop_leftovers().unwrap(), 0);
    zone.file(ROOT, "new", b"content");
    zone.engine.commit().unwrap();
    while zone.engine.reclaim_step(&mut background).unwrap() {}
    assert_eq!(zone.expect_clean().leftovers, 0);
    assert_eq!(zone.content(file), noise(8 * BLOCK, 1));
}

#[test]
fn the_background_gives_back_much_and_leaves_little_alone() {
    let zone = TestZone::new();
    let mut background = Background::new();
    let long_ago = Instant::now().checked_sub(Duration::from_secs(3600)).unwrap();
    thinned(&zone);
    for _ in 0..2 {
        zone.engine.commit_for_space().unwrap();
        background.looked = long_ago;
        zone.engine.reclaim_step(&mut background).unwrap();
    }
    assert!(background.poor.is_empty());
    let content = noise(256 * BLOCK, 5);
    for i in 0..40 {
        zone.file(ROOT, &format!("large {i}"), &content);
        zone.engine.commit().unwrap();
    }
    let inodes: Vec<u64> =
        (0..40).map(|i| zone.engine.lookup(ROOT, format!("large {i}").as_bytes()).unwrap().unwrap().0).collect();
    for inode in &inodes {
        zone.engine.set_attributes(*inode, Some(100 * BLOCK as u64), |_| None, false).unwrap();
    }
    zone.engine.commit_for_space().unwrap();
    let before = stored(&zone);
    background.looked = long_ago;
    while zone.engine.reclaim_step(&mut background).unwrap() {}
    assert!(stored(&zone) < before / 2, "{} of {before}", stored(&zone));
    for inode in inodes {
        assert_eq!(zone.content(inode), content[..100 * BLOCK]);
    }
    zone.expect_clean();
}

#[test]
fn nothing_moves_while_somebody_reads_an_older_state() {
    let zone = TestZone::new();
    thinned(&zone);
    let mut flushing = zone.engine.flushing();
    let pin = zone.engine.pin(&mut flushing);
    drop(flushing);
    assert!(zone.engine.reclaim(true, &mut go_on).is_err());
    drop(pin);
    zone.engine.reclaim(true, &mut go_on).unwrap();
    zone.expect_clean();
}

#[test]
fn an_unfinished_deletion_of_a_snapshot_is_finished() {
    let zone = TestZone::new();
    let file = zone.file(ROOT, "file", &noise(8 * BLOCK, 1));
    zone.engine.create_snapshot(b"gone").unwrap();
    zone.file(ROOT, "file", &noise(8 * BLOCK, 2));
    zone.engine.commit().unwrap();
    zone.engine.write().begin_snapshot_delete(&zone.engine.source, b"gone").unwrap();
    zone.engine.commit().unwrap();
    let zone = zone.crash();
    assert_eq!(zone.engine.read().deleting_snapshots(&zone.engine.source).unwrap(), [b"gone"]);
    zone.expect_clean();
    zone.engine.create_snapshot(b"stays").unwrap();
    let mut background = Background::new();
    while zone.engine.reclaim_step(&mut background).unwrap() {}
    zone.engine.reclaim_step(&mut background).unwrap();
    assert!(zone.engine.read().deleting_snapshots(&zone.engine.source).unwrap().is_empty());
    let stepped = zone.engine.write().snapshot_delete_step(&zone.engine.source, b"stays").unwrap();
    assert!(stepped, "a snapshot that nobody began to delete has nothing to delete");
    assert_eq!(zone.engine.snapshot_records().unwrap().len(), 1);
    zone.engine.commit().unwrap();
    zone.expect_clean();
    assert_eq!(zone.content(file), noise(8 * BLOCK, 2));
}

#[test]
fn a_full_disk_is_usable_again_after_deleting() {
    let zone = TestZone::on(MemoryStorage::with_capacity(420 << 20), None);
    let mut background = Background::new();
    let content = noise(64 * BLOCK, 3);
    let mut files: Vec<String> = Vec::new();
    loop {
        let name = format!("{}", files.len());
        let inode = match zone.engine.make(ROOT, name.as_bytes(), 0o100644, 0, b"", (0, 0, 0)) {
            Ok((inode, _)) => inode,
            Err(error) if error.is_no_space() => break,
            Err(error) => panic!("{error}"),
        };
        match zone.engine.write_file(inode, 0, &content, false) {
            Ok(()) => files.push(name),
            Err(error) if error.is_no_space() => break,
            Err(error) => panic!("{error}"),
        }
        if files.len().is_multiple_of(8) {
            zone.engine.commit().unwrap();
        }
    }
    assert!(files.len() > 50, "{} files", files.len());
    zone.engine.commit().unwrap();
    let full = zone.engine.available();
    // Every third file goes: no segment is dead as a whole.
    for name in files.iter().step_by(3) {
        zone.remove(ROOT, name);
    }
    let deleted = (files.len() / 3 * content.len()) as u64;
    let long_ago = Instant::now().checked_sub(Duration::from_secs(3600)).unwrap();
    for _ in 0..8 {
        zone.engine.commit().unwrap();
        (background.looked, background.gave) = (long_ago, long_ago);
        while zone.engine.reclaim_step(&mut background).unwrap() {}
    }
    let now = zone.engine.available();
    assert!(now > full + deleted / 2, "{full} bytes were left, {deleted} deleted, {now} are left now");
    zone.file(ROOT, "again", &content);
    zone.engine.commit().unwrap();
    for (i, name) in files.iter().enumerate().filter(|(i, _)| i % 3 != 0) {
        let (inode, _) = zone.engine.lookup(ROOT, name.as_bytes()).unwrap().unwrap();
        assert!(zone.content(inode) == content, "file {i}");
    }
    zone.expect_clean();
}
