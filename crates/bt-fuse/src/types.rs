//! What the calls of [`crate::FileSystem`] take and return.

use std::time::Duration;

/// Who asks: ids as the kernel gives them.
///
/// They are the ids of the thread that made the system call. Requests that the kernel makes on its own (writeback)
/// carry zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// File-system user id.
    pub uid: u32,
    /// File-system group id.
    pub gid: u32,
    /// Process id, 0 when the kernel asks for itself.
    pub pid: u32,
}

/// A time since the epoch; negative seconds are before it, nanoseconds always count forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Whole seconds.
    pub seconds: i64,
    /// Nanoseconds within the second, below 1,000,000,000.
    pub nanos: u32,
}

/// What stat(2) shows of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// The node's number: what later calls name it by, and its inode number.
    pub node: u64,
    /// Size in bytes.
    pub size: u64,
    /// Space used, in 512-byte units.
    pub blocks: u64,
    /// Last read.
    pub atime: Time,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of the attributes.
    pub ctime: Time,
    /// File type (`S_IFMT`) and permissions.
    pub mode: u32,
    /// Number of names.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number, for device files.
    pub rdev: u32,
    /// Preferred size of a read or write, in bytes.
    pub blksize: u32,
}

/// A name that was found or made.
///
/// `attr.node` 0: the name does not exist, and the kernel may remember that for `entry_valid`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What the name leads to.
    pub attr: Attr,
    /// How long the kernel may keep the attributes.
    pub attr_valid: Duration,
    /// How long the kernel may keep the name.
    pub entry_valid: Duration,
}

/// A time to set: given, or the clock's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeOrNow {
    /// This time.
    Time(Time),
    /// The file system's present time.
    Now,
}

/// What to change of a node; `None` leaves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permissions (the file type bits are to be ignored).
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size in bytes: cut, or lengthened with a hole.
    pub size: Option<u64>,
    /// Last read.
    pub atime: Option<TimeOrNow>,
    /// Last change of the content.
    pub mtime: Option<TimeOrNow>,
    /// Last change of the attributes; sent by a kernel that keeps times itself (writeback cache).
    pub ctime: Option<Time>,
    /// Drop set-user-id, and set-group-id of a group-executable file, as for a write by who may not keep them.
    pub kill_suidgid: bool,
}

/// What statfs(2) shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatFs {
    /// Bytes in a block, the unit of the next three.
    pub block_size: u32,
    /// All blocks.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Free blocks for who is not root.
    pub blocks_available: u64,
    /// All file nodes.
    pub files: u64,
    /// Free file nodes.
    pub files_free: u64,
    /// The longest name in bytes.
    pub name_max: u32,
}

/// The calls that a file system may ask to have run by a worker thread, see [`crate::FileSystem::may_wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowCall {
    /// `fsync`.
    Fsync,
    /// `read` of much: another core can prepare it while the program works on what it has. Only io_uring asks.
    LargeRead,
    /// `write`.
    Write,
    /// `copy_file_range`.
    CopyFileRange,
    /// `fallocate`.
    Fallocate,
    /// `setattr` that changes the size.
    Truncate,
    /// `lseek` for data or a hole.
    Seek,
}
