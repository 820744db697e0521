//! How to mount.

/// Which way to the kernel to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransportChoice {
    /// io_uring where the kernel offers it and may be mounted so, else fuser.
    #[default]
    Auto,
    /// The crate fuser: reads and writes of /dev/fuse.
    Fuser,
    /// FUSE over io_uring, or an error.
    Uring,
}

/// The way that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The crate fuser.
    Fuser,
    /// FUSE over io_uring.
    Uring,
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Transport::Fuser => "fuser",
            Transport::Uring => "io_uring",
        })
    }
}

/// How to mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// The first column of the mount table.
    pub source_name: String,
    /// Refuse every change.
    pub read_only: bool,
    /// Let other users than the mounting one in.
    pub allow_other: bool,
    /// Set-user-id and set-group-id bits work on the mount; root only.
    pub allow_suid: bool,
    /// Device nodes work on the mount; root only.
    pub allow_dev: bool,
    /// Which way to the kernel to take.
    pub transport: TransportChoice,
    /// Threads of the fuser transport; io_uring has one per core.
    pub threads: usize,
    /// The largest request, in bytes: 4 KiB to 1 MiB.
    pub max_write: u32,
    /// Let the kernel keep written pages and sizes. Only when all changes come through this mount; without it the
    /// kernel drops its pages of a file whose time or size turns out to have changed.
    pub writeback: bool,
    /// Let the kernel enforce POSIX ACLs, which are kept as extended attributes.
    pub posix_acl: bool,
    /// Read-ahead of the mount in KiB, where permitted; 0 leaves the kernel's.
    pub read_ahead_kib: u32,
}

impl Default for MountOptions {
    fn default() -> MountOptions {
        MountOptions {
            source_name: "blocktree".to_owned(),
            read_only: false,
            allow_other: false,
            allow_suid: false,
            allow_dev: false,
            transport: TransportChoice::Auto,
            threads: 2,
            max_write: 1 << 20,
            writeback: true,
            posix_acl: true,
            read_ahead_kib: 1024,
        }
    }
}
