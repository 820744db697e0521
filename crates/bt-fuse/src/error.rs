//! Why a mount could not be made or removed.

use std::io;
use std::path::PathBuf;

/// Why a mount could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The mount point is missing, not a directory, or not reachable.
    #[error("the mount point {path} cannot be used: {source}; name an existing directory")]
    Mountpoint {
        /// As it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An option has a value that the kernel would misread or refuse.
    #[error("the mount option {option} is not usable: {reason}")]
    Option {
        /// The field of [`crate::MountOptions`].
        option: &'static str,
        /// What is wrong with its value.
        reason: &'static str,
    },
    /// There is no /dev/fuse.
    #[error("/dev/fuse cannot be opened: {0}; load the kernel module fuse")]
    Device(io::Error),
    /// The kernel refused the mount.
    #[error("the kernel did not mount {path}: {source}")]
    Mount {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What a process that has ended had mounted is still there.
    #[error("{path} is the mount of a process that has ended; remove it with `fusermount3 -uz {path}`")]
    Stale {
        /// Where.
        path: PathBuf,
    },
    /// fusermount3, which mounts for users other than root, is missing or refused.
    #[error("fusermount3 could not mount {path}: {message}; users other than root need the package fuse3")]
    Helper {
        /// Where.
        path: PathBuf,
        /// What it said.
        message: String,
    },
    /// The first exchange with the kernel failed.
    #[error("the kernel and the file system could not agree on how to talk: {0}")]
    Handshake(io::Error),
    /// io_uring was asked for and is not to be had.
    #[error(
        "FUSE over io_uring is not available: {0}; as root, `echo Y > /sys/module/fuse/parameters/enable_uring`, \
             or choose the transport fuser"
    )]
    Uring(String),
    /// A thread or its memory could not be had.
    #[error("the threads that serve the mount could not be started: {0}")]
    Threads(io::Error),
    /// Programs still use the mount.
    #[error("{path} is in use; end the programs that have files or directories of it open, then try again")]
    Busy {
        /// Where.
        path: PathBuf,
    },
    /// It could not be unmounted.
    #[error("{program} could not unmount {path}: {message}")]
    Unmount {
        /// Where.
        path: PathBuf,
        /// The program that was asked.
        program: &'static str,
        /// What it said.
        message: String,
    },
}
