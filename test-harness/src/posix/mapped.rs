//! Shared and private mappings.

use super::log::pattern;
use super::{cases, see};
use crate::sys::*;

fn make(name: &str, length: usize) -> Fd {
    put(name, pattern(1, length)).unwrap();
    open(name, O_RDWR, 0).unwrap()
}

cases! {
    fn a_shared_mapping_reads_and_writes_the_file(log) {
        let fd = make("a", 20_000);
        let map = Mapping::new(&fd, 20_000, PROT_READ | PROT_WRITE, MAP_SHARED, 0).unwrap();
        see!(log, map.load(0, 10));
        map.store(5000, b"mapped");
        see!(log, pread(&fd, 6, 5000));
        see!(log, pwrite(&fd, "written", 9000));
        see!(log, map.load(9000, 7));
        see!(log, map.sync(libc::MS_SYNC));
        drop(map);
        see!(log, fsync(&fd));
        drop_cache(&fd);
        see!(log, content("a"));
    }

    fn stores_last_after_unmapping(log) {
        let fd = make("a", 100_000);
        {
            let map = Mapping::new(&fd, 100_000, PROT_READ | PROT_WRITE, MAP_SHARED, 0).unwrap();
            for page in 0..24 {
                map.store(page * 4096 + 17, b"stored");
            }
        }
        see!(log, fd.close());
        see!(log, content("a"));
        see!(log, lstat("a"));
    }

    fn msync_flags(log) {
        let fd = make("a", 8192);
        let map = Mapping::new(&fd, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, 0).unwrap();
        map.store(0, b"x");
        see!(log, map.sync(libc::MS_ASYNC));
        see!(log, map.sync(libc::MS_SYNC | libc::MS_INVALIDATE));
        see!(log, map.sync(libc::MS_SYNC | libc::MS_ASYNC));
        see!(log, content("a"));
    }

    fn a_private_mapping_does_not_write(log) {
        let fd = make("a", 8192);
        let map = Mapping::new(&fd, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0).unwrap();
        map.store(0, b"private");
        see!(log, map.load(0, 7));
        see!(log, pread(&fd, 7, 0));
        drop(map);
        see!(log, content("a"));
    }

    fn the_rest_of_the_last_page_is_zero_and_stays_out(log) {
        let fd = make("a", 5000);
        let map = Mapping::new(&fd, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, 0).unwrap();
        see!(log, map.load(4998, 6));
        map.store(6000, b"beyond the end");
        see!(log, map.sync(libc::MS_SYNC));
        see!(log, fstat(&fd));
        see!(log, ftruncate(&fd, 8192));
        drop(map);
        see!(log, fsync(&fd));
        drop_cache(&fd);
        see!(log, pread(&fd, 100, 5990));
    }

    fn touching_past_the_end_is_a_bus_error(log) {
        let fd = make("a", 4096);
        log.child(|log| {
            let map = Mapping::new(&fd, 8192, PROT_READ, MAP_SHARED, 0).unwrap();
            see!(log, map.load(0, 4));
            see!(log, map.load(4096, 1));
        });
        log.child(|log| {
            let map = Mapping::new(&fd, 4096, PROT_READ, MAP_SHARED, 0).unwrap();
            see!(log, ftruncate(&fd, 0));
            see!(log, map.load(0, 1));
        });
    }

    fn a_mapping_sees_the_file_grow(log) {
        let fd = make("a", 4096);
        let map = Mapping::new(&fd, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, 0).unwrap();
        see!(log, pwrite(&fd, pattern(7, 4096), 4096));
        see!(log, map.load(4096, 8));
        map.store(8190, b"zz");
        see!(log, content("a"));
    }

    fn mapping_needs_the_right_to_read_and_write(log) {
        make("a", 4096);
        let reader = open("a", O_RDONLY, 0).unwrap();
        see!(log, Mapping::new(&reader, 4096, PROT_READ, MAP_SHARED, 0));
        see!(log, Mapping::new(&reader, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 0));
        see!(log, Mapping::new(&reader, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0));
        let writer = open("a", O_WRONLY, 0).unwrap();
        see!(log, Mapping::new(&writer, 4096, PROT_READ, MAP_SHARED, 0));
        see!(log, Mapping::new(&writer, 4096, PROT_WRITE, MAP_SHARED, 0));
        let directory = open(".", O_RDONLY | O_DIRECTORY, 0).unwrap();
        see!(log, Mapping::new(&directory, 4096, PROT_READ, MAP_SHARED, 0));
        see!(log, Mapping::new(&reader, 4096, PROT_READ, MAP_SHARED, 100));
        see!(log, Mapping::new(&reader, 0, PROT_READ, MAP_SHARED, 0));
    }

    fn two_processes_share_a_mapping(log) {
        let fd = make("a", 8192);
        let map = Mapping::new(&fd, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, 0).unwrap();
        log.child(|log| {
            let fd = open("a", O_RDWR, 0).unwrap();
            let map = Mapping::new(&fd, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, 0).unwrap();
            map.store(100, b"child");
            see!(log, map.load(100, 5));
        });
        see!(log, map.load(100, 5));
        see!(log, content("a"));
    }

    fn a_mapped_file_stays_after_unlink(log) {
        let fd = make("a", 8192);
        let map = Mapping::new(&fd, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, 0).unwrap();
        see!(log, unlink("a"));
        drop(fd);
        map.store(10, b"alive");
        see!(log, map.sync(libc::MS_SYNC));
        see!(log, map.load(8, 9));
    }

    fn a_mapping_over_a_hole(log) {
        let fd = open("a", O_RDWR | O_CREAT, 0o644).unwrap();
        see!(log, ftruncate(&fd, 1 << 20));
        let map = Mapping::new(&fd, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, 0).unwrap();
        see!(log, map.load(500_000, 4));
        map.store(500_000, b"filled");
        see!(log, map.sync(libc::MS_SYNC));
        drop(map);
        drop_cache(&fd);
        see!(log, content("a"));
    }

    fn a_mapping_at_an_offset(log) {
        let fd = make("a", 300_000);
        let map = Mapping::new(&fd, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, 65_536).unwrap();
        see!(log, map.load(0, 8));
        map.store(8000, b"offset");
        see!(log, pread(&fd, 6, 65_536 + 8000));
    }

    fn punching_under_a_mapping(log) {
        let fd = make("a", 65_536);
        let map = Mapping::new(&fd, 65_536, PROT_READ | PROT_WRITE, MAP_SHARED, 0).unwrap();
        see!(log, map.load(20_000, 4));
        see!(log, fallocate(&fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 16_384, 16_384));
        see!(log, map.load(20_000, 4));
        map.store(20_000, b"back");
        see!(log, content("a"));
    }
}
