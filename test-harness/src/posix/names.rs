//! Names: their length, their bytes, and paths.

use super::{cases, see};
use crate::sys::*;

fn longest(length: usize) -> Vec<u8> {
    vec![b'n'; length]
}

cases! {
    fn a_name_of_255_bytes(log) {
        let name = longest(255);
        see!(log, put(&name, "x"));
        see!(log, lstat(&name));
        see!(log, content(&name));
        see!(log, names("."));
        see!(log, rename(&name, "short"));
        see!(log, rename("short", &name));
        see!(log, link(&name, "short"));
        see!(log, unlink(&name));
        see!(log, mkdir(&name, 0o755));
        see!(log, rmdir(&name));
        see!(log, symlink("x", &name));
        see!(log, readlink(&name));
    }

    fn a_name_of_256_bytes_is_too_long(log) {
        let name = longest(256);
        see!(log, put(&name, "x"));
        see!(log, lstat(&name));
        see!(log, mkdir(&name, 0o755));
        see!(log, rmdir(&name));
        see!(log, unlink(&name));
        see!(log, symlink("x", &name));
        see!(log, readlink(&name));
        see!(log, mkfifo(&name, 0o644));
        see!(log, put("a", "x"));
        see!(log, rename("a", &name));
        see!(log, rename(&name, "a"));
        see!(log, link("a", &name));
        see!(log, chmod(&name, 0o644));
        see!(log, truncate(&name, 0));
        see!(log, statfs(&name).map(drop));
    }

    fn a_name_of_any_bytes(log) {
        for byte in (1..=255_u8).filter(|byte| *byte != b'/') {
            // A lone dot would be the directory itself.
            put([byte, b'_'], [byte]).unwrap();
        }
        let listed = names(".").unwrap();
        see!(log, listed.len());
        see!(log, listed.concat());
        let read: Vec<u8> = listed.iter().flat_map(|name| content(name).unwrap()).collect();
        see!(log, read);
        for name in listed {
            unlink(&name).unwrap();
        }
        see!(log, names("."));
    }

    fn names_are_bytes_not_letters(log) {
        see!(log, put("a", "1"));
        see!(log, put("A", "2"));
        see!(log, put("\u{e4}", "composed"));
        see!(log, put("a\u{308}", "decomposed"));
        see!(log, put(b"\xff\xfe", "not UTF-8"));
        see!(log, put(" ", "blank"));
        see!(log, put("a\nb", "newline"));
        see!(log, put("a.", "dot"));
        see!(log, put("...", "dots"));
        see!(log, put("-rf", "dash"));
        see!(log, names("."));
        see!(log, content("A"));
        see!(log, content("a\u{308}"));
        see!(log, content(b"\xff\xfe"));
        see!(log, lstat("\u{c4}"));
    }

    fn the_empty_path(log) {
        see!(log, open("", O_RDONLY, 0));
        see!(log, lstat(""));
        see!(log, mkdir("", 0o755));
        see!(log, unlink(""));
        see!(log, rename("", "a"));
        see!(log, symlink("", "l"));
        see!(log, symlink("a", ""));
        see!(log, truncate("", 0));
    }

    fn dots_cannot_be_made_or_removed(log) {
        see!(log, mkdir(".", 0o755));
        see!(log, mkdir("..", 0o755));
        see!(log, rmdir("."));
        see!(log, rmdir(".."));
        see!(log, unlink("."));
        see!(log, rename(".", "a"));
        see!(log, rename("..", "a"));
        see!(log, mkdir("d", 0o755));
        see!(log, rename("d", "."));
        see!(log, rename("d", ".."));
        see!(log, rmdir("d/."));
        see!(log, rmdir("d/.."));
        see!(log, link("d", "."));
        see!(log, symlink("x", "."));
        see!(log, put(".", "x"));
    }

    fn dots_walk(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, mkdir("d/e", 0o755));
        see!(log, put("d/e/../../f", "x"));
        see!(log, content("./d/../d/./e/../../f"));
        see!(log, content("d//e///..//..//f"));
        let same = lstat("d/e/..").unwrap().st_ino == lstat("d").unwrap().st_ino;
        see!(log, same);
    }

    fn a_path_of_4095_bytes_is_the_longest(log) {
        let path = b"./".repeat(2046);
        let longest = [&path[..], b"abc"].concat();
        see!(log, longest.len());
        see!(log, put(&longest, "x"));
        see!(log, lstat("abc"));
        let longer = [&path[..], b"abcd"].concat();
        see!(log, put(&longer, "x"));
        see!(log, names("."));
    }

    fn a_deep_tree(log) {
        let name = longest(200);
        for _ in 0..50 {
            mkdir(&name, 0o755).unwrap();
            chdir(&name).unwrap();
        }
        see!(log, put("bottom", "deep"));
        see!(log, content("bottom"));
        let up = b"../".repeat(50);
        see!(log, lstat(&up));
        see!(log, content("bottom"));
        unlink("bottom").unwrap();
        for _ in 0..50 {
            chdir("..").unwrap();
            rmdir(&name).unwrap();
        }
        see!(log, names("."));
    }

    fn names_with_equal_starts_do_not_mix(log) {
        for length in 1..=255 {
            put(longest(length), length.to_string()).unwrap();
        }
        see!(log, names(".").unwrap().len());
        let all: Vec<String> = (1..=255)
            .map(|length| String::from_utf8(content(longest(length)).unwrap()).unwrap())
            .collect();
        see!(log, all.join(" "));
        see!(log, unlink(longest(100)));
        see!(log, lstat(longest(100)));
        see!(log, content(longest(99)));
        see!(log, content(longest(101)));
    }
}
