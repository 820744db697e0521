//! rename(2) and renameat2(2).

use super::log::pattern;
use super::{cases, see};
use crate::sys::*;

/// One of each kind of file, under the names that the cases use.
const KINDS: [&str; 6] = ["file", "empty", "full", "link", "fifo", "missing"];

fn make(kind: &str, name: &str) {
    match kind {
        "file" => put(name, kind).unwrap(),
        "empty" => mkdir(name, 0o755).unwrap(),
        "full" => {
            mkdir(name, 0o755).unwrap();
            put(format!("{name}/child"), "x").unwrap();
        }
        "link" => symlink("nowhere", name).unwrap(),
        "fifo" => mkfifo(name, 0o644).unwrap(),
        _ => {}
    }
}

fn remove(name: &str) {
    let _ = unlink(format!("{name}/child"));
    let _ = unlink(name);
    let _ = rmdir(name);
}

/// Every kind onto every kind.
fn all_pairs(log: &mut super::Log, flags: u32) {
    for from in KINDS {
        for to in KINDS {
            make(from, "from");
            make(to, "to");
            log.note(&format!("{from} to {to}"), rename2("from", "to", flags));
            log.note(&format!("{from} to {to}: from"), lstat("from"));
            log.note(&format!("{from} to {to}: to"), lstat("to"));
            remove("from");
            remove("to");
        }
    }
}

cases! {
    fn every_kind_onto_every_kind(log) {
        all_pairs(log, 0);
        see!(log, names("."));
    }

    fn every_kind_without_replacing(log) {
        all_pairs(log, RENAME_NOREPLACE);
        see!(log, names("."));
    }

    fn every_kind_exchanged(log) {
        all_pairs(log, RENAME_EXCHANGE);
        see!(log, names("."));
    }

    fn wrong_flags(log) {
        see!(log, put("a", "1"));
        see!(log, put("b", "2"));
        see!(log, rename2("a", "b", RENAME_NOREPLACE | RENAME_EXCHANGE));
        see!(log, rename2("a", "b", 1 << 10));
        see!(log, rename2("a", "b", RENAME_WHITEOUT | RENAME_EXCHANGE));
        see!(log, names("."));
        see!(log, content("b"));
    }

    fn onto_itself(log) {
        see!(log, put("a", "x"));
        see!(log, mkdir("d", 0o755));
        see!(log, rename("a", "a"));
        see!(log, rename("d", "d"));
        see!(log, rename2("a", "a", RENAME_NOREPLACE));
        see!(log, rename2("a", "a", RENAME_EXCHANGE));
        see!(log, rename2("d", "d", RENAME_EXCHANGE));
        see!(log, content("a"));
        see!(log, names("."));
    }

    fn onto_another_link_of_the_same_file(log) {
        see!(log, put("a", "x"));
        see!(log, link("a", "b"));
        see!(log, rename("a", "b"));
        see!(log, lstat("a"));
        see!(log, lstat("b"));
        see!(log, rename2("a", "b", RENAME_EXCHANGE));
        see!(log, rename2("a", "b", RENAME_NOREPLACE));
        see!(log, names("."));
    }

    fn into_itself(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, mkdir("d/e", 0o755));
        see!(log, mkdir("d/e/f", 0o755));
        see!(log, rename("d", "d/x"));
        see!(log, rename("d", "d/e/x"));
        see!(log, rename("d", "d/e"));
        see!(log, rename("d", "d/e/f"));
        see!(log, rename2("d", "d/e", RENAME_EXCHANGE));
        see!(log, rename2("d/e", "d", RENAME_EXCHANGE));
        see!(log, rename("d/e", "d"));
        see!(log, rename("d/e/f", "d"));
        see!(log, rename("d/e/f", "d/e"));
        see!(log, names("d"));
        see!(log, names("d/e"));
    }

    fn a_replaced_file_is_gone(log) {
        see!(log, put("a", "new"));
        see!(log, put("b", pattern(1, 100_000)));
        see!(log, link("b", "c"));
        let old = open("b", O_RDWR, 0).unwrap();
        see!(log, rename("a", "b"));
        see!(log, content("b"));
        see!(log, lstat("a"));
        see!(log, lstat("c"));
        see!(log, fstat(&old));
        see!(log, unlink("c"));
        see!(log, fstat(&old));
        see!(log, pread(&old, 200_000, 0));
        see!(log, pwrite(&old, "still", 0));
        see!(log, pread(&old, 5, 0));
        see!(log, content("b"));
    }

    fn a_replaced_directory_is_gone(log) {
        see!(log, mkdir("a", 0o700));
        see!(log, put("a/x", "x"));
        see!(log, mkdir("b", 0o755));
        let old = open("b", O_RDONLY | O_DIRECTORY, 0).unwrap();
        see!(log, rename("a", "b"));
        see!(log, fstat(&old));
        see!(log, lstat("b"));
        see!(log, names("b"));
        see!(log, openat(old.raw(), "y", O_WRONLY | O_CREAT, 0o644));
    }

    fn an_open_file_follows_its_rename(log) {
        see!(log, put("a", "one"));
        let fd = open("a", O_RDWR | O_APPEND, 0).unwrap();
        see!(log, mkdir("d", 0o755));
        see!(log, rename("a", "d/b"));
        see!(log, write(&fd, " two"));
        see!(log, content("d/b"));
        see!(log, fchmod(&fd, 0o600));
        see!(log, lstat("d/b"));
        see!(log, put("a", "another"));
        see!(log, pread(&fd, 100, 0));
    }

    fn an_exchange_of_files(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, put("a", "one"));
        see!(log, put("d/b", "two"));
        let fd = open("a", O_RDONLY, 0).unwrap();
        see!(log, rename2("a", "d/b", RENAME_EXCHANGE));
        see!(log, content("a"));
        see!(log, content("d/b"));
        see!(log, read(&fd, 10));
        see!(log, rename2("a", "no", RENAME_EXCHANGE));
        see!(log, rename2("no", "a", RENAME_EXCHANGE));
    }

    fn an_exchange_of_directories(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, mkdir("d/x", 0o755));
        see!(log, put("d/x/1", ""));
        see!(log, mkdir("e", 0o755));
        see!(log, mkdir("e/y", 0o755));
        see!(log, put("e/y/2", ""));
        see!(log, rename2("d/x", "e/y", RENAME_EXCHANGE));
        see!(log, names("d/x"));
        see!(log, names("e/y"));
        let parent = lstat("d/x/..").unwrap().st_ino == lstat("d").unwrap().st_ino;
        see!(log, parent);
    }

    fn missing_places(log) {
        see!(log, put("a", "x"));
        see!(log, rename("no", "b"));
        see!(log, rename("no/a", "b"));
        see!(log, rename("a", "no/b"));
        see!(log, rename("a/x", "b"));
        see!(log, rename("a", "a/x"));
        see!(log, rename("/proc/self/status", "b"));
        see!(log, rename("a", "/proc/self/b"));
        see!(log, names("."));
    }

    fn the_listing_after_renames(log) {
        for number in 0..200 {
            put(format!("file {number}"), number.to_string()).unwrap();
        }
        mkdir("d", 0o755).unwrap();
        for number in 0..200 {
            rename(format!("file {number}"), format!("d/{}", (number * 7) % 200)).unwrap();
        }
        see!(log, names("."));
        see!(log, names("d").unwrap().len());
        let all: Vec<_> = (0..200).map(|number| content(format!("d/{number}")).unwrap()).collect();
        see!(log, all.concat());
    }

    fn a_chain_of_replacements(log) {
        for number in 0..300 {
            put("new", number.to_string()).unwrap();
            rename("new", "current").unwrap();
        }
        see!(log, content("current"));
        see!(log, lstat("current"));
        see!(log, names("."));
    }

    fn a_symbolic_link_is_renamed_itself(log) {
        see!(log, put("a", "x"));
        see!(log, symlink("a", "l"));
        see!(log, rename("l", "m"));
        see!(log, readlink("m"));
        see!(log, content("a"));
        see!(log, put("b", "y"));
        see!(log, rename("b", "m"));
        see!(log, lstat("m"));
        see!(log, content("a"));
    }
}
