//! Extended attributes and POSIX ACLs.

use super::{Fd, Sys, c_path, check, done};

pub use libc::{XATTR_CREATE, XATTR_REPLACE};

/// setxattr(2).
pub fn set_xattr(path: impl AsRef<[u8]>, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>, flags: i32) -> Sys<()> {
    let (path, name, value) = (c_path(path), c_path(name), value.as_ref());
    // SAFETY: all three live across the call, the value is as long as said.
    done(unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), flags) })
}

/// lsetxattr(2).
pub fn lset_xattr(path: impl AsRef<[u8]>, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Sys<()> {
    let (path, name, value) = (c_path(path), c_path(name), value.as_ref());
    // SAFETY: as in set_xattr.
    done(unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) })
}

/// getxattr(2) with a buffer of 64 KiB.
pub fn get_xattr(path: impl AsRef<[u8]>, name: impl AsRef<[u8]>) -> Sys<Vec<u8>> {
    get_xattr_into(path, name, 1 << 16)
}

/// getxattr(2) with a buffer of `room` bytes; with 0 the value has the right length but is all zero.
pub fn get_xattr_into(path: impl AsRef<[u8]>, name: impl AsRef<[u8]>, room: usize) -> Sys<Vec<u8>> {
    let (path, name) = (c_path(path), c_path(name));
    let mut value = vec![0_u8; room];
    // SAFETY: both names and the buffer live across the call; the length is the buffer's.
    let length =
        check(unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), room) } as i64)?;
    value.resize(length as usize, 0);
    Ok(value)
}

/// lgetxattr(2).
pub fn lget_xattr(path: impl AsRef<[u8]>, name: impl AsRef<[u8]>) -> Sys<Vec<u8>> {
    let (path, name) = (c_path(path), c_path(name));
    let mut value = vec![0_u8; 1 << 16];
    // SAFETY: as in get_xattr_into.
    let length =
        check(unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) } as i64)?;
    value.truncate(length as usize);
    Ok(value)
}

/// llistxattr(2): the names, sorted.
pub fn list_xattr(path: impl AsRef<[u8]>) -> Sys<Vec<Vec<u8>>> {
    let path = c_path(path);
    let mut names = vec![0_u8; 1 << 16];
    // SAFETY: as in get_xattr_into.
    let length = check(unsafe { libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) } as i64)?;
    names.truncate(length as usize);
    let mut names: Vec<Vec<u8>> = names.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    names.retain(|name| !name.is_empty());
    names.sort();
    Ok(names)
}

/// listxattr(2) with a buffer of `room` bytes: the length.
pub fn list_xattr_into(path: impl AsRef<[u8]>, room: usize) -> Sys<i64> {
    let path = c_path(path);
    let mut names = vec![0_u8; room];
    // SAFETY: as in get_xattr_into.
    check(unsafe { libc::listxattr(path.as_ptr(), names.as_mut_ptr().cast(), room) } as i64)
}

/// removexattr(2).
pub fn remove_xattr(path: impl AsRef<[u8]>, name: impl AsRef<[u8]>) -> Sys<()> {
    let (path, name) = (c_path(path), c_path(name));
    // SAFETY: both names live across the call.
    done(unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) })
}

/// fsetxattr(2).
pub fn fset_xattr(fd: &Fd, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Sys<()> {
    let (name, value) = (c_path(name), value.as_ref());
    // SAFETY: as in set_xattr.
    done(unsafe { libc::fsetxattr(fd.raw(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) })
}

/// One entry of a POSIX ACL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acl {
    /// The owner.
    Owner(u16),
    /// A named user.
    User(u32, u16),
    /// The owning group.
    Group(u16),
    /// A named group.
    NamedGroup(u32, u16),
    /// The mask.
    Mask(u16),
    /// Everyone else.
    Other(u16),
}

/// An ACL as the value of `system.posix_acl_access` or `system.posix_acl_default` (linux/posix_acl_xattr.h: version
/// 2, then tag, permissions and id of each entry, little endian).
#[must_use]
pub fn acl(entries: &[Acl]) -> Vec<u8> {
    let mut value = 2_u32.to_le_bytes().to_vec();
    for entry in entries {
        let (tag, permissions, id) = match *entry {
            Acl::Owner(permissions) => (0x01_u16, permissions, u32::MAX),
            Acl::User(id, permissions) => (0x02, permissions, id),
            Acl::Group(permissions) => (0x04, permissions, u32::MAX),
            Acl::NamedGroup(id, permissions) => (0x08, permissions, id),
            Acl::Mask(permissions) => (0x10, permissions, u32::MAX),
            Acl::Other(permissions) => (0x20, permissions, u32::MAX),
        };
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}
