//! Nothing that comes from the kernel reaches a file system unchecked, nor does a file system's panic end a thread
//! that serves.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::limits::{NAME_SIZE, SYMLINK_SIZE, XATTR_NAME_SIZE};
use crate::{Errno, FileSystem, Result};

/// The name of a directory entry: 1 to 255 bytes, no NUL, no '/'.
pub(crate) fn name(bytes: &[u8]) -> Result<&[u8]> {
    match bytes.len() {
        0 => Err(Errno::EINVAL),
        _ if bytes.contains(&0) || bytes.contains(&b'/') => Err(Errno::EINVAL),
        1..=NAME_SIZE => Ok(bytes),
        _ => Err(Errno::ENAMETOOLONG),
    }
}

/// The name of an entry to make or remove: as [`name`], and neither "." nor "..".
pub(crate) fn new_name(bytes: &[u8]) -> Result<&[u8]> {
    match bytes {
        b"." | b".." => Err(Errno::EINVAL),
        _ => name(bytes),
    }
}

/// The name of an extended attribute: 1 to 255 bytes, no NUL.
pub(crate) fn xattr_name(bytes: &[u8]) -> Result<&[u8]> {
    match bytes.len() {
        1..=XATTR_NAME_SIZE if !bytes.contains(&0) => Ok(bytes),
        0..=XATTR_NAME_SIZE => Err(Errno::EINVAL),
        _ => Err(Errno::ERANGE),
    }
}

/// The target of a symbolic link: 1 to 4095 bytes, no NUL.
pub(crate) fn symlink_target(bytes: &[u8]) -> Result<&[u8]> {
    match bytes.len() {
        1..=SYMLINK_SIZE if !bytes.contains(&0) => Ok(bytes),
        0..=SYMLINK_SIZE => Err(Errno::EINVAL),
        _ => Err(Errno::ENAMETOOLONG),
    }
}

/// Makes a call of the file system; its panic is EIO to the program that asked.
pub(crate) fn guarded<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    // What the call may have left half done is the file system's to notice: its locks are poisoned by the same panic.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(Err(Errno::EIO))
}

/// Passes on that the kernel drops lookups; there is nobody to tell of a panic.
pub(crate) fn forget(fs: &dyn FileSystem, node: u64, count: u64) {
    let _ = catch_unwind(AssertUnwindSafe(|| fs.forget(node, count)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_nonsense() {
        assert_eq!(name(b"a"), Ok(&b"a"[..]));
        assert_eq!(name(b".."), Ok(&b".."[..]));
        assert_eq!(new_name(b".."), Err(Errno::EINVAL));
        assert_eq!(name(b""), Err(Errno::EINVAL));
        assert_eq!(name(b"a/b"), Err(Errno::EINVAL));
        assert_eq!(name(b"a\0b"), Err(Errno::EINVAL));
        assert_eq!(name(&[b'a'; 256]), Err(Errno::ENAMETOOLONG));
        assert_eq!(xattr_name(b"user.a/b"), Ok(&b"user.a/b"[..]));
        assert_eq!(xattr_name(&[b'a'; 256]), Err(Errno::ERANGE));
        assert_eq!(symlink_target(b""), Err(Errno::EINVAL));
        assert_eq!(symlink_target(&[b'a'; 4096]), Err(Errno::ENAMETOOLONG));
    }

    #[test]
    fn a_panic_is_an_error() {
        assert_eq!(guarded::<()>(|| panic!("expected by this test")), Err(Errno::EIO));
    }
}
