//! What a file system may ask of the kernel on its own account.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

/// `FUSE_NOTIFY_INVAL_INODE` of `linux/fuse.h`.
const INVALIDATE_INODE: i32 = 2;
/// `FUSE_NOTIFY_INVAL_ENTRY` of `linux/fuse.h`.
const INVALIDATE_ENTRY: i32 = 3;
/// Bytes of a header and of the notification behind it.
const SIZE: u32 = 16 + 24;

/// The kernel's side of a mount. It lives as long as the connection.
pub struct Kernel {
    device: File,
}

impl Kernel {
    pub(crate) fn new(device: impl AsFd) -> io::Result<Kernel> {
        let device: OwnedFd = device.as_fd().try_clone_to_owned()?;
        Ok(Kernel { device: device.into() })
    }

    /// Has the kernel write out what programs changed in a file, and forget its pages; returns when all has arrived as
    /// `write` calls. A node that the kernel does not know is no error.
    ///
    /// Never from a thread that answers requests: it would wait for itself. [`crate::FileSystem::may_wait`] brings a
    /// call to a worker.
    pub fn write_out(&self, node: u64) -> io::Result<()> {
        let mut message = [0; SIZE as usize];
        message[..4].copy_from_slice(&SIZE.to_ne_bytes());
        message[4..8].copy_from_slice(&INVALIDATE_INODE.to_ne_bytes());
        message[16..24].copy_from_slice(&node.to_ne_bytes());
        // From offset 0, and of no length: to the end.
        match (&self.device).write(&message) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Has the kernel look a name up again when it is next used; what it knows below it is forgotten too. A name that
    /// the kernel does not know is no error.
    ///
    /// Never from a thread that answers requests, nor under a lock that answering one takes: the kernel may wait for an
    /// operation in that directory.
    pub fn forget_name(&self, directory: u64, name: &[u8]) -> io::Result<()> {
        let len = u32::try_from(name.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut message = Vec::with_capacity(33 + name.len());
        message.extend_from_slice(&(16 + 16 + len + 1).to_ne_bytes());
        message.extend_from_slice(&INVALIDATE_ENTRY.to_ne_bytes());
        message.extend_from_slice(&[0; 8]);
        message.extend_from_slice(&directory.to_ne_bytes());
        message.extend_from_slice(&len.to_ne_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(name);
        message.push(0);
        match (&self.device).write(&message) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}
