//! The messages of the FUSE protocol, version 7.45, as in the kernel's `include/uapi/linux/fuse.h`.
//!
//! All numbers are in the machine's byte order. Only what this crate reads or writes is here.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The protocol's major number.
pub(crate) const MAJOR: u32 = 7;
/// The newest minor number that this file follows.
pub(crate) const MINOR: u32 = 45;

macro_rules! opcodes {
    ($($name:ident = $number:literal,)*) => {
        /// What a request asks for.
        pub(crate) mod opcode {
            // Some are only counted by their names.
            $(#[allow(dead_code)] pub(crate) const $name: u32 = $number;)*
        }

        /// The protocol's name of a request, without its prefix `FUSE_`.
        pub(crate) fn opcode_name(opcode: u32) -> Option<&'static str> {
            match opcode {
                $($number => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

opcodes! {
    LOOKUP = 1,
    FORGET = 2,
    GETATTR = 3,
    SETATTR = 4,
    READLINK = 5,
    SYMLINK = 6,
    MKNOD = 8,
    MKDIR = 9,
    UNLINK = 10,
    RMDIR = 11,
    RENAME = 12,
    LINK = 13,
    OPEN = 14,
    READ = 15,
    WRITE = 16,
    STATFS = 17,
    RELEASE = 18,
    FSYNC = 20,
    SETXATTR = 21,
    GETXATTR = 22,
    LISTXATTR = 23,
    REMOVEXATTR = 24,
    FLUSH = 25,
    INIT = 26,
    OPENDIR = 27,
    READDIR = 28,
    RELEASEDIR = 29,
    FSYNCDIR = 30,
    GETLK = 31,
    SETLK = 32,
    SETLKW = 33,
    ACCESS = 34,
    CREATE = 35,
    INTERRUPT = 36,
    BMAP = 37,
    DESTROY = 38,
    IOCTL = 39,
    POLL = 40,
    BATCH_FORGET = 42,
    FALLOCATE = 43,
    READDIRPLUS = 44,
    RENAME2 = 45,
    LSEEK = 46,
    COPY_FILE_RANGE = 47,
    SYNCFS = 50,
    TMPFILE = 51,
    STATX = 52,
    COPY_FILE_RANGE_64 = 53,
}

/// Flags of INIT: what the kernel offers and what is taken of it. Those from bit 32 travel in `flags2`.
pub(crate) mod init_flag {
    pub(crate) const ASYNC_READ: u64 = 1 << 0;
    pub(crate) const BIG_WRITES: u64 = 1 << 5;
    pub(crate) const DONT_MASK: u64 = 1 << 6;
    pub(crate) const AUTO_INVAL_DATA: u64 = 1 << 12;
    pub(crate) const DO_READDIRPLUS: u64 = 1 << 13;
    pub(crate) const READDIRPLUS_AUTO: u64 = 1 << 14;
    pub(crate) const ASYNC_DIO: u64 = 1 << 15;
    pub(crate) const WRITEBACK_CACHE: u64 = 1 << 16;
    pub(crate) const NO_OPEN_SUPPORT: u64 = 1 << 17;
    pub(crate) const PARALLEL_DIROPS: u64 = 1 << 18;
    pub(crate) const POSIX_ACL: u64 = 1 << 20;
    pub(crate) const MAX_PAGES: u64 = 1 << 22;
    pub(crate) const CACHE_SYMLINKS: u64 = 1 << 23;
    pub(crate) const NO_OPENDIR_SUPPORT: u64 = 1 << 24;
    pub(crate) const HANDLE_KILLPRIV_V2: u64 = 1 << 28;
    pub(crate) const SETXATTR_EXT: u64 = 1 << 29;
    pub(crate) const INIT_EXT: u64 = 1 << 30;
    pub(crate) const OVER_IO_URING: u64 = 1 << 41;
}

/// `valid` of SETATTR.
pub(crate) mod setattr_valid {
    pub(crate) const MODE: u32 = 1 << 0;
    pub(crate) const UID: u32 = 1 << 1;
    pub(crate) const GID: u32 = 1 << 2;
    pub(crate) const SIZE: u32 = 1 << 3;
    pub(crate) const ATIME: u32 = 1 << 4;
    pub(crate) const MTIME: u32 = 1 << 5;
    pub(crate) const ATIME_NOW: u32 = 1 << 7;
    pub(crate) const MTIME_NOW: u32 = 1 << 8;
    pub(crate) const CTIME: u32 = 1 << 10;
    pub(crate) const KILL_SUIDGID: u32 = 1 << 11;
}

/// `write_flags` of WRITE: the writer may not keep set-user-id and set-group-id.
pub(crate) const WRITE_KILL_SUIDGID: u32 = 1 << 2;
/// `fsync_flags` of FSYNC: the content only.
pub(crate) const FSYNC_DATA: u32 = 1 << 0;
/// `setxattr_flags` of SETXATTR: setting this access ACL drops set-group-id.
pub(crate) const SETXATTR_ACL_KILL_SGID: u32 = 1 << 0;

macro_rules! message {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
        #[repr(C)]
        pub(crate) struct $name {
            $(pub(crate) $field: $type,)*
        }
    };
}

message! {
    /// Begins every request.
    InHeader { len: u32, opcode: u32, unique: u64, node: u64, uid: u32, gid: u32, pid: u32, extensions: u16, padding: u16, }
}
message! {
    /// Begins every reply; `error` is zero or a negative error number.
    OutHeader { len: u32, error: i32, unique: u64, }
}
message! {
    WireAttr {
        ino: u64, size: u64, blocks: u64, atime: i64, mtime: i64, ctime: i64,
        atime_nanos: u32, mtime_nanos: u32, ctime_nanos: u32,
        mode: u32, nlink: u32, uid: u32, gid: u32, rdev: u32, blksize: u32, flags: u32,
    }
}
message! {
    EntryOut {
        node: u64, generation: u64, entry_valid: u64, attr_valid: u64,
        entry_valid_nanos: u32, attr_valid_nanos: u32, attr: WireAttr,
    }
}
message! { AttrOut { attr_valid: u64, attr_valid_nanos: u32, padding: u32, attr: WireAttr, } }
message! { ForgetIn { lookups: u64, } }
message! { ForgetOne { node: u64, lookups: u64, } }
message! { BatchForgetIn { count: u32, padding: u32, } }
message! { MknodIn { mode: u32, rdev: u32, umask: u32, padding: u32, } }
message! { MkdirIn { mode: u32, umask: u32, } }
message! { RenameIn { new_parent: u64, } }
message! { Rename2In { new_parent: u64, flags: u32, padding: u32, } }
message! { LinkIn { node: u64, } }
message! {
    SetattrIn {
        valid: u32, padding: u32, handle: u64, size: u64, lock_owner: u64, atime: i64, mtime: i64, ctime: i64,
        atime_nanos: u32, mtime_nanos: u32, ctime_nanos: u32, mode: u32, unused4: u32, uid: u32, gid: u32, unused5: u32,
    }
}
message! { CreateIn { flags: u32, mode: u32, umask: u32, open_flags: u32, } }
message! { OpenOut { handle: u64, open_flags: u32, backing: u32, } }
message! {
    ReadIn { handle: u64, offset: u64, size: u32, read_flags: u32, lock_owner: u64, flags: u32, padding: u32, }
}
message! {
    WriteIn { handle: u64, offset: u64, size: u32, write_flags: u32, lock_owner: u64, flags: u32, padding: u32, }
}
message! { WriteOut { size: u32, padding: u32, } }
message! {
    StatfsOut {
        blocks: u64, blocks_free: u64, blocks_available: u64, files: u64, files_free: u64,
        block_size: u32, name_max: u32, fragment_size: u32, padding: u32, spare: [u32; 6],
    }
}
message! { FsyncIn { handle: u64, flags: u32, padding: u32, } }
message! { SetxattrIn { size: u32, flags: u32, setxattr_flags: u32, padding: u32, } }
message! { GetxattrIn { size: u32, padding: u32, } }
message! { GetxattrOut { size: u32, padding: u32, } }
message! { FallocateIn { handle: u64, offset: u64, len: u64, mode: u32, padding: u32, } }
message! { LseekIn { handle: u64, offset: u64, whence: u32, padding: u32, } }
message! { LseekOut { offset: u64, } }
message! {
    CopyIn { from_handle: u64, from_offset: u64, to: u64, to_handle: u64, to_offset: u64, len: u64, flags: u64, }
}
message! { CopyOut { copied: u64, } }
message! { InitIn { major: u32, minor: u32, max_read_ahead: u32, flags: u32, flags2: u32, unused: [u32; 11], } }
message! {
    InitOut {
        major: u32, minor: u32, max_read_ahead: u32, flags: u32, max_background: u16, congestion_threshold: u16,
        max_write: u32, time_granularity: u32, max_pages: u16, map_alignment: u16, flags2: u32,
        max_stack_depth: u32, request_timeout: u16, unused: [u16; 11],
    }
}
message! { Dirent { node: u64, cookie: u64, name_size: u32, file_type: u32, } }

/// How many bytes of a request, after its header, are the operation's own fixed part; names and data follow.
///
/// io_uring carries that part apart from the rest.
pub(crate) fn fixed_size(opcode: u32) -> usize {
    match opcode {
        opcode::LOOKUP | opcode::SYMLINK | opcode::UNLINK | opcode::RMDIR | opcode::REMOVEXATTR => 0,
        opcode::READLINK | opcode::STATFS | opcode::DESTROY => 0,
        opcode::FORGET => size_of::<ForgetIn>(),
        opcode::BATCH_FORGET => size_of::<BatchForgetIn>(),
        opcode::SETATTR => size_of::<SetattrIn>(),
        opcode::MKNOD => size_of::<MknodIn>(),
        opcode::MKDIR => size_of::<MkdirIn>(),
        opcode::RENAME => size_of::<RenameIn>(),
        opcode::RENAME2 => size_of::<Rename2In>(),
        opcode::LINK => size_of::<LinkIn>(),
        opcode::CREATE | opcode::TMPFILE => size_of::<CreateIn>(),
        opcode::READ | opcode::READDIR | opcode::READDIRPLUS => size_of::<ReadIn>(),
        opcode::WRITE => size_of::<WriteIn>(),
        opcode::FSYNC | opcode::FSYNCDIR => size_of::<FsyncIn>(),
        opcode::SETXATTR => size_of::<SetxattrIn>(),
        opcode::GETXATTR | opcode::LISTXATTR => size_of::<GetxattrIn>(),
        opcode::FALLOCATE => size_of::<FallocateIn>(),
        opcode::LSEEK => size_of::<LseekIn>(),
        opcode::COPY_FILE_RANGE | opcode::COPY_FILE_RANGE_64 => size_of::<CopyIn>(),
        opcode::INIT => size_of::<InitIn>(),
        // The rest is answered without looking at it.
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_the_kernels() {
        assert_eq!(size_of::<InHeader>(), 40);
        assert_eq!(size_of::<OutHeader>(), 16);
        assert_eq!(size_of::<WireAttr>(), 88);
        assert_eq!(size_of::<EntryOut>(), 128);
        assert_eq!(size_of::<AttrOut>(), 104);
        assert_eq!(size_of::<SetattrIn>(), 88);
        assert_eq!(size_of::<ReadIn>(), 40);
        assert_eq!(size_of::<WriteIn>(), 40);
        assert_eq!(size_of::<StatfsOut>(), 80);
        assert_eq!(size_of::<CopyIn>(), 56);
        assert_eq!(size_of::<InitIn>(), 64);
        assert_eq!(size_of::<InitOut>(), 64);
        assert_eq!(size_of::<Dirent>(), 24);
    }

    #[test]
    fn opcodes_have_names() {
        assert_eq!(opcode_name(opcode::READDIRPLUS), Some("READDIRPLUS"));
        assert_eq!(opcode_name(7), None);
    }
}
