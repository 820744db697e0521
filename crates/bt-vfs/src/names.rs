//! Names: make, link, unlink, rename.

use bt_base::Timestamp;
use bt_base::codec::DecodeError;
use bt_base::limits::{NAME_SIZE, SYMLINK_SIZE};
use bt_tree::schema::{Content, Entry, FIRST_SEQUENCE, Inode, Key, Name, ROOT_INODE};

use crate::acl;
use crate::error::{Refusal, Result};
use crate::op::{Make, Op};
use crate::vfs::Vfs;
use crate::view::{self, DIRECTORY, SYMLINK, Source, TYPE_BITS, is_directory, is_regular};

const SET_GID: u32 = 0o2000;

/// Who makes an inode, and how.
#[derive(Debug, Clone, Copy)]
pub struct Creator {
    /// The caller's user.
    pub uid: u32,
    /// The caller's group.
    pub gid: u32,
    /// The caller's umask; it counts where the directory has no default access control list.
    pub umask: u32,
    /// When.
    pub now: Timestamp,
}

/// How rename(2) treats an existing new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RenameFlags {
    /// It is replaced.
    #[default]
    Replace,
    /// It must not exist.
    NoReplace,
    /// Both names exchange what they stand for.
    Exchange,
}

fn check_name(name: &[u8]) -> Result<()> {
    match name.len() {
        0 => Err(Refusal::NotFound.into()),
        len if len > NAME_SIZE => Err(Refusal::NameTooLong.into()),
        _ if name.contains(&b'/') || name.contains(&0) || name == b"." || name == b".." => Err(Refusal::Invalid.into()),
        _ => Ok(()),
    }
}

impl Vfs {
    /// What a name in a directory stands for.
    pub fn lookup(&self, source: &dyn Source, directory: u64, name: &[u8]) -> Result<Option<(u64, Inode)>> {
        if name.len() > NAME_SIZE {
            return Err(Refusal::NameTooLong.into());
        }
        match view::name(self.zone.tree(), source, directory, name)? {
            Some(found) => Ok(Some((found.inode, self.inode(source, found.inode)?))),
            None if self.entrances.contains_key(&directory) => Err(Refusal::Closed.into()),
            None => Ok(None),
        }
    }

    /// Makes an inode under a name: mknod(2), mkdir(2), symlink(2).
    #[expect(clippy::too_many_arguments, reason = "the operation has this many parts")]
    pub fn make(
        &mut self,
        source: &dyn Source,
        directory: u64,
        name: &[u8],
        mode: u32,
        rdev: u32,
        target: &[u8],
        creator: &Creator,
    ) -> Result<(u64, Inode)> {
        check_name(name)?;
        if target.len() > SYMLINK_SIZE {
            return Err(Refusal::NameTooLong.into());
        }
        let parent = view::directory(self.zone.tree(), source, directory)?;
        if parent.nlink == 0 {
            return Err(Refusal::NotFound.into());
        }
        check_open(&parent)?;
        if view::name(self.zone.tree(), source, directory, name)?.is_some() {
            return Err(Refusal::Exists.into());
        }
        let make = self.prepare(source, directory, &parent, mode, rdev, target, creator)?;
        let op = Op::Make { directory, name: name.to_vec(), inode: make };
        let Op::Make { inode: make, .. } = &op else { unreachable!("just built") };
        let inode = self.apply_make(source, directory, name, make)?;
        self.log.append(&op);
        Ok((make.inode, inode))
    }

    /// Makes a file without a name: `O_TMPFILE`. It is gone when nobody uses it, unless it is linked.
    pub fn make_unnamed(
        &mut self,
        source: &dyn Source,
        directory: u64,
        mode: u32,
        creator: &Creator,
    ) -> Result<(u64, Inode)> {
        let parent = view::directory(self.zone.tree(), source, directory)?;
        check_open(&parent)?;
        let make = self.prepare(source, directory, &parent, mode, 0, b"", creator)?;
        let inode = self.apply_make(source, 0, b"", &make)?;
        let number = make.inode;
        self.log.append(&Op::Make { directory: 0, name: Vec::new(), inode: make });
        Ok((number, inode))
    }

    #[expect(clippy::too_many_arguments, reason = "the operation has this many parts")]
    fn prepare(
        &mut self,
        source: &dyn Source,
        directory: u64,
        parent: &Inode,
        mode: u32,
        rdev: u32,
        target: &[u8],
        creator: &Creator,
    ) -> Result<Make> {
        let inherits_group = parent.mode & SET_GID != 0;
        let mut mode = mode;
        if inherits_group && is_directory(mode) {
            mode |= SET_GID;
        }
        let mut attributes = Vec::new();
        let default = match parent.has_attributes {
            true => view::attribute(self.zone.tree(), source, directory, acl::DEFAULT)?,
            false => None,
        };
        match default {
            Some(default) if mode & TYPE_BITS != SYMLINK => {
                let inherited = acl::inherit(&default, mode).ok_or(Refusal::Invalid)?;
                mode = inherited.mode;
                attributes.extend(inherited.access.map(|list| (acl::ACCESS.to_vec(), list)));
                if is_directory(mode) {
                    attributes.push((acl::DEFAULT.to_vec(), default));
                }
            }
            _ if mode & TYPE_BITS == SYMLINK => mode = SYMLINK | 0o777,
            _ => mode &= !creator.umask,
        }
        Ok(Make {
            inode: self.next_inode(),
            mode,
            uid: creator.uid,
            gid: if inherits_group { parent.gid } else { creator.gid },
            rdev,
            time: creator.now,
            target: target.to_vec(),
            attributes,
        })
    }

    /// Puts a new inode into the index; directory 0 makes it nameless.
    pub(crate) fn apply_make(
        &mut self,
        source: &dyn Source,
        directory: u64,
        name: &[u8],
        make: &Make,
    ) -> Result<Inode> {
        let is_dir = is_directory(make.mode);
        let inode = Inode {
            mode: make.mode,
            uid: make.uid,
            gid: make.gid,
            nlink: if directory == 0 { 0 } else { 1 + u32::from(is_dir) },
            rdev: make.rdev,
            content: if make.target.is_empty() { Content::None } else { Content::Inline },
            has_attributes: !make.attributes.is_empty(),
            is_entrance: false,
            size: make.target.len() as u64,
            stored: make.target.len() as u64,
            atime: make.time,
            mtime: make.time,
            ctime: make.time,
            btime: make.time,
            parent: if is_dir { directory } else { 0 },
            next_sequence: if is_dir { FIRST_SEQUENCE } else { 0 },
            entries: 0,
        };
        self.put_inode(source, make.inode, &inode)?;
        if !make.target.is_empty() {
            self.zone.put(source, &Key::inline(make.inode), &make.target)?;
        }
        for (name, value) in &make.attributes {
            self.zone.put(source, &Key::attribute(make.inode, name), value)?;
        }
        self.record.next_inode = self.record.next_inode.max(make.inode + 1);
        self.record.inodes += 1;
        self.record_changed = true;
        if directory == 0 {
            self.orphans.insert(make.inode, false);
        } else {
            self.add_name(source, directory, name, make.inode, make.mode, make.time)?;
        }
        Ok(inode)
    }

    /// Adds both records of a name and counts it in its directory.
    fn add_name(
        &mut self,
        source: &dyn Source,
        directory: u64,
        name: &[u8],
        inode: u64,
        mode: u32,
        now: Timestamp,
    ) -> Result<()> {
        let kind = (mode >> 12) as u8;
        let sequence = self.edit_inode(source, directory, |parent| {
            let sequence = parent.next_sequence;
            parent.next_sequence += 1;
            parent.entries += 1;
            parent.nlink = parent.nlink.saturating_add(u32::from(is_directory(mode)));
            (parent.mtime, parent.ctime) = (now, now);
            sequence
        })?;
        let record = Name { inode, sequence, kind };
        self.zone.put(source, &Key::name(directory, name), &record.encode())?;
        self.zone.put(source, &Key::entry(directory, sequence), &Entry { inode, kind, name }.encode())?;
        Ok(())
    }

    /// Removes both records of a name.
    pub(crate) fn remove_name(
        &mut self,
        source: &dyn Source,
        directory: u64,
        name: &[u8],
        found: &Name,
        now: Timestamp,
    ) -> Result<()> {
        self.zone.remove(source, &Key::name(directory, name))?;
        self.zone.remove(source, &Key::entry(directory, found.sequence))?;
        let is_dir = u32::from(found.kind) == DIRECTORY >> 12;
        self.edit_inode(source, directory, |parent| {
            parent.entries = parent.entries.saturating_sub(1);
            parent.nlink = parent.nlink.saturating_sub(u32::from(is_dir));
            (parent.mtime, parent.ctime) = (now, now);
        })
    }

    /// link(2).
    pub fn link(
        &mut self,
        source: &dyn Source,
        inode: u64,
        directory: u64,
        name: &[u8],
        now: Timestamp,
    ) -> Result<Inode> {
        check_name(name)?;
        let record = view::inode(self.zone.tree(), source, inode)?;
        if is_directory(record.mode) {
            return Err(Refusal::NotPermitted.into());
        }
        if record.nlink == u32::MAX {
            return Err(Refusal::TooManyLinks.into());
        }
        check_open(&view::directory(self.zone.tree(), source, directory)?)?;
        if view::name(self.zone.tree(), source, directory, name)?.is_some() {
            return Err(Refusal::Exists.into());
        }
        self.apply_link(source, inode, directory, name, now)?;
        self.log.append(&Op::Link { inode, directory, name: name.to_vec(), time: now });
        self.order(inode);
        self.inode(source, inode)
    }

    pub(crate) fn apply_link(
        &mut self,
        source: &dyn Source,
        inode: u64,
        directory: u64,
        name: &[u8],
        now: Timestamp,
    ) -> Result<()> {
        let mode = self.edit_inode(source, inode, |inode| {
            inode.nlink = inode.nlink.saturating_add(1);
            inode.ctime = now;
            inode.mode
        })?;
        if let Some(recorded) = self.orphans.remove(&inode)
            && recorded
        {
            self.zone.remove(source, &Key::orphan(inode))?;
        }
        self.add_name(source, directory, name, inode, mode, now)
    }

    /// unlink(2) and rmdir(2). Returns the inode when this was its last name: the caller frees it with
    /// [`Vfs::free`] once nobody uses it.
    pub fn unlink(
        &mut self,
        source: &dyn Source,
        directory: u64,
        name: &[u8],
        remove_directory: bool,
        now: Timestamp,
    ) -> Result<Option<u64>> {
        let found = view::name(self.zone.tree(), source, directory, name)?.ok_or(Refusal::NotFound)?;
        let record = view::inode(self.zone.tree(), source, found.inode)?;
        match (is_directory(record.mode), remove_directory) {
            (true, false) => return Err(Refusal::IsDirectory.into()),
            (false, true) => return Err(Refusal::NotDirectory.into()),
            (true, true) if record.is_entrance => return Err(Refusal::Busy.into()),
            (true, true) if record.entries > 0 => return Err(Refusal::NotEmpty.into()),
            _ => {}
        }
        let nameless = self.apply_unlink(source, directory, name, &found, now)?;
        self.log.append(&Op::Unlink { directory, name: name.to_vec(), time: now });
        Ok(nameless)
    }

    pub(crate) fn apply_unlink(
        &mut self,
        source: &dyn Source,
        directory: u64,
        name: &[u8],
        found: &Name,
        now: Timestamp,
    ) -> Result<Option<u64>> {
        self.remove_name(source, directory, name, found, now)?;
        self.lose_name(source, found.inode, now)
    }

    /// An inode lost a name; returns it when that was the last.
    pub(crate) fn lose_name(&mut self, source: &dyn Source, inode: u64, now: Timestamp) -> Result<Option<u64>> {
        let left = self.edit_inode(source, inode, |record| {
            record.nlink = if is_directory(record.mode) { 0 } else { record.nlink.saturating_sub(1) };
            record.ctime = now;
            record.nlink
        })?;
        if left > 0 {
            return Ok(None);
        }
        self.orphans.insert(inode, false);
        Ok(Some(inode))
    }

    /// rename(2). Returns an inode that lost its last name.
    #[expect(clippy::too_many_arguments, reason = "the operation has this many parts")]
    pub fn rename(
        &mut self,
        source: &dyn Source,
        from: u64,
        name: &[u8],
        to: u64,
        new_name: &[u8],
        flags: RenameFlags,
        now: Timestamp,
    ) -> Result<Option<u64>> {
        check_name(new_name)?;
        let tree = self.zone.tree();
        let old = view::name(tree, source, from, name)?.ok_or(Refusal::NotFound)?;
        check_open(&view::directory(tree, source, to)?)?;
        let new = view::name(tree, source, to, new_name)?;
        let moved = view::inode(tree, source, old.inode)?;
        match (flags, &new) {
            (RenameFlags::NoReplace, Some(_)) => return Err(Refusal::Exists.into()),
            (RenameFlags::Exchange, None) => return Err(Refusal::NotFound.into()),
            (_, Some(new)) if new.inode == old.inode => return Ok(None),
            _ => {}
        }
        if is_directory(moved.mode) && from != to {
            self.check_not_inside(source, to, old.inode)?;
        }
        if let Some(new) = &new {
            let target = view::inode(tree, source, new.inode)?;
            if flags == RenameFlags::Exchange {
                if is_directory(target.mode) && from != to {
                    self.check_not_inside(source, from, new.inode)?;
                }
            } else {
                check_replaceable(&moved, &target)?;
            }
        }
        let exchange = flags == RenameFlags::Exchange;
        let nameless = self.apply_rename(source, (from, name, &old), (to, new_name, new.as_ref()), exchange, now)?;
        self.log.append(&Op::Rename {
            from,
            name: name.to_vec(),
            to,
            new_name: new_name.to_vec(),
            exchange,
            time: now,
        });
        if is_regular(moved.mode) {
            self.order(old.inode);
        }
        if let (true, Some(new)) = (exchange, new) {
            self.order(new.inode);
        }
        Ok(nameless)
    }

    /// EINVAL when `directory` is `ancestor` or lies inside it.
    fn check_not_inside(&self, source: &dyn Source, directory: u64, ancestor: u64) -> Result<()> {
        let mut at = directory;
        // Each is another directory, unless the index is damaged.
        for _ in 0..=self.record.inodes {
            if at == ROOT_INODE {
                return Ok(());
            }
            if at == ancestor {
                return Err(Refusal::Invalid.into());
            }
            at = view::inode(self.zone.tree(), source, at)?.parent;
        }
        Err(DecodeError::malformed("directory", format!("{directory} lies inside itself")).into())
    }

    pub(crate) fn apply_rename(
        &mut self,
        source: &dyn Source,
        (from, name, old): (u64, &[u8], &Name),
        (to, new_name, new): (u64, &[u8], Option<&Name>),
        exchange: bool,
        now: Timestamp,
    ) -> Result<Option<u64>> {
        self.remove_name(source, from, name, old, now)?;
        let mut nameless = None;
        if let Some(new) = new {
            self.remove_name(source, to, new_name, new, now)?;
            if exchange {
                self.place(source, from, name, new, now)?;
            } else {
                nameless = self.lose_name(source, new.inode, now)?;
            }
        }
        self.place(source, to, new_name, old, now)?;
        Ok(nameless)
    }

    /// Gives an inode that lost a name its new one.
    fn place(&mut self, source: &dyn Source, directory: u64, name: &[u8], what: &Name, now: Timestamp) -> Result<()> {
        let mode = self.edit_inode(source, what.inode, |inode| {
            inode.ctime = now;
            if is_directory(inode.mode) {
                inode.parent = directory;
            }
            inode.mode
        })?;
        self.add_name(source, directory, name, what.inode, mode, now)
    }

    /// The log's newest record must not become durable before this file's content.
    fn order(&mut self, inode: u64) {
        if let Some(file) = self.files.get_mut(&inode)
            && file.undurable
        {
            file.ordered = true;
            self.ordered.insert(inode);
        }
    }

    /// Whether there are inodes without a name.
    pub fn has_orphans(&self) -> bool {
        !self.orphans.is_empty()
    }

    /// Whether an inode has no name and waits to be freed.
    pub fn is_orphan(&self, inode: u64) -> bool {
        self.orphans.contains_key(&inode)
    }
}

/// Refuses a directory in whose place another zone is entered: what is in it is that zone's.
fn check_open(directory: &Inode) -> Result<()> {
    if directory.is_entrance { Err(Refusal::Closed.into()) } else { Ok(()) }
}

fn check_replaceable(moved: &Inode, target: &Inode) -> Result<()> {
    match (is_directory(moved.mode), is_directory(target.mode)) {
        (true, false) => Err(Refusal::NotDirectory.into()),
        (false, true) => Err(Refusal::IsDirectory.into()),
        (true, true) if target.is_entrance => Err(Refusal::Busy.into()),
        (true, true) if target.entries > 0 => Err(Refusal::NotEmpty.into()),
        _ => Ok(()),
    }
}
