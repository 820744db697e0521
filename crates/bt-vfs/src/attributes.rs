//! Attributes of inodes, extended attributes among them.

use bt_base::Timestamp;
use bt_base::limits::{XATTR_NAME_SIZE, XATTR_VALUE_SIZE};
use bt_tree::schema::{Inode, Key};

use crate::acl;
use crate::error::{Refusal, Result};
use crate::files::without_set_id;
use crate::op::{Change, Op};
use crate::vfs::Vfs;
use crate::view::{self, SYMLINK, Source, TYPE_BITS, is_directory, is_regular};

const SET_GID: u32 = 0o2000;
const PERMISSIONS: u32 = 0o7777;
const CAPABILITY: &[u8] = b"security.capability";

/// How setxattr(2) treats an existing attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttributeFlags {
    /// Set in any case.
    #[default]
    Any,
    /// It must not exist.
    Create,
    /// It must exist.
    Replace,
}

impl Vfs {
    /// chmod(2), chown(2), utimensat(2); sizes go through [`Vfs::truncate`].
    pub fn change(&mut self, source: &dyn Source, inode: u64, change: &Change, now: Timestamp) -> Result<()> {
        let before = view::inode(self.zone.tree(), source, inode)?;
        let mut change = *change;
        let owner_changes = change.uid.is_some() || change.gid.is_some();
        if owner_changes && change.mode.is_none() && is_regular(before.mode) {
            let kept = without_set_id(before.mode);
            if kept != before.mode {
                change.mode = Some(kept & PERMISSIONS);
            }
        }
        if owner_changes && before.has_attributes {
            self.drop_capability(source, inode, now)?;
        }
        change.ctime = Some(change.ctime.unwrap_or(now));
        if let (Some(mode), true) = (change.mode, before.has_attributes) {
            self.chmod_list(source, inode, mode, now)?;
        }
        self.apply_change(source, inode, &change)?;
        self.log.append(&Op::Change { inode, change });
        Ok(())
    }

    pub(crate) fn apply_change(&mut self, source: &dyn Source, inode: u64, change: &Change) -> Result<()> {
        if let (Some(file), Some(_)) = (self.files.get_mut(&inode), change.mtime) {
            file.mtime = None;
        }
        self.edit_inode(source, inode, |record| {
            if let Some(mode) = change.mode {
                record.mode = record.mode & !PERMISSIONS | mode & PERMISSIONS;
            }
            record.uid = change.uid.unwrap_or(record.uid);
            record.gid = change.gid.unwrap_or(record.gid);
            record.atime = change.atime.unwrap_or(record.atime);
            record.mtime = change.mtime.unwrap_or(record.mtime);
            record.ctime = change.ctime.unwrap_or(record.ctime);
        })
    }

    /// A read happened: updates the access time by the rules of relatime (older than a change, or than a day).
    pub fn accessed(&mut self, source: &dyn Source, inode: u64, now: Timestamp) -> Result<()> {
        let change = Change { atime: Some(now), ..Change::default() };
        self.apply_change(source, inode, &change)?;
        self.log.append(&Op::Change { inode, change });
        Ok(())
    }

    /// Whether relatime wants the access time updated.
    pub fn wants_access_time(inode: &Inode, now: Timestamp) -> bool {
        const DAY: i64 = 24 * 3600;
        inode.atime <= inode.mtime || inode.atime <= inode.ctime || now.seconds - inode.atime.seconds >= DAY
    }

    /// chmod changes what the access list says of the owner, the mask and others.
    fn chmod_list(&mut self, source: &dyn Source, inode: u64, mode: u32, now: Timestamp) -> Result<()> {
        let Some(list) = view::attribute(self.zone.tree(), source, inode, acl::ACCESS)? else { return Ok(()) };
        let list = acl::with_mode(&list, mode).ok_or(Refusal::Invalid)?;
        self.put_attribute(source, inode, acl::ACCESS, Some(list), now)
    }

    /// The value of an extended attribute.
    pub fn attribute(&self, source: &dyn Source, inode: u64, name: &[u8]) -> Result<Vec<u8>> {
        check_attribute(name, b"")?;
        if !view::inode(self.zone.tree(), source, inode)?.has_attributes {
            return Err(Refusal::NoAttribute.into());
        }
        let value = view::attribute(self.zone.tree(), source, inode, name)?;
        value.ok_or_else(|| Refusal::NoAttribute.into())
    }

    /// The names of an inode's extended attributes.
    pub fn attribute_names(&self, source: &dyn Source, inode: u64) -> Result<Vec<Vec<u8>>> {
        if !view::inode(self.zone.tree(), source, inode)?.has_attributes {
            return Ok(Vec::new());
        }
        view::attribute_names(self.zone.tree(), source, inode)
    }

    /// setxattr(2). `kill_set_gid` says that setting an access list must clear set-group-id.
    #[expect(clippy::too_many_arguments, reason = "the operation has this many parts")]
    pub fn set_attribute(
        &mut self,
        source: &dyn Source,
        inode: u64,
        name: &[u8],
        value: &[u8],
        flags: AttributeFlags,
        kill_set_gid: bool,
        now: Timestamp,
    ) -> Result<()> {
        check_attribute(name, value)?;
        let record = view::inode(self.zone.tree(), source, inode)?;
        let exists = view::attribute(self.zone.tree(), source, inode, name)?.is_some();
        match flags {
            AttributeFlags::Create if exists => return Err(Refusal::Exists.into()),
            AttributeFlags::Replace if !exists => return Err(Refusal::NoAttribute.into()),
            _ => {}
        }
        if name == acl::ACCESS {
            return self.set_access_list(source, inode, &record, value, kill_set_gid, now);
        }
        if name == acl::DEFAULT {
            if !is_directory(record.mode) {
                return Err(Refusal::NotPermitted.into());
            }
            if !acl::is_list(value) {
                return Err(Refusal::Invalid.into());
            }
        }
        self.put_attribute(source, inode, name, Some(value.to_vec()), now)
    }

    fn set_access_list(
        &mut self,
        source: &dyn Source,
        inode: u64,
        record: &Inode,
        list: &[u8],
        kill_set_gid: bool,
        now: Timestamp,
    ) -> Result<()> {
        if record.mode & TYPE_BITS == SYMLINK {
            return Err(Refusal::Unsupported.into());
        }
        let (bits, list) = acl::access_of(list).ok_or(Refusal::Invalid)?;
        let kept = if kill_set_gid { record.mode & !SET_GID } else { record.mode };
        let change = Change { mode: Some(kept & 0o7000 | bits), ctime: Some(now), ..Change::default() };
        let exists = record.has_attributes && view::attribute(self.zone.tree(), source, inode, acl::ACCESS)?.is_some();
        if list.is_some() || exists {
            self.put_attribute(source, inode, acl::ACCESS, list, now)?;
        }
        self.apply_change(source, inode, &change)?;
        self.log.append(&Op::Change { inode, change });
        Ok(())
    }

    /// removexattr(2).
    pub fn remove_attribute(&mut self, source: &dyn Source, inode: u64, name: &[u8], now: Timestamp) -> Result<()> {
        check_attribute(name, b"")?;
        if view::attribute(self.zone.tree(), source, inode, name)?.is_none() {
            // A list that is not there is the one that the permission bits say.
            let is_list = name == acl::ACCESS || name == acl::DEFAULT;
            return if is_list { Ok(()) } else { Err(Refusal::NoAttribute.into()) };
        }
        self.put_attribute(source, inode, name, None, now)
    }

    pub(crate) fn drop_capability(&mut self, source: &dyn Source, inode: u64, now: Timestamp) -> Result<()> {
        if view::attribute(self.zone.tree(), source, inode, CAPABILITY)?.is_some() {
            self.put_attribute(source, inode, CAPABILITY, None, now)?;
        }
        Ok(())
    }

    fn put_attribute(
        &mut self,
        source: &dyn Source,
        inode: u64,
        name: &[u8],
        value: Option<Vec<u8>>,
        now: Timestamp,
    ) -> Result<()> {
        self.apply_attribute(source, inode, name, value.as_deref(), now)?;
        self.log.append(&Op::Attribute { inode, name: name.to_vec(), value, time: now });
        Ok(())
    }

    pub(crate) fn apply_attribute(
        &mut self,
        source: &dyn Source,
        inode: u64,
        name: &[u8],
        value: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<()> {
        let key = Key::attribute(inode, name);
        match value {
            Some(value) => self.zone.put(source, &key, value)?,
            None => {
                self.zone.remove(source, &key)?;
            }
        }
        let left = value.is_some() || !view::attribute_names(self.zone.tree(), source, inode)?.is_empty();
        self.edit_inode(source, inode, |record| {
            record.has_attributes = left;
            record.ctime = now;
        })
    }
}

/// Names that can be stored: user, trusted and security attributes, and access control lists.
pub(crate) fn check_attribute(name: &[u8], value: &[u8]) -> Result<()> {
    if name.len() > XATTR_NAME_SIZE {
        return Err(Refusal::NameTooLong.into());
    }
    let known = [&b"user."[..], b"trusted.", b"security."];
    if known.contains(&name) {
        return Err(Refusal::Invalid.into());
    }
    let in_name_space = known.iter().any(|prefix| name.starts_with(prefix));
    if !in_name_space && name != acl::ACCESS && name != acl::DEFAULT {
        return Err(Refusal::Unsupported.into());
    }
    if value.len() > XATTR_VALUE_SIZE { Err(Refusal::NoSpace.into()) } else { Ok(()) }
}
