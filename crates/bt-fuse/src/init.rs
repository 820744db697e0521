//! What is agreed with the kernel when a mount begins.

use crate::MountOptions;
use crate::limits::{CONGESTION_THRESHOLD, MAX_BACKGROUND};
use crate::wire::{InitIn, InitOut, MAJOR, MINOR, init_flag};

/// Bytes in a page of the kernel.
const PAGE: u32 = 4096;

/// The features that both transports ask for.
pub(crate) fn wanted_features(options: &MountOptions) -> u64 {
    let mut wanted = init_flag::ASYNC_READ
        | init_flag::ASYNC_DIO
        | init_flag::BIG_WRITES
        | init_flag::MAX_PAGES
        | init_flag::DO_READDIRPLUS
        | init_flag::READDIRPLUS_AUTO
        | init_flag::PARALLEL_DIROPS
        | init_flag::CACHE_SYMLINKS
        | init_flag::NO_OPEN_SUPPORT
        | init_flag::NO_OPENDIR_SUPPORT
        | init_flag::HANDLE_KILLPRIV_V2
        | init_flag::DONT_MASK;
    // Without writeback others may change files: pages go when a file's time or size is not what it was.
    wanted |= if options.writeback { init_flag::WRITEBACK_CACHE } else { init_flag::AUTO_INVAL_DATA };
    if options.posix_acl {
        wanted |= init_flag::POSIX_ACL;
    }
    wanted
}

/// What the kernel offers.
pub(crate) fn offered_features(init: &InitIn) -> u64 {
    let extended = u64::from(init.flags) & init_flag::INIT_EXT != 0;
    u64::from(init.flags) | if extended { u64::from(init.flags2) << 32 } else { 0 }
}

/// The answer to INIT that takes `features`, all of which the kernel offered.
pub(crate) fn answer(init: &InitIn, features: u64, max_write: u32) -> InitOut {
    InitOut {
        major: MAJOR,
        minor: MINOR.min(init.minor),
        max_read_ahead: init.max_read_ahead,
        flags: features as u32,
        flags2: (features >> 32) as u32,
        max_background: MAX_BACKGROUND,
        congestion_threshold: CONGESTION_THRESHOLD,
        max_write,
        time_granularity: 1,
        max_pages: max_write.div_ceil(PAGE) as u16,
        ..InitOut::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_choose_features() {
        let mut options = MountOptions::default();
        let caching = init_flag::WRITEBACK_CACHE | init_flag::AUTO_INVAL_DATA;
        assert_eq!(wanted_features(&options) & caching, init_flag::WRITEBACK_CACHE);
        assert_ne!(wanted_features(&options) & init_flag::POSIX_ACL, 0);
        (options.writeback, options.posix_acl) = (false, false);
        assert_eq!(wanted_features(&options) & caching, init_flag::AUTO_INVAL_DATA);
        assert_eq!(wanted_features(&options) & init_flag::POSIX_ACL, 0);
    }

    #[test]
    fn the_second_word_of_flags_counts_only_when_announced() {
        let mut init = InitIn { flags2: 1 << 9, ..InitIn::default() };
        assert_eq!(offered_features(&init), 0);
        init.flags = init_flag::INIT_EXT as u32;
        assert_eq!(offered_features(&init), init_flag::INIT_EXT | init_flag::OVER_IO_URING);
        let out = answer(&init, init_flag::OVER_IO_URING | init_flag::INIT_EXT, 1 << 20);
        assert_eq!((out.flags, out.flags2, out.max_pages), (init_flag::INIT_EXT as u32, 1 << 9, 256));
    }
}
