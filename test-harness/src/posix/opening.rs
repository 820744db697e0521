//! open(2) and creat(2): flags and errors.

use super::log::pattern;
use super::{cases, see};
use crate::sys::*;

cases! {
    fn a_missing_file_is_enoent(log) {
        see!(log, open("no", O_RDONLY, 0));
        see!(log, open("no", O_WRONLY | O_TRUNC, 0));
        see!(log, open("no/child", O_RDONLY, 0));
        see!(log, open("no/child", O_WRONLY | O_CREAT, 0o644));
        see!(log, stat("no"));
        see!(log, lstat("no"));
    }

    fn creating_gives_an_empty_file_with_the_mode(log) {
        see!(log, open("a", O_WRONLY | O_CREAT, 0o640));
        see!(log, lstat("a"));
        see!(log, open("b", O_WRONLY | O_CREAT, 0o7777));
        see!(log, lstat("b"));
        see!(log, open("c", O_RDWR | O_CREAT, 0));
        see!(log, lstat("c"));
        see!(log, names("."));
    }

    fn the_umask_takes_bits_away(log) {
        umask(0o077);
        see!(log, open("a", O_WRONLY | O_CREAT, 0o666));
        see!(log, mkdir("d", 0o777));
        see!(log, mkfifo("p", 0o666));
        umask(0);
        see!(log, open("b", O_WRONLY | O_CREAT, 0o666));
        see!(log, mkdir("e", 0o1777));
        for name in ["a", "d", "p", "b", "e"] {
            see!(log, lstat(name));
        }
    }

    fn exclusive_creation_refuses_what_exists(log) {
        see!(log, open("a", O_WRONLY | O_CREAT | O_EXCL, 0o644));
        see!(log, open("a", O_WRONLY | O_CREAT | O_EXCL, 0o644));
        see!(log, mkdir("d", 0o755));
        see!(log, open("d", O_RDONLY | O_CREAT | O_EXCL, 0o644));
        see!(log, symlink("nowhere", "l"));
        see!(log, open("l", O_WRONLY | O_CREAT | O_EXCL, 0o644));
        see!(log, lstat("nowhere"));
    }

    fn creating_keeps_what_exists(log) {
        see!(log, put("a", "content"));
        see!(log, chmod("a", 0o600));
        see!(log, open("a", O_WRONLY | O_CREAT, 0o777));
        see!(log, lstat("a"));
        see!(log, content("a"));
    }

    fn creating_through_a_dangling_link_makes_its_target(log) {
        see!(log, symlink("target", "l"));
        see!(log, open("l", O_WRONLY | O_CREAT, 0o644));
        see!(log, lstat("target"));
        see!(log, lstat("l"));
    }

    fn truncating_on_open_empties(log) {
        see!(log, put("a", pattern(1, 20_000)));
        see!(log, open("a", O_WRONLY | O_TRUNC, 0));
        see!(log, lstat("a"));
        see!(log, content("a"));
        see!(log, put("b", pattern(1, 100)));
        see!(log, open("b", O_RDWR | O_CREAT | O_TRUNC, 0o600));
        see!(log, lstat("b"));
    }

    fn truncating_on_open_frees_the_data(log) {
        see!(log, put("a", pattern(1, 300_000)));
        let fd = open("a", O_RDWR | O_TRUNC, 0).unwrap();
        see!(log, pwrite(&fd, "x", 299_999));
        see!(log, content("a"));
    }

    fn a_directory_opens_only_to_read(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, open("d", O_RDONLY, 0));
        see!(log, open("d", O_RDONLY | O_DIRECTORY, 0));
        see!(log, open("d", O_WRONLY, 0));
        see!(log, open("d", O_RDWR, 0));
        see!(log, open("d", O_RDONLY | O_CREAT, 0o644));
        see!(log, open("d", O_RDONLY | O_TRUNC, 0));
        let fd = open("d", O_RDONLY, 0).unwrap();
        see!(log, read(&fd, 10));
        see!(log, write(&fd, "x"));
        see!(log, ftruncate(&fd, 0));
        see!(log, fsync(&fd));
        see!(log, fdatasync(&fd));
    }

    fn o_directory_refuses_a_file(log) {
        see!(log, put("a", ""));
        see!(log, open("a", O_RDONLY | O_DIRECTORY, 0));
        see!(log, symlink("a", "l"));
        see!(log, open("l", O_RDONLY | O_DIRECTORY, 0));
        see!(log, mkdir("d", 0o755));
        see!(log, symlink("d", "m"));
        see!(log, open("m", O_RDONLY | O_DIRECTORY, 0));
    }

    fn o_nofollow_refuses_a_link(log) {
        see!(log, put("a", "x"));
        see!(log, symlink("a", "l"));
        see!(log, open("l", O_RDONLY | O_NOFOLLOW, 0));
        see!(log, open("l", O_WRONLY | O_CREAT | O_NOFOLLOW, 0o644));
        see!(log, open("a", O_RDONLY | O_NOFOLLOW, 0));
        see!(log, open("l", O_PATH | O_NOFOLLOW, 0).and_then(|fd| fstat(&fd)));
    }

    fn a_file_is_not_a_directory(log) {
        see!(log, put("a", "x"));
        see!(log, open("a/b", O_RDONLY, 0));
        see!(log, open("a/b", O_WRONLY | O_CREAT, 0o644));
        see!(log, lstat("a/b"));
        see!(log, lstat("a/."));
        see!(log, lstat("a/.."));
        see!(log, mkdir("a/b", 0o755));
        see!(log, rmdir("a/b"));
        see!(log, unlink("a/b"));
        see!(log, rename("a/b", "c"));
        see!(log, rename("a", "a/b"));
        see!(log, link("a", "a/b"));
        see!(log, symlink("x", "a/b"));
        see!(log, readlink("a/b"));
        see!(log, mkfifo("a/b", 0o644));
        see!(log, chmod("a/b", 0o644));
        see!(log, truncate("a/b", 0));
        see!(log, names("a"));
        see!(log, chdir("a"));
    }

    fn a_trailing_slash_asks_for_a_directory(log) {
        see!(log, put("a", "x"));
        see!(log, open("a/", O_RDONLY, 0));
        see!(log, open("new/", O_WRONLY | O_CREAT, 0o644));
        see!(log, lstat("a/"));
        see!(log, unlink("a/"));
        see!(log, mkdir("d/", 0o755));
        see!(log, lstat("d/"));
        see!(log, rename("d/", "e/"));
        see!(log, rename("a", "f/"));
        see!(log, rename("a/", "f"));
        see!(log, link("a", "g/"));
        see!(log, symlink("e", "l"));
        see!(log, lstat("l"));
        see!(log, lstat("l/"));
        see!(log, rmdir("l/"));
        see!(log, unlink("l/"));
        see!(log, rmdir("e/"));
        see!(log, names("."));
    }

    fn access_modes_hold(log) {
        see!(log, put("a", "content"));
        let reader = open("a", O_RDONLY, 0).unwrap();
        let writer = open("a", O_WRONLY, 0).unwrap();
        see!(log, write(&reader, "x"));
        see!(log, read(&writer, 3));
        see!(log, ftruncate(&reader, 0));
        see!(log, fallocate(&reader, 0, 0, 4096));
        see!(log, fsync(&reader));
        see!(log, write(&writer, ""));
        see!(log, read(&reader, 0));
        see!(log, content("a"));
    }

    fn a_path_descriptor_cannot_read(log) {
        see!(log, put("a", "content"));
        let fd = open("a", O_PATH, 0).unwrap();
        see!(log, read(&fd, 3));
        see!(log, write(&fd, "x"));
        see!(log, fstat(&fd));
        see!(log, fchmod(&fd, 0o600));
        let dir = open(".", O_PATH | O_DIRECTORY, 0).unwrap();
        see!(log, openat(dir.raw(), "a", O_RDONLY, 0).and_then(|fd| read(&fd, 3)));
    }

    fn paths_from_an_open_directory(log) {
        see!(log, mkdir("d", 0o755));
        let dir = open("d", O_RDONLY | O_DIRECTORY, 0).unwrap();
        see!(log, openat(dir.raw(), "a", O_WRONLY | O_CREAT | O_EXCL, 0o644));
        see!(log, names("d"));
        see!(log, rename("d", "e"));
        see!(log, openat(dir.raw(), "b", O_WRONLY | O_CREAT, 0o644));
        see!(log, openat(dir.raw(), "../f", O_WRONLY | O_CREAT, 0o644));
        see!(log, names("e"));
        see!(log, names("."));
    }

    fn creating_in_a_removed_directory_is_enoent(log) {
        see!(log, mkdir("d", 0o755));
        let dir = open("d", O_RDONLY | O_DIRECTORY, 0).unwrap();
        see!(log, rmdir("d"));
        see!(log, openat(dir.raw(), "a", O_WRONLY | O_CREAT, 0o644));
        see!(log, openat(dir.raw(), ".", O_RDONLY | O_DIRECTORY, 0));
        see!(log, fstat(&dir));
        see!(log, chdir("d"));
    }

    fn o_sync_and_o_dsync_write(log) {
        let fd = open("a", O_RDWR | O_CREAT | O_SYNC, 0o644).unwrap();
        see!(log, write(&fd, pattern(3, 10_000)));
        let fd = open("a", O_RDWR | O_DSYNC | O_APPEND, 0).unwrap();
        see!(log, write(&fd, pattern(4, 10_000)));
        see!(log, content("a"));
    }

    fn flags_of_an_open_file(log) {
        see!(log, put("a", "x"));
        let fd = open("a", O_RDWR | O_APPEND, 0).unwrap();
        see!(log, file_flags(&fd));
        see!(log, set_file_flags(&fd, O_NONBLOCK));
        see!(log, file_flags(&fd));
        see!(log, pwrite(&fd, "y", 0));
        see!(log, set_file_flags(&fd, O_APPEND));
        see!(log, write(&fd, "z"));
        see!(log, content("a"));
    }

    fn a_program_runs_from_the_file_system(log) {
        see!(log, put("script", "#!/bin/sh\nexit 0\n"));
        see!(log, execute("script"));
        see!(log, chmod("script", 0o755));
        see!(log, execute("script"));
        see!(log, execute("missing"));
        see!(log, mkdir("d", 0o755));
        see!(log, execute("d"));
        let binary = std::fs::read("/bin/true").unwrap();
        see!(log, put("program", binary));
        see!(log, chmod("program", 0o755));
        see!(log, execute("program"));
        let writer = open("program", O_WRONLY, 0).unwrap();
        see!(log, execute("program"));
        drop(writer);
        see!(log, execute("program"));
    }

    fn an_unknown_access_mode(log) {
        see!(log, put("a", "x"));
        see!(log, open("a", 3, 0));
        see!(log, access("a", F_OK));
        see!(log, access("a", R_OK | W_OK));
        see!(log, access("a", X_OK));
        see!(log, access("b", F_OK));
        see!(log, chmod("a", 0o100));
        see!(log, access("a", X_OK));
    }
}
