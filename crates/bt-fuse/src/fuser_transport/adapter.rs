//! fuser's trait on one side, ours on the other.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, Generation, INodeNo, InitFlags, KernelConfig, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::convert;
use crate::check::{self, guarded};
use crate::counters::Counters;
use crate::limits::{CONGESTION_THRESHOLD, MAX_BACKGROUND, MAX_WRITE};
use crate::wire::opcode;
use crate::workers::Workers;
use crate::{Attr, Caller, DirSink, Entry, Errno, FileSystem, MountOptions, Result, SetAttr, SlowCall, init};

/// Node numbers are never reused, so a generation says nothing.
const GENERATION: Generation = Generation(0);

/// The extended attribute that holds the ACL of a file.
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";

thread_local! {
    /// What `read` fills, kept between requests.
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub(super) struct Adapter {
    fs: Arc<dyn FileSystem>,
    options: MountOptions,
    workers: Arc<Workers>,
    counters: Arc<Counters>,
}

impl Adapter {
    pub(super) fn new(
        fs: Arc<dyn FileSystem>,
        options: MountOptions,
        workers: Arc<Workers>,
        counters: Arc<Counters>,
    ) -> Adapter {
        Adapter { fs, options, workers, counters }
    }

    /// Makes a sync here, or has a worker make it when it may wait or another is under way.
    fn sync(&self, node: u64, data_only: bool, reply: ReplyEmpty) {
        let held_up = self.workers.is_syncing();
        let sync = self.workers.begin_sync();
        let job = move |fs: &dyn FileSystem| {
            let result = guarded(|| fs.fsync(node, data_only));
            drop(sync);
            reply_empty(reply, result);
        };
        match held_up {
            true => self.hand_over(job),
            false => self.run(SlowCall::Fsync, node, job),
        }
    }

    /// Makes a call here, or has a worker make it when it may wait.
    fn run(&self, call: SlowCall, node: u64, job: impl FnOnce(&dyn FileSystem) + Send + 'static) {
        match guarded(|| Ok(self.fs.may_wait(call, node))) {
            Ok(true) => self.hand_over(job),
            _ => job(&*self.fs),
        }
    }

    fn hand_over(&self, job: impl FnOnce(&dyn FileSystem) + Send + 'static) {
        let fs = self.fs.clone();
        self.workers.run(Box::new(move || job(&*fs)));
    }
}

/// What fuser does not pass on of the kernel's requests, derived anew. Root stands for who has CAP_FSETID.
impl Adapter {
    /// A truncation costs the set-id bits unless the caller may keep them; a new owner always, except of a directory.
    fn kills_suidgid(&self, caller: &Caller, node: u64, truncates: bool, changes_owner: bool) -> bool {
        truncates && caller.uid != 0
            || changes_owner && self.attr(node).is_some_and(|attr| attr.mode & libc::S_IFMT != libc::S_IFDIR)
    }

    /// A new access ACL costs set-group-id when the caller is not in the file's group. Other groups than the caller's
    /// first are not known here; then the bit goes once too often.
    fn kills_sgid(&self, caller: &Caller, node: u64, xattr: &[u8]) -> bool {
        xattr == ACCESS_ACL && caller.uid != 0 && self.attr(node).is_some_and(|attr| attr.gid != caller.gid)
    }

    fn attr(&self, node: u64) -> Option<Attr> {
        guarded(|| self.fs.getattr(node)).ok().map(|(attr, _)| attr)
    }
}

fn caller(request: &Request) -> Caller {
    Caller { uid: request.uid(), gid: request.gid(), pid: request.pid() }
}

fn reply_entry(reply: ReplyEntry, entry: Result<Entry>) {
    let entry = entry.and_then(|entry| match entry.attr.node {
        0 => Ok((entry, convert::no_file())),
        _ => convert::file_attr(&entry.attr).map(|attr| (entry, attr)),
    });
    match entry {
        Ok((entry, attr)) => reply.entry_with_ttls(&entry.attr_valid, &entry.entry_valid, &attr, GENERATION),
        Err(errno) => reply.error(convert::errno(errno)),
    }
}

fn reply_attr(reply: ReplyAttr, result: Result<(Attr, std::time::Duration)>) {
    match result.and_then(|(attr, valid)| Ok((convert::file_attr(&attr)?, valid))) {
        Ok((attr, valid)) => reply.attr(&valid, &attr),
        Err(errno) => reply.error(convert::errno(errno)),
    }
}

fn reply_empty(reply: ReplyEmpty, result: Result<()>) {
    match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(convert::errno(errno)),
    }
}

fn reply_written(reply: ReplyWrite, result: Result<u64>) {
    match result {
        Ok(size) => reply.written(size.min(u32::MAX.into()) as u32),
        Err(errno) => reply.error(convert::errno(errno)),
    }
}

/// `size` 0 asks for the size alone.
fn reply_xattr(reply: ReplyXattr, size: u32, result: Result<Vec<u8>>) {
    match result {
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() <= size as usize => reply.data(&value),
        Ok(_) => reply.error(fuser::Errno::ERANGE),
        Err(errno) => reply.error(convert::errno(errno)),
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        self.counters.add(opcode::INIT);
        let wanted = InitFlags::from_bits_retain(init::wanted_features(&self.options)) & config.capabilities();
        let set = config.add_capabilities(wanted).is_ok()
            && config.set_max_write(self.options.max_write).is_ok()
            && config.set_max_background(MAX_BACKGROUND).is_ok()
            && config.set_congestion_threshold(CONGESTION_THRESHOLD).is_ok();
        if set { Ok(()) } else { Err(std::io::Error::from_raw_os_error(libc::EINVAL)) }
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.counters.add(opcode::LOOKUP);
        let found = guarded(|| self.fs.lookup(&caller(request), parent.0, check::name(name.as_bytes())?));
        reply_entry(reply, found);
    }

    fn forget(&self, _request: &Request, node: INodeNo, lookups: u64) {
        self.counters.add(opcode::FORGET);
        check::forget(&*self.fs, node.0, lookups);
    }

    fn getattr(&self, _request: &Request, node: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        self.counters.add(opcode::GETATTR);
        reply_attr(reply, guarded(|| self.fs.getattr(node.0)));
    }

    fn setattr(
        &self,
        request: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.counters.add(opcode::SETATTR);
        let caller = caller(request);
        let change = SetAttr {
            mode,
            uid,
            gid,
            size,
            atime: atime.map(convert::time_or_now),
            mtime: mtime.map(convert::time_or_now),
            ctime: ctime.map(convert::time),
            kill_suidgid: self.kills_suidgid(&caller, node.0, size.is_some(), uid.is_some() || gid.is_some()),
        };
        let job = move |fs: &dyn FileSystem| reply_attr(reply, guarded(|| fs.setattr(&caller, node.0, &change)));
        match change.size {
            Some(_) => self.run(SlowCall::Truncate, node.0, job),
            None => job(&*self.fs),
        }
    }

    fn readlink(&self, _request: &Request, node: INodeNo, reply: ReplyData) {
        self.counters.add(opcode::READLINK);
        match guarded(|| self.fs.readlink(node.0)) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(convert::errno(errno)),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        self.counters.add(opcode::MKNOD);
        let made = guarded(|| {
            let name = check::new_name(name.as_bytes())?;
            self.fs.mknod(&caller(request), parent.0, name, mode, umask, rdev)
        });
        reply_entry(reply, made);
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        self.counters.add(opcode::MKDIR);
        let made =
            guarded(|| self.fs.mkdir(&caller(request), parent.0, check::new_name(name.as_bytes())?, mode, umask));
        reply_entry(reply, made);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.counters.add(opcode::UNLINK);
        let result = guarded(|| self.fs.unlink(&caller(request), parent.0, check::new_name(name.as_bytes())?));
        reply_empty(reply, result);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.counters.add(opcode::RMDIR);
        let result = guarded(|| self.fs.rmdir(&caller(request), parent.0, check::new_name(name.as_bytes())?));
        reply_empty(reply, result);
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        self.counters.add(opcode::SYMLINK);
        let made = guarded(|| {
            let target = check::symlink_target(target.as_os_str().as_bytes())?;
            self.fs.symlink(&caller(request), parent.0, check::new_name(name.as_bytes())?, target)
        });
        reply_entry(reply, made);
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.counters.add(opcode::RENAME2);
        let result = guarded(|| {
            let (name, new_name) = (check::new_name(name.as_bytes())?, check::new_name(new_name.as_bytes())?);
            self.fs.rename(&caller(request), parent.0, name, new_parent.0, new_name, flags.bits())
        });
        reply_empty(reply, result);
    }

    fn link(&self, request: &Request, node: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.counters.add(opcode::LINK);
        let made = guarded(|| self.fs.link(&caller(request), node.0, parent.0, check::new_name(name.as_bytes())?));
        reply_entry(reply, made);
    }

    fn open(&self, _request: &Request, _node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.counters.add(opcode::OPEN);
        reply.error(fuser::Errno::ENOSYS);
    }

    fn read(
        &self,
        _request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.counters.add(opcode::READ);
        READ_BUFFER.with_borrow_mut(|buffer| {
            let size = size.min(MAX_WRITE) as usize;
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            match guarded(|| self.fs.read(node.0, offset, &mut buffer[..size])) {
                Ok(read) => reply.data(&buffer[..read.min(size)]),
                Err(errno) => reply.error(convert::errno(errno)),
            }
        });
    }

    fn write(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.counters.add(opcode::WRITE);
        let caller = caller(request);
        let kill = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let write = move |fs: &dyn FileSystem, data: &[u8]| {
            reply_written(reply, guarded(|| fs.write(&caller, node.0, offset, data, kill)).map(|size| size as u64));
        };
        match guarded(|| Ok(self.fs.may_wait(SlowCall::Write, node.0))) {
            Ok(true) => {
                let (fs, data) = (self.fs.clone(), data.to_vec());
                self.workers.run(Box::new(move || write(&*fs, &data)));
            }
            _ => write(&*self.fs, data),
        }
    }

    fn flush(&self, _: &Request, _node: INodeNo, _handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        self.counters.add(opcode::FLUSH);
        reply.error(fuser::Errno::ENOSYS);
    }

    fn release(
        &self,
        _request: &Request,
        _node: INodeNo,
        _handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.counters.add(opcode::RELEASE);
        reply.ok();
    }

    fn fsync(&self, _request: &Request, node: INodeNo, _handle: FileHandle, data_only: bool, reply: ReplyEmpty) {
        self.counters.add(opcode::FSYNC);
        self.sync(node.0, data_only, reply);
    }

    fn opendir(&self, _request: &Request, _node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.counters.add(opcode::OPENDIR);
        reply.error(fuser::Errno::ENOSYS);
    }

    fn readdir(&self, _request: &Request, node: INodeNo, _handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        self.counters.add(opcode::READDIR);
        match guarded(|| self.fs.readdir(node.0, offset, false, &mut PlainSink(&mut reply))) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(convert::errno(errno)),
        }
    }

    fn readdirplus(
        &self,
        _request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.counters.add(opcode::READDIRPLUS);
        match guarded(|| self.fs.readdir(node.0, offset, true, &mut PlusSink(&mut reply))) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(convert::errno(errno)),
        }
    }

    fn releasedir(&self, _: &Request, _node: INodeNo, _handle: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        self.counters.add(opcode::RELEASEDIR);
        reply.ok();
    }

    fn fsyncdir(&self, _request: &Request, node: INodeNo, _handle: FileHandle, data_only: bool, reply: ReplyEmpty) {
        self.counters.add(opcode::FSYNCDIR);
        self.sync(node.0, data_only, reply);
    }

    fn statfs(&self, _request: &Request, _node: INodeNo, reply: ReplyStatfs) {
        self.counters.add(opcode::STATFS);
        match guarded(|| self.fs.statfs()) {
            Ok(space) => reply.statfs(
                space.blocks,
                space.blocks_free,
                space.blocks_available,
                space.files,
                space.files_free,
                space.block_size,
                space.name_max,
                space.block_size,
            ),
            Err(errno) => reply.error(convert::errno(errno)),
        }
    }

    fn setxattr(
        &self,
        request: &Request,
        node: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        self.counters.add(opcode::SETXATTR);
        let result = guarded(|| {
            let name = check::xattr_name(name.as_bytes())?;
            let caller = caller(request);
            let kill_sgid = self.kills_sgid(&caller, node.0, name);
            self.fs.setxattr(&caller, node.0, name, value, flags as u32, kill_sgid)
        });
        reply_empty(reply, result);
    }

    fn getxattr(&self, request: &Request, node: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.counters.add(opcode::GETXATTR);
        let value = guarded(|| self.fs.getxattr(&caller(request), node.0, check::xattr_name(name.as_bytes())?));
        reply_xattr(reply, size, value);
    }

    fn listxattr(&self, request: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        self.counters.add(opcode::LISTXATTR);
        reply_xattr(reply, size, guarded(|| self.fs.listxattr(&caller(request), node.0)));
    }

    fn removexattr(&self, request: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.counters.add(opcode::REMOVEXATTR);
        let result = guarded(|| self.fs.removexattr(&caller(request), node.0, check::xattr_name(name.as_bytes())?));
        reply_empty(reply, result);
    }

    fn access(&self, _request: &Request, _node: INodeNo, _mask: fuser::AccessFlags, reply: ReplyEmpty) {
        self.counters.add(opcode::ACCESS);
        reply.error(fuser::Errno::ENOSYS);
    }

    fn create(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        self.counters.add(opcode::CREATE);
        reply.error(fuser::Errno::ENOSYS);
    }

    fn fallocate(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.counters.add(opcode::FALLOCATE);
        let caller = caller(request);
        self.run(SlowCall::Fallocate, node.0, move |fs| {
            reply_empty(reply, guarded(|| fs.fallocate(&caller, node.0, offset, len, mode as u32)));
        });
    }

    fn lseek(
        &self,
        _request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        self.counters.add(opcode::LSEEK);
        self.run(SlowCall::Seek, node.0, move |fs| {
            let found = guarded(|| {
                let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
                i64::try_from(fs.lseek(node.0, offset, whence as u32)?).map_err(|_| Errno::EOVERFLOW)
            });
            match found {
                Ok(offset) => reply.offset(offset),
                Err(errno) => reply.error(convert::errno(errno)),
            }
        });
    }

    fn copy_file_range(
        &self,
        request: &Request,
        from: INodeNo,
        _from_handle: FileHandle,
        from_offset: u64,
        to: INodeNo,
        _to_handle: FileHandle,
        to_offset: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        self.counters.add(opcode::COPY_FILE_RANGE);
        let caller = caller(request);
        self.run(SlowCall::CopyFileRange, to.0, move |fs| {
            reply_written(reply, guarded(|| fs.copy_file_range(&caller, from.0, from_offset, to.0, to_offset, len)));
        });
    }
}

struct PlainSink<'a>(&'a mut ReplyDirectory);

impl DirSink for PlainSink<'_> {
    fn add(&mut self, node: u64, cookie: u64, file_type: u32, name: &[u8], _entry: Option<&Entry>) -> bool {
        // An entry of an unknown type is shown as a file; asking for it then says what is wrong.
        let kind = convert::file_type(file_type).unwrap_or(fuser::FileType::RegularFile);
        !self.0.add(INodeNo(node), cookie, kind, OsStr::from_bytes(name))
    }
}

struct PlusSink<'a>(&'a mut ReplyDirectoryPlus);

impl DirSink for PlusSink<'_> {
    fn add(&mut self, node: u64, cookie: u64, file_type: u32, name: &[u8], entry: Option<&Entry>) -> bool {
        match entry.and_then(|entry| Some((entry, convert::file_attr(&entry.attr).ok()?))) {
            Some((entry, attr)) => {
                let valid = entry.attr_valid.min(entry.entry_valid);
                !self.0.add(INodeNo(node), cookie, OsStr::from_bytes(name), &valid, &attr, GENERATION)
            }
            None => {
                // Node 0 says that this is no lookup; what listing shows is taken from the attributes.
                let kind = convert::file_type(file_type).unwrap_or(fuser::FileType::RegularFile);
                let attr = fuser::FileAttr { ino: INodeNo(node), kind, ..convert::no_file() };
                let valid = std::time::Duration::ZERO;
                !self.0.add(INodeNo(0), cookie, OsStr::from_bytes(name), &valid, &attr, GENERATION)
            }
        }
    }
}
