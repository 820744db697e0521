//! Bounds that the formats and the memory of a node rest on.

/// The most file data in one block.
pub const BLOCK_SIZE: usize = 16 * 1024;
/// The unit of dirty data.
pub const PAGE_SIZE: usize = 4096;
/// Pages in a full block.
pub const PAGES_PER_BLOCK: usize = BLOCK_SIZE / PAGE_SIZE;
/// Bytes that sealing adds to a block: the GCM tag.
pub const TAG_SIZE: usize = 16;
/// The most sealed bytes in one segment.
pub const SEGMENT_SIZE: usize = 8 * 1024 * 1024;
/// The most blocks in one segment.
pub const SEGMENT_BLOCKS: usize = 4096;
/// A file up to this size may be stored inside the index.
pub const INLINE_SIZE: usize = 4096;
/// Blocks that one extent record holds.
pub const EXTENT_BLOCKS: usize = 16;
/// The longest name of a directory entry, in bytes.
pub const NAME_SIZE: usize = 255;
/// The longest name of an extended attribute, in bytes.
pub const XATTR_NAME_SIZE: usize = 255;
/// The largest value of an extended attribute, in bytes; what a block of the index can hold.
pub const XATTR_VALUE_SIZE: usize = 8 * 1024;
/// The longest target of a symbolic link, in bytes.
pub const SYMLINK_SIZE: usize = 4095;
/// The largest file: 16 TiB.
pub const FILE_SIZE: u64 = 16 << 40;
/// The longest life of a session key, in seconds.
pub const SESSION_SECONDS: i64 = 24 * 3600;
