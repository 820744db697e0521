//! copy_file_range(2), sendfile(2) and cloning.

use super::log::pattern;
use super::{cases, see};
use crate::sys::*;

fn make(name: &str, length: usize) -> Fd {
    put(name, pattern(1, length)).unwrap();
    open(name, O_RDWR, 0).unwrap()
}

/// Copies all that was asked for, in as many calls as it takes.
fn copy_all(from: &Fd, from_offset: i64, to: &Fd, to_offset: i64, length: i64) -> Sys<i64> {
    let mut done = 0;
    while done < length {
        match copy_range(from, from_offset + done, to, to_offset + done, (length - done) as usize)? {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}

cases! {
    fn a_whole_file_is_copied(log) {
        let from = make("a", 1_000_000);
        let to = open("b", O_RDWR | O_CREAT, 0o644).unwrap();
        see!(log, copy_all(&from, 0, &to, 0, 2_000_000));
        see!(log, content("b"));
        see!(log, lstat("b"));
        see!(log, pwrite(&to, "changed", 500_000));
        see!(log, pread(&from, 7, 500_000));
        see!(log, pwrite(&from, "other", 600_000));
        see!(log, pread(&to, 5, 600_000));
        see!(log, unlink("a"));
        drop(from);
        see!(log, fsync(&to));
        drop_cache(&to);
        see!(log, content("b"));
    }

    fn ranges_that_fit_no_block(log) {
        let from = make("a", 200_000);
        let to = make("b", 100_000);
        see!(log, copy_all(&from, 1234, &to, 4321, 50_001));
        see!(log, copy_all(&from, 0, &to, 150_000, 20_000));
        see!(log, copy_all(&from, 199_000, &to, 0, 5_000));
        see!(log, copy_all(&from, 300_000, &to, 0, 5_000));
        see!(log, fstat(&to));
        see!(log, content("b"));
    }

    fn inside_one_file(log) {
        let fd = make("a", 200_000);
        see!(log, copy_all(&fd, 0, &fd, 100_000, 50_000));
        see!(log, content("a"));
        see!(log, copy_range(&fd, 0, &fd, 10_000, 50_000));
        see!(log, copy_all(&fd, 0, &fd, 300_000, 100_000));
        see!(log, content("a"));
    }

    fn dirty_data_is_copied(log) {
        let from = open("a", O_RDWR | O_CREAT, 0o644).unwrap();
        see!(log, write(&from, pattern(2, 100_000)));
        let map = Mapping::new(&from, 100_000, PROT_READ | PROT_WRITE, MAP_SHARED, 0).unwrap();
        map.store(70_000, b"mapped");
        let to = open("b", O_RDWR | O_CREAT, 0o644).unwrap();
        see!(log, copy_all(&from, 0, &to, 0, 100_000));
        see!(log, content("b"));
    }

    fn holes_read_as_zeros_in_the_copy(log) {
        let from = open("a", O_RDWR | O_CREAT, 0o644).unwrap();
        see!(log, pwrite(&from, pattern(1, 1000), 1 << 20));
        see!(log, ftruncate(&from, 3 << 20));
        let to = make("b", 4 << 20);
        see!(log, copy_all(&from, 0, &to, 0, 3 << 20));
        see!(log, content("b"));
    }

    fn copy_errors(log) {
        let from = make("a", 1000);
        let reader = open("a", O_RDONLY, 0).unwrap();
        let writer = open("b", O_WRONLY | O_CREAT, 0o644).unwrap();
        let append = open("b", O_WRONLY | O_APPEND, 0).unwrap();
        let directory = open(".", O_RDONLY | O_DIRECTORY, 0).unwrap();
        see!(log, copy_range(&from, 0, &reader, 0, 10));
        see!(log, copy_range(&writer, 0, &from, 0, 10));
        see!(log, copy_range(&from, 0, &append, 0, 10));
        see!(log, copy_range(&directory, 0, &writer, 0, 10));
        see!(log, copy_range(&from, 0, &writer, 0, 0));
        see!(log, copy_range(&from, -1, &writer, 0, 10));
        see!(log, copy_range(&from, 2000, &writer, 0, 10));
        see!(log, lstat("b"));
    }

    fn a_small_file_is_copied(log) {
        let from = make("a", 100);
        let to = open("b", O_RDWR | O_CREAT, 0o644).unwrap();
        see!(log, copy_all(&from, 10, &to, 0, 50));
        see!(log, content("b"));
        see!(log, copy_all(&to, 0, &from, 90, 50));
        see!(log, content("a"));
    }

    fn copies_of_copies(log) {
        make("0", 300_000);
        for number in 1..20 {
            let from = open((number - 1).to_string(), O_RDONLY, 0).unwrap();
            let to = open(number.to_string(), O_RDWR | O_CREAT, 0o644).unwrap();
            copy_all(&from, 0, &to, 0, 300_000).unwrap();
            pwrite(&to, format!("copy {number}"), number * 1000).unwrap();
        }
        for number in (0..20).step_by(2) {
            unlink(number.to_string()).unwrap();
        }
        see!(log, content("19"));
        see!(log, content("1"));
    }

    fn sending_a_file(log) {
        let from = make("a", 300_000);
        let to = open("b", O_RDWR | O_CREAT, 0o644).unwrap();
        see!(log, sendfile(&to, &from, 1000, 200_000));
        see!(log, content("b"));
    }

    fn the_copy_keeps_its_own_times_and_mode(log) {
        let from = make("a", 50_000);
        see!(log, fchmod(&from, 0o600));
        let to = open("b", O_RDWR | O_CREAT, 0o640).unwrap();
        see!(log, futimens(&to, time(1000, 0), time(1000, 0)));
        see!(log, copy_all(&from, 0, &to, 0, 50_000));
        see!(log, lstat("b"));
        see!(log, lstat("b").unwrap().st_mtime > 1000);
    }
}
