//! mkdir(2), rmdir(2), and link counts of directories.

use super::{cases, see};
use crate::sys::*;

cases! {
    fn a_new_directory(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, lstat("d"));
        see!(log, names("d"));
        see!(log, list("d"));
        see!(log, mkdir("e", 0));
        see!(log, lstat("e"));
        see!(log, mkdir("f", 0o7777));
        see!(log, lstat("f"));
    }

    fn mkdir_refuses_what_exists(log) {
        see!(log, put("a", ""));
        see!(log, symlink("nowhere", "l"));
        see!(log, symlink("a", "m"));
        see!(log, mkdir("d", 0o755));
        for name in ["a", "l", "m", "d", ".", "..", "d/", "d/."] {
            see!(log, mkdir(name, 0o755));
        }
        see!(log, mkdir("no/d", 0o755));
        see!(log, mkdir("l/d", 0o755));
        see!(log, names("."));
    }

    fn rmdir_errors(log) {
        see!(log, rmdir("no"));
        see!(log, put("a", ""));
        see!(log, rmdir("a"));
        see!(log, mkdir("d", 0o755));
        see!(log, symlink("d", "l"));
        see!(log, rmdir("l"));
        see!(log, put("d/a", ""));
        see!(log, rmdir("d"));
        see!(log, unlink("d/a"));
        see!(log, mkdir("d/e", 0o755));
        see!(log, rmdir("d"));
        see!(log, rmdir("d/e"));
        see!(log, rmdir("d"));
        see!(log, rmdir("d"));
        see!(log, lstat("d"));
        see!(log, lstat("l"));
        see!(log, stat("l"));
    }

    fn unlink_refuses_a_directory(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, unlink("d"));
        see!(log, unlink("d/"));
        see!(log, unlink("no"));
        see!(log, lstat("d"));
    }

    fn link_counts_of_directories(log) {
        see!(log, lstat("."));
        see!(log, mkdir("d", 0o755));
        see!(log, lstat("."));
        see!(log, lstat("d"));
        see!(log, mkdir("d/e", 0o755));
        see!(log, mkdir("d/f", 0o755));
        see!(log, put("d/a", ""));
        see!(log, lstat("d"));
        see!(log, rename("d/e", "e"));
        see!(log, lstat("d"));
        see!(log, lstat("."));
        see!(log, lstat("e"));
        see!(log, rmdir("d/f"));
        see!(log, lstat("d"));
        see!(log, mkdir("g", 0o755));
        see!(log, rename("e", "g"));
        see!(log, lstat("."));
        see!(log, lstat("g"));
    }

    fn link_counts_after_an_exchange(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, mkdir("e", 0o755));
        see!(log, mkdir("d/sub", 0o755));
        see!(log, put("e/file", ""));
        see!(log, rename2("d/sub", "e/file", RENAME_EXCHANGE));
        see!(log, lstat("d"));
        see!(log, lstat("e"));
        see!(log, lstat("d/sub"));
        see!(log, lstat("e/file"));
    }

    fn a_removed_directory_that_is_open(log) {
        see!(log, mkdir("d", 0o755));
        let fd = open("d", O_RDONLY | O_DIRECTORY, 0).unwrap();
        let mut dir = Dir::open("d").unwrap();
        see!(log, rmdir("d"));
        see!(log, fstat(&fd));
        see!(log, mkdir("d", 0o700));
        see!(log, fstat(&fd));
        see!(log, lstat("d"));
        see!(log, dir.next_entry().map(drop));
        see!(log, fchmod(&fd, 0o711));
        see!(log, fstat(&fd));
    }

    fn work_in_a_removed_working_directory(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, chdir("d"));
        see!(log, rmdir("../d"));
        see!(log, put("a", ""));
        see!(log, mkdir("e", 0o755));
        see!(log, symlink("x", "l"));
        see!(log, names("."));
        see!(log, lstat("."));
        see!(log, lstat("..").map(drop));
        see!(log, put("../a", ""));
    }

    fn many_subdirectories_count(log) {
        for number in 0..500 {
            mkdir(format!("{number}"), 0o755).unwrap();
        }
        see!(log, lstat("."));
        for number in 100..500 {
            rmdir(format!("{number}")).unwrap();
        }
        see!(log, lstat("."));
        see!(log, names(".").unwrap().len());
    }

    fn the_parent_of_a_moved_directory(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, mkdir("e", 0o755));
        see!(log, mkdir("d/sub", 0o755));
        see!(log, rename("d/sub", "e/sub"));
        let parent = lstat("e/sub/..").unwrap().st_ino == lstat("e").unwrap().st_ino;
        see!(log, parent);
        let mut dir = Dir::open("e/sub").unwrap();
        let mut dots = Vec::new();
        while let Some(entry) = dir.next_entry().unwrap() {
            dots.push((entry.name, entry.inode));
        }
        dots.sort();
        let inodes = [lstat("e/sub").unwrap().st_ino, lstat("e").unwrap().st_ino];
        let right = dots.iter().zip(inodes).all(|((_, listed), inode)| *listed == inode);
        see!(log, right);
    }

    fn inode_numbers_stay(log) {
        see!(log, put("a", "x"));
        see!(log, mkdir("d", 0o755));
        let before = (lstat("a").unwrap().st_ino, lstat("d").unwrap().st_ino);
        see!(log, before.0 != before.1);
        see!(log, rename("a", "d/b"));
        see!(log, rename("d", "e"));
        see!(log, link("e/b", "c"));
        let after = (lstat("c").unwrap().st_ino, lstat("e").unwrap().st_ino);
        see!(log, before == after);
        let listed = list(".").unwrap();
        let right = listed.iter().filter(|entry| entry.name != b"..").all(|entry| {
            entry.inode == lstat(&entry.name).unwrap().st_ino
        });
        see!(log, right);
        let one_device = lstat("c").unwrap().st_dev == lstat("e").unwrap().st_dev;
        see!(log, one_device);
    }
}
