//! Hard and symbolic links.

use super::{cases, see};
use crate::sys::*;

cases! {
    fn a_hard_link_is_the_same_file(log) {
        see!(log, put("a", "one"));
        see!(log, link("a", "b"));
        see!(log, lstat("a"));
        see!(log, lstat("b"));
        see!(log, put("b", "two, longer"));
        see!(log, content("a"));
        see!(log, chmod("a", 0o600));
        see!(log, lstat("b"));
        see!(log, unlink("a"));
        see!(log, lstat("b"));
        see!(log, content("b"));
        see!(log, lstat("a"));
    }

    fn link_errors(log) {
        see!(log, link("no", "b"));
        see!(log, put("a", ""));
        see!(log, link("a", "a"));
        see!(log, put("b", ""));
        see!(log, link("a", "b"));
        see!(log, mkdir("d", 0o755));
        see!(log, link("d", "e"));
        see!(log, link("a", "d"));
        see!(log, link("a", "no/b"));
        see!(log, link("a", "b/c"));
        see!(log, link("a", "/proc/self/x"));
        see!(log, symlink("nowhere", "l"));
        see!(log, link("a", "l"));
        see!(log, lstat("a"));
    }

    fn links_across_directories(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, mkdir("e", 0o755));
        see!(log, put("d/a", "x"));
        for number in 0..100 {
            link("d/a", format!("e/{number}")).unwrap();
        }
        see!(log, lstat("d/a"));
        see!(log, unlink("d/a"));
        see!(log, lstat("e/99"));
        for number in 0..99 {
            unlink(format!("e/{number}")).unwrap();
        }
        see!(log, lstat("e/99"));
        see!(log, rename("e/99", "d/a"));
        see!(log, lstat("d/a"));
        see!(log, rmdir("e"));
    }

    fn thousands_of_links_to_one_file(log) {
        see!(log, put("a", "x"));
        for number in 0..5000 {
            link("a", format!("{number}")).unwrap();
        }
        see!(log, lstat("a"));
        see!(log, names(".").unwrap().len());
        for number in 0..5000 {
            unlink(format!("{number}")).unwrap();
        }
        see!(log, lstat("a"));
    }

    fn a_link_to_a_link(log) {
        see!(log, put("a", "x"));
        see!(log, symlink("a", "l"));
        see!(log, link("l", "m"));
        see!(log, lstat("m"));
        see!(log, lstat("a"));
        see!(log, linkat(AT_FDCWD, "l", "n", AT_SYMLINK_FOLLOW));
        see!(log, lstat("n"));
        see!(log, lstat("a"));
        see!(log, linkat(AT_FDCWD, "a", "o", 0x4000_0000));
    }

    fn a_symbolic_link(log) {
        see!(log, symlink("some target", "l"));
        see!(log, lstat("l"));
        see!(log, readlink("l"));
        see!(log, stat("l"));
        see!(log, put("some target", "x"));
        see!(log, stat("l"));
        see!(log, content("l"));
        see!(log, symlink("other", "l"));
        see!(log, unlink("l"));
        see!(log, lstat("some target"));
        see!(log, readlink("l"));
    }

    fn readlink_errors(log) {
        see!(log, readlink("no"));
        see!(log, put("a", ""));
        see!(log, readlink("a"));
        see!(log, mkdir("d", 0o755));
        see!(log, readlink("d"));
        see!(log, readlink("."));
        see!(log, mkfifo("p", 0o644));
        see!(log, readlink("p"));
    }

    fn symbolic_links_of_every_length(log) {
        for length in [1, 2, 59, 60, 61, 255, 256, 1000, 3000, 4094, 4095, 4096] {
            let name = length.to_string();
            see!(log, symlink(vec![b't'; length], &name));
            see!(log, lstat(&name));
            see!(log, readlink(&name));
        }
        see!(log, stat("4095"));
    }

    fn a_target_is_any_bytes(log) {
        see!(log, symlink(b"\xff\x01 /../\n", "l"));
        see!(log, readlink("l"));
        see!(log, symlink("a/b/", "m"));
        see!(log, readlink("m"));
        see!(log, symlink("//x//", "n"));
        see!(log, readlink("n"));
    }

    fn loops_are_eloop(log) {
        see!(log, symlink("self", "self"));
        see!(log, stat("self"));
        see!(log, lstat("self"));
        see!(log, open("self", O_RDONLY, 0));
        see!(log, open("self", O_WRONLY | O_CREAT, 0o644));
        see!(log, symlink("b", "a"));
        see!(log, symlink("a", "b"));
        see!(log, stat("a"));
        see!(log, stat("a/x"));
        see!(log, mkdir("a/x", 0o755));
        see!(log, chmod("a", 0o644));
        see!(log, truncate("a", 0));
        see!(log, rename("a", "c"));
        see!(log, names("."));
    }

    fn forty_links_are_the_limit(log) {
        see!(log, put("0", "end"));
        for number in 1..=41 {
            symlink((number - 1).to_string(), number.to_string()).unwrap();
        }
        see!(log, content("40"));
        see!(log, content("41"));
    }

    fn links_in_the_middle_of_a_path(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, symlink("d", "l"));
        see!(log, put("l/a", "x"));
        see!(log, content("d/a"));
        see!(log, mkdir("l/e", 0o755));
        see!(log, symlink("../d", "d/up"));
        see!(log, content("l/up/up/a"));
        see!(log, rename("l/a", "l/up/b"));
        see!(log, names("d"));
        see!(log, rename("d", "f"));
        see!(log, stat("l"));
        see!(log, lstat("l/a"));
    }

    fn symlink_errors(log) {
        see!(log, put("a", ""));
        see!(log, mkdir("d", 0o755));
        see!(log, symlink("x", "a"));
        see!(log, symlink("x", "d"));
        see!(log, symlink("x", "no/l"));
        see!(log, symlink("x", "a/l"));
        see!(log, symlink("", "l"));
        see!(log, names("."));
    }

    fn a_link_has_its_own_owner_and_times(log) {
        see!(log, put("a", ""));
        see!(log, symlink("a", "l"));
        see!(log, lchown("l", 7, 8));
        see!(log, lstat("l"));
        see!(log, lstat("a"));
        see!(log, chown("l", 9, 10));
        see!(log, lstat("l"));
        see!(log, lstat("a"));
        see!(log, utimens("l", time(100, 1), time(200, 2), AT_SYMLINK_NOFOLLOW));
        let times = lstat("l").unwrap();
        see!(log, (0, times.st_atime, times.st_mtime));
        see!(log, lstat("a").unwrap().st_mtime != 200);
    }
}
