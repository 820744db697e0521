//! Writers, readers, checks, snapshots and reclaiming at the same time.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::engine::Committer;
use crate::engine::testing::{ROOT, TestZone, check, go_on};

const FILES: u64 = 12;
const ROUNDS: u64 = 40;
const LEN: usize = 90_000;

/// Sets a flag when it goes, also when its thread panics: the others must not wait for ever.
struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn write(zone: &TestZone, inodes: &[u64]) {
    for round in 0..ROUNDS {
        for (i, inode) in inodes.iter().enumerate() {
            let byte = (round * 7 + i as u64) as u8;
            zone.engine.write_file(*inode, 0, &vec![byte; LEN], false).unwrap();
            if (round + i as u64).is_multiple_of(5) {
                zone.engine.sync_file(Some(*inode)).unwrap();
            }
        }
        zone.engine.commit().unwrap();
    }
}

/// Whole writes only: all bytes of a file are the same at any moment.
fn read(zone: &TestZone, inodes: &[u64], done: &AtomicBool) {
    let mut content = vec![0; LEN];
    while !done.load(Ordering::Acquire) {
        for inode in inodes {
            assert_eq!(zone.engine.read_file(*inode, 0, &mut content).unwrap(), LEN);
            assert!(content.iter().all(|byte| *byte == content[0]), "a read saw half of a write");
        }
    }
}

fn churn(zone: &TestZone, done: &AtomicBool) {
    let mut number = 0u64;
    while !done.load(Ordering::Acquire) {
        number += 1;
        let name = format!("passing {}", number % 5);
        let inode = zone.file(ROOT, &name, &vec![number as u8; 50_000]);
        zone.engine.sync_file(Some(inode)).unwrap();
        if number.is_multiple_of(2) {
            zone.remove(ROOT, &name);
        }
        if number.is_multiple_of(8) {
            zone.engine.create_snapshot(b"passing").unwrap();
        } else if number % 8 == 5 && number > 8 {
            zone.delete_snapshot(b"passing");
        }
    }
}

#[test]
fn everything_at_once_leaves_every_account_right() {
    let zone = TestZone::new();
    let committer = Committer::start(zone.engine.clone()).unwrap();
    let inodes: Vec<u64> = (0..FILES).map(|i| zone.file(ROOT, &format!("{i}"), &vec![0; LEN])).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _done = Raise(&done);
            write(&zone, &inodes);
        });
        scope.spawn(|| {
            let _done = Raise(&done);
            read(&zone, &inodes, &done);
        });
        scope.spawn(|| {
            let _done = Raise(&done);
            churn(&zone, &done);
        });
        scope.spawn(|| {
            let _done = Raise(&done);
            while !done.load(Ordering::Acquire) {
                zone.expect_clean();
                // Refused while another thread checks or compares.
                drop(zone.engine.reclaim(true, &mut go_on));
            }
        });
    });
    committer.stop();
    let mut content = vec![0; LEN];
    for (i, inode) in inodes.iter().enumerate() {
        zone.engine.read_file(*inode, 0, &mut content).unwrap();
        assert_eq!(content[0], ((ROUNDS - 1) * 7 + i as u64) as u8);
    }
    zone.expect_clean();
    zone.engine.close().unwrap();
    assert_eq!(check(&zone.storage).problems, []);
}
