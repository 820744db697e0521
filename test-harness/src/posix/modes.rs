//! Modes and owners: chmod, chown, setuid, setgid, sticky.

use super::{Log, cases, see};
use crate::sys::*;

/// A file with `mode`, owned by user 1000, group 1000.
fn owned(name: &str, mode: u32) {
    put(name, "content").unwrap();
    chown(name, 1000, 1000).unwrap();
    chmod(name, mode).unwrap();
}

/// The mode after `change` by an ordinary user, of files with each setuid and setgid combination.
fn after(log: &mut Log, what: &str, uid: u32, change: impl Fn(&str) -> Sys<()>) {
    for mode in [0o4777, 0o2777, 0o6777, 0o2767, 0o6767, 0o6666] {
        owned("a", mode);
        let lines = as_user(uid, uid, || super::log::kept(|log| log.note(&format!("{what} of {mode:o}"), change("a"))));
        log.append("user", lines);
        log.note(&format!("{mode:o} after {what}"), lstat("a"));
        unlink("a").unwrap();
    }
}

cases! {
    fn chmod_keeps_the_type(log) {
        see!(log, put("a", ""));
        see!(log, mkdir("d", 0o755));
        see!(log, mkfifo("p", 0o600));
        for mode in [0, 0o7777, 0o644, 0o100_644, 0o40_000, 0o1000, 0o2000, 0o4000] {
            see!(log, chmod("a", mode));
            see!(log, lstat("a"));
            see!(log, chmod("d", mode));
            see!(log, lstat("d"));
        }
        see!(log, chmod("p", 0o777));
        see!(log, lstat("p"));
        see!(log, chmod("no", 0o644));
    }

    fn chown_changes_what_is_asked(log) {
        see!(log, put("a", ""));
        see!(log, chown("a", 10, 20));
        see!(log, lstat("a"));
        see!(log, chown("a", u32::MAX, 30));
        see!(log, lstat("a"));
        see!(log, chown("a", 40, u32::MAX));
        see!(log, lstat("a"));
        see!(log, chown("a", u32::MAX, u32::MAX));
        see!(log, lstat("a"));
        see!(log, chown("a", u32::MAX - 1, u32::MAX - 1));
        see!(log, lstat("a"));
        see!(log, chown("a", 100_000, 70_000));
        see!(log, lstat("a"));
        see!(log, chown("no", 1, 1));
    }

    fn a_write_by_an_ordinary_user_clears_setuid(log) {
        after(log, "write", 1001, |name| open(name, O_WRONLY, 0).and_then(|fd| write(&fd, "x")).map(drop));
    }

    fn a_write_by_the_owner_clears_setuid(log) {
        after(log, "write", 1000, |name| open(name, O_WRONLY, 0).and_then(|fd| write(&fd, "x")).map(drop));
    }

    fn truncating_clears_setuid(log) {
        after(log, "truncate", 1001, |name| truncate(name, 3));
    }

    fn growing_clears_setuid(log) {
        after(log, "ftruncate", 1001, |name| open(name, O_WRONLY, 0).and_then(|fd| ftruncate(&fd, 3000)));
    }

    fn opening_with_o_trunc_clears_setuid(log) {
        after(log, "O_TRUNC", 1001, |name| open(name, O_WRONLY | O_TRUNC, 0).map(drop));
    }

    fn allocating_clears_setuid(log) {
        after(log, "fallocate", 1001, |name| open(name, O_WRONLY, 0).and_then(|fd| fallocate(&fd, 0, 0, 9000)));
    }

    fn a_direct_write_clears_setuid(log) {
        after(log, "direct write", 1001, |name| {
            let fd = open(name, O_WRONLY | O_DIRECT, 0)?;
            write(&fd, AlignedBuffer::new(4096, 1).bytes()).map(drop)
        });
    }

    fn a_write_by_root_keeps_setuid(log) {
        after(log, "write", 0, |name| open(name, O_WRONLY, 0).and_then(|fd| write(&fd, "x")).map(drop));
        after(log, "truncate", 0, |name| truncate(name, 3));
        after(log, "fallocate", 0, |name| open(name, O_WRONLY, 0).and_then(|fd| fallocate(&fd, 0, 0, 9000)));
        after(log, "copy", 0, |name| {
            let from = open("/bin/sh", O_RDONLY, 0)?;
            let to = open(name, O_WRONLY, 0)?;
            copy_range(&from, 0, &to, 0, 100).map(drop)
        });
    }

    fn copying_into_a_file_clears_setuid(log) {
        // A few bytes are written, whole blocks are shared.
        see!(log, put("few", "the source"));
        see!(log, put("many", super::log::pattern(1, 65_536)));
        for source in ["few", "many"] {
            see!(log, fsync(&open(source, O_RDWR, 0).unwrap()));
            after(log, &format!("copy of {source}"), 1001, |name| {
                let from = open(source, O_RDONLY, 0)?;
                let to = open(name, O_WRONLY, 0)?;
                copy_range(&from, 0, &to, 0, 65_536).map(drop)
            });
        }
    }

    fn reading_and_touching_keep_setuid(log) {
        after(log, "read", 1001, |name| content(name).map(drop));
        after(log, "utimens", 1001, |name| utimens(name, time(0, UTIME_NOW), time(0, UTIME_NOW), 0));
        after(log, "empty write", 1001, |name| open(name, O_WRONLY, 0).and_then(|fd| write(&fd, "")).map(drop));
    }

    fn chown_clears_setuid(log) {
        after(log, "chown to another group", 1000, |name| chown(name, u32::MAX, 1000));
        after(log, "chown of nothing", 1000, |name| chown(name, u32::MAX, u32::MAX));
        after(log, "chown by root", 0, |name| chown(name, 3, 3));
        see!(log, mkdir("d", 0o755));
        see!(log, chmod("d", 0o6777));
        see!(log, chown("d", 5, 5));
        see!(log, lstat("d"));
    }

    fn chmod_by_a_stranger_to_the_group_clears_setgid(log) {
        owned("a", 0o755);
        see!(log, chown("a", 1000, 2000));
        log.user(|log| {
            see!(log, chmod("a", 0o2755));
            see!(log, lstat("a"));
            see!(log, chmod("a", 0o4755));
            see!(log, lstat("a"));
            see!(log, chmod("a", 0o1755));
            see!(log, lstat("a"));
        });
        log.as_user(1000, 1000, &[2000], |log| {
            see!(log, chmod("a", 0o2755));
            see!(log, lstat("a"));
        });
    }

    fn chmod_needs_the_owner(log) {
        owned("a", 0o777);
        see!(log, put("b", ""));
        see!(log, chmod("b", 0o777));
        log.user(|log| {
            see!(log, chmod("a", 0o700));
            see!(log, chmod("b", 0o700));
            see!(log, lstat("a"));
            see!(log, lstat("b"));
        });
    }

    fn chown_needs_root_or_a_group_of_ones_own(log) {
        owned("a", 0o644);
        log.as_user(1000, 1000, &[2000], |log| {
            see!(log, chown("a", 1001, u32::MAX));
            see!(log, chown("a", 1000, u32::MAX));
            see!(log, chown("a", u32::MAX, 3000));
            see!(log, chown("a", u32::MAX, 2000));
            see!(log, lstat("a"));
            see!(log, chown("a", 1000, 1000));
            see!(log, lstat("a"));
        });
        log.as_user(1001, 1000, &[], |log| see!(log, chown("a", u32::MAX, 1000)));
    }

    fn a_setgid_directory_gives_its_group(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, chown("d", 0, 2000));
        see!(log, chmod("d", 0o2777));
        log.user(|log| {
            see!(log, put("d/file", ""));
            see!(log, mkdir("d/directory", 0o755));
            see!(log, mkfifo("d/fifo", 0o644));
            see!(log, symlink("x", "d/link"));
            see!(log, mkdir("d/directory/deeper", 0o755));
            see!(log, open("d/setgid", O_WRONLY | O_CREAT, 0o2755));
            see!(log, open("d/setgid2", O_WRONLY | O_CREAT, 0o2745));
        });
        for name in ["file", "directory", "fifo", "link", "directory/deeper", "setgid", "setgid2"] {
            see!(log, lstat(format!("d/{name}")));
        }
        see!(log, put("by root", ""));
        see!(log, rename("by root", "d/moved"));
        see!(log, lstat("d/moved"));
    }

    fn new_files_belong_to_their_maker(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, chmod("d", 0o777));
        log.as_user(1234, 4321, &[], |log| {
            see!(log, put("d/file", ""));
            see!(log, mkdir("d/directory", 0o755));
            see!(log, symlink("x", "d/link"));
            see!(log, mkfifo("d/fifo", 0o644));
            see!(log, bind_socket("d/socket"));
            see!(log, open("d/setuid", O_WRONLY | O_CREAT, 0o6755));
            see!(log, open("d", O_TMPFILE | O_RDWR, 0o600).and_then(|fd| fstat(&fd)));
        });
        for name in ["file", "directory", "link", "fifo", "socket", "setuid"] {
            see!(log, lstat(format!("d/{name}")));
        }
    }

    fn a_sticky_directory_protects(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, chmod("d", 0o1777));
        owned("d/theirs", 0o666);
        owned("d/theirs too", 0o666);
        see!(log, put("d/root's", ""));
        see!(log, mkdir("d/dir", 0o777));
        log.as_user(1001, 1001, &[], |log| {
            see!(log, put("d/mine", ""));
            see!(log, unlink("d/theirs"));
            see!(log, unlink("d/root's"));
            see!(log, rmdir("d/dir"));
            see!(log, rename("d/theirs", "d/taken"));
            see!(log, rename("d/mine", "d/theirs"));
            see!(log, rename2("d/mine", "d/theirs", RENAME_EXCHANGE));
            see!(log, rename("d/mine", "d/mine2"));
            see!(log, unlink("d/mine2"));
            see!(log, put("d/theirs", "writing is another right"));
        });
        log.as_user(1000, 1000, &[], |log| see!(log, unlink("d/theirs too")));
        see!(log, names("d"));
    }

    fn the_owner_of_a_sticky_directory_may_remove(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, chown("d", 1001, 1001));
        see!(log, chmod("d", 0o1777));
        owned("d/theirs", 0o666);
        log.as_user(1001, 1001, &[], |log| see!(log, unlink("d/theirs")));
    }
}
