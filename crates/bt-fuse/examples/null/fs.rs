//! A file system in memory: what the kernel's requests cost by themselves, and what the tests mount.

use std::collections::{BTreeMap, HashMap};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bt_fuse::{Attr, Caller, DirSink, Entry, Errno, FileSystem, Result, SetAttr, SlowCall, StatFs, Time, TimeOrNow};

const ROOT: u64 = 1;
/// Cookies of "." and ".."; entries follow.
const DOT: u64 = 1;
const DOT_DOT: u64 = 2;
/// The largest file: all of it is in memory.
const FILE_SIZE: u64 = 4 << 30;
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";

/// A file system in memory.
pub struct NullFs {
    state: RwLock<State>,
    /// How long the kernel may keep names and attributes.
    valid: Duration,
    /// fsync and write are given to the workers.
    pub slow: AtomicBool,
    /// How long fsync takes, in milliseconds.
    pub fsync_ms: AtomicU64,
    /// Syncs under way, and the most there were at a time.
    syncs: AtomicU64,
    pub most_syncs: AtomicU64,
    /// statfs panics.
    pub panics: AtomicBool,
    /// Forgets of more lookups than there were.
    pub excess_forgets: AtomicU64,
    /// Set when the connection has ended.
    pub is_destroyed: AtomicBool,
}

struct State {
    nodes: HashMap<u64, Node>,
    next_node: u64,
    next_cookie: u64,
}

struct Node {
    attr: Attr,
    parent: u64,
    lookups: u64,
    content: Content,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

enum Content {
    File(Vec<u8>),
    Directory { names: HashMap<Vec<u8>, u64>, order: BTreeMap<u64, (Vec<u8>, u64)> },
    Symlink(Vec<u8>),
    Special,
}

impl NullFs {
    /// An empty file system whose names and attributes the kernel may keep for `valid`.
    pub fn new(valid: Duration) -> NullFs {
        let mut state = State { nodes: HashMap::new(), next_node: ROOT, next_cookie: DOT_DOT + 1 };
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let owner = Caller { uid, gid, pid: 0 };
        state.add_node(&owner, ROOT, libc::S_IFDIR | 0o755, 0, directory());
        NullFs {
            state: RwLock::new(state),
            valid,
            slow: AtomicBool::new(false),
            fsync_ms: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            most_syncs: AtomicU64::new(0),
            panics: AtomicBool::new(false),
            excess_forgets: AtomicU64::new(0),
            is_destroyed: AtomicBool::new(false),
        }
    }

    /// Lookups that the kernel has not yet forgotten, the root's apart.
    pub fn lookups(&self) -> u64 {
        self.read_state().nodes.iter().filter(|(node, _)| **node != ROOT).map(|(_, node)| node.lookups).sum()
    }

    /// Nodes that exist, the root among them.
    pub fn nodes(&self) -> usize {
        self.read_state().nodes.len()
    }

    fn read_state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap()
    }

    fn write_state(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap()
    }

    fn entry(&self, attr: Attr) -> Entry {
        Entry { attr, attr_valid: self.valid, entry_valid: self.valid }
    }

    fn make(&self, caller: &Caller, parent: u64, name: &[u8], mode: u32, rdev: u32, content: Content) -> Result<Entry> {
        let mut state = self.write_state();
        if state.names(parent)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let node = state.add_node(caller, parent, mode, rdev, content);
        state.add_name(parent, name, node)?;
        Ok(self.entry(state.looked_up(node)?))
    }
}

/// `offset + len`, if a file can be that long.
fn in_memory(offset: u64, len: u64) -> Result<usize> {
    let end = offset.checked_add(len).filter(|end| *end <= FILE_SIZE).ok_or(Errno::EFBIG)?;
    usize::try_from(end).map_err(|_| Errno::EFBIG)
}

fn directory() -> Content {
    Content::Directory { names: HashMap::new(), order: BTreeMap::new() }
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Time { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() }
}

impl State {
    fn node(&self, node: u64) -> Result<&Node> {
        self.nodes.get(&node).ok_or(Errno::ESTALE)
    }

    fn node_mut(&mut self, node: u64) -> Result<&mut Node> {
        self.nodes.get_mut(&node).ok_or(Errno::ESTALE)
    }

    fn names(&self, node: u64) -> Result<&HashMap<Vec<u8>, u64>> {
        match &self.node(node)?.content {
            Content::Directory { names, .. } => Ok(names),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn child(&self, parent: u64, name: &[u8]) -> Result<u64> {
        let cookie = self.names(parent)?.get(name).ok_or(Errno::ENOENT)?;
        match &self.node(parent)?.content {
            Content::Directory { order, .. } => Ok(order[cookie].1),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn looked_up(&mut self, node: u64) -> Result<Attr> {
        let node = self.node_mut(node)?;
        node.lookups += 1;
        Ok(node.attr)
    }

    fn add_node(&mut self, caller: &Caller, parent: u64, mode: u32, rdev: u32, content: Content) -> u64 {
        let node = self.next_node;
        self.next_node += 1;
        let time = now();
        let size = if let Content::Symlink(target) = &content { target.len() as u64 } else { 0 };
        let above = self.nodes.get(&parent).map(|parent| parent.attr);
        let inherits = above.is_some_and(|above| above.mode & libc::S_ISGID != 0);
        let is_directory = mode & libc::S_IFMT == libc::S_IFDIR;
        let attr = Attr {
            node,
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            mode: if inherits && is_directory { mode | libc::S_ISGID } else { mode },
            nlink: 0,
            uid: caller.uid,
            gid: if inherits { above.map_or(caller.gid, |above| above.gid) } else { caller.gid },
            rdev,
            blksize: 4096,
        };
        let nlink = if node == ROOT { 2 } else { u32::from(is_directory) };
        let attr = Attr { nlink, ..attr };
        self.nodes.insert(node, Node { attr, parent, lookups: 0, content, xattrs: BTreeMap::new() });
        node
    }

    fn add_name(&mut self, parent: u64, name: &[u8], node: u64) -> Result<()> {
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        let is_directory = matches!(self.node(node)?.content, Content::Directory { .. });
        let above = self.node_mut(parent)?;
        let Content::Directory { names, order } = &mut above.content else { return Err(Errno::ENOTDIR) };
        names.insert(name.to_vec(), cookie);
        order.insert(cookie, (name.to_vec(), node));
        above.attr.nlink += u32::from(is_directory);
        (above.attr.mtime, above.attr.ctime) = (now(), now());
        let node = self.node_mut(node)?;
        node.attr.nlink += 1;
        node.attr.ctime = now();
        node.parent = parent;
        Ok(())
    }

    fn remove_name(&mut self, parent: u64, name: &[u8]) -> Result<u64> {
        let node = self.child(parent, name)?;
        let is_directory = matches!(self.node(node)?.content, Content::Directory { .. });
        let above = self.node_mut(parent)?;
        let Content::Directory { names, order } = &mut above.content else { return Err(Errno::ENOTDIR) };
        let cookie = names.remove(name).ok_or(Errno::ENOENT)?;
        order.remove(&cookie);
        above.attr.nlink -= u32::from(is_directory);
        (above.attr.mtime, above.attr.ctime) = (now(), now());
        let below = self.node_mut(node)?;
        below.attr.nlink -= 1;
        below.attr.ctime = now();
        Ok(node)
    }

    /// Frees a node without names and lookups.
    fn reap(&mut self, node: u64) {
        let dead = |node: &Node| match node.content {
            Content::Directory { .. } => node.attr.nlink < 2,
            _ => node.attr.nlink == 0,
        };
        if node != ROOT && self.nodes.get(&node).is_some_and(|node| node.lookups == 0 && dead(node)) {
            self.nodes.remove(&node);
        }
    }

    fn is_empty(&self, node: u64) -> Result<bool> {
        Ok(self.names(node)?.is_empty())
    }

    /// What rename needs to be gone before `new_name` can be taken.
    fn check_replaced(&self, moved: u64, replaced: u64) -> Result<()> {
        let is_directory =
            |node: u64| -> Result<bool> { Ok(matches!(self.node(node)?.content, Content::Directory { .. })) };
        match (is_directory(moved)?, is_directory(replaced)?) {
            (true, false) => Err(Errno::ENOTDIR),
            (false, true) => Err(Errno::EISDIR),
            (true, true) if !self.is_empty(replaced)? => Err(Errno::ENOTEMPTY),
            _ => Ok(()),
        }
    }
}

impl Node {
    fn bytes(&self) -> Result<&Vec<u8>> {
        match &self.content {
            Content::File(bytes) => Ok(bytes),
            Content::Directory { .. } => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        match &mut self.content {
            Content::File(bytes) => {
                change(bytes);
                self.attr.size = bytes.len() as u64;
                self.attr.blocks = self.attr.size.div_ceil(512);
            }
            Content::Directory { .. } => return Err(Errno::EISDIR),
            _ => return Err(Errno::EINVAL),
        }
        (self.attr.mtime, self.attr.ctime) = (now(), now());
        Ok(())
    }

    fn kill_suidgid(&mut self) {
        self.attr.mode &= !libc::S_ISUID;
        if self.attr.mode & libc::S_IXGRP != 0 {
            self.attr.mode &= !libc::S_ISGID;
        }
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<usize> {
        let (start, end) = (in_memory(offset, 0)?, in_memory(offset, data.len() as u64)?);
        self.change(|bytes| {
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[start..end].copy_from_slice(data);
        })?;
        Ok(data.len())
    }
}

/// The permissions that an access ACL (version 2, entries of tag, permissions, id) gives a mode.
fn mode_of_acl(acl: &[u8]) -> Option<u32> {
    let (version, entries) = acl.split_at_checked(4)?;
    if version != 2u32.to_le_bytes() {
        return None;
    }
    let (mut user, mut group, mut mask, mut other) = (0, 0, None, 0);
    for entry in entries.chunks_exact(8) {
        let permissions = u32::from(u16::from_le_bytes([entry[2], entry[3]]) & 7);
        match u16::from_le_bytes([entry[0], entry[1]]) {
            0x01 => user = permissions,
            0x04 => group = permissions,
            0x10 => mask = Some(permissions),
            0x20 => other = permissions,
            _ => {}
        }
    }
    Some(user << 6 | mask.unwrap_or(group) << 3 | other)
}

impl FileSystem for NullFs {
    fn lookup(&self, _caller: &Caller, parent: u64, name: &[u8]) -> Result<Entry> {
        let mut state = self.write_state();
        match state.child(parent, name) {
            Ok(node) => Ok(self.entry(state.looked_up(node)?)),
            Err(errno) => Err(errno),
        }
    }

    fn forget(&self, node: u64, count: u64) {
        let mut state = self.write_state();
        if let Ok(known) = state.node_mut(node) {
            if known.lookups < count && node != ROOT {
                self.excess_forgets.fetch_add(1, Ordering::SeqCst);
            }
            known.lookups = known.lookups.saturating_sub(count);
            state.reap(node);
        }
    }

    fn getattr(&self, node: u64) -> Result<(Attr, Duration)> {
        Ok((self.read_state().node(node)?.attr, self.valid))
    }

    fn setattr(&self, _caller: &Caller, node: u64, change: &SetAttr) -> Result<(Attr, Duration)> {
        let mut state = self.write_state();
        let node = state.node_mut(node)?;
        if let Some(size) = change.size {
            let size = in_memory(size, 0)?;
            node.change(|bytes| bytes.resize(size, 0))?;
        }
        if change.kill_suidgid {
            node.kill_suidgid();
        }
        let attr = &mut node.attr;
        attr.mode = change.mode.map_or(attr.mode, |mode| attr.mode & libc::S_IFMT | mode & 0o7777);
        attr.uid = change.uid.unwrap_or(attr.uid);
        attr.gid = change.gid.unwrap_or(attr.gid);
        let chosen = |choice, old| match choice {
            Some(TimeOrNow::Time(time)) => time,
            Some(TimeOrNow::Now) => now(),
            None => old,
        };
        attr.atime = chosen(change.atime, attr.atime);
        attr.mtime = chosen(change.mtime, attr.mtime);
        attr.ctime = change.ctime.unwrap_or_else(now);
        Ok((*attr, self.valid))
    }

    fn readlink(&self, node: u64) -> Result<Vec<u8>> {
        match &self.read_state().node(node)?.content {
            Content::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn mknod(&self, caller: &Caller, parent: u64, name: &[u8], mode: u32, umask: u32, rdev: u32) -> Result<Entry> {
        let content = if mode & libc::S_IFMT == libc::S_IFREG { Content::File(Vec::new()) } else { Content::Special };
        self.make(caller, parent, name, mode & !umask, rdev, content)
    }

    fn mkdir(&self, caller: &Caller, parent: u64, name: &[u8], mode: u32, umask: u32) -> Result<Entry> {
        self.make(caller, parent, name, libc::S_IFDIR | mode & !umask & 0o7777, 0, directory())
    }

    fn symlink(&self, caller: &Caller, parent: u64, name: &[u8], target: &[u8]) -> Result<Entry> {
        self.make(caller, parent, name, libc::S_IFLNK | 0o777, 0, Content::Symlink(target.to_vec()))
    }

    fn link(&self, _caller: &Caller, node: u64, parent: u64, name: &[u8]) -> Result<Entry> {
        let mut state = self.write_state();
        if state.names(parent)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        state.add_name(parent, name, node)?;
        Ok(self.entry(state.looked_up(node)?))
    }

    fn tmpfile(&self, caller: &Caller, parent: u64, mode: u32, umask: u32) -> Result<Entry> {
        let mut state = self.write_state();
        let node = state.add_node(caller, parent, mode & !umask, 0, Content::File(Vec::new()));
        Ok(self.entry(state.looked_up(node)?))
    }

    fn unlink(&self, _caller: &Caller, parent: u64, name: &[u8]) -> Result<()> {
        let mut state = self.write_state();
        let node = state.child(parent, name)?;
        if matches!(state.node(node)?.content, Content::Directory { .. }) {
            return Err(Errno::EISDIR);
        }
        state.remove_name(parent, name)?;
        state.reap(node);
        Ok(())
    }

    fn rmdir(&self, _caller: &Caller, parent: u64, name: &[u8]) -> Result<()> {
        let mut state = self.write_state();
        let node = state.child(parent, name)?;
        if !state.is_empty(node)? {
            return Err(Errno::ENOTEMPTY);
        }
        state.remove_name(parent, name)?;
        state.reap(node);
        Ok(())
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
        if flags & !(libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE) != 0 {
            return Err(Errno::EINVAL);
        }
        let mut state = self.write_state();
        let moved = state.child(parent, name)?;
        let replaced = state.child(new_parent, new_name);
        if flags & libc::RENAME_EXCHANGE != 0 {
            let replaced = replaced?;
            state.remove_name(parent, name)?;
            state.remove_name(new_parent, new_name)?;
            state.add_name(parent, name, replaced)?;
            return state.add_name(new_parent, new_name, moved);
        }
        match replaced {
            Ok(_) if flags & libc::RENAME_NOREPLACE != 0 => return Err(Errno::EEXIST),
            Ok(replaced) if replaced == moved => return Ok(()),
            Ok(replaced) => {
                state.check_replaced(moved, replaced)?;
                state.remove_name(new_parent, new_name)?;
                state.reap(replaced);
            }
            Err(_) => {}
        }
        state.remove_name(parent, name)?;
        state.add_name(new_parent, new_name, moved)
    }

    fn read(&self, node: u64, offset: u64, out: &mut [u8]) -> Result<usize> {
        let state = self.read_state();
        let bytes = state.node(node)?.bytes()?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let size = out.len().min(bytes.len() - start);
        out[..size].copy_from_slice(&bytes[start..start + size]);
        Ok(size)
    }

    fn write(&self, _caller: &Caller, node: u64, offset: u64, data: &[u8], kill_suidgid: bool) -> Result<usize> {
        let mut state = self.write_state();
        let node = state.node_mut(node)?;
        if kill_suidgid {
            node.kill_suidgid();
        }
        node.write_at(offset, data)
    }

    fn fsync(&self, node: u64, _data_only: bool) -> Result<()> {
        self.read_state().node(node)?;
        let syncs = self.syncs.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_syncs.fetch_max(syncs, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(self.fsync_ms.load(Ordering::SeqCst)));
        self.syncs.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }

    fn readdir(&self, node: u64, offset: u64, plus: bool, sink: &mut dyn DirSink) -> Result<()> {
        let mut state = self.write_state();
        let State { nodes, .. } = &mut *state;
        let this = nodes.get(&node).ok_or(Errno::ESTALE)?;
        let Content::Directory { order, .. } = &this.content else { return Err(Errno::ENOTDIR) };
        if offset < DOT && !sink.add(node, DOT, libc::S_IFDIR, b".", None) {
            return Ok(());
        }
        if offset < DOT_DOT && !sink.add(this.parent, DOT_DOT, libc::S_IFDIR, b"..", None) {
            return Ok(());
        }
        let mut taken = Vec::new();
        for (cookie, (name, child)) in order.range(offset.max(DOT_DOT) + 1..) {
            let attr = nodes[child].attr;
            let entry = self.entry(attr);
            if !sink.add(*child, *cookie, attr.mode & libc::S_IFMT, name, plus.then_some(&entry)) {
                break;
            }
            taken.push(*child);
        }
        if plus {
            for child in taken {
                nodes.get_mut(&child).ok_or(Errno::EIO)?.lookups += 1;
            }
        }
        Ok(())
    }

    fn statfs(&self) -> Result<StatFs> {
        assert!(!self.panics.load(Ordering::SeqCst), "a panic was asked for");
        let files = self.read_state().nodes.len() as u64;
        Ok(StatFs {
            block_size: 4096,
            blocks: 1 << 28,
            blocks_free: 1 << 27,
            blocks_available: 1 << 27,
            files: files + (1 << 30),
            files_free: 1 << 30,
            name_max: 255,
        })
    }

    fn getxattr(&self, _caller: &Caller, node: u64, name: &[u8]) -> Result<Vec<u8>> {
        self.read_state().node(node)?.xattrs.get(name).cloned().ok_or(Errno::ENODATA)
    }

    fn listxattr(&self, _caller: &Caller, node: u64) -> Result<Vec<u8>> {
        let state = self.read_state();
        Ok(state.node(node)?.xattrs.keys().flat_map(|name| name.iter().copied().chain([0])).collect())
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
        let mut state = self.write_state();
        let node = state.node_mut(node)?;
        match node.xattrs.contains_key(name) {
            true if flags & libc::XATTR_CREATE as u32 != 0 => return Err(Errno::EEXIST),
            false if flags & libc::XATTR_REPLACE as u32 != 0 => return Err(Errno::ENODATA),
            _ => {}
        }
        if name == ACCESS_ACL {
            let mode = mode_of_acl(value).ok_or(Errno::EINVAL)?;
            node.attr.mode = node.attr.mode & !0o777 | mode;
            if kill_sgid {
                node.attr.mode &= !libc::S_ISGID;
            }
        }
        node.xattrs.insert(name.to_vec(), value.to_vec());
        node.attr.ctime = now();
        Ok(())
    }

    fn removexattr(&self, _caller: &Caller, node: u64, name: &[u8]) -> Result<()> {
        self.write_state().node_mut(node)?.xattrs.remove(name).map(|_| ()).ok_or(Errno::ENODATA)
    }

    fn fallocate(&self, _caller: &Caller, node: u64, offset: u64, len: u64, mode: u32) -> Result<()> {
        let (start, end) = (in_memory(offset, 0)?, in_memory(offset, len)?);
        let keep = mode & libc::FALLOC_FL_KEEP_SIZE as u32 != 0;
        let clear = mode & (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE) as u32 != 0;
        let known = libc::FALLOC_FL_KEEP_SIZE | libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE;
        if mode & !(known as u32) != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        self.write_state().node_mut(node)?.change(|bytes| {
            if bytes.len() < end && !keep {
                bytes.resize(end, 0);
            }
            let (start, end) = (start.min(bytes.len()), end.min(bytes.len()));
            if clear {
                bytes[start..end].fill(0);
            }
        })
    }

    fn lseek(&self, node: u64, offset: u64, whence: u32) -> Result<u64> {
        let state = self.read_state();
        let size = state.node(node)?.bytes()?.len() as u64;
        match whence as i32 {
            _ if offset >= size => Err(Errno::ENXIO),
            libc::SEEK_DATA => Ok(offset),
            libc::SEEK_HOLE => Ok(size),
            _ => Err(Errno::EINVAL),
        }
    }

    fn copy_file_range(
        &self,
        _caller: &Caller,
        from: u64,
        from_offset: u64,
        to: u64,
        to_offset: u64,
        len: u64,
    ) -> Result<u64> {
        let mut state = self.write_state();
        let source = state.node(from)?.bytes()?;
        let start = usize::try_from(from_offset).unwrap_or(usize::MAX).min(source.len());
        let size = usize::try_from(len).unwrap_or(usize::MAX).min(source.len() - start);
        let copy = source[start..start + size].to_vec();
        state.node_mut(to)?.write_at(to_offset, &copy).map(|size| size as u64)
    }

    fn may_wait(&self, call: SlowCall, _node: u64) -> bool {
        matches!(call, SlowCall::Fsync | SlowCall::Write) && self.slow.load(Ordering::Relaxed)
    }

    fn destroyed(&self) {
        self.is_destroyed.store(true, Ordering::SeqCst);
    }
}
