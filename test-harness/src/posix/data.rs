//! Reading, writing, appending, truncating.

use super::log::pattern;
use super::{cases, see};
use crate::sys::*;

fn make(name: &str, length: usize) -> Fd {
    put(name, pattern(1, length)).unwrap();
    open(name, O_RDWR, 0).unwrap()
}

/// Sizes around every boundary: of an inline file, a page, a block, an extent of 16 blocks, a request of 1 MiB.
const SIZES: [usize; 16] = [
    0, 1, 511, 4095, 4096, 4097, 16_383, 16_384, 16_385, 65_536, 262_143, 262_144, 262_145, 1_048_575, 1_048_577,
    3_000_001,
];

cases! {
    fn files_of_every_size(log) {
        for size in SIZES {
            let name = size.to_string();
            see!(log, put(&name, pattern(size as u8, size)));
        }
        for size in SIZES {
            let name = size.to_string();
            see!(log, lstat(&name));
            drop_cache(&open(&name, O_RDONLY, 0).unwrap());
            see!(log, content(&name));
        }
    }

    fn reading_at_the_end(log) {
        let fd = make("a", 5000);
        see!(log, pread(&fd, 10, 4995));
        see!(log, pread(&fd, 10, 5000));
        see!(log, pread(&fd, 10, 1 << 40));
        see!(log, pread(&fd, 10, -1));
        see!(log, pwrite(&fd, "x", -1));
        see!(log, pread(&fd, 0, 0));
        see!(log, read(&fd, 100_000));
        see!(log, read(&fd, 100_000));
    }

    fn seeking(log) {
        let fd = make("a", 5000);
        see!(log, seek(&fd, 10, SEEK_SET));
        see!(log, seek(&fd, 10, SEEK_CUR));
        see!(log, seek(&fd, -10, SEEK_END));
        see!(log, read(&fd, 100));
        see!(log, seek(&fd, 1 << 40, SEEK_SET));
        see!(log, read(&fd, 100));
        see!(log, seek(&fd, -1, SEEK_SET));
        see!(log, seek(&fd, -6000, SEEK_END));
        see!(log, seek(&fd, 0, 99));
        see!(log, seek(&fd, 100, SEEK_END));
        see!(log, write(&fd, "after a hole"));
        see!(log, fstat(&fd));
        see!(log, content("a"));
    }

    fn small_overwrites_everywhere(log) {
        let fd = make("a", 200_000);
        for offset in [0, 1, 4090, 4096, 16_380, 16_384, 65_530, 131_071, 199_990, 199_999] {
            see!(log, pwrite(&fd, "OVERWRITE", offset));
        }
        see!(log, fstat(&fd));
        see!(log, content("a"));
        see!(log, fsync(&fd));
        drop_cache(&fd);
        see!(log, content("a"));
    }

    fn small_file_grows_past_each_boundary(log) {
        let fd = open("a", O_RDWR | O_CREAT, 0o644).unwrap();
        let mut size = 0;
        for length in [1, 100, 3994, 1, 1, 4000, 8287, 1, 50_000, 200_000] {
            see!(log, pwrite(&fd, pattern(length as u8, length), size));
            size += length as i64;
            see!(log, fsync(&fd));
            see!(log, content("a"));
        }
    }

    fn a_file_shrinks_past_each_boundary(log) {
        let fd = make("a", 300_000);
        for size in [299_999, 262_145, 262_144, 16_385, 16_384, 16_383, 4097, 4096, 4095, 1, 0] {
            see!(log, ftruncate(&fd, size));
            see!(log, fstat(&fd));
            see!(log, content("a"));
        }
    }

    fn truncated_data_does_not_come_back(log) {
        for size in [100, 5000, 20_000, 300_000] {
            let fd = make("a", size);
            see!(log, ftruncate(&fd, 50));
            see!(log, ftruncate(&fd, size as i64));
            see!(log, content("a"));
            see!(log, fsync(&fd));
            drop_cache(&fd);
            see!(log, content("a"));
        }
    }

    fn truncating_inside_a_page_clears_its_rest(log) {
        let fd = make("a", 8192);
        see!(log, ftruncate(&fd, 4100));
        see!(log, pwrite(&fd, "x", 8191));
        see!(log, pread(&fd, 5000, 4090));
        see!(log, ftruncate(&fd, 4096));
        see!(log, ftruncate(&fd, 4200));
        see!(log, pread(&fd, 5000, 4090));
    }

    fn truncate_errors(log) {
        see!(log, truncate("no", 0));
        see!(log, mkdir("d", 0o755));
        see!(log, truncate("d", 0));
        let fd = make("a", 10);
        see!(log, truncate("a", -1));
        see!(log, ftruncate(&fd, -1));
        see!(log, symlink("a", "l"));
        see!(log, truncate("l", 5));
        see!(log, lstat("a"));
        see!(log, symlink("no", "m"));
        see!(log, truncate("m", 5));
    }

    fn growing_by_truncate_reads_zeros(log) {
        let fd = make("a", 10);
        see!(log, ftruncate(&fd, 100_000));
        see!(log, fstat(&fd));
        see!(log, content("a"));
        see!(log, pwrite(&fd, "y", 50_000));
        see!(log, content("a"));
    }

    fn appending_ignores_the_offset(log) {
        see!(log, put("a", "start"));
        let fd = open("a", O_RDWR | O_APPEND, 0).unwrap();
        see!(log, seek(&fd, 0, SEEK_SET));
        see!(log, write(&fd, " one"));
        see!(log, seek(&fd, 0, SEEK_CUR));
        see!(log, pwrite(&fd, " two", 0));
        see!(log, content("a"));
        see!(log, truncate("a", 2));
        see!(log, write(&fd, "!"));
        see!(log, content("a"));
    }

    fn two_appenders_do_not_overwrite(log) {
        see!(log, put("a", ""));
        let first = open("a", O_WRONLY | O_APPEND, 0).unwrap();
        let second = open("a", O_WRONLY | O_APPEND, 0).unwrap();
        for number in 0..500 {
            write(&first, format!("first {number}\n")).unwrap();
            write(&second, format!("second {number}\n")).unwrap();
        }
        see!(log, content("a"));
    }

    fn appenders_in_two_processes(log) {
        see!(log, put("a", ""));
        let append = |who: &str| {
            let fd = open("a", O_WRONLY | O_APPEND, 0).unwrap();
            for number in 0..1000 {
                write(&fd, format!("{who} {number:04}\n")).unwrap();
            }
        };
        let mut child = Child::start(|signals| {
            signals.ready();
            signals.wait();
            append("a");
            Vec::new()
        }).unwrap();
        child.wait_ready().unwrap();
        child.go();
        append("b");
        see!(log, child.finish());
        let text = String::from_utf8(content("a").unwrap()).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        see!(log, lines.len());
        lines.sort_unstable();
        see!(log, lines.join(" ").into_bytes());
    }

    fn a_write_is_seen_by_every_descriptor(log) {
        let writer = make("a", 100);
        let reader = open("a", O_RDONLY, 0).unwrap();
        see!(log, pread(&reader, 5, 0));
        see!(log, pwrite(&writer, "fresh", 0));
        see!(log, pread(&reader, 5, 0));
        see!(log, ftruncate(&writer, 3));
        see!(log, pread(&reader, 5, 0));
        see!(log, fstat(&reader));
        log.child(|log| see!(log, content("a")));
    }

    fn vectors(log) {
        let fd = open("a", O_RDWR | O_CREAT, 0o644).unwrap();
        see!(log, writev(&fd, &[b"one ", b"", b"two ", &pattern(9, 9000)]));
        see!(log, fstat(&fd));
        see!(log, content("a"));
        see!(log, writev(&fd, &[]));
    }

    fn direct_io(log) {
        let fd = open("a", O_RDWR | O_CREAT | O_DIRECT, 0o644).unwrap();
        let block = AlignedBuffer::new(65_536, b'd');
        see!(log, write(&fd, block.bytes()));
        see!(log, pwrite(&fd, &block.bytes()[..4096], 131_072));
        see!(log, fstat(&fd));
        let mut back = AlignedBuffer::new(65_536, 0);
        see!(log, back.pread(&fd, 0));
        see!(log, back.bytes() == block.bytes());
        see!(log, back.pread(&fd, 65_536));
        see!(log, back.bytes().iter().all(|byte| *byte == 0));
        see!(log, back.pread(&fd, 131_072));
        see!(log, back.pread(&fd, 1 << 20));
        see!(log, content("a"));
    }

    fn direct_and_buffered_io_agree(log) {
        let buffered = make("a", 40_960);
        let direct = open("a", O_RDWR | O_DIRECT, 0).unwrap();
        let mut block = AlignedBuffer::new(4096, 0);
        see!(log, pwrite(&buffered, "buffered", 8192));
        see!(log, block.pread(&direct, 8192));
        see!(log, block.bytes()[..8].to_vec());
        let block = AlignedBuffer::new(4096, b'D');
        see!(log, pwrite(&direct, block.bytes(), 4096));
        see!(log, pread(&buffered, 8, 4094));
        see!(log, content("a"));
    }

    fn syncing_changes_nothing(log) {
        let fd = make("a", 100_000);
        see!(log, fsync(&fd));
        see!(log, fdatasync(&fd));
        see!(log, pwrite(&fd, "x", 7));
        see!(log, fdatasync(&fd));
        see!(log, ftruncate(&fd, 50));
        see!(log, fsync(&fd));
        see!(log, syncfs(&fd));
        see!(log, content("a"));
        see!(log, fd.close());
    }

    fn the_limit_of_a_process_holds(log) {
        log.child(|log| {
            see!(log, limit_file_size(10_000));
            let fd = open("a", O_RDWR | O_CREAT, 0o644).unwrap();
            see!(log, write(&fd, pattern(1, 9_999)));
            see!(log, write(&fd, "xy"));
            see!(log, write(&fd, "z"));
            see!(log, ftruncate(&fd, 10_001));
            see!(log, ftruncate(&fd, 10_000));
            see!(log, fstat(&fd));
        });
    }

    fn many_small_writes_in_disorder(log) {
        let fd = open("a", O_RDWR | O_CREAT, 0o644).unwrap();
        for step in 0..2000_i64 {
            let place = (step * 7919) % 2000;
            pwrite(&fd, format!("{place:08}"), place * 100).unwrap();
        }
        see!(log, fstat(&fd));
        see!(log, content("a"));
        see!(log, fsync(&fd));
        drop_cache(&fd);
        see!(log, content("a"));
    }

    fn the_data_survives_a_drop_of_the_cache(log) {
        let fd = make("a", 2_000_000);
        see!(log, pwrite(&fd, pattern(5, 70_000), 123_456));
        see!(log, fsync(&fd));
        drop_cache(&fd);
        see!(log, pread(&fd, 200_000, 100_000));
        see!(log, content("a"));
    }
}
