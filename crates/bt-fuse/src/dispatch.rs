//! From a request as the kernel lays it out to a call of the file system, and its result back.

use std::time::Duration;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::check::{self, guarded};
use crate::directory::DirWriter;
use crate::limits::LARGE_READ;
use crate::wire::{self, InHeader, opcode, setattr_valid};
use crate::{Attr, Caller, Entry, Errno, FileSystem, Result, SetAttr, SlowCall, Time, TimeOrNow};

/// `open_flags`: the kernel keeps the pages that it has of a file.
const FOPEN_KEEP_CACHE: u32 = 1 << 1;
/// Security labels are not kept here. Said so, programs such as ls(1) do not ask for every file.
const SELINUX_LABEL: &[u8] = b"security.selinux";

/// A request, and the space for its reply.
pub(crate) struct Request<'a> {
    /// Who asks what of which node.
    pub(crate) header: InHeader,
    /// The operation's fixed part; at least [`wire::fixed_size`] bytes if the kernel is sound.
    pub(crate) fixed: &'a [u8],
    /// Names and data; the reply takes their place.
    pub(crate) payload: &'a mut [u8],
    /// How much of the payload is the request's.
    pub(crate) payload_size: usize,
}

/// Makes the call; the size of the reply that then lies in the payload.
pub(crate) fn answer(fs: &dyn FileSystem, request: &mut Request<'_>) -> Result<usize> {
    guarded(|| request.answer(fs))
}

/// Whether the file system wants this call made by a worker.
pub(crate) fn may_wait(fs: &dyn FileSystem, header: &InHeader, fixed: &[u8]) -> bool {
    let call = match header.opcode {
        opcode::READ if reads_much(fixed) => SlowCall::LargeRead,
        opcode::WRITE => SlowCall::Write,
        opcode if is_sync(opcode) => SlowCall::Fsync,
        opcode::COPY_FILE_RANGE | opcode::COPY_FILE_RANGE_64 => SlowCall::CopyFileRange,
        opcode::FALLOCATE => SlowCall::Fallocate,
        opcode::LSEEK => SlowCall::Seek,
        opcode::SETATTR if truncates(fixed) => SlowCall::Truncate,
        _ => return false,
    };
    guarded(|| Ok(fs.may_wait(call, header.node))).unwrap_or(false)
}

/// Whether an operation makes something durable.
pub(crate) fn is_sync(opcode: u32) -> bool {
    matches!(opcode, opcode::FSYNC | opcode::FSYNCDIR | opcode::SYNCFS)
}

fn reads_much(fixed: &[u8]) -> bool {
    parse::<wire::ReadIn>(fixed).is_ok_and(|read| read.size >= LARGE_READ)
}

fn truncates(fixed: &[u8]) -> bool {
    parse::<wire::SetattrIn>(fixed).is_ok_and(|setattr| setattr.valid & setattr_valid::SIZE != 0)
}

/// What a reply's header says of a result. Numbers that are no error to the kernel are EIO.
pub(crate) fn error_out<T>(result: &Result<T>) -> i32 {
    /// The first of the kernel's internal numbers.
    const ERESTARTSYS: i32 = 512;
    match result {
        Ok(_) => 0,
        Err(Errno(errno)) if (1..ERESTARTSYS).contains(errno) => -errno,
        Err(_) => -Errno::EIO.0,
    }
}

/// The message at the start of `bytes`; EINVAL when they are too few.
pub(crate) fn parse<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8]) -> Result<T> {
    T::read_from_prefix(bytes).map(|(message, _)| message).map_err(|_| Errno::EINVAL)
}

/// Takes the bytes up to the next NUL; EINVAL when there is none.
fn until_nul<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == 0).ok_or(Errno::EINVAL)?;
    let (text, after) = rest.split_at(end);
    *rest = &after[1..];
    Ok(text)
}

pub(crate) fn attr_out(attr: &Attr) -> wire::WireAttr {
    wire::WireAttr {
        ino: attr.node,
        size: attr.size,
        blocks: attr.blocks,
        atime: attr.atime.seconds,
        mtime: attr.mtime.seconds,
        ctime: attr.ctime.seconds,
        atime_nanos: attr.atime.nanos,
        mtime_nanos: attr.mtime.nanos,
        ctime_nanos: attr.ctime.nanos,
        mode: attr.mode,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: attr.blksize,
        flags: 0,
    }
}

pub(crate) fn entry_out(entry: &Entry) -> wire::EntryOut {
    wire::EntryOut {
        node: entry.attr.node,
        // Node numbers are never reused, so a generation says nothing.
        generation: 0,
        entry_valid: entry.entry_valid.as_secs(),
        attr_valid: entry.attr_valid.as_secs(),
        entry_valid_nanos: entry.entry_valid.subsec_nanos(),
        attr_valid_nanos: entry.attr_valid.subsec_nanos(),
        attr: attr_out(&entry.attr),
    }
}

fn set_attr(setattr: &wire::SetattrIn) -> SetAttr {
    let has = |flag| setattr.valid & flag != 0;
    let time = |given, now, seconds, nanos| match (has(given), has(now)) {
        (_, true) => Some(TimeOrNow::Now),
        (true, false) => Some(TimeOrNow::Time(Time { seconds, nanos })),
        (false, false) => None,
    };
    let ctime = Time { seconds: setattr.ctime, nanos: setattr.ctime_nanos };
    SetAttr {
        mode: has(setattr_valid::MODE).then_some(setattr.mode),
        uid: has(setattr_valid::UID).then_some(setattr.uid),
        gid: has(setattr_valid::GID).then_some(setattr.gid),
        size: has(setattr_valid::SIZE).then_some(setattr.size),
        atime: time(setattr_valid::ATIME, setattr_valid::ATIME_NOW, setattr.atime, setattr.atime_nanos),
        mtime: time(setattr_valid::MTIME, setattr_valid::MTIME_NOW, setattr.mtime, setattr.mtime_nanos),
        ctime: has(setattr_valid::CTIME).then_some(ctime),
        kill_suidgid: has(setattr_valid::KILL_SUIDGID),
    }
}

impl Request<'_> {
    fn answer(&mut self, fs: &dyn FileSystem) -> Result<usize> {
        let node = self.header.node;
        match self.header.opcode {
            opcode::LOOKUP => self.lookup(fs),
            opcode::GETATTR => {
                let found = fs.getattr(node)?;
                self.reply_attr(found)
            }
            opcode::SETATTR => {
                let change = set_attr(&parse(self.fixed)?);
                let changed = fs.setattr(&self.caller(), node, &change)?;
                self.reply_attr(changed)
            }
            opcode::READLINK => {
                let target = fs.readlink(node)?;
                self.reply_bytes(&target)
            }
            opcode::MKNOD => self.mknod(fs),
            opcode::MKDIR => self.mkdir(fs),
            opcode::SYMLINK => self.symlink(fs),
            opcode::LINK => self.link(fs),
            opcode::TMPFILE => self.tmpfile(fs),
            opcode::UNLINK => fs.unlink(&self.caller(), node, self.new_name()?).map(|()| 0),
            opcode::RMDIR => fs.rmdir(&self.caller(), node, self.new_name()?).map(|()| 0),
            opcode::RENAME => {
                let rename: wire::RenameIn = parse(self.fixed)?;
                self.rename(fs, rename.new_parent, 0)
            }
            opcode::RENAME2 => {
                let rename: wire::Rename2In = parse(self.fixed)?;
                self.rename(fs, rename.new_parent, rename.flags)
            }
            opcode::READ => self.read(fs),
            opcode::WRITE => self.write(fs),
            opcode::FSYNC | opcode::FSYNCDIR => {
                let fsync: wire::FsyncIn = parse(self.fixed)?;
                fs.fsync(node, fsync.flags & wire::FSYNC_DATA != 0).map(|()| 0)
            }
            opcode::SYNCFS => fs.fsync(node, false).map(|()| 0),
            opcode::READDIR => self.readdir(fs, false),
            opcode::READDIRPLUS => self.readdir(fs, true),
            opcode::STATFS => self.statfs(fs),
            opcode::GETXATTR => self.getxattr(fs),
            opcode::LISTXATTR => self.listxattr(fs),
            opcode::SETXATTR => self.setxattr(fs),
            opcode::REMOVEXATTR => {
                let name = check::xattr_name(until_nul(&mut self.input())?)?;
                fs.removexattr(&self.caller(), node, name).map(|()| 0)
            }
            opcode::FALLOCATE => {
                let fallocate: wire::FallocateIn = parse(self.fixed)?;
                fs.fallocate(&self.caller(), node, fallocate.offset, fallocate.len, fallocate.mode).map(|()| 0)
            }
            opcode::LSEEK => {
                let seek: wire::LseekIn = parse(self.fixed)?;
                let offset = fs.lseek(node, seek.offset, seek.whence)?;
                self.reply(&wire::LseekOut { offset })
            }
            opcode::COPY_FILE_RANGE | opcode::COPY_FILE_RANGE_64 => self.copy_file_range(fs),
            // There are no open files, so there is nothing to close; the kernel may still do it before it knows.
            opcode::RELEASE | opcode::RELEASEDIR | opcode::DESTROY => Ok(0),
            // Said once for OPEN, OPENDIR, FLUSH, CREATE and ACCESS, and the kernel does without from then on.
            _ => Err(Errno::ENOSYS),
        }
    }

    fn caller(&self) -> Caller {
        Caller { uid: self.header.uid, gid: self.header.gid, pid: self.header.pid }
    }

    fn input(&self) -> &[u8] {
        &self.payload[..self.payload_size.min(self.payload.len())]
    }

    fn new_name(&self) -> Result<&[u8]> {
        check::new_name(until_nul(&mut self.input())?)
    }

    fn reply<T: IntoBytes + Immutable>(&mut self, message: &T) -> Result<usize> {
        self.reply_bytes(message.as_bytes())
    }

    fn reply_bytes(&mut self, bytes: &[u8]) -> Result<usize> {
        self.payload.get_mut(..bytes.len()).ok_or(Errno::EIO)?.copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn reply_attr(&mut self, (attr, valid): (Attr, Duration)) -> Result<usize> {
        self.reply(&wire::AttrOut {
            attr_valid: valid.as_secs(),
            attr_valid_nanos: valid.subsec_nanos(),
            padding: 0,
            attr: attr_out(&attr),
        })
    }

    fn reply_entry(&mut self, entry: &Entry) -> Result<usize> {
        self.reply(&entry_out(entry))
    }

    fn lookup(&mut self, fs: &dyn FileSystem) -> Result<usize> {
        let name = check::name(until_nul(&mut self.input())?)?;
        let entry = fs.lookup(&self.caller(), self.header.node, name)?;
        self.reply_entry(&entry)
    }

    fn mknod(&mut self, fs: &dyn FileSystem) -> Result<usize> {
        let mknod: wire::MknodIn = parse(self.fixed)?;
        let name = self.new_name()?;
        let entry = fs.mknod(&self.caller(), self.header.node, name, mknod.mode, mknod.umask, mknod.rdev)?;
        self.reply_entry(&entry)
    }

    fn mkdir(&mut self, fs: &dyn FileSystem) -> Result<usize> {
        let mkdir: wire::MkdirIn = parse(self.fixed)?;
        let entry = fs.mkdir(&self.caller(), self.header.node, self.new_name()?, mkdir.mode, mkdir.umask)?;
        self.reply_entry(&entry)
    }

    fn symlink(&mut self, fs: &dyn FileSystem) -> Result<usize> {
        let mut rest = self.input();
        let name = check::new_name(until_nul(&mut rest)?)?;
        let target = check::symlink_target(until_nul(&mut rest)?)?;
        let entry = fs.symlink(&self.caller(), self.header.node, name, target)?;
        self.reply_entry(&entry)
    }

    fn link(&mut self, fs: &dyn FileSystem) -> Result<usize> {
        let link: wire::LinkIn = parse(self.fixed)?;
        let entry = fs.link(&self.caller(), link.node, self.header.node, self.new_name()?)?;
        self.reply_entry(&entry)
    }

    /// The kernel opens what it asked for and cannot be told ENOSYS for that part.
    fn tmpfile(&mut self, fs: &dyn FileSystem) -> Result<usize> {
        let create: wire::CreateIn = parse(self.fixed)?;
        let mode = create.mode & 0o7777 | libc::S_IFREG;
        let entry = fs.tmpfile(&self.caller(), self.header.node, mode, create.umask)?;
        let size = self.reply_entry(&entry)?;
        let open = wire::OpenOut { handle: 0, open_flags: FOPEN_KEEP_CACHE, backing: 0 };
        let rest = self.payload.get_mut(size..size + size_of_val(&open)).ok_or(Errno::EIO)?;
        rest.copy_from_slice(open.as_bytes());
        Ok(size + size_of_val(&open))
    }

    fn rename(&self, fs: &dyn FileSystem, new_parent: u64, flags: u32) -> Result<usize> {
        let mut rest = self.input();
        let name = check::new_name(until_nul(&mut rest)?)?;
        let new_name = check::new_name(until_nul(&mut rest)?)?;
        fs.rename(&self.caller(), self.header.node, name, new_parent, new_name, flags).map(|()| 0)
    }

    fn read(&mut self, fs: &dyn FileSystem) -> Result<usize> {
        let read: wire::ReadIn = parse(self.fixed)?;
        let out = self.payload.get_mut(..read.size as usize).ok_or(Errno::EINVAL)?;
        let size = fs.read(self.header.node, read.offset, out)?;
        if size <= out.len() { Ok(size) } else { Err(Errno::EIO) }
    }

    fn write(&mut self, fs: &dyn FileSystem) -> Result<usize> {
        let write: wire::WriteIn = parse(self.fixed)?;
        let data = self.input().get(..write.size as usize).ok_or(Errno::EINVAL)?;
        let kill_suidgid = write.write_flags & wire::WRITE_KILL_SUIDGID != 0;
        let size = fs.write(&self.caller(), self.header.node, write.offset, data, kill_suidgid)?;
        self.reply(&wire::WriteOut { size: size as u32, padding: 0 })
    }

    fn readdir(&mut self, fs: &dyn FileSystem, plus: bool) -> Result<usize> {
        let read: wire::ReadIn = parse(self.fixed)?;
        let size = (read.size as usize).min(self.payload.len());
        let mut writer = DirWriter::new(&mut self.payload[..size], plus);
        fs.readdir(self.header.node, read.offset, plus, &mut writer)?;
        Ok(writer.used())
    }

    fn statfs(&mut self, fs: &dyn FileSystem) -> Result<usize> {
        let space = fs.statfs()?;
        self.reply(&wire::StatfsOut {
            blocks: space.blocks,
            blocks_free: space.blocks_free,
            blocks_available: space.blocks_available,
            files: space.files,
            files_free: space.files_free,
            block_size: space.block_size,
            name_max: space.name_max,
            fragment_size: space.block_size,
            ..wire::StatfsOut::default()
        })
    }

    fn getxattr(&mut self, fs: &dyn FileSystem) -> Result<usize> {
        let name = check::xattr_name(until_nul(&mut self.input())?)?;
        let value = match name {
            SELINUX_LABEL => Err(Errno::EOPNOTSUPP),
            _ => fs.getxattr(&self.caller(), self.header.node, name),
        }?;
        self.reply_xattr(&value)
    }

    fn listxattr(&mut self, fs: &dyn FileSystem) -> Result<usize> {
        let names = fs.listxattr(&self.caller(), self.header.node)?;
        self.reply_xattr(&names)
    }

    /// A requested size of 0 asks for the size alone.
    fn reply_xattr(&mut self, value: &[u8]) -> Result<usize> {
        let wanted: wire::GetxattrIn = parse(self.fixed)?;
        match wanted.size as usize {
            0 => self.reply(&wire::GetxattrOut { size: value.len() as u32, padding: 0 }),
            size if size < value.len() => Err(Errno::ERANGE),
            _ => self.reply_bytes(value),
        }
    }

    fn setxattr(&mut self, fs: &dyn FileSystem) -> Result<usize> {
        let setxattr: wire::SetxattrIn = parse(self.fixed)?;
        let mut rest = self.input();
        let name = check::xattr_name(until_nul(&mut rest)?)?;
        let value = rest.get(..setxattr.size as usize).ok_or(Errno::EINVAL)?;
        if name == SELINUX_LABEL {
            return Err(Errno::EOPNOTSUPP);
        }
        let kill_sgid = setxattr.setxattr_flags & wire::SETXATTR_ACL_KILL_SGID != 0;
        fs.setxattr(&self.caller(), self.header.node, name, value, setxattr.flags, kill_sgid).map(|()| 0)
    }

    fn copy_file_range(&mut self, fs: &dyn FileSystem) -> Result<usize> {
        let copy: wire::CopyIn = parse(self.fixed)?;
        let from = self.header.node;
        // The older form tells the result in 32 bits.
        let wide = self.header.opcode == opcode::COPY_FILE_RANGE_64;
        let len = if wide { copy.len } else { copy.len.min(u32::MAX.into()) };
        let copied = fs.copy_file_range(&self.caller(), from, copy.from_offset, copy.to, copy.to_offset, len)?;
        match wide {
            true => self.reply(&wire::CopyOut { copied }),
            false => self.reply(&wire::WriteOut { size: copied as u32, padding: 0 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::null_fs::NullFs;
    use crate::wire::ForgetOne;

    const SIZE: usize = 4096;

    /// A request of one operation with these bytes, answered by `fs`.
    fn ask(fs: &dyn FileSystem, opcode: u32, node: u64, fixed: &[u8], input: &[u8]) -> (Result<usize>, Vec<u8>) {
        let mut payload = vec![0; SIZE];
        payload[..input.len()].copy_from_slice(input);
        let header = InHeader { opcode, node, uid: 1000, gid: 1000, ..InHeader::default() };
        let mut request = Request { header, fixed, payload: &mut payload, payload_size: input.len() };
        // Not guarded: a panic is to be seen.
        let result = request.answer(fs);
        (result, payload)
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let fs = NullFs::new(Duration::ZERO);
        let write = wire::WriteIn { size: 11, ..Default::default() };
        assert_eq!(ask(&fs, opcode::WRITE, 2, write.as_bytes(), &[0; 10]).0, Err(Errno::EINVAL));
        let read = wire::ReadIn { size: SIZE as u32 + 1, ..Default::default() };
        assert_eq!(ask(&fs, opcode::READ, 2, read.as_bytes(), &[]).0, Err(Errno::EINVAL));
        assert_eq!(ask(&fs, opcode::LOOKUP, 1, &[], b"no end").0, Err(Errno::EINVAL));
        assert_eq!(ask(&fs, opcode::LOOKUP, 1, &[], b"a/b\0").0, Err(Errno::EINVAL));
        assert_eq!(ask(&fs, opcode::SYMLINK, 1, &[], b"name\0").0, Err(Errno::EINVAL));
        assert_eq!(ask(&fs, opcode::MKDIR, 1, &[0; 7], b"name\0").0, Err(Errno::EINVAL));
        let value = wire::SetxattrIn { size: 5, ..Default::default() };
        assert_eq!(ask(&fs, opcode::SETXATTR, 1, value.as_bytes(), b"user.a\0four").0, Err(Errno::EINVAL));
        assert_eq!(ask(&fs, 4095, 1, &[], &[]).0, Err(Errno::ENOSYS));
        let (made, payload) = ask(&fs, opcode::MKNOD, 1, wire::MknodIn::default().as_bytes(), b"name\0");
        assert_eq!(made, Ok(size_of::<wire::EntryOut>()));
        assert_eq!(parse::<wire::EntryOut>(&payload).unwrap().node, 2);
    }

    #[test]
    fn errors_are_the_kernels() {
        assert_eq!(error_out(&Ok(5)), 0);
        assert_eq!(error_out::<()>(&Err(Errno::ENOENT)), -2);
        for nonsense in [0, -2, 512, i32::MIN] {
            assert_eq!(error_out::<()>(&Err(Errno(nonsense))), -5);
        }
    }

    #[test]
    fn no_request_panics() {
        let fs = NullFs::new(Duration::ZERO);
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        for _ in 0..200_000 {
            let opcode = (random() % 56) as u32;
            let fixed: Vec<u8> = (0..random() % 129)
                .map(|_| if random() % 3 == 0 { random() as u8 } else { (random() % 3) as u8 })
                .collect();
            let input: Vec<u8> = (0..random() % 64).map(|_| b"ab\0/.\0a\xff"[(random() % 8) as usize]).collect();
            let node = random() % 6;
            let (result, _) = ask(&fs, opcode, node, &fixed, &input);
            assert!(result.is_err() || result.is_ok_and(|size| size <= SIZE));
            // What is never forgotten would grow without limit.
            if opcode == opcode::FORGET {
                let one = ForgetOne { node, lookups: random() % 4 };
                check::forget(&fs, one.node, one.lookups);
            }
        }
    }
}
