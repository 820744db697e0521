//! What an ordinary user may and may not do.

use super::{cases, see};
use crate::sys::*;

/// A directory `d` of root with `mode` that holds a file, an empty directory and a link.
fn directory(mode: u32) {
    mkdir("d", 0o755).unwrap();
    put("d/file", "content").unwrap();
    chmod("d/file", 0o666).unwrap();
    mkdir("d/dir", 0o755).unwrap();
    chmod("d/dir", 0o777).unwrap();
    symlink("file", "d/link").unwrap();
    chmod("d", mode).unwrap();
}

fn file(name: &str, uid: u32, gid: u32, mode: u32) {
    put(name, "content").unwrap();
    chown(name, uid, gid).unwrap();
    chmod(name, mode).unwrap();
}

cases! {
    fn reading_and_writing_files_by_mode(log) {
        for mode in [0, 0o004, 0o002, 0o040, 0o020, 0o400, 0o200, 0o070, 0o700, 0o007, 0o666] {
            file("a", 1000, 2000, mode);
            for (uid, gid) in [(1000, 1000), (1001, 2000), (1002, 1002), (0, 0)] {
                log.as_user(uid, gid, &[], |log| {
                    log.note(&format!("read {mode:o}"), open("a", O_RDONLY, 0));
                    log.note(&format!("write {mode:o}"), open("a", O_WRONLY, 0));
                    log.note(&format!("both {mode:o}"), open("a", O_RDWR, 0));
                    log.note(&format!("access {mode:o}"), access("a", R_OK | W_OK));
                    log.note(&format!("execute {mode:o}"), access("a", X_OK));
                });
            }
            unlink("a").unwrap();
        }
    }

    fn a_supplementary_group_counts(log) {
        file("a", 0, 2000, 0o060);
        log.as_user(1000, 1000, &[2000], |log| see!(log, content("a")));
        log.as_user(1000, 1000, &[2001], |log| see!(log, content("a")));
    }

    fn changing_a_directory_needs_write_and_search(log) {
        for mode in [0o755, 0o752, 0o753, 0o751, 0o754, 0o750] {
            directory(mode);
            log.user(|log| {
                log.note(&format!("create {mode:o}"), put("d/new", ""));
                log.note(&format!("mkdir {mode:o}"), mkdir("d/newdir", 0o755));
                log.note(&format!("symlink {mode:o}"), symlink("x", "d/newlink"));
                log.note(&format!("mkfifo {mode:o}"), mkfifo("d/newfifo", 0o644));
                log.note(&format!("link {mode:o}"), link("d/file", "d/newhard"));
                log.note(&format!("rename {mode:o}"), rename("d/file", "d/renamed"));
                log.note(&format!("unlink {mode:o}"), unlink("d/link"));
                log.note(&format!("rmdir {mode:o}"), rmdir("d/dir"));
                log.note(&format!("list {mode:o}"), names("d").map(|names| names.len()));
                log.note(&format!("stat {mode:o}"), lstat("d/file"));
                log.note(&format!("read {mode:o}"), content("d/file"));
                log.note(&format!("readlink {mode:o}"), readlink("d/link"));
                log.note(&format!("tmpfile {mode:o}"), open("d", O_TMPFILE | O_RDWR, 0o600));
            });
            chmod("d", 0o755).unwrap();
            for name in names("d").unwrap() {
                let path = [b"d/", name.as_slice()].concat();
                let _ = unlink(&path);
                let _ = rmdir(&path);
            }
            rmdir("d").unwrap();
        }
    }

    fn existing_names_are_told_before_rights(log) {
        directory(0o755);
        log.user(|log| {
            see!(log, mkdir("d/dir", 0o755));
            see!(log, mkdir("d/file", 0o755));
            see!(log, symlink("x", "d/file"));
            see!(log, open("d/file", O_WRONLY | O_CREAT | O_EXCL, 0o644));
            see!(log, open("d/file", O_WRONLY | O_CREAT, 0o644));
            see!(log, unlink("d/no"));
            see!(log, rmdir("d/no"));
            see!(log, rename("d/no", "d/x"));
            see!(log, rmdir("d/file"));
            see!(log, unlink("d/dir"));
        });
    }

    fn renaming_needs_both_directories(log) {
        see!(log, mkdir("from", 0o777));
        see!(log, mkdir("to", 0o777));
        see!(log, chmod("from", 0o777));
        see!(log, put("from/a", ""));
        log.user(|log| see!(log, rename("from/a", "to/a")));
        see!(log, chmod("to", 0o777));
        see!(log, chmod("from", 0o755));
        log.user(|log| see!(log, rename("from/a", "to/a")));
        see!(log, chmod("from", 0o777));
        log.user(|log| see!(log, rename("from/a", "to/a")));
        // A directory that changes its parent is itself written (its "..").
        see!(log, mkdir("from/dir", 0o755));
        log.user(|log| {
            see!(log, rename("from/dir", "from/dir2"));
            see!(log, rename("from/dir2", "to/dir"));
        });
    }

    fn truncating_needs_the_right_to_write(log) {
        file("a", 0, 0, 0o644);
        file("b", 0, 0, 0o646);
        log.user(|log| {
            see!(log, truncate("a", 1));
            see!(log, open("a", O_RDONLY | O_TRUNC, 0));
            see!(log, truncate("b", 1));
        });
        see!(log, content("a"));
        see!(log, content("b"));
    }

    fn an_open_file_stays_open_whatever_becomes_of_its_mode(log) {
        file("a", 1000, 1000, 0o600);
        log.user(|log| {
            let fd = open("a", O_RDWR, 0).unwrap();
            see!(log, fchmod(&fd, 0));
            see!(log, read(&fd, 100));
            see!(log, write(&fd, "!"));
            see!(log, open("a", O_RDONLY, 0));
            see!(log, fd.close());
        });
        see!(log, content("a"));
    }

    fn creating_with_a_mode_one_may_not_open(log) {
        see!(log, chmod(".", 0o777));
        log.user(|log| {
            let fd = open("a", O_RDWR | O_CREAT | O_EXCL, 0o400).unwrap();
            see!(log, write(&fd, "x"));
            see!(log, open("a", O_WRONLY, 0));
            see!(log, open("b", O_WRONLY | O_CREAT, 0));
            see!(log, open("b", O_RDONLY, 0));
        });
        see!(log, content("a"));
    }

    fn times_are_set_by_the_owner_or_to_now_by_a_writer(log) {
        file("mine", 1000, 1000, 0o400);
        file("writable", 0, 0, 0o666);
        file("readable", 0, 0, 0o644);
        log.user(|log| {
            for name in ["mine", "writable", "readable"] {
                let now = time(0, UTIME_NOW);
                let omit = time(0, UTIME_OMIT);
                see!(log, utimens(name, time(1, 0), time(1, 0), 0));
                see!(log, utimens(name, now, now, 0));
                see!(log, utimens(name, now, omit, 0));
                see!(log, utimens(name, omit, omit, 0));
            }
        });
    }

    fn device_nodes_need_root(log) {
        see!(log, chmod(".", 0o777));
        log.user(|log| {
            see!(log, mknod("char", S_IFCHR | 0o666, 0x103));
            see!(log, mknod("block", S_IFBLK | 0o666, 0x801));
            see!(log, mknod("fifo", S_IFIFO | 0o666, 0));
            see!(log, mknod("socket", S_IFSOCK | 0o666, 0));
            see!(log, mknod("file", S_IFREG | 0o666, 0));
        });
    }

    fn searching_every_part_of_a_path(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, mkdir("d/e", 0o755));
        see!(log, put("d/e/a", "deep"));
        see!(log, chmod("d", 0o700));
        log.user(|log| {
            see!(log, content("d/e/a"));
            see!(log, lstat("d/e"));
            see!(log, names("d"));
            see!(log, lstat("d"));
            see!(log, chdir("d"));
            see!(log, rename("d/e", "e"));
        });
        see!(log, chmod("d", 0o711));
        log.user(|log| {
            see!(log, content("d/e/a"));
            see!(log, names("d"));
            see!(log, chdir("d"));
        });
    }

    fn rights_taken_away_count_at_once(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, put("d/a", "x"));
        let mut child = Child::start(|signals| {
            become_user(1000, 1000, &[]).unwrap();
            let before = content("d/a").is_ok();
            signals.ready();
            signals.wait();
            format!("{before} {:?} {:?}", content("d/a"), names("d")).into_bytes()
        }).unwrap();
        child.wait_ready().unwrap();
        see!(log, chmod("d", 0o700));
        child.go();
        see!(log, child.finish());
    }

    fn noatime_needs_the_owner(log) {
        file("a", 0, 0, 0o666);
        file("b", 1000, 1000, 0o666);
        log.user(|log| {
            see!(log, open("a", O_RDONLY | O_NOATIME, 0));
            see!(log, open("b", O_RDONLY | O_NOATIME, 0));
        });
    }

    fn executing_needs_the_right(log) {
        see!(log, put("script", "#!/bin/sh\nexit 0\n"));
        see!(log, chmod("script", 0o744));
        log.user(|log| see!(log, execute("script")));
        see!(log, chmod("script", 0o755));
        log.user(|log| see!(log, execute("script")));
        see!(log, chmod("script", 0o711));
        log.user(|log| see!(log, access_effective("script", R_OK)));
    }
}
