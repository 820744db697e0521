//! Bounds on the files, caches and loops of the store.

use bt_base::limits::{SEGMENT_BLOCKS, SEGMENT_SIZE};

/// The unit in which segments and journal batches are placed, in bytes: a page, and a multiple of every sector.
pub const ALIGNMENT: u64 = 4096;
/// A container takes no further segment once it has this many bytes.
pub const CONTAINER_BYTES: u64 = 64 << 20;
/// Segments of at least this many bytes are written past the page cache: 1 ms of processor time for 8 MiB against 10
/// to 17 ms, and 100 us against 170 us for 128 KiB, on the ext4 of the reference machine.
pub const DIRECT_WRITE_BYTES: u64 = 64 << 10;
/// The most sealed bytes in one segment.
pub const SEGMENT_BYTES: usize = SEGMENT_SIZE;
/// The most blocks in one segment.
pub const SEGMENT_BLOCK_COUNT: usize = SEGMENT_BLOCKS;
/// Blocks whose places are kept in memory, over all cached tables of segments (12 bytes a block).
pub const CACHED_BLOCK_PLACES: u64 = 1 << 20;
/// Containers that are open at a time, for reading.
pub const OPEN_CONTAINERS: usize = 256;
/// How often a read that a move of its segment overtook is tried again.
pub const READ_RETRIES: usize = 16;
/// The location map is rewritten when more than half of it is garbage and it has at least this many entries.
pub const LOCATIONS_REWRITE_ENTRIES: usize = 1024;
/// The most entries that the location map is loaded with: 6 GiB of entries, half a petabyte of full segments.
pub const LOCATIONS_ENTRIES: u64 = 64 << 20;
/// One slot of a file of heads, in bytes.
pub const HEAD_SLOT_BYTES: u64 = 64 << 10;
/// The longest record of a file of records, in bytes.
pub const RECORD_BYTES: usize = 64 << 10;
/// The longest file of records, in bytes.
pub const RECORD_FILE_BYTES: u64 = 8 << 20;
/// The size of a journal unless another is asked for, in bytes.
pub const JOURNAL_BYTES: u64 = 64 << 20;
/// The smallest journal, in bytes.
pub const JOURNAL_MIN_BYTES: u64 = 4 * ALIGNMENT;
/// The size of the ballast unless another is asked for, in bytes.
pub const BALLAST_BYTES: u64 = 16 << 20;
/// Zeros are written and files are scanned in pieces of this size, in bytes.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Containers are searched for headers in pieces of this size, in bytes; the longest header fits one.
pub const SCAN_BYTES: usize = 64 << 10;
/// The longest name of a file, in bytes.
pub const NAME_BYTES: usize = 512;
