//! Listing: every kind, and what stays exactly once while the directory changes.

use super::{cases, see};
use crate::sys::*;
use std::collections::BTreeMap;

/// How often each name was listed.
fn counts(entries: &[Entry]) -> BTreeMap<Vec<u8>, usize> {
    let mut counts = BTreeMap::new();
    for entry in entries {
        *counts.entry(entry.name.clone()).or_insert(0) += 1;
    }
    counts
}

/// How many of `names` were listed exactly once.
fn once(entries: &[Entry], mut names: impl Iterator<Item = String>) -> bool {
    let counts = counts(entries);
    names.all(|name| counts.get(name.as_bytes()) == Some(&1))
}

fn make(count: usize) {
    for number in 0..count {
        put(format!("stable {number}"), "").unwrap();
    }
}

fn stable(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("stable {number}"))
}

cases! {
    fn an_empty_directory_has_its_dots(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, list("d"));
    }

    fn every_kind_is_told(log) {
        see!(log, put("file", ""));
        see!(log, mkdir("directory", 0o755));
        see!(log, symlink("x", "link"));
        see!(log, mkfifo("fifo", 0o644));
        see!(log, mknod("socket", S_IFSOCK | 0o644, 0));
        see!(log, mknod("char", S_IFCHR | 0o644, 0x103));
        see!(log, mknod("block", S_IFBLK | 0o644, 0x801));
        see!(log, list("."));
    }

    fn ten_thousand_entries_each_once(log) {
        make(10_000);
        let entries = list(".").unwrap();
        see!(log, entries.len());
        see!(log, once(&entries, stable(10_000)));
        let cookies: std::collections::BTreeSet<i64> = entries.iter().map(|entry| entry.cookie).collect();
        see!(log, cookies.len());
    }

    fn entries_added_meanwhile_do_not_disturb(log) {
        make(3000);
        let mut dir = Dir::open(".").unwrap();
        let mut entries = Vec::new();
        let mut added = 0;
        while let Some(entry) = dir.next_entry().unwrap() {
            entries.push(entry);
            if entries.len() % 3 == 0 && added < 3000 {
                put(format!("added {added}"), "").unwrap();
                added += 1;
            }
        }
        see!(log, once(&entries, stable(3000)));
        see!(log, counts(&entries).values().all(|count| *count == 1));
    }

    fn entries_removed_meanwhile_do_not_disturb(log) {
        make(3000);
        for number in 0..3000 {
            put(format!("going {number}"), "").unwrap();
        }
        let mut dir = Dir::open(".").unwrap();
        let mut entries = Vec::new();
        let mut removed = 0;
        while let Some(entry) = dir.next_entry().unwrap() {
            entries.push(entry);
            if removed < 3000 {
                unlink(format!("going {removed}")).unwrap();
                removed += 1;
            }
        }
        see!(log, once(&entries, stable(3000)));
        see!(log, counts(&entries).values().all(|count| *count == 1));
    }

    fn entries_renamed_meanwhile_do_not_disturb(log) {
        make(3000);
        for number in 0..1000 {
            put(format!("before {number}"), "").unwrap();
        }
        let mut dir = Dir::open(".").unwrap();
        let mut entries = Vec::new();
        let mut renamed = 0;
        while let Some(entry) = dir.next_entry().unwrap() {
            entries.push(entry);
            if renamed < 1000 {
                rename(format!("before {renamed}"), format!("after {renamed}")).unwrap();
                renamed += 1;
            }
        }
        see!(log, once(&entries, stable(3000)));
        see!(log, counts(&entries).values().all(|count| *count == 1));
    }

    fn removing_while_listing_empties(log) {
        make(5000);
        mkdir("d", 0o755).unwrap();
        let mut dir = Dir::open(".").unwrap();
        while let Some(entry) = dir.next_entry().unwrap() {
            match entry.name.as_slice() {
                b"." | b".." => {}
                b"d" => rmdir("d").unwrap(),
                name => unlink(name).unwrap(),
            }
        }
        see!(log, names("."));
    }

    fn an_entry_made_before_a_rewind_is_seen(log) {
        make(10);
        let mut dir = Dir::open(".").unwrap();
        while dir.next_entry().unwrap().is_some() {}
        put("new", "").unwrap();
        unlink("stable 3").unwrap();
        dir.rewind();
        let mut names = Vec::new();
        while let Some(entry) = dir.next_entry().unwrap() {
            names.push(entry.name);
        }
        names.sort();
        see!(log, names);
    }

    fn seeking_to_every_place(log) {
        make(500);
        let mut dir = Dir::open(".").unwrap();
        let mut places = vec![(dir.tell(), None)];
        while let Some(entry) = dir.next_entry().unwrap() {
            places.last_mut().unwrap().1 = Some(entry.name);
            places.push((dir.tell(), None));
        }
        let right = places.iter().rev().all(|(place, name)| {
            dir.seek(*place);
            dir.next_entry().unwrap().map(|entry| entry.name) == *name
        });
        see!(log, places.len());
        see!(log, right);
    }

    fn seeking_to_a_removed_entry(log) {
        make(1000);
        let mut dir = Dir::open(".").unwrap();
        let mut entries = Vec::new();
        for _ in 0..500 {
            entries.push(dir.next_entry().unwrap().unwrap());
        }
        let place = dir.tell();
        let next = dir.next_entry().unwrap().unwrap();
        unlink(&next.name).unwrap();
        dir.seek(place);
        while let Some(entry) = dir.next_entry().unwrap() {
            entries.push(entry);
        }
        entries.push(next);
        see!(log, once(&entries.iter().filter(|entry| !entry.name.starts_with(b"going")).cloned().collect::<Vec<_>>(),
            stable(1000)));
    }

    fn two_streams_are_independent(log) {
        make(300);
        let mut first = Dir::open(".").unwrap();
        let mut second = Dir::open(".").unwrap();
        let mut seen = (Vec::new(), Vec::new());
        for _ in 0..150 {
            seen.0.push(first.next_entry().unwrap().unwrap());
        }
        while let Some(entry) = second.next_entry().unwrap() {
            seen.1.push(entry);
        }
        while let Some(entry) = first.next_entry().unwrap() {
            seen.0.push(entry);
        }
        see!(log, seen.0 == seen.1);
        see!(log, once(&seen.0, stable(300)));
    }

    fn listing_again_and_again_gives_the_same(log) {
        make(2000);
        let first = list(".").unwrap();
        let same = (0..5).all(|_| list(".").unwrap() == first);
        see!(log, same);
    }

    fn a_listed_name_can_be_stated_at_once(log) {
        make(2000);
        let mut dir = Dir::open(".").unwrap();
        let mut count = 0;
        while let Some(entry) = dir.next_entry().unwrap() {
            count += usize::from(lstat(&entry.name).unwrap().st_ino == entry.inode || entry.name == b"..");
        }
        see!(log, count);
    }

    fn listing_tells_sizes_that_are_still_in_memory(log) {
        for number in 0..200 {
            put(format!("{number}"), vec![b'x'; number * 100]).unwrap();
        }
        list(".").unwrap();
        let right = (0..200).all(|number| lstat(format!("{number}")).unwrap().st_size == number as i64 * 100);
        see!(log, right);
    }

    fn another_process_changes_what_is_listed(log) {
        make(2000);
        let mut child = Child::start(|signals| {
            signals.ready();
            signals.wait();
            for number in 0..2000 {
                put(format!("child {number}"), "").unwrap();
                rename(format!("child {number}"), format!("moved {number}")).unwrap();
                if number % 2 == 0 {
                    unlink(format!("moved {number}")).unwrap();
                }
            }
            b"done".to_vec()
        }).unwrap();
        child.wait_ready().unwrap();
        child.go();
        let right = (0..10).all(|_| once(&list(".").unwrap(), stable(2000)));
        see!(log, right);
        see!(log, child.finish());
        see!(log, names(".").unwrap().len());
    }
}
