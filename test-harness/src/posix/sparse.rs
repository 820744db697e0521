//! Holes: seeking them, punching them, allocating over them.

use super::log::pattern;
use super::{cases, see};
use crate::sys::*;

const MIB: i64 = 1 << 20;

/// A file of 4 MiB with data in its second MiB only.
fn island(name: &str) -> Fd {
    let fd = open(name, O_RDWR | O_CREAT, 0o644).unwrap();
    pwrite(&fd, pattern(1, MIB as usize), MIB).unwrap();
    ftruncate(&fd, 4 * MIB).unwrap();
    fsync(&fd).unwrap();
    fd
}

cases! {
    fn seeking_data_and_holes(log) {
        let fd = island("a");
        for offset in [0, MIB - 1, MIB, MIB + 5, 2 * MIB - 1, 2 * MIB, 3 * MIB, 4 * MIB - 1, 4 * MIB, 5 * MIB, -1] {
            see!(log, seek(&fd, offset, SEEK_DATA));
            see!(log, seek(&fd, offset, SEEK_HOLE));
        }
    }

    fn seeking_in_dense_and_empty_files(log) {
        see!(log, put("dense", pattern(1, 100_000)));
        let dense = open("dense", O_RDONLY, 0).unwrap();
        see!(log, seek(&dense, 0, SEEK_DATA));
        see!(log, seek(&dense, 0, SEEK_HOLE));
        see!(log, seek(&dense, 50_000, SEEK_DATA));
        see!(log, seek(&dense, 50_000, SEEK_HOLE));
        see!(log, seek(&dense, 100_000, SEEK_HOLE));
        see!(log, put("small", "small"));
        let small = open("small", O_RDONLY, 0).unwrap();
        see!(log, seek(&small, 0, SEEK_DATA));
        see!(log, seek(&small, 0, SEEK_HOLE));
        see!(log, seek(&small, 5, SEEK_DATA));
        see!(log, put("empty", ""));
        let empty = open("empty", O_RDONLY, 0).unwrap();
        see!(log, seek(&empty, 0, SEEK_DATA));
        see!(log, seek(&empty, 0, SEEK_HOLE));
        see!(log, truncate("empty", MIB));
        see!(log, seek(&empty, 0, SEEK_DATA));
        see!(log, seek(&empty, 0, SEEK_HOLE));
    }

    fn dirty_data_is_data(log) {
        let fd = open("a", O_RDWR | O_CREAT, 0o644).unwrap();
        see!(log, ftruncate(&fd, 2 * MIB));
        see!(log, pwrite(&fd, pattern(1, MIB as usize), 0));
        see!(log, seek(&fd, 0, SEEK_DATA));
        see!(log, seek(&fd, 0, SEEK_HOLE));
        see!(log, seek(&fd, MIB, SEEK_DATA));
    }

    fn a_sparse_file_takes_little_room(log) {
        let fd = open("a", O_RDWR | O_CREAT, 0o644).unwrap();
        see!(log, ftruncate(&fd, 1 << 40));
        see!(log, pwrite(&fd, "x", 1 << 39));
        see!(log, fsync(&fd));
        see!(log, fstat(&fd));
        see!(log, fstat(&fd).unwrap().st_blocks < 1000);
        see!(log, pread(&fd, 3, (1 << 39) - 1));
    }

    fn a_file_of_16_tib(log) {
        // ext4 with blocks of 4 KiB ends one block below 16 TiB.
        let size = (1_i64 << 44) - 8192;
        let fd = open("a", O_RDWR | O_CREAT, 0o644).unwrap();
        see!(log, ftruncate(&fd, size));
        see!(log, pwrite(&fd, "the end", size - 7));
        see!(log, fsync(&fd));
        drop_cache(&fd);
        see!(log, fstat(&fd));
        see!(log, pread(&fd, 20, size - 7));
        see!(log, seek(&fd, 0, SEEK_DATA).unwrap() > size - 20_000);
        see!(log, ftruncate(&fd, 10));
        see!(log, fstat(&fd));
    }

    fn punching_a_hole(log) {
        put("a", pattern(2, 4 * MIB as usize)).unwrap();
        let fd = open("a", O_RDWR, 0).unwrap();
        see!(log, fallocate(&fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MIB, MIB));
        see!(log, fstat(&fd));
        see!(log, content("a"));
        see!(log, fsync(&fd));
        drop_cache(&fd);
        see!(log, content("a"));
        see!(log, seek(&fd, 0, SEEK_HOLE));
        see!(log, seek(&fd, MIB, SEEK_DATA));
        see!(log, pwrite(&fd, "in the hole", MIB + MIB / 2));
        see!(log, content("a"));
    }

    fn punching_parts_of_pages(log) {
        put("a", pattern(2, 100_000)).unwrap();
        let fd = open("a", O_RDWR, 0).unwrap();
        for (offset, length) in [(10, 5), (4000, 200), (8192, 1), (20_000, 30_000), (99_999, 1), (70_000, 1 << 30)] {
            see!(log, fallocate(&fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length));
            see!(log, content("a"));
        }
        see!(log, fstat(&fd));
    }

    fn punching_a_small_file(log) {
        put("a", "0123456789").unwrap();
        let fd = open("a", O_RDWR, 0).unwrap();
        see!(log, fallocate(&fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3, 4));
        see!(log, content("a"));
        see!(log, fallocate(&fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 4));
        see!(log, fstat(&fd));
    }

    fn zeroing_a_range(log) {
        put("a", pattern(2, 200_000)).unwrap();
        let fd = open("a", O_RDWR, 0).unwrap();
        see!(log, fallocate(&fd, FALLOC_FL_ZERO_RANGE, 1000, 50_000));
        see!(log, content("a"));
        see!(log, fallocate(&fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 190_000, 50_000));
        see!(log, fstat(&fd));
        see!(log, content("a"));
        see!(log, fallocate(&fd, FALLOC_FL_ZERO_RANGE, 195_000, 50_000));
        see!(log, fstat(&fd));
        see!(log, content("a"));
        see!(log, fsync(&fd));
        drop_cache(&fd);
        see!(log, content("a"));
    }

    fn allocating_grows_the_file(log) {
        let fd = open("a", O_RDWR | O_CREAT, 0o644).unwrap();
        see!(log, fallocate(&fd, 0, 0, 100_000));
        see!(log, fstat(&fd));
        see!(log, content("a"));
        see!(log, fallocate(&fd, 0, 50_000, 100_000));
        see!(log, fstat(&fd));
        see!(log, pwrite(&fd, "x", 120_000));
        see!(log, content("a"));
        see!(log, posix_fallocate(&fd, 0, 200_000));
        see!(log, fstat(&fd));
    }

    fn allocating_keeps_what_is_there(log) {
        put("a", pattern(3, 50_000)).unwrap();
        let fd = open("a", O_RDWR, 0).unwrap();
        see!(log, fallocate(&fd, 0, 10, 20_000));
        see!(log, content("a"));
        see!(log, fallocate(&fd, FALLOC_FL_KEEP_SIZE, 0, 500_000));
        see!(log, fstat(&fd));
        see!(log, content("a"));
        see!(log, pwrite(&fd, "more", 300_000));
        see!(log, content("a"));
    }

    fn fallocate_errors(log) {
        put("a", pattern(3, 50_000)).unwrap();
        let fd = open("a", O_RDWR, 0).unwrap();
        see!(log, fallocate(&fd, 0, -1, 10));
        see!(log, fallocate(&fd, 0, 0, 0));
        see!(log, fallocate(&fd, 0, 0, -1));
        see!(log, fallocate(&fd, FALLOC_FL_PUNCH_HOLE, 0, 10));
        see!(log, fallocate(&fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0, 10));
        see!(log, fallocate(&fd, 1 << 12, 0, 10));
        see!(log, fallocate(&fd, 0, i64::MAX - 5, 10));
        see!(log, fallocate(&fd, 0, i64::MAX - 5, 5));
        let reader = open("a", O_RDONLY, 0).unwrap();
        see!(log, fallocate(&reader, 0, 0, 10));
        let directory = open(".", O_RDONLY | O_DIRECTORY, 0).unwrap();
        see!(log, fallocate(&directory, 0, 0, 10));
        see!(log, content("a"));
    }

    fn collapsing_and_inserting(log) {
        put("a", pattern(3, 300_000)).unwrap();
        let fd = open("a", O_RDWR, 0).unwrap();
        see!(log, fallocate(&fd, FALLOC_FL_COLLAPSE_RANGE, 65_536, 65_536));
        see!(log, fstat(&fd));
        see!(log, fallocate(&fd, FALLOC_FL_INSERT_RANGE, 65_536, 65_536));
        see!(log, fstat(&fd));
    }

    fn holes_between_many_islands(log) {
        let fd = open("a", O_RDWR | O_CREAT, 0o644).unwrap();
        for island in 0..50 {
            pwrite(&fd, pattern(island as u8, 65_536), island * 262_144).unwrap();
        }
        see!(log, fsync(&fd));
        let mut edges = Vec::new();
        let mut at = 0;
        while let Ok(data) = seek(&fd, at, SEEK_DATA) {
            at = seek(&fd, data, SEEK_HOLE).unwrap();
            edges.push(format!("{data}-{at}"));
        }
        see!(log, edges.join(" ").into_bytes());
        drop_cache(&fd);
        see!(log, content("a"));
    }

    fn writing_zeros_keeps_the_size(log) {
        let fd = open("a", O_RDWR | O_CREAT, 0o644).unwrap();
        see!(log, write(&fd, vec![0; 100_000]));
        see!(log, fsync(&fd));
        drop_cache(&fd);
        see!(log, fstat(&fd));
        see!(log, content("a"));
    }

    fn punching_frees_room(log) {
        put("a", pattern(4, 8 * MIB as usize)).unwrap();
        let fd = open("a", O_RDWR, 0).unwrap();
        see!(log, fsync(&fd));
        see!(log, fstat(&fd).unwrap().st_blocks >= 8 * MIB / 512);
        see!(log, fallocate(&fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 7 * MIB));
        see!(log, fsync(&fd));
        see!(log, fstat(&fd).unwrap().st_blocks <= 2 * MIB / 512);
    }
}
