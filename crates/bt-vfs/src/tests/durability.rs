//! What was durable stays, in cases that random runs come by rarely.

use bt_base::limits::{BLOCK_SIZE, PAGE_SIZE};

use super::bed::Bed;
use super::content::{bed_with_file, make_file};
use crate::{Allocate, ShareRange};

const BLOCK: u64 = BLOCK_SIZE as u64;

fn write(bed: &mut Bed, inode: u64, offset: u64, data: &[u8]) {
    let now = bed.now();
    bed.vfs.write(&bed.memory, inode, offset, data, false, now).expect("it fits");
}

fn truncate(bed: &mut Bed, inode: u64, size: u64) {
    let now = bed.now();
    bed.vfs.truncate(&bed.memory, inode, size, false, now).expect("it fits");
}

fn size(bed: &Bed, inode: u64) -> u64 {
    bed.vfs.inode(&bed.memory, inode).expect("it exists").size
}

#[test]
fn a_size_that_became_durable_while_a_flush_sealed() {
    let (mut bed, inode) = bed_with_file(100);
    let plan = bed.begin_flush(&[inode]);
    truncate(&mut bed, inode, 5000);
    bed.sync(Some(inode));
    bed.finish_flush(plan);
    bed.commit();
    bed.crash();
    assert_eq!(size(&bed, inode), 5000);
}

#[test]
fn inline_content_that_moved_to_a_block_beside_new_data() {
    let (mut bed, inode) = bed_with_file(10);
    bed.flush(&[inode]);
    bed.commit();
    write(&mut bed, inode, 4 * BLOCK, b"far");
    bed.flush(&[inode]);
    bed.sync(Some(inode));
    bed.crash();
    assert_eq!(bed.read(inode, 0, 11), [&[7; 10][..], &[0]].concat());
    assert_eq!(bed.read(inode, 4 * BLOCK, 10), b"far");
}

#[test]
fn inline_content_that_was_committed_between_two_truncations() {
    let (mut bed, inode) = bed_with_file(100);
    bed.flush(&[inode]);
    bed.commit();
    truncate(&mut bed, inode, 0);
    write(&mut bed, inode, 0, b"new");
    bed.flush(&[inode]);
    let committing = bed.begin_commit();
    truncate(&mut bed, inode, 2 * PAGE_SIZE as u64);
    truncate(&mut bed, inode, PAGE_SIZE as u64);
    bed.finish_commit(committing);
    bed.sync(Some(inode));
    bed.crash();
    assert_eq!(bed.read(inode, 0, 4), b"new\0");
}

#[test]
fn a_block_that_was_committed_between_a_truncation_and_a_hole() {
    let (mut bed, inode) = bed_with_file(5 * BLOCK_SIZE);
    bed.flush(&[inode]);
    bed.commit();
    truncate(&mut bed, inode, 0);
    write(&mut bed, inode, BLOCK, b"new");
    write(&mut bed, inode, 4 * BLOCK, b"end");
    bed.flush(&[inode]);
    let committing = bed.begin_commit();
    let now = bed.now();
    bed.vfs.allocate(&bed.memory, inode, 2 * BLOCK, BLOCK, Allocate::PunchHole, true, now).expect("it fits");
    bed.finish_commit(committing);
    bed.sync(Some(inode));
    bed.crash();
    assert_eq!(bed.read(inode, BLOCK - 1, 5), b"\0new\0");
    assert_eq!(bed.read(inode, 4 * BLOCK, 5), b"end");
}

#[test]
fn a_shared_hole_over_older_content() {
    let (mut bed, to) = bed_with_file(2 * BLOCK_SIZE);
    let from = make_file(&mut bed, b"sparse");
    write(&mut bed, from, BLOCK, &[9; BLOCK_SIZE]);
    bed.flush(&[from, to]);
    bed.commit();
    let range = ShareRange { from, from_offset: 0, to, to_offset: 0, len: 2 * BLOCK };
    let now = bed.now();
    assert_eq!(bed.vfs.share(&bed.memory, range, now).expect("it fits"), 2 * BLOCK);
    bed.commit();
    bed.crash();
    assert!(bed.read(to, 0, BLOCK_SIZE) == [0; BLOCK_SIZE], "the hole hides what was there");
    assert!(bed.read(to, BLOCK, BLOCK_SIZE) == [9; BLOCK_SIZE]);
}
