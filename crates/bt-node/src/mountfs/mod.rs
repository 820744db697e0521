//! The zones as the kernel's file system: numbers of nodes, snapshots as directories, errors as errno.
//!
//! Node numbers are those of [`numbers`]. A path crosses into another zone at its entrance: looking that up gives the
//! other zone's root. What may not be entered shows as the directory that the entrance is in its own zone, and answers
//! EACCES.

mod convert;
mod cross;
mod numbers;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bt_base::Timestamp;
use bt_base::limits::NAME_SIZE;
use bt_fuse::{Attr, Caller, DirSink, Entry, Errno, FileSystem, Kernel, SetAttr, SlowCall, StatFs, TimeOrNow};
use bt_tree::index::Tree;
use bt_tree::schema::{Inode, ROOT_INODE};
use bt_tree::zone::SnapshotRecord;
use bt_vfs::op::Change;
use bt_vfs::view::{self, Listed};
use bt_vfs::{Allocate, AttributeFlags, RenameFlags, Seek, ShareRange};

use crate::engine::Engine;
use crate::system::file_time;
use crate::zones::Zones;
use convert::{absent, attr, entry, errno};
pub(crate) use numbers::live_node;
use numbers::{Number, Place, Spot, Views};

type Result<T> = bt_fuse::Result<T>;

/// The name under which snapshots are found in the root directory; it is not listed.
const SNAPSHOTS: &[u8] = b".snapshots";
const DIRECTORY: u32 = 0o040000;
const SYMLINK: u32 = 0o120000;

/// While this mount is the only one that writes, what the kernel knows stays true.
const VALID: Duration = Duration::from_secs(24 * 3600);
/// Snapshots come and go without the kernel.
const SNAPSHOTS_VALID: Duration = Duration::ZERO;

/// One mount of a node's zones.
pub(crate) struct MountedTree {
    /// The zone at the top, which is open as long as the mount is.
    engine: Arc<Engine>,
    zones: Arc<Zones>,
    views: Views,
    read_only: bool,
    /// Seeks that wait for the kernel to write a file out.
    seeking: AtomicUsize,
}

/// Seeks that may wait at the same time: other workers must be left to take what the kernel writes.
const SEEKS_AT_ONCE: usize = 4;

impl MountedTree {
    pub(crate) fn new(zones: Arc<Zones>, read_only: bool) -> Self {
        let engine = zones.top().clone();
        Self { engine, zones, views: Views::default(), read_only, seeking: AtomicUsize::new(0) }
    }

    /// A node that can be changed.
    fn live(&self, node: u64) -> Result<Spot<'_>> {
        match self.place(node)? {
            Place::Live(spot) if !self.read_only => Ok(spot),
            _ => Err(Errno::EROFS),
        }
    }

    /// Two nodes that can be changed, in one zone; EXDEV when they are in two.
    fn live_in_one(&self, node: u64, other: u64) -> Result<(Spot<'_>, u64)> {
        let (spot, other) = (self.live(node)?, self.live(other)?);
        if spot.slot == other.slot { Ok((spot, other.inode)) } else { Err(Errno::EXDEV) }
    }

    fn inode(&self, node: u64) -> Result<Inode> {
        match self.place(node)? {
            Place::Live(spot) => spot.zone.inode(spot.inode).map_err(errno),
            Place::Snapshots(spot) => Ok(snapshots_inode(&spot)),
            Place::Frozen(spot, snapshot) => in_frozen(&spot, snapshot, |tree| {
                view::inode(tree, &spot.zone.source, spot.inode).map_err(|error| errno(error.into()))
            }),
        }
    }

    fn lookup_in_snapshots(&self, spot: &Spot<'_>, name: &[u8]) -> Result<Entry> {
        let all = snapshots(spot)?;
        let Some((_, record)) = all.iter().find(|(own, _)| own == name) else {
            return Err(Errno::ENOENT);
        };
        let node = self.views.node((spot.slot, Some(record.number)), ROOT_INODE)?;
        let inode = self.inode(node)?;
        Ok(Entry { entry_valid: SNAPSHOTS_VALID, ..entry(node, &inode) })
    }

    fn lookup_frozen(&self, spot: &Spot<'_>, snapshot: u64, name: &[u8]) -> Result<Entry> {
        let source = &spot.zone.source;
        in_frozen(spot, snapshot, |tree| {
            let found = view::name(tree, source, spot.inode, name).map_err(|error| errno(error.into()))?;
            let Some(found) = found else { return Ok(absent()) };
            let inode = view::inode(tree, source, found.inode).map_err(|error| errno(error.into()))?;
            Ok(entry(spot.node(found.inode), &inode))
        })
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
        let spot = self.live(parent)?;
        if spot.inode == ROOT_INODE && name == SNAPSHOTS {
            return Err(Errno::EEXIST);
        }
        let creator = (caller.uid, caller.gid, umask);
        let (number, inode) = spot.zone.make(spot.inode, name, mode, rdev, target, creator).map_err(errno)?;
        Ok(entry(spot.node(number), &inode))
    }

    fn list_live(&self, spot: &Spot<'_>, offset: u64, plus: bool, sink: &mut dyn DirSink) -> Result<()> {
        let zone = &spot.zone;
        zone.list(spot.inode, offset, &mut |vfs, listed| {
            let Listed { inode: number, sequence, kind, name } = listed;
            let kind = u32::from(kind) << 12;
            let node = spot.node(number);
            let taken = if plus {
                match vfs.inode(&zone.source, number) {
                    // What is behind an entrance is looked up on its own: the zone may have to be opened.
                    Ok(inode) if inode.is_entrance => sink.add(node, sequence, kind, name, None),
                    Ok(inode) => {
                        let taken = sink.add(node, sequence, kind, name, Some(&entry(node, &inode)));
                        if taken {
                            zone.hold(number);
                        }
                        taken
                    }
                    Err(error) => {
                        tracing::error!(%error, inode = number, "an entry is listed without its attributes");
                        sink.add(node, sequence, kind, name, None)
                    }
                }
            } else {
                sink.add(node, sequence, kind, name, None)
            };
            if taken { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .map_err(errno)
    }

    fn list_frozen(
        &self,
        spot: &Spot<'_>,
        snapshot: u64,
        offset: u64,
        plus: bool,
        sink: &mut dyn DirSink,
    ) -> Result<()> {
        let tree = frozen(spot, snapshot)?.tree();
        let source = &spot.zone.source;
        view::list(&tree, source, spot.inode, offset, &mut |listed| {
            let node = spot.node(listed.inode);
            let inode = if plus { view::inode(&tree, source, listed.inode).ok() } else { None };
            let found = inode.map(|inode| entry(node, &inode));
            let taken = sink.add(node, listed.sequence, u32::from(listed.kind) << 12, listed.name, found.as_ref());
            if taken { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .map_err(|error| errno(error.into()))
    }

    fn list_snapshots(&self, spot: &Spot<'_>, offset: u64, sink: &mut dyn DirSink) -> Result<()> {
        let mut all = snapshots(spot)?;
        all.sort_by_key(|(_, record)| record.number);
        for (name, record) in all {
            let cookie = record.number + 2;
            let node = self.views.node((spot.slot, Some(record.number)), ROOT_INODE)?;
            if cookie > offset && !sink.add(node, cookie, DIRECTORY, &name, None) {
                break;
            }
        }
        Ok(())
    }

    /// Looks for data or a hole in a file, after the kernel has written out what it holds of it: until then a file
    /// that somebody writes looks like a hole here. When too many wait for that, the rest of the file counts as data,
    /// which is always true enough.
    fn seek(&self, spot: &Spot<'_>, offset: u64, what: Seek) -> Result<u64> {
        let turn = self.seeking.fetch_add(1, Ordering::AcqRel);
        let written = match self.zones.kernel() {
            Some(kernel) if turn < SEEKS_AT_ONCE => kernel.write_out(spot.node(spot.inode)),
            _ => Err(std::io::ErrorKind::WouldBlock.into()),
        };
        self.seeking.fetch_sub(1, Ordering::AcqRel);
        if written.is_ok() {
            return spot.zone.seek(spot.inode, offset, what).map_err(errno);
        }
        let size = spot.zone.inode(spot.inode).map_err(errno)?.size;
        match what {
            _ if offset >= size => Err(Errno::ENXIO),
            Seek::Data => Ok(offset),
            Seek::Hole => Ok(size),
        }
    }
}

/// The directory of snapshots: read-only, as old as the zone's root.
fn snapshots_inode(spot: &Spot<'_>) -> Inode {
    let root = spot.zone.inode(ROOT_INODE).unwrap_or_default();
    Inode { mode: DIRECTORY | 0o555, nlink: 2, entries: 0, ..root }
}

fn snapshots(spot: &Spot<'_>) -> Result<Vec<(Vec<u8>, SnapshotRecord)>> {
    spot.zone.snapshot_records().map_err(errno)
}

fn frozen(spot: &Spot<'_>, snapshot: u64) -> Result<SnapshotRecord> {
    let all = snapshots(spot)?;
    let found = all.iter().find(|(_, record)| record.number == snapshot);
    found.map(|(_, record)| *record).ok_or(Errno::ESTALE)
}

/// Works in a snapshot; once more where it was sealed anew meanwhile: its blocks have other names then, and those that
/// were looked for may be gone.
fn in_frozen<T>(spot: &Spot<'_>, snapshot: u64, mut run: impl FnMut(&Tree) -> Result<T>) -> Result<T> {
    let before = frozen(spot, snapshot)?;
    let first = run(&before.tree());
    if first.is_ok() {
        return first;
    }
    match frozen(spot, snapshot)? {
        after if after.root == before.root => first,
        after => run(&after.tree()),
    }
}

/// A directory or link was read: its access time may have to follow.
fn accessed(spot: &Spot<'_>) {
    match spot.zone.inode(spot.inode) {
        Ok(record) => spot.zone.accessed(spot.inode, &record),
        Err(error) => tracing::debug!(%error, inode = spot.inode, "the access time was not updated"),
    }
}

impl FileSystem for MountedTree {
    fn lookup(&self, _caller: &Caller, parent: u64, name: &[u8]) -> Result<Entry> {
        self.also_after_a_move(|| match self.place(parent)? {
            Place::Live(spot) if spot.inode == ROOT_INODE && name == SNAPSHOTS => {
                let node = self.views.node((spot.slot, None), ROOT_INODE)?;
                Ok(entry(node, &snapshots_inode(&spot)))
            }
            Place::Live(spot) => match spot.zone.lookup(spot.inode, name).map_err(errno)? {
                Some((number, inode)) if inode.is_entrance => self.cross(&spot, number, &inode),
                Some((number, inode)) => Ok(entry(spot.node(number), &inode)),
                None => Ok(absent()),
            },
            Place::Snapshots(spot) => self.lookup_in_snapshots(&spot, name),
            Place::Frozen(spot, snapshot) => self.lookup_frozen(&spot, snapshot, name),
        })
    }

    fn forget(&self, node: u64, count: u64) {
        match Number::of(node, &self.views) {
            Some(Number::Live { slot: 0, inode }) if self.zones.renumbered().is_empty() => {
                self.engine.forget(inode, count);
            }
            Some(Number::Live { slot, inode }) => self.zones.forget_known((slot, inode), count),
            Some(Number::Other { .. }) | None => {}
        }
    }

    fn getattr(&self, node: u64) -> Result<(Attr, Duration)> {
        Ok((attr(node, &self.also_after_a_move(|| self.inode(node))?), VALID))
    }

    fn setattr(&self, _caller: &Caller, node: u64, change: &SetAttr) -> Result<(Attr, Duration)> {
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
        let record = self.also_after_a_move(|| {
            let spot = self.live(node)?;
            spot.zone.set_attributes(spot.inode, size, build, kill_suidgid).map_err(errno)
        })?;
        Ok((attr(node, &record), VALID))
    }

    fn readlink(&self, node: u64) -> Result<Vec<u8>> {
        match self.place(node)? {
            Place::Live(spot) => {
                let target = spot.zone.link_target(spot.inode).map_err(errno)?;
                accessed(&spot);
                Ok(target)
            }
            Place::Snapshots(_) => Err(Errno::EINVAL),
            Place::Frozen(spot, snapshot) => in_frozen(&spot, snapshot, |tree| {
                let target = view::inline(tree, &spot.zone.source, spot.inode);
                target.map_err(|error| errno(error.into()))?.ok_or(Errno::EINVAL)
            }),
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
        let (spot, parent) = self.live_in_one(node, parent)?;
        let record = spot.zone.link(spot.inode, parent, name).map_err(errno)?;
        Ok(entry(node, &record))
    }

    fn tmpfile(&self, caller: &Caller, parent: u64, mode: u32, umask: u32) -> Result<Entry> {
        let spot = self.live(parent)?;
        let creator = (caller.uid, caller.gid, umask);
        let (number, inode) = spot.zone.make_unnamed(spot.inode, mode, creator).map_err(errno)?;
        Ok(entry(spot.node(number), &inode))
    }

    fn unlink(&self, _caller: &Caller, parent: u64, name: &[u8]) -> Result<()> {
        let spot = self.live(parent)?;
        spot.zone.unlink(spot.inode, name, false).map_err(errno)
    }

    fn rmdir(&self, _caller: &Caller, parent: u64, name: &[u8]) -> Result<()> {
        let spot = self.live(parent)?;
        if spot.inode == ROOT_INODE && name == SNAPSHOTS {
            return Err(Errno::EBUSY);
        }
        spot.zone.unlink(spot.inode, name, true).map_err(errno)
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
        let (spot, new_parent) = self.live_in_one(parent, new_parent)?;
        spot.zone.rename((spot.inode, name), (new_parent, new_name), flags).map_err(errno)
    }

    fn read(&self, node: u64, offset: u64, out: &mut [u8]) -> Result<usize> {
        self.also_after_a_move(|| match self.place(node)? {
            Place::Live(spot) => spot.zone.read_file(spot.inode, offset, out).map_err(errno),
            Place::Snapshots(_) => Err(Errno::EISDIR),
            Place::Frozen(spot, snapshot) => {
                in_frozen(&spot, snapshot, |tree| spot.zone.read_frozen(tree, spot.inode, offset, out).map_err(errno))
            }
        })
    }

    fn write(&self, _caller: &Caller, node: u64, offset: u64, data: &[u8], kill_suidgid: bool) -> Result<usize> {
        self.also_after_a_move(|| {
            let spot = self.live(node)?;
            spot.zone.write_file(spot.inode, offset, data, kill_suidgid).map_err(errno)?;
            Ok(data.len())
        })
    }

    fn fsync(&self, node: u64, _data_only: bool) -> Result<()> {
        self.also_after_a_move(|| match self.place(node)? {
            Place::Live(spot) => spot.zone.sync_file(Some(spot.inode)).map_err(errno),
            _ => Ok(()),
        })
    }

    fn readdir(&self, node: u64, offset: u64, plus: bool, sink: &mut dyn DirSink) -> Result<()> {
        if offset < 2 {
            let inode = self.inode(node)?;
            if inode.is_entrance {
                return Err(Errno::EACCES);
            }
            if offset < 1 && !sink.add(node, 1, DIRECTORY, b".", None) {
                return Ok(());
            }
            if !sink.add(self.parent_of(node, &inode)?, 2, DIRECTORY, b"..", None) {
                return Ok(());
            }
        }
        let after = offset.max(2);
        match self.place(node)? {
            Place::Live(spot) => {
                self.list_live(&spot, after, plus, sink)?;
                accessed(&spot);
                Ok(())
            }
            Place::Snapshots(spot) => self.list_snapshots(&spot, after, sink),
            Place::Frozen(spot, snapshot) => self.list_frozen(&spot, snapshot, after, plus, sink),
        }
    }

    fn statfs(&self) -> Result<StatFs> {
        let block = 4096;
        let (capacity, available) = self.zones.room();
        let free = available / block;
        let used: u64 = self.zones.open_zones().iter().map(|(_, zone)| zone.inode_count()).sum();
        Ok(StatFs {
            block_size: block as u32,
            blocks: capacity / block,
            blocks_free: free,
            blocks_available: free,
            files: used + free,
            files_free: free,
            name_max: NAME_SIZE as u32,
        })
    }

    fn getxattr(&self, _caller: &Caller, node: u64, name: &[u8]) -> Result<Vec<u8>> {
        match self.place(node)? {
            Place::Live(spot) => spot.zone.attribute(spot.inode, name).map_err(errno),
            Place::Snapshots(_) => Err(Errno::ENODATA),
            Place::Frozen(spot, snapshot) => in_frozen(&spot, snapshot, |tree| {
                let value = view::attribute(tree, &spot.zone.source, spot.inode, name);
                value.map_err(|error| errno(error.into()))?.ok_or(Errno::ENODATA)
            }),
        }
    }

    fn listxattr(&self, caller: &Caller, node: u64) -> Result<Vec<u8>> {
        let names = match self.place(node)? {
            Place::Live(spot) => spot.zone.attribute_names(spot.inode).map_err(errno)?,
            Place::Snapshots(_) => Vec::new(),
            Place::Frozen(spot, snapshot) => in_frozen(&spot, snapshot, |tree| {
                view::attribute_names(tree, &spot.zone.source, spot.inode).map_err(|error| errno(error.into()))
            })?,
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
        let spot = self.live(node)?;
        let flags = match flags {
            0 => AttributeFlags::Any,
            CREATE => AttributeFlags::Create,
            REPLACE => AttributeFlags::Replace,
            // Both cannot hold: which of them does not is the answer.
            flags if flags == CREATE | REPLACE => {
                return Err(match spot.zone.attribute(spot.inode, name) {
                    Ok(_) => Errno::EEXIST,
                    Err(error) => errno(error),
                });
            }
            _ => return Err(Errno::EINVAL),
        };
        spot.zone.set_attribute(spot.inode, name, value, flags, kill_sgid).map_err(errno)
    }

    fn removexattr(&self, _caller: &Caller, node: u64, name: &[u8]) -> Result<()> {
        let spot = self.live(node)?;
        spot.zone.remove_attribute(spot.inode, name).map_err(errno)
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
        self.also_after_a_move(|| {
            let spot = self.live(node)?;
            spot.zone.allocate(spot.inode, offset, len, how, caller.uid != 0).map_err(errno)
        })
    }

    fn lseek(&self, node: u64, offset: u64, whence: u32) -> Result<u64> {
        const SEEK_DATA: u32 = 3;
        const SEEK_HOLE: u32 = 4;
        let what = match whence {
            SEEK_DATA => Seek::Data,
            SEEK_HOLE => Seek::Hole,
            _ => return Err(Errno::EINVAL),
        };
        match self.place(node)? {
            Place::Live(spot) => self.seek(&spot, offset, what),
            Place::Snapshots(_) => Err(Errno::EISDIR),
            Place::Frozen(spot, snapshot) => in_frozen(&spot, snapshot, |tree| {
                bt_vfs::seek_tree(tree, &spot.zone.source, spot.inode, offset, what)
                    .map_err(|error| errno(error.into()))
            }),
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
        let Place::Live(from) = self.place(from)? else { return Err(Errno::EXDEV) };
        let to = self.live(to)?;
        if from.slot != to.slot {
            return Err(Errno::EXDEV);
        }
        let range = ShareRange { from: from.inode, from_offset, to: to.inode, to_offset, len };
        to.zone.copy_range(range, caller.uid != 0).map_err(errno)
    }

    fn may_wait(&self, call: SlowCall, node: u64) -> bool {
        let Ok(Place::Live(spot)) = self.place(node) else {
            return matches!(call, SlowCall::CopyFileRange | SlowCall::Seek | SlowCall::LargeRead);
        };
        match call {
            SlowCall::Fsync => spot.zone.is_crowded() || spot.zone.is_large_sync(spot.inode),
            SlowCall::CopyFileRange | SlowCall::Seek | SlowCall::LargeRead => true,
            SlowCall::Write | SlowCall::Fallocate | SlowCall::Truncate => spot.zone.is_crowded(),
        }
    }

    fn connected(&self, kernel: Kernel) {
        self.zones.connected(kernel);
    }

    fn destroyed(&self) {
        tracing::debug!(at = ?file_time(), "the kernel has let the mount go");
    }
}
