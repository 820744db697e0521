//! The three times: what sets them, and how finely.

use std::time::{Duration, Instant};

use super::log::pattern;
use super::{Log, cases, see};
use crate::sys::*;

/// A time long ago with all digits of its nanoseconds.
const LONG_AGO: i64 = 1_000_000_000;

/// Lets the kernel's coarse clock go on, so that a time set now differs from one set before: a few of its ticks of
/// 4 ms. There is no event for this.
fn let_the_clock_tick() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(20) {
        std::hint::spin_loop();
    }
}

/// Which times of `path` an operation changes: sets atime and mtime to the past, runs it, looks.
fn changed(path: &str, operation: impl FnOnce()) -> String {
    utimens(path, time(LONG_AGO, 5), time(LONG_AGO, 5), AT_SYMLINK_NOFOLLOW).unwrap();
    let before = lstat(path).unwrap();
    let_the_clock_tick();
    operation();
    let after = lstat(path).unwrap();
    let mut changed = Vec::new();
    if (before.st_atime, before.st_atime_nsec) != (after.st_atime, after.st_atime_nsec) {
        changed.push("atime");
    }
    if (before.st_mtime, before.st_mtime_nsec) != (after.st_mtime, after.st_mtime_nsec) {
        changed.push("mtime");
    }
    if (before.st_ctime, before.st_ctime_nsec) != (after.st_ctime, after.st_ctime_nsec) {
        changed.push("ctime");
    }
    changed.join(" ")
}

fn times(path: &str) -> String {
    let stat = lstat(path).unwrap();
    format!("{}.{:09} {}.{:09}", stat.st_atime, stat.st_atime_nsec, stat.st_mtime, stat.st_mtime_nsec)
}

/// Notes which times of the file and of its directory `operation` on `d/a` changes.
fn both(log: &mut Log, what: &str, operation: impl Fn()) {
    mkdir("d", 0o755).unwrap();
    put("d/a", pattern(1, 5000)).unwrap();
    put("d/other", "").unwrap();
    mkdir("d/sub", 0o755).unwrap();
    let mut of_directory = String::new();
    let of_file = changed("d/a", || of_directory = changed("d", &operation));
    log.note(&format!("{what}: the file"), of_file);
    log.note(&format!("{what}: its directory"), of_directory);
    for name in names("d").unwrap() {
        let path = [b"d/", name.as_slice()].concat();
        let _ = unlink(&path);
        let _ = rmdir(&path);
    }
    rmdir("d").unwrap();
}

cases! {
    fn nanoseconds_are_kept(log) {
        see!(log, put("a", ""));
        see!(log, utimens("a", time(1_234_567_890, 123_456_789), time(987_654_321, 987_654_321), 0));
        see!(log, times("a"));
        see!(log, utimens("a", time(0, 0), time(0, 1), 0));
        see!(log, times("a"));
        see!(log, utimens("a", time(0, 999_999_999), time(1, 0), 0));
        see!(log, times("a"));
        see!(log, utimens("a", time(0, 1_000_000_000), time(1, 0), 0));
        see!(log, utimens("a", time(0, -1), time(1, 0), 0));
    }

    fn far_times(log) {
        see!(log, put("a", ""));
        for seconds in [-1, -1_000_000_000, 2_147_483_647, 2_147_483_648, 4_294_967_296, 10_000_000_000] {
            see!(log, utimens("a", time(seconds, 7), time(seconds, 8), 0));
            see!(log, times("a"));
        }
    }

    fn omit_and_now(log) {
        see!(log, put("a", ""));
        see!(log, utimens("a", time(100, 1), time(200, 2), 0));
        see!(log, utimens("a", time(0, UTIME_OMIT), time(300, 3), 0));
        see!(log, times("a"));
        see!(log, utimens("a", time(400, 4), time(0, UTIME_OMIT), 0));
        see!(log, times("a"));
        see!(log, utimens("a", time(0, UTIME_OMIT), time(0, UTIME_OMIT), 0));
        see!(log, times("a"));
        see!(log, utimens("a", time(0, UTIME_NOW), time(0, UTIME_OMIT), 0));
        let stat = lstat("a").unwrap();
        see!(log, stat.st_atime > LONG_AGO && stat.st_mtime == 300);
        see!(log, utimens("a", time(0, UTIME_NOW), time(0, UTIME_NOW), 0));
        see!(log, lstat("a").unwrap().st_mtime > LONG_AGO);
        see!(log, utimens("no", time(0, UTIME_NOW), time(0, UTIME_NOW), 0));
        see!(log, utimens("no", time(0, UTIME_OMIT), time(0, UTIME_OMIT), 0));
    }

    fn setting_times_changes_ctime(log) {
        see!(log, put("a", ""));
        see!(log, changed("a", || utimens("a", time(1, 0), time(1, 0), 0).unwrap()));
        see!(log, changed("a", || utimens("a", time(0, UTIME_OMIT), time(0, UTIME_OMIT), 0).unwrap()));
        let fd = open("a", O_RDWR, 0).unwrap();
        see!(log, changed("a", || futimens(&fd, time(1, 0), time(1, 0)).unwrap()));
    }

    fn on_links_and_directories(log) {
        see!(log, symlink("x", "l"));
        see!(log, mkdir("d", 0o755));
        see!(log, mkfifo("p", 0o644));
        for name in ["l", "d", "p"] {
            see!(log, utimens(name, time(11, 12), time(13, 14), AT_SYMLINK_NOFOLLOW));
            see!(log, times(name));
        }
    }

    fn what_changes_the_data_changes_mtime_and_ctime(log) {
        both(log, "write", || {
            let fd = open("d/a", O_WRONLY, 0).unwrap();
            write(&fd, "x").unwrap();
            fd.close().unwrap();
        });
        both(log, "append", || {
            let fd = open("d/a", O_WRONLY | O_APPEND, 0).unwrap();
            write(&fd, "x").unwrap();
            fd.close().unwrap();
        });
        both(log, "empty write", || {
            let fd = open("d/a", O_WRONLY, 0).unwrap();
            write(&fd, "").unwrap();
            fd.close().unwrap();
        });
        both(log, "truncate", || truncate("d/a", 10).unwrap());
        both(log, "truncate to the same size", || truncate("d/a", 5000).unwrap());
        both(log, "grow", || truncate("d/a", 10_000).unwrap());
        both(log, "ftruncate to the same size", || {
            ftruncate(&open("d/a", O_WRONLY, 0).unwrap(), 5000).unwrap();
        });
        both(log, "O_TRUNC", || drop(open("d/a", O_WRONLY | O_TRUNC, 0).unwrap()));
        both(log, "open", || drop(open("d/a", O_WRONLY, 0).unwrap()));
        both(log, "O_CREAT", || drop(open("d/a", O_WRONLY | O_CREAT, 0o644).unwrap()));
    }

    fn allocating_and_punching(log) {
        let with = |mode, offset, length| move || {
            fallocate(&open("d/a", O_WRONLY, 0).unwrap(), mode, offset, length).unwrap();
        };
        both(log, "fallocate", with(0, 0, 20_000));
        both(log, "punch", with(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
        both(log, "zero", with(FALLOC_FL_ZERO_RANGE, 0, 4096));
    }

    fn what_changes_the_inode_changes_ctime(log) {
        both(log, "chmod", || chmod("d/a", 0o600).unwrap());
        both(log, "chmod to the same", || chmod("d/a", 0o644).unwrap());
        both(log, "chown", || chown("d/a", 5, 5).unwrap());
        both(log, "chown of nothing", || chown("d/a", u32::MAX, u32::MAX).unwrap());
        both(log, "setxattr", || set_xattr("d/a", "user.x", "1", 0).unwrap());
        both(log, "failed removexattr", || assert!(remove_xattr("d/a", "user.none").is_err()));
        both(log, "link", || link("d/a", "d/b").unwrap());
        both(log, "rename", || rename("d/a", "d/b").and_then(|()| rename("d/b", "d/a")).unwrap());
        both(log, "replace", || rename("d/a", "d/other").and_then(|()| rename("d/other", "d/a")).unwrap());
        both(log, "exchange", || {
            rename2("d/a", "d/other", RENAME_EXCHANGE).unwrap();
            rename2("d/a", "d/other", RENAME_EXCHANGE).unwrap();
        });
    }

    fn what_changes_names_changes_the_directory(log) {
        both(log, "create", || put("d/new", "").unwrap());
        both(log, "mkdir", || mkdir("d/newdir", 0o755).unwrap());
        both(log, "symlink", || symlink("x", "d/l").unwrap());
        both(log, "mkfifo", || mkfifo("d/p", 0o644).unwrap());
        both(log, "unlink", || unlink("d/other").unwrap());
        both(log, "rmdir", || rmdir("d/sub").unwrap());
        both(log, "failed create", || assert!(mkdir("d/a", 0o755).is_err()));
        both(log, "failed unlink", || assert!(unlink("d/no").is_err()));
        both(log, "failed rmdir", || assert!(rmdir("d/a").is_err()));
        both(log, "move out", || rename("d/other", "out").and_then(|()| unlink("out")).unwrap());
    }

    fn unlinking_one_of_two_names_changes_ctime(log) {
        see!(log, put("a", ""));
        see!(log, link("a", "b"));
        see!(log, changed("a", || unlink("b").unwrap()));
        see!(log, link("a", "b"));
        see!(log, put("c", ""));
        see!(log, changed("a", || rename("c", "b").unwrap()));
    }

    fn renaming_a_directory(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, mkdir("e", 0o755));
        see!(log, changed("d", || {
            rename("d", "f").unwrap();
            rename("f", "d").unwrap();
        }));
        see!(log, changed("d", || {
            rename("d", "e/d").unwrap();
            rename("e/d", "d").unwrap();
        }));
        see!(log, changed("e", || rename("d", "e/d").unwrap()));
    }

    fn a_cached_read_changes_atime(log) {
        see!(log, put("a", "content"));
        see!(log, changed("a", || drop(content("a").unwrap())));
    }

    fn an_uncached_read_changes_atime_as_relatime_says(log) {
        put("a", "content").unwrap();
        let fd = open("a", O_RDWR, 0).unwrap();
        // atime is not newer than mtime: it is set.
        see!(log, changed("a", || {
            fsync(&fd).unwrap();
            drop_cache(&fd);
            pread(&fd, 100, 0).unwrap();
        }));
        // atime is newer than mtime and ctime, and less than a day old: it stays.
        futimens(&fd, time(LONG_AGO, 0), time(LONG_AGO, 0)).unwrap();
        let_the_clock_tick();
        fsync(&fd).unwrap();
        drop_cache(&fd);
        pread(&fd, 100, 0).unwrap();
        let before = times("a");
        see!(log, lstat("a").unwrap().st_atime > LONG_AGO);
        let_the_clock_tick();
        drop_cache(&fd);
        pread(&fd, 100, 0).unwrap();
        see!(log, times("a") == before);
    }

    fn noatime_reads_leave_it(log) {
        see!(log, put("a", "content"));
        see!(log, changed("a", || {
            let fd = open("a", O_RDONLY | O_NOATIME, 0).unwrap();
            read(&fd, 10).unwrap();
        }));
    }

    fn reading_a_link_and_a_directory(log) {
        see!(log, symlink("x", "l"));
        see!(log, changed("l", || drop(readlink("l").unwrap())));
        see!(log, mkdir("d", 0o755));
        see!(log, changed("d", || drop(list("d").unwrap())));
    }

    fn a_mapped_store_changes_mtime(log) {
        see!(log, put("a", pattern(1, 8192)));
        see!(log, changed("a", || {
            let fd = open("a", O_RDWR, 0).unwrap();
            let map = Mapping::new(&fd, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, 0).unwrap();
            map.store(10, b"x");
            map.sync(libc::MS_SYNC).unwrap();
        }));
    }

    fn set_times_stay_after_dirty_data_is_written(log) {
        let fd = open("a", O_RDWR | O_CREAT, 0o644).unwrap();
        see!(log, write(&fd, pattern(1, 100_000)));
        see!(log, futimens(&fd, time(100, 1), time(200, 2)));
        see!(log, fsync(&fd));
        see!(log, times("a"));
        see!(log, fd.close());
        see!(log, times("a"));
    }

    fn a_new_file_has_three_equal_fresh_times(log) {
        see!(log, put("before", ""));
        let_the_clock_tick();
        see!(log, mknod("a", S_IFREG | 0o644, 0));
        let (before, stat) = (lstat("before").unwrap(), lstat("a").unwrap());
        let mtime = (stat.st_mtime, stat.st_mtime_nsec);
        see!(log, mtime == (stat.st_atime, stat.st_atime_nsec));
        see!(log, mtime == (stat.st_ctime, stat.st_ctime_nsec));
        see!(log, mtime > (before.st_mtime, before.st_mtime_nsec));
    }

    fn the_birth_time_stays(log) {
        see!(log, put("a", ""));
        let birth = statx("a").unwrap().stx_btime;
        let_the_clock_tick();
        see!(log, put("a", "written"));
        see!(log, rename("a", "b"));
        let after = statx("b").unwrap();
        see!(log, after.stx_mask & libc::STATX_BTIME != 0);
        see!(log, (birth.tv_sec, birth.tv_nsec) == (after.stx_btime.tv_sec, after.stx_btime.tv_nsec));
    }
}
