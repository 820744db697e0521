//! Bounds on what the transports keep.

/// The largest request in bytes that is asked for: what the kernel allows by default (256 pages).
pub(crate) const MAX_WRITE: u32 = 1 << 20;
/// The smallest size of a request that makes sense: a page.
pub(crate) const MIN_WRITE: u32 = 4096;
/// The longest name of a directory entry, in bytes.
pub(crate) const NAME_SIZE: usize = 255;
/// The longest name of an extended attribute, in bytes.
pub(crate) const XATTR_NAME_SIZE: usize = 255;
/// The longest target of a symbolic link, in bytes.
pub(crate) const SYMLINK_SIZE: usize = 4095;
/// Background requests (read-ahead, writeback) that the kernel may have under way; its own default is 12.
pub(crate) const MAX_BACKGROUND: u16 = 64;
/// From here the kernel thinks the device busy and starts no more read-ahead.
pub(crate) const CONGESTION_THRESHOLD: u16 = 48;
/// Bytes from which a read may be made by a worker: preparing them takes longer than handing the call over.
pub(crate) const LARGE_READ: u32 = 256 << 10;
/// Threads for calls that may wait. They mostly sleep; the more, the more fsyncs share one group commit.
pub(crate) const WORKERS: usize = 8;
/// Calls that wait for a worker; beyond, the thread that received a call makes it itself.
pub(crate) const WORKER_QUEUE: usize = 256;
/// Requests that one core's queue can hold at a time, beyond which programs on that core wait. Each has memory of the
/// largest request's size, most of which is never touched: the kernel takes the place it used last.
pub(crate) const QUEUE_PLACES: usize = 16;
/// As few as a queue may have: one for a call that waits, one to go on with.
pub(crate) const QUEUE_PLACES_MIN: usize = 2;
/// Memory of all places of a mount, in bytes; with many cores the queues have fewer places.
pub(crate) const QUEUES_MEMORY: usize = 256 << 20;
/// How long the kernel may gather FORGETs, in milliseconds, once it sends some: removing many files makes one each.
pub(crate) const FORGET_PAUSE_MS: u64 = 2;
/// Requests that must follow each other closely before cores are kept awake.
pub(crate) const AWAKE_AFTER: u32 = 4;
/// How closely, in microseconds.
pub(crate) const AWAKE_DENSE_US: u64 = 500;
/// After this long without a request, in milliseconds, cores may halt again.
pub(crate) const AWAKE_QUIET_MS: u64 = 2;
/// The most cores of a machine on which they are kept awake; it is all of them or none.
pub(crate) const AWAKE_CORES: usize = 16;
/// The most serving threads of the fuser transport.
pub(crate) const MAX_THREADS: usize = 64;
