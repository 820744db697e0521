//! How much memory and journal an open zone takes before somebody waits.

/// Bounds of one open zone.
pub(super) struct Limits {
    /// Bytes of dirty pages at which writers wait.
    pub(super) dirty_bytes: usize,
    /// Bytes of dirty pages at which a flush begins.
    pub(super) flush_bytes: usize,
    /// Dirty index nodes at which operations wait.
    pub(super) dirty_nodes: usize,
    /// Dirty index nodes at which a commit begins.
    pub(super) commit_nodes: usize,
    /// Bytes of the node cache.
    pub(super) node_cache_bytes: u64,
    /// Bytes of the cache of file data.
    pub(super) block_cache_bytes: u64,
    /// Bytes of each file of the zone's records.
    pub(super) record_bytes: u64,
    /// Live bytes of the segments that one step of sealing snapshots anew takes.
    pub(super) reseal_bytes: u64,
    /// Nodes of snapshots that such a step writes again for their own sake.
    pub(super) reseal_nodes: usize,
}

/// Log records that wait for the journal, in bytes, at which a commit begins.
pub(super) const COMMIT_LOG_BYTES: usize = 8 << 20;
/// Segments since the last head at which a commit begins; a head lists them all.
pub(super) const COMMIT_SEGMENTS: usize = 400;
/// Seconds after which changes are committed.
pub(super) const COMMIT_SECONDS: u64 = 5;
/// Bytes to make durable by one fsync above which file content goes to a segment, and the journal names it.
pub(super) const SEGMENT_SYNC_BYTES: usize = 256 << 10;
/// Files that one step of a flush takes, so that the state is not locked for long.
pub(super) const FLUSH_FILES: usize = 256;
/// Rounds in which a commit flushes what was acknowledged meanwhile, before it stops operations for the rest.
pub(super) const FLUSH_ROUNDS: usize = 8;
/// Seconds of life below which a session key is replaced.
pub(super) const SESSION_RENEW_SECONDS: i64 = 12 * 3600;

/// Parts of files that are remembered as asked for.
pub(super) const AROUND_PARTS: usize = 16 << 10;

impl Limits {
    /// Bounds that together stay within `memory_bytes`.
    pub(super) fn within(memory_bytes: u64) -> Self {
        let share = |percent: u64| memory_bytes / 100 * percent;
        let node = bt_base::limits::BLOCK_SIZE;
        Self {
            dirty_bytes: share(32) as usize,
            flush_bytes: share(8) as usize,
            dirty_nodes: share(24) as usize / node,
            commit_nodes: share(12) as usize / node,
            node_cache_bytes: share(24),
            block_cache_bytes: share(10),
            record_bytes: crate::identity::FILE_SIZE,
            reseal_bytes: 32 << 20,
            reseal_nodes: 1024,
        }
    }
}
