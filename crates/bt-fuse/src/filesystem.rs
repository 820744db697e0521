//! The trait that both transports serve.

use std::time::Duration;

use crate::{Attr, Caller, Entry, Kernel, Result, SetAttr, SlowCall, StatFs};

/// Takes directory entries until it is full.
pub trait DirSink {
    /// Offers one entry. False: full, the entry was not taken.
    ///
    /// `cookie` is what the kernel passes as `offset` to go on after this entry. `file_type` holds the `S_IFMT` bits.
    /// `entry` is Some when the kernel asked READDIRPLUS: an entry taken so counts as one lookup. For "." and ".." it
    /// is None: they never count.
    fn add(&mut self, node: u64, cookie: u64, file_type: u32, name: &[u8], entry: Option<&Entry>) -> bool;
}

/// A file system as the kernel sees it: nodes by number, names below directories.
///
/// Node 1 is the root. Calls come from several threads at once. Names are 1 to 255 bytes without NUL and '/'; "." and
/// ".." come only to `lookup`, and only from an exporting NFS server. There are no open files: reads and writes
/// name the node, which stays alive while its lookup count (each returned [`Entry`] with a node adds one, `forget`
/// takes away) is above zero, also after its last name is gone.
///
/// Permissions: the kernel checks modes and ACLs itself (`default_permissions`).
pub trait FileSystem: Send + Sync + 'static {
    /// Finds a name. A missing one is ENOENT, or an [`Entry`] with node 0 that the kernel may remember.
    fn lookup(&self, caller: &Caller, parent: u64, name: &[u8]) -> Result<Entry>;
    /// The kernel drops `count` lookups of a node. After unmounting, what was not dropped counts as dropped.
    fn forget(&self, node: u64, count: u64);
    /// The attributes, and how long the kernel may keep them.
    fn getattr(&self, node: u64) -> Result<(Attr, Duration)>;
    /// Changes attributes and returns the new ones.
    fn setattr(&self, caller: &Caller, node: u64, change: &SetAttr) -> Result<(Attr, Duration)>;
    /// The target of a symbolic link.
    fn readlink(&self, node: u64) -> Result<Vec<u8>>;
    /// Makes a file, device, fifo or socket. `mode` has the type; `umask` is to be applied unless the parent has a
    /// default ACL.
    fn mknod(&self, caller: &Caller, parent: u64, name: &[u8], mode: u32, umask: u32, rdev: u32) -> Result<Entry>;
    /// Makes a directory; `mode` and `umask` as for `mknod`.
    fn mkdir(&self, caller: &Caller, parent: u64, name: &[u8], mode: u32, umask: u32) -> Result<Entry>;
    /// Makes a symbolic link.
    fn symlink(&self, caller: &Caller, parent: u64, name: &[u8], target: &[u8]) -> Result<Entry>;
    /// Gives a node one more name.
    fn link(&self, caller: &Caller, node: u64, parent: u64, name: &[u8]) -> Result<Entry>;
    /// Makes a file without a name in the zone of `parent`; it lives until forgotten, or until `link` names it.
    fn tmpfile(&self, caller: &Caller, parent: u64, mode: u32, umask: u32) -> Result<Entry>;
    /// Removes a name that is not a directory's.
    fn unlink(&self, caller: &Caller, parent: u64, name: &[u8]) -> Result<()>;
    /// Removes an empty directory.
    fn rmdir(&self, caller: &Caller, parent: u64, name: &[u8]) -> Result<()>;
    /// Renames; `flags` are `RENAME_NOREPLACE`, `RENAME_EXCHANGE`, `RENAME_WHITEOUT` of renameat2(2), EINVAL for
    /// what is not supported.
    #[allow(clippy::too_many_arguments)] // The arguments of renameat2(2) and who asks.
    fn rename(
        &self,
        caller: &Caller,
        parent: u64,
        name: &[u8],
        new_parent: u64,
        new_name: &[u8],
        flags: u32,
    ) -> Result<()>;
    /// Fills `out` from `offset`; returns the bytes read, short only at the end of the file.
    fn read(&self, node: u64, offset: u64, out: &mut [u8]) -> Result<usize>;
    /// Writes all of `data` or fails; returns the bytes written. `kill_suidgid` as in [`SetAttr`].
    fn write(&self, caller: &Caller, node: u64, offset: u64, data: &[u8], kill_suidgid: bool) -> Result<usize>;
    /// Makes the file, or the directory's names, durable; `data_only` as fdatasync(2).
    fn fsync(&self, node: u64, data_only: bool) -> Result<()>;
    /// Offers the entries after the cookie `offset` (0: from the start) to `sink` until it is full or they end.
    /// `plus`: with their [`Entry`], which then counts as a lookup if taken.
    fn readdir(&self, node: u64, offset: u64, plus: bool, sink: &mut dyn DirSink) -> Result<()>;
    /// Space and limits.
    fn statfs(&self) -> Result<StatFs>;
    /// The value of an extended attribute; ENODATA when there is none.
    fn getxattr(&self, caller: &Caller, node: u64, name: &[u8]) -> Result<Vec<u8>>;
    /// The names of all extended attributes, each ended by NUL.
    fn listxattr(&self, caller: &Caller, node: u64) -> Result<Vec<u8>>;
    /// Sets an extended attribute. `flags`: `XATTR_CREATE`, `XATTR_REPLACE`. `kill_sgid`: setting this access ACL
    /// also drops set-group-id.
    fn setxattr(
        &self,
        caller: &Caller,
        node: u64,
        name: &[u8],
        value: &[u8],
        flags: u32,
        kill_sgid: bool,
    ) -> Result<()>;
    /// Removes an extended attribute; ENODATA when there is none.
    fn removexattr(&self, caller: &Caller, node: u64, name: &[u8]) -> Result<()>;
    /// fallocate(2); `mode` are its `FALLOC_FL_*`, EOPNOTSUPP for what is not supported.
    fn fallocate(&self, caller: &Caller, node: u64, offset: u64, len: u64, mode: u32) -> Result<()>;
    /// The next data or hole; `whence` is `SEEK_DATA` or `SEEK_HOLE`; ENXIO past the end.
    fn lseek(&self, node: u64, offset: u64, whence: u32) -> Result<u64>;
    /// Copies up to `len` bytes between files; returns how many.
    #[allow(clippy::too_many_arguments)] // The arguments of copy_file_range(2) and who asks.
    fn copy_file_range(
        &self,
        caller: &Caller,
        from: u64,
        from_offset: u64,
        to: u64,
        to_offset: u64,
        len: u64,
    ) -> Result<u64>;
    /// True: the call may wait long (a large fsync); the transport has it made, and answered, by a worker thread. So it
    /// does, unasked, with syncs that come while another is under way.
    fn may_wait(&self, call: SlowCall, node: u64) -> bool;
    /// The mount is about to be served; `kernel` takes what the file system asks of the kernel.
    fn connected(&self, kernel: Kernel) {
        drop(kernel);
    }
    /// The connection is gone (unmounted). No call follows.
    fn destroyed(&self) {}
}
