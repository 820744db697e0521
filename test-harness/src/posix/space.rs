//! statfs, block counts, and room that comes back.

use super::log::pattern;
use super::{cases, see};
use crate::sys::*;

const MIB: u64 = 1 << 20;

fn free_bytes() -> u64 {
    let stat = statfs(".").unwrap();
    stat.f_bfree * stat.f_bsize as u64
}

cases! {
    fn statfs_is_sane(log) {
        let stat = statfs(".").unwrap();
        see!(log, stat.f_blocks > 0 && stat.f_bfree <= stat.f_blocks && stat.f_bavail <= stat.f_bfree);
        see!(log, stat.f_bsize >= 512 && stat.f_bsize.rem_euclid(512) == 0);
        see!(log, stat.f_namelen);
        see!(log, stat.f_ffree <= stat.f_files);
        see!(log, stat.f_ffree > 1000);
        see!(log, put("a", ""));
        let same = statfs("a").unwrap().f_blocks == stat.f_blocks;
        see!(log, same);
        see!(log, statfs("no").map(drop));
    }

    fn a_large_file_takes_room(log) {
        // Others may use the same disk, so not every look counts.
        let takes = |name: &str| {
            let before = free_bytes();
            put(name, pattern(1, 32 * MIB as usize)).unwrap();
            fsync(&open(name, O_RDWR, 0).unwrap()).unwrap();
            (31 * MIB..80 * MIB).contains(&before.saturating_sub(free_bytes()))
        };
        see!(log, ["a", "b", "c", "d", "e"].into_iter().any(takes));
    }

    fn blocks_are_counted(log) {
        for (name, size) in [("empty", 0), ("large", 4_000_000)] {
            put(name, pattern(1, size)).unwrap();
            fsync(&open(name, O_RDWR, 0).unwrap()).unwrap();
            let stat = lstat(name).unwrap();
            let bytes = stat.st_blocks * 512;
            log.note(&format!("{name} has its blocks"), bytes >= size as i64 && bytes <= size as i64 + 65_536);
        }
        see!(log, lstat("large").unwrap().st_blksize >= 512);
    }

    fn allocated_room_is_not_promised_twice(log) {
        let stat = statfs(".").unwrap();
        let too_much = (stat.f_blocks * stat.f_bsize as u64 * 2) as i64;
        let fd = open("a", O_RDWR | O_CREAT, 0o644).unwrap();
        see!(log, fallocate(&fd, 0, 0, too_much));
        see!(log, ftruncate(&fd, 0));
        see!(log, names("."));
    }
}
