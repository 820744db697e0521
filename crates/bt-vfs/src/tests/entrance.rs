//! Directories in whose place other zones are entered.

use bt_base::ZoneId;
use bt_tree::schema::{Key, ROOT_INODE};

use super::bed::Bed;
use crate::error::{Refusal, VfsError};
use crate::view::{DIRECTORY, REGULAR};
use crate::{Creator, Entered, RenameFlags};

const ZONE: ZoneId = ZoneId([7; 32]);

fn make(bed: &mut Bed, directory: u64, name: &[u8], mode: u32) -> u64 {
    let creator = Creator { uid: 1, gid: 2, umask: 0, now: bed.now() };
    bed.vfs.make(&bed.memory, directory, name, mode, 0, b"", &creator).expect("the name is free").0
}

fn enter(bed: &mut Bed, name: &[u8]) -> Entered {
    let now = bed.now();
    bed.vfs.enter(&bed.memory, ROOT_INODE, name, &ZONE, now).expect("it is a directory")
}

/// Frees an inode without a name and all that loses its name by that; returns how many there were.
fn free_all(bed: &mut Bed, inode: u64) -> usize {
    let (mut waiting, mut freed) = (vec![inode], 0);
    while let Some(inode) = waiting.pop() {
        let step = bed.vfs.free(&bed.memory, inode).expect("the index is whole");
        waiting.extend(step.nameless);
        if step.done {
            freed += 1;
        } else {
            waiting.insert(0, inode);
        }
    }
    freed
}

fn refusal<T: std::fmt::Debug>(result: crate::Result<T>) -> Refusal {
    match result {
        Err(VfsError::Refused(refusal)) => refusal,
        other => panic!("{other:?} is no refusal"),
    }
}

#[test]
fn nothing_but_renaming_is_done_to_an_entrance() {
    let mut bed = Bed::new();
    make(&mut bed, ROOT_INODE, b"shared", DIRECTORY | 0o750);
    make(&mut bed, ROOT_INODE, b"other", DIRECTORY | 0o755);
    make(&mut bed, ROOT_INODE, b"file", REGULAR | 0o644);
    let Entered { placeholder, nameless } = enter(&mut bed, b"shared");
    free_all(&mut bed, nameless);
    assert_eq!(bed.vfs.entrance(placeholder), Some(ZONE));
    let inode = bed.vfs.inode(&bed.memory, placeholder).unwrap();
    assert_eq!((inode.mode, inode.uid, inode.is_entrance), (DIRECTORY | 0o750, 1, true));

    let (memory, vfs) = (&bed.memory, &mut bed.vfs);
    let now = bt_base::Timestamp::new(99, 0);
    let creator = Creator { uid: 0, gid: 0, umask: 0, now };
    assert_eq!(refusal(vfs.unlink(memory, ROOT_INODE, b"shared", true, now)), Refusal::Busy);
    let over = vfs.rename(memory, ROOT_INODE, b"other", ROOT_INODE, b"shared", RenameFlags::Replace, now);
    assert_eq!(refusal(over), Refusal::Busy);
    let into = vfs.rename(memory, ROOT_INODE, b"other", placeholder, b"x", RenameFlags::Replace, now);
    assert_eq!(refusal(into), Refusal::Closed);
    assert_eq!(refusal(vfs.lookup(memory, placeholder, b"x")), Refusal::Closed);
    assert_eq!(refusal(vfs.make(memory, placeholder, b"x", REGULAR, 0, b"", &creator)), Refusal::Closed);
    assert_eq!(refusal(vfs.make_unnamed(memory, placeholder, REGULAR, &creator)), Refusal::Closed);
    let file = vfs.lookup(memory, ROOT_INODE, b"file").unwrap().unwrap().0;
    assert_eq!(refusal(vfs.link(memory, file, placeholder, b"x", now)), Refusal::Closed);
    assert_eq!(refusal(vfs.enter(memory, ROOT_INODE, b"shared", &ZONE, now)), Refusal::Busy);
    assert_eq!(refusal(vfs.enter(memory, ROOT_INODE, b"file", &ZONE, now)), Refusal::NotDirectory);

    let other = vfs.lookup(memory, ROOT_INODE, b"other").unwrap().unwrap().0;
    vfs.rename(memory, ROOT_INODE, b"shared", other, b"moved", RenameFlags::Replace, now).unwrap();
    assert_eq!(vfs.name_of_directory(memory, placeholder).unwrap(), Some((other, b"moved".to_vec())));
    bed.commit();
    bed.crash();
    assert_eq!(bed.vfs.entrances().iter().collect::<Vec<_>>(), [(&placeholder, &ZONE)]);
}

#[test]
fn what_made_way_is_freed_with_all_below_it() {
    let mut bed = Bed::new();
    let shared = make(&mut bed, ROOT_INODE, b"shared", DIRECTORY | 0o755);
    let below = make(&mut bed, shared, b"below", DIRECTORY | 0o755);
    for number in 0..600 {
        let directory = if number % 2 == 0 { shared } else { below };
        make(&mut bed, directory, format!("file {number}").as_bytes(), REGULAR | 0o644);
    }
    let twice = bed.vfs.lookup(&bed.memory, shared, b"file 0").unwrap().unwrap().0;
    let now = bed.now();
    bed.vfs.link(&bed.memory, twice, below, b"again", now).unwrap();
    bed.commit();
    let before = bed.vfs.record().inodes;
    let Entered { nameless, .. } = enter(&mut bed, b"shared");
    assert_eq!(nameless, shared);
    bed.commit();
    assert_eq!(free_all(&mut bed, nameless), 602);
    assert_eq!(bed.vfs.record().inodes, before + 1 - 602);
    bed.commit();
}

/// Whatever of it is durable, recovery finds the directory as it was or the entrance, and loses no count.
#[test]
fn an_entrance_survives_a_crash_when_its_record_is_in_the_journal() {
    for durable in [false, true] {
        let mut bed = Bed::new();
        let shared = make(&mut bed, ROOT_INODE, b"shared", DIRECTORY | 0o755);
        let file = make(&mut bed, shared, b"file", REGULAR | 0o644);
        let now = bed.now();
        bed.vfs.write(&bed.memory, file, 0, b"content", false, now).unwrap();
        bed.sync(Some(file));
        let Entered { placeholder, .. } = enter(&mut bed, b"shared");
        if durable {
            bed.sync(None);
        }
        bed.crash();
        // What made way is freed in the background: here, by the next opening.
        bed.crash();
        let (found, inode) = bed.vfs.lookup(&bed.memory, ROOT_INODE, b"shared").unwrap().unwrap();
        assert_eq!((found == placeholder, inode.is_entrance), (durable, durable));
        assert_eq!(bed.vfs.entrance(placeholder), durable.then_some(ZONE));
        if durable {
            assert_eq!(refusal(bed.vfs.inode(&bed.memory, file)), Refusal::Stale);
            assert_eq!(bed.vfs.record().inodes, 2);
        } else {
            assert_eq!(bed.read(file, 0, 7), b"content");
        }
    }
}

#[test]
fn a_check_finds_entrances_that_are_none() {
    let expect = |part: &str, damage: &dyn Fn(&mut Bed, u64)| {
        let mut bed = Bed::new();
        make(&mut bed, ROOT_INODE, b"shared", DIRECTORY | 0o755);
        let Entered { placeholder, nameless } = enter(&mut bed, b"shared");
        free_all(&mut bed, nameless);
        bed.commit();
        damage(&mut bed, placeholder);
        bed.vfs.changed = true;
        let flaws = bed.commit_damaged();
        assert!(flaws.iter().any(|flaw| flaw.contains(part)), "{part}: {flaws:?}");
    };
    expect("which is not recorded", &|bed, inode| {
        bed.vfs.zone.remove(&bed.memory, &Key::entrance(inode)).unwrap();
    });
    expect("says it is none", &|bed, inode| {
        bed.vfs.edit_inode(&bed.memory, inode, |inode| inode.is_entrance = false).unwrap();
    });
    expect("does not exist", &|bed, _| {
        bed.vfs.zone.put(&bed.memory, &Key::entrance(999), &ZONE.0).unwrap();
    });
    expect("holds 1 entries", &|bed, inode| {
        bed.vfs.edit_inode(&bed.memory, inode, |inode| inode.entries = 1).unwrap();
    });
    expect("is no directory", &|bed, inode| {
        bed.vfs.edit_inode(&bed.memory, inode, |inode| inode.mode = REGULAR | 0o644).unwrap();
    });
    expect("does not follow its format", &|bed, inode| {
        bed.vfs.zone.put(&bed.memory, &Key::entrance(inode), &[1; 31]).unwrap();
    });
    expect("no directory can have", &|bed, _| {
        bed.vfs.zone.put(&bed.memory, &Key::label(), b"a/b").unwrap();
    });
}
