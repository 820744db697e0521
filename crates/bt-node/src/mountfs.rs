//! The zone as the kernel's file system: numbers of nodes, snapshots as directories, errors as errno.
//!
//! A live inode is its own node number. `.snapshots` in the root directory is a node of its own; below it each
//! snapshot's inodes have their number with the snapshot's number above bit 44, so they never meet live ones.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bt_base::Timestamp;
use bt_base::limits::{BLOCK_SIZE, NAME_SIZE};
use bt_fuse::{Attr, Caller, DirSink, Entry, Errno, FileSystem, Kernel, SetAttr, SlowCall, StatFs, Time, TimeOrNow};
use bt_tree::index::Tree;
use bt_tree::schema::{Inode, ROOT_INODE};
use bt_tree::zone::SnapshotRecord;
use bt_vfs::op::Change;
use bt_vfs::view::{self, Listed};
use bt_vfs::{Allocate, AttributeFlags, Refusal, RenameFlags, Seek, ShareRange};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::system::file_time;

type Result<T> = bt_fuse::Result<T>;

/// The name under which snapshots are found in the root directory; it is not listed.
const SNAPSHOTS: &[u8] = b".snapshots";
const SNAPSHOTS_NODE: u64 = 1 << 63;
const SNAPSHOT_SHIFT: u32 = 44;
const INODE_BITS: u64 = (1 << SNAPSHOT_SHIFT) - 1;

const DIRECTORY: u32 = 0o040000;
const SYMLINK: u32 = 0o120000;

/// While this mount is the only one that writes, what the kernel knows stays true.
const VALID: Duration = Duration::from_secs(24 * 3600);
/// Snapshots come and go without the kernel.
const SNAPSHOTS_VALID: Duration = Duration::ZERO;

/// What a node number stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Live(u64),
    Snapshots,
    Frozen { snapshot: u64, inode: u64 },
}

impl Place {
    fn of(node: u64) -> Self {
        if node == SNAPSHOTS_NODE {
            return Self::Snapshots;
        }
        match node >> SNAPSHOT_SHIFT {
            0 => Self::Live(node),
            snapshot => Self::Frozen { snapshot, inode: node & INODE_BITS },
        }
    }
}

/// One mount of a zone.
pub(crate) struct MountedZone {
    engine: Arc<Engine>,
    read_only: bool,
    /// What this mount asks of the kernel.
    kernel: OnceLock<Kernel>,
    /// Seeks that wait for the kernel to write a file out.
    seeking: AtomicUsize,
}

/// Seeks that may wait at the same time: other workers must be left to take what the kernel writes.
const SEEKS_AT_ONCE: usize = 4;

fn errno(error: EngineError) -> Errno {
    match error {
        EngineError::Refused(refusal) => match refusal {
            Refusal::NotFound => Errno::ENOENT,
            Refusal::Exists => Errno::EEXIST,
            Refusal::NotDirectory => Errno::ENOTDIR,
            Refusal::IsDirectory => Errno::EISDIR,
            Refusal::NotEmpty => Errno::ENOTEMPTY,
            Refusal::NameTooLong => Errno::ENAMETOOLONG,
            Refusal::Invalid => Errno::EINVAL,
            Refusal::TooLarge => Errno::EFBIG,
            Refusal::NoAttribute => Errno::ENODATA,
            Refusal::NoSpace => Errno::ENOSPC,
            Refusal::ReadOnly => Errno::EROFS,
            Refusal::Unsupported => Errno::EOPNOTSUPP,
            Refusal::NotPermitted => Errno::EPERM,
            Refusal::TooManyLinks => Errno::EMLINK,
            Refusal::NoSuchOffset => Errno::ENXIO,
            Refusal::Busy => Errno::EBUSY,
            Refusal::Closed => Errno::EACCES,
            Refusal::Stale => Errno::ESTALE,
        },
        EngineError::Stopped(_) => Errno::EROFS,
        error if error.is_no_space() => Errno::ENOSPC,
        error => {
            tracing::error!(%error, "an operation failed");
            Errno::EIO
        }
    }
}

fn time(at: Timestamp) -> Time {
    Time { seconds: at.seconds, nanos: at.nanos }
}

fn attr(node: u64, inode: &Inode) -> Attr {
    let is_dir = inode.mode & view::TYPE_BITS == DIRECTORY;
    Attr {
        node,
        size: if is_dir { inode.entries.saturating_mul(32).max(4096) } else { inode.size },
        blocks: if is_dir { 8 } else { inode.stored.div_ceil(512) },
        atime: time(inode.atime),
        mtime: time(inode.mtime),
        ctime: time(inode.ctime),
        mode: inode.mode,
        nlink: inode.nlink,
        uid: inode.uid,
        gid: inode.gid,
        rdev: inode.rdev,
        blksize: BLOCK_SIZE as u32,
    }
}

fn entry(node: u64, inode: &Inode) -> Entry {
    Entry { attr: attr(node, inode), attr_valid: VALID, entry_valid: VALID }
}

/// A name that does not exist; the kernel may remember that.
fn absent() -> Entry {
    Entry { attr: attr(0, &Inode::default()), attr_valid: Duration::ZERO, entry_valid: VALID }
}

impl MountedZone {
    pub(crate) fn new(engine: Arc<Engine>, read_only: bool) -> Self {
        Self { engine, read_only, kernel: OnceLock::new(), seeking: AtomicUsize::new(0) }
    }

    /// The inode number of a node that can be changed.
    fn live(&self, node: u64) -> Result<u64> {
        match Place::of(node) {
            Place::Live(inode) if !self.read_only => Ok(inode),
            _ => Err(Errno::EROFS),
        }
    }

    fn inode(&self, node: u64) -> Result<Inode> {
        match Place::of(node) {
            Place::Live(inode) => self.engine.inode(inode).map_err(errno),
            Place::Snapshots => Ok(self.snapshots_inode()),
            Place::Frozen { snapshot, inode } => {
                let tree = self.frozen(snapshot)?;
                view::inode(&tree, &self.engine.source, inode).map_err(|error| errno(error.into()))
            }
        }
    }

    /// The directory of snapshots: read-only, as old as the zone's root.
    fn snapshots_inode(&self) -> Inode {
        let root = self.engine.inode(ROOT_INODE).unwrap_or_default();
        Inode { mode: DIRECTORY | 0o555, nlink: 2, entries: 0, ..root }
    }

    fn snapshots(&self) -> Result<Vec<(Vec<u8>, SnapshotRecord)>> {
        self.engine.snapshot_records().map_err(errno)
    }

    fn frozen(&self, snapshot: u64) -> Result<Tree> {
        let all = self.snapshots()?;
        let found = all.iter().find(|(_, record)| record.number == snapshot);
        found.map(|(_, record)| record.tree()).ok_or(Errno::ESTALE)
    }

    fn lookup_in_snapshots(&self, name: &[u8]) -> Result<Entry> {
        let all = self.snapshots()?;
        let Some((_, record)) = all.iter().find(|(own, _)| own == name) else {
            return Err(Errno::ENOENT);
        };
        let node = record.number << SNAPSHOT_SHIFT | ROOT_INODE;
        let inode = self.inode(node)?;
        Ok(Entry { entry_valid: SNAPSHOTS_VALID, ..entry(node, &inode) })
    }

    fn lookup_frozen(&self, snapshot: u64, directory: u64, name: &[u8]) -> Result<Entry> {
        let tree = self.frozen(snapshot)?;
        let source = &self.engine.source;
        let found = view::name(&tree, source, directory, name).map_err(|error| errno(error.into()))?;
        let Some(found) = found else { return Ok(absent()) };
        let inode = view::inode(&tree, source, found.inode).map_err(|error| errno(error.into()))?;
        Ok(entry(snapshot << SNAPSHOT_SHIFT | found.inode, &inode))
    }

    #[expect(clippy::too_many_arguments, reason = "the operation has this many parts")]
    fn make(
        &self,
        caller: &Caller,
        parent: u64,
        name: &[u8],
        mode: u32,
        umask: u32,
        rdev: u32,
        target: &[u8],
    ) -> Result<Entry> {
        let parent = self.live(parent)?;
        if parent == ROOT_INODE && name == SNAPSHOTS {
            return Err(Errno::EEXIST);
        }
        let creator = (caller.uid, caller.gid, umask);
        let (node, inode) = self.engine.make(parent, name, mode, rdev, target, creator).map_err(errno)?;
        Ok(entry(node, &inode))
    }

    fn list_live(&self, directory: u64, offset: u64, plus: bool, sink: &mut dyn DirSink) -> Result<()> {
        self.engine
            .list(directory, offset, &mut |vfs, listed| {
                let Listed { inode: number, sequence, kind, name } = listed;
                let kind = u32::from(kind) << 12;
                let taken = if plus {
                    match vfs.inode(&self.engine.source, number) {
                        Ok(inode) => {
                            let taken = sink.add(number, sequence, kind, name, Some(&entry(number, &inode)));
                            if taken {
                                self.engine.hold(number);
                            }
                            taken
                        }
                        Err(error) => {
                            tracing::error!(%error, inode = number, "an entry is listed without its attributes");
                            sink.add(number, sequence, kind, name, None)
                        }
                    }
                } else {
                    sink.add(number, sequence, kind, name, None)
                };
                if taken { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
            .map_err(errno)
    }

    fn list_frozen(
        &self,
        snapshot: u64,
        directory: u64,
        offset: u64,
        plus: bool,
        sink: &mut dyn DirSink,
    ) -> Result<()> {
        let tree = self.frozen(snapshot)?;
        let source = &self.engine.source;
        view::list(&tree, source, directory, offset, &mut |listed| {
            let node = snapshot << SNAPSHOT_SHIFT | listed.inode;
            let inode = if plus { view::inode(&tree, source, listed.inode).ok() } else { None };
            let found = inode.map(|inode| entry(node, &inode));
            let taken = sink.add(node, listed.sequence, u32::from(listed.kind) << 12, listed.name, found.as_ref());
            if taken { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .map_err(|error| errno(error.into()))
    }

    fn list_snapshots(&self, offset: u64, sink: &mut dyn DirSink) -> Result<()> {
        let mut all = self.snapshots()?;
        all.sort_by_key(|(_, record)| record.number);
        for (name, record) in all {
            let cookie = record.number + 2;
            let node = record.number << SNAPSHOT_SHIFT | ROOT_INODE;
            if cookie > offset && !sink.add(node, cookie, DIRECTORY, &name, None) {
                break;
            }
        }
        Ok(())
    }

    /// Looks for data or a hole in a file, after the kernel has written out what it holds of it: until then a file
    /// that somebody writes looks like a hole here. When too many wait for that, the rest of the file counts as data,
    /// which is always true enough.
    fn seek(&self, inode: u64, offset: u64, what: Seek) -> Result<u64> {
        let turn = self.seeking.fetch_add(1, Ordering::AcqRel);
        let written = match self.kernel.get() {
            Some(kernel) if turn < SEEKS_AT_ONCE => kernel.write_out(inode),
            _ => Err(std::io::ErrorKind::WouldBlock.into()),
        };
        self.seeking.fetch_sub(1, Ordering::AcqRel);
        if written.is_ok() {
            return self.engine.seek(inode, offset, what).map_err(errno);
        }
        let size = self.engine.inode(inode).map_err(errno)?.size;
        match what {
            _ if offset >= size => Err(Errno::ENXIO),
            Seek::Data => Ok(offset),
            Seek::Hole => Ok(size),
        }
    }

    /// A directory or link was read: its access time may have to follow.
    fn accessed(&self, inode: u64) {
        match self.engine.inode(inode) {
            Ok(record) => self.engine.accessed(inode, &record),
            Err(error) => tracing::debug!(%error, inode, "the access time was not updated"),
        }
    }

    /// The number of the directory above.
    fn parent_of(&self, node: u64, inode: &Inode) -> u64 {
        match Place::of(node) {
            Place::Live(_) => inode.parent.max(ROOT_INODE),
            Place::Snapshots => ROOT_INODE,
            Place::Frozen { inode: ROOT_INODE, .. } => SNAPSHOTS_NODE,
            Place::Frozen { snapshot, .. } => snapshot << SNAPSHOT_SHIFT | inode.parent,
        }
    }
}

impl FileSystem for MountedZone {
    fn lookup(&self, _caller: &Caller, parent: u64, name: &[u8]) -> Result<Entry> {
        match Place::of(parent) {
            Place::Live(ROOT_INODE) if name == SNAPSHOTS => Ok(entry(SNAPSHOTS_NODE, &self.snapshots_inode())),
            Place::Live(directory) => {
                let found = self.engine.lookup(directory, name).map_err(errno)?;
                Ok(found.map_or_else(absent, |(node, inode)| entry(node, &inode)))
            }
            Place::Snapshots => self.lookup_in_snapshots(name),
            Place::Frozen { snapshot, inode } => self.lookup_frozen(snapshot, inode, name),
        }
    }

    fn forget(&self, node: u64, count: u64) {
        if let Place::Live(inode) = Place::of(node) {
            self.engine.forget(inode, count);
        }
    }

    fn getattr(&self, node: u64) -> Result<(Attr, Duration)> {
        Ok((attr(node, &self.inode(node)?), VALID))
    }

    fn setattr(&self, _caller: &Caller, node: u64, change: &SetAttr) -> Result<(Attr, Duration)> {
        let inode = self.live(node)?;
        let point = |time: TimeOrNow, now: Timestamp| match time {
            TimeOrNow::Now => now,
            TimeOrNow::Time(time) => Timestamp { seconds: time.seconds, nanos: time.nanos },
        };
        let SetAttr { mode, uid, gid, size, atime, mtime, ctime, kill_suidgid } = *change;
        let changes =
            mode.is_some() || uid.is_some() || gid.is_some() || atime.is_some() || mtime.is_some() || ctime.is_some();
        let build = |now| {
            changes.then(|| Change {
                mode: mode.map(|mode| mode & 0o7777),
                uid,
                gid,
                atime: atime.map(|time| point(time, now)),
                mtime: mtime.map(|time| point(time, now)),
                ctime: ctime.map(|time| Timestamp { seconds: time.seconds, nanos: time.nanos }),
            })
        };
        let record = self.engine.set_attributes(inode, size, build, kill_suidgid).map_err(errno)?;
        Ok((attr(node, &record), VALID))
    }

    fn readlink(&self, node: u64) -> Result<Vec<u8>> {
        match Place::of(node) {
            Place::Live(inode) => {
                let target = self.engine.link_target(inode).map_err(errno)?;
                self.accessed(inode);
                Ok(target)
            }
            Place::Snapshots => Err(Errno::EINVAL),
            Place::Frozen { snapshot, inode } => {
                let tree = self.frozen(snapshot)?;
                let target = view::inline(&tree, &self.engine.source, inode);
                target.map_err(|error| errno(error.into()))?.ok_or(Errno::EINVAL)
            }
        }
    }

    fn mknod(&self, caller: &Caller, parent: u64, name: &[u8], mode: u32, umask: u32, rdev: u32) -> Result<Entry> {
        self.make(caller, parent, name, mode, umask, rdev, b"")
    }

    fn mkdir(&self, caller: &Caller, parent: u64, name: &[u8], mode: u32, umask: u32) -> Result<Entry> {
        self.make(caller, parent, name, DIRECTORY | mode & 0o7777, umask, 0, b"")
    }

    fn symlink(&self, caller: &Caller, parent: u64, name: &[u8], target: &[u8]) -> Result<Entry> {
        self.make(caller, parent, name, SYMLINK | 0o777, 0, 0, target)
    }

    fn link(&self, _caller: &Caller, node: u64, parent: u64, name: &[u8]) -> Result<Entry> {
        let (inode, parent) = (self.live(node)?, self.live(parent)?);
        let record = self.engine.link(inode, parent, name).map_err(errno)?;
        Ok(entry(node, &record))
    }

    fn tmpfile(&self, caller: &Caller, parent: u64, mode: u32, umask: u32) -> Result<Entry> {
        let parent = self.live(parent)?;
        let creator = (caller.uid, caller.gid, umask);
        let (node, inode) = self.engine.make_unnamed(parent, mode, creator).map_err(errno)?;
        Ok(entry(node, &inode))
    }

    fn unlink(&self, _caller: &Caller, parent: u64, name: &[u8]) -> Result<()> {
        self.engine.unlink(self.live(parent)?, name, false).map_err(errno)
    }

    fn rmdir(&self, _caller: &Caller, parent: u64, name: &[u8]) -> Result<()> {
        let parent = self.live(parent)?;
        if parent == ROOT_INODE && name == SNAPSHOTS {
            return Err(Errno::EBUSY);
        }
        self.engine.unlink(parent, name, true).map_err(errno)
    }

    fn rename(
        &self,
        _caller: &Caller,
        parent: u64,
        name: &[u8],
        new_parent: u64,
        new_name: &[u8],
        flags: u32,
    ) -> Result<()> {
        const NO_REPLACE: u32 = 1;
        const EXCHANGE: u32 = 2;
        let flags = match flags {
            0 => RenameFlags::Replace,
            NO_REPLACE => RenameFlags::NoReplace,
            EXCHANGE => RenameFlags::Exchange,
            _ => return Err(Errno::EINVAL),
        };
        let (parent, new_parent) = (self.live(parent)?, self.live(new_parent)?);
        self.engine.rename((parent, name), (new_parent, new_name), flags).map_err(errno)
    }

    fn read(&self, node: u64, offset: u64, out: &mut [u8]) -> Result<usize> {
        match Place::of(node) {
            Place::Live(inode) => self.engine.read_file(inode, offset, out).map_err(errno),
            Place::Snapshots => Err(Errno::EISDIR),
            Place::Frozen { snapshot, inode } => {
                let tree = self.frozen(snapshot)?;
                self.engine.read_frozen(&tree, inode, offset, out).map_err(errno)
            }
        }
    }

    fn write(&self, _caller: &Caller, node: u64, offset: u64, data: &[u8], kill_suidgid: bool) -> Result<usize> {
        self.engine.write_file(self.live(node)?, offset, data, kill_suidgid).map_err(errno)?;
        Ok(data.len())
    }

    fn fsync(&self, node: u64, _data_only: bool) -> Result<()> {
        match Place::of(node) {
            Place::Live(inode) => self.engine.sync_file(Some(inode)).map_err(errno),
            _ => Ok(()),
        }
    }

    fn readdir(&self, node: u64, offset: u64, plus: bool, sink: &mut dyn DirSink) -> Result<()> {
        if offset < 2 {
            let inode = self.inode(node)?;
            if offset < 1 && !sink.add(node, 1, DIRECTORY, b".", None) {
                return Ok(());
            }
            if !sink.add(self.parent_of(node, &inode), 2, DIRECTORY, b"..", None) {
                return Ok(());
            }
        }
        let after = offset.max(2);
        match Place::of(node) {
            Place::Live(directory) => {
                self.list_live(directory, after, plus, sink)?;
                self.accessed(directory);
                Ok(())
            }
            Place::Snapshots => self.list_snapshots(after, sink),
            Place::Frozen { snapshot, inode } => self.list_frozen(snapshot, inode, after, plus, sink),
        }
    }

    fn statfs(&self) -> Result<StatFs> {
        let block = 4096;
        let free = self.engine.available() / block;
        let used = self.engine.inode_count();
        Ok(StatFs {
            block_size: block as u32,
            blocks: self.engine.capacity() / block,
            blocks_free: free,
            blocks_available: free,
            files: used + free,
            files_free: free,
            name_max: NAME_SIZE as u32,
        })
    }

    fn getxattr(&self, _caller: &Caller, node: u64, name: &[u8]) -> Result<Vec<u8>> {
        match Place::of(node) {
            Place::Live(inode) => self.engine.attribute(inode, name).map_err(errno),
            Place::Snapshots => Err(Errno::ENODATA),
            Place::Frozen { snapshot, inode } => {
                let tree = self.frozen(snapshot)?;
                let value = view::attribute(&tree, &self.engine.source, inode, name);
                value.map_err(|error| errno(error.into()))?.ok_or(Errno::ENODATA)
            }
        }
    }

    fn listxattr(&self, caller: &Caller, node: u64) -> Result<Vec<u8>> {
        let names = match Place::of(node) {
            Place::Live(inode) => self.engine.attribute_names(inode).map_err(errno)?,
            Place::Snapshots => Vec::new(),
            Place::Frozen { snapshot, inode } => {
                let tree = self.frozen(snapshot)?;
                view::attribute_names(&tree, &self.engine.source, inode).map_err(|error| errno(error.into()))?
            }
        };
        let mut out = Vec::new();
        for name in names {
            if caller.uid == 0 || !name.starts_with(b"trusted.") {
                out.extend_from_slice(&name);
                out.push(0);
            }
        }
        Ok(out)
    }

    fn setxattr(
        &self,
        _caller: &Caller,
        node: u64,
        name: &[u8],
        value: &[u8],
        flags: u32,
        kill_sgid: bool,
    ) -> Result<()> {
        const CREATE: u32 = 1;
        const REPLACE: u32 = 2;
        let flags = match flags {
            0 => AttributeFlags::Any,
            CREATE => AttributeFlags::Create,
            REPLACE => AttributeFlags::Replace,
            // Both cannot hold: which of them does not is the answer.
            flags if flags == CREATE | REPLACE => {
                return Err(match self.engine.attribute(self.live(node)?, name) {
                    Ok(_) => Errno::EEXIST,
                    Err(error) => errno(error),
                });
            }
            _ => return Err(Errno::EINVAL),
        };
        self.engine.set_attribute(self.live(node)?, name, value, flags, kill_sgid).map_err(errno)
    }

    fn removexattr(&self, _caller: &Caller, node: u64, name: &[u8]) -> Result<()> {
        self.engine.remove_attribute(self.live(node)?, name).map_err(errno)
    }

    fn fallocate(&self, caller: &Caller, node: u64, offset: u64, len: u64, mode: u32) -> Result<()> {
        const KEEP_SIZE: u32 = 1;
        const PUNCH_HOLE: u32 = 2;
        const ZERO_RANGE: u32 = 16;
        let how = match mode {
            0 => Allocate::Reserve { keep_size: false },
            KEEP_SIZE => Allocate::Reserve { keep_size: true },
            mode if mode == PUNCH_HOLE | KEEP_SIZE => Allocate::PunchHole,
            ZERO_RANGE => Allocate::ZeroRange { keep_size: false },
            mode if mode == ZERO_RANGE | KEEP_SIZE => Allocate::ZeroRange { keep_size: true },
            _ => return Err(Errno::EOPNOTSUPP),
        };
        self.engine.allocate(self.live(node)?, offset, len, how, caller.uid != 0).map_err(errno)
    }

    fn lseek(&self, node: u64, offset: u64, whence: u32) -> Result<u64> {
        const SEEK_DATA: u32 = 3;
        const SEEK_HOLE: u32 = 4;
        let what = match whence {
            SEEK_DATA => Seek::Data,
            SEEK_HOLE => Seek::Hole,
            _ => return Err(Errno::EINVAL),
        };
        match Place::of(node) {
            Place::Live(inode) => self.seek(inode, offset, what),
            Place::Snapshots => Err(Errno::EISDIR),
            Place::Frozen { snapshot, inode } => {
                let tree = self.frozen(snapshot)?;
                bt_vfs::seek_tree(&tree, &self.engine.source, inode, offset, what).map_err(|error| errno(error.into()))
            }
        }
    }

    fn copy_file_range(
        &self,
        caller: &Caller,
        from: u64,
        from_offset: u64,
        to: u64,
        to_offset: u64,
        len: u64,
    ) -> Result<u64> {
        let range = match Place::of(from) {
            Place::Live(from) => ShareRange { from, from_offset, to: self.live(to)?, to_offset, len },
            _ => return Err(Errno::EXDEV),
        };
        self.engine.copy_range(range, caller.uid != 0).map_err(errno)
    }

    fn may_wait(&self, call: SlowCall, node: u64) -> bool {
        match call {
            SlowCall::Fsync => self.engine.is_crowded() || self.engine.is_large_sync(node),
            SlowCall::CopyFileRange | SlowCall::Seek | SlowCall::LargeRead => true,
            SlowCall::Write | SlowCall::Fallocate | SlowCall::Truncate => self.engine.is_crowded(),
        }
    }

    fn connected(&self, kernel: Kernel) {
        if self.kernel.set(kernel).is_err() {
            tracing::error!("a mounted zone was connected twice");
        }
    }

    fn destroyed(&self) {
        tracing::debug!(at = ?file_time(), "the kernel has let the mount go");
    }
}
