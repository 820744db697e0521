//! Files without a name: unlinked while open, and made so.

use super::log::pattern;
use super::{Log, cases, see};
use crate::sys::*;

/// A file without a name in the working directory, if there can be one.
fn temporary(log: &mut Log, flags: i32, mode: u32) -> Option<Fd> {
    let opened = open(".", O_TMPFILE | flags, mode);
    log.note("O_TMPFILE", opened.as_ref().map(drop).map_err(|errno| *errno).map(|()| "open"));
    opened.ok()
}

cases! {
    fn an_unlinked_file_lives_while_open(log) {
        see!(log, put("a", pattern(1, 100_000)));
        let fd = open("a", O_RDWR, 0).unwrap();
        see!(log, unlink("a"));
        see!(log, fstat(&fd));
        see!(log, pread(&fd, 100_000, 0));
        see!(log, pwrite(&fd, pattern(2, 50_000), 80_000));
        see!(log, fstat(&fd));
        see!(log, ftruncate(&fd, 120_000));
        see!(log, pread(&fd, 200_000, 0));
        see!(log, fchmod(&fd, 0o600));
        see!(log, fchown(&fd, 3, 4));
        see!(log, fset_xattr(&fd, "user.x", "y"));
        see!(log, futimens(&fd, time(5, 0), time(6, 0)));
        see!(log, fsync(&fd));
        drop_cache(&fd);
        see!(log, pread(&fd, 200_000, 0));
        see!(log, fstat(&fd));
        see!(log, fd.close());
        see!(log, names("."));
    }

    fn an_unlinked_file_does_not_meet_its_successor(log) {
        see!(log, put("a", "old"));
        let old = open("a", O_RDWR, 0).unwrap();
        see!(log, unlink("a"));
        see!(log, put("a", "new"));
        see!(log, pread(&old, 10, 0));
        see!(log, pwrite(&old, "still old", 0));
        see!(log, content("a"));
        see!(log, fstat(&old));
        see!(log, lstat("a"));
        let differ = fstat(&old).unwrap().st_ino != lstat("a").unwrap().st_ino;
        see!(log, differ);
    }

    fn an_unlinked_file_cannot_be_linked_again(log) {
        see!(log, put("a", "x"));
        let fd = open("a", O_RDWR, 0).unwrap();
        see!(log, unlink("a"));
        see!(log, linkat(AT_FDCWD, format!("/proc/self/fd/{}", fd.raw()), "b", AT_SYMLINK_FOLLOW));
        see!(log, linkat(fd.raw(), "", "c", AT_EMPTY_PATH));
        see!(log, names("."));
    }

    fn a_name_of_an_open_file_is_made_from_its_descriptor(log) {
        see!(log, put("a", "x"));
        let fd = open("a", O_RDWR, 0).unwrap();
        see!(log, linkat(AT_FDCWD, format!("/proc/self/fd/{}", fd.raw()), "b", AT_SYMLINK_FOLLOW));
        see!(log, linkat(fd.raw(), "", "c", AT_EMPTY_PATH));
        see!(log, fstat(&fd));
        see!(log, names("."));
    }

    fn an_unlinked_file_is_opened_again_through_proc(log) {
        see!(log, put("a", "content"));
        let fd = open("a", O_RDONLY, 0).unwrap();
        see!(log, unlink("a"));
        let again = format!("/proc/self/fd/{}", fd.raw());
        see!(log, content(&again));
        let writer = open(&again, O_WRONLY | O_TRUNC, 0).unwrap();
        see!(log, write(&writer, "fresh"));
        see!(log, pread(&fd, 10, 0));
    }

    fn one_of_two_names_is_removed(log) {
        see!(log, put("a", "x"));
        see!(log, link("a", "b"));
        let fd = open("a", O_RDWR, 0).unwrap();
        see!(log, unlink("a"));
        see!(log, fstat(&fd));
        see!(log, pwrite(&fd, "written", 0));
        see!(log, content("b"));
        see!(log, unlink("b"));
        see!(log, fstat(&fd));
        see!(log, pread(&fd, 10, 0));
    }

    fn a_temporary_file_gets_a_name(log) {
        let Some(fd) = temporary(log, O_RDWR, 0o640) else { return };
        see!(log, fstat(&fd));
        see!(log, names("."));
        see!(log, write(&fd, pattern(6, 50_000)));
        see!(log, linkat(AT_FDCWD, format!("/proc/self/fd/{}", fd.raw()), "named", AT_SYMLINK_FOLLOW));
        see!(log, lstat("named"));
        see!(log, content("named"));
        see!(log, linkat(AT_FDCWD, format!("/proc/self/fd/{}", fd.raw()), "named", AT_SYMLINK_FOLLOW));
        see!(log, names("."));
    }

    fn a_temporary_file_without_a_name_goes(log) {
        let Some(fd) = temporary(log, O_RDWR, 0o600) else { return };
        see!(log, write(&fd, pattern(6, 50_000)));
        see!(log, pread(&fd, 50_000, 0));
        see!(log, fd.close());
        see!(log, names("."));
    }

    fn a_temporary_file_that_may_not_be_named(log) {
        let Some(fd) = temporary(log, O_RDWR | O_EXCL, 0o600) else { return };
        see!(log, linkat(AT_FDCWD, format!("/proc/self/fd/{}", fd.raw()), "named", AT_SYMLINK_FOLLOW));
        see!(log, names("."));
    }

    fn temporary_file_errors(log) {
        see!(log, open(".", O_TMPFILE | O_RDONLY, 0o600));
        see!(log, open("no", O_TMPFILE | O_RDWR, 0o600));
        see!(log, put("a", ""));
        see!(log, open("a", O_TMPFILE | O_RDWR, 0o600));
    }

    fn many_unlinked_files(log) {
        let mut open_files = Vec::new();
        for number in 0..300_u32 {
            let fd = open("a", O_RDWR | O_CREAT | O_EXCL, 0o644).unwrap();
            write(&fd, number.to_string()).unwrap();
            unlink("a").unwrap();
            open_files.push(fd);
        }
        let right = open_files.iter().enumerate().all(|(number, fd)| {
            pread(fd, 10, 0).unwrap() == number.to_string().into_bytes()
        });
        see!(log, right);
        see!(log, names("."));
    }

    fn an_unlinked_file_held_by_another_process(log) {
        see!(log, put("a", "shared"));
        let child = Child::start(|signals| {
            let fd = open("a", O_RDWR, 0).unwrap();
            signals.ready();
            signals.wait();
            pwrite(&fd, "S", 0).unwrap();
            pread(&fd, 10, 0).unwrap()
        }).unwrap();
        child.wait_ready().unwrap();
        see!(log, unlink("a"));
        see!(log, content("a"));
        see!(log, child.finish());
    }
}
