//! Filling a zone with what another zone holds: inodes keep their numbers, times and all else.
//!
//! Nothing here is logged: whoever fills a zone commits it before anything leads there. The order for one inode is
//! [`Vfs::import_inode`], its content ([`Vfs::write`], [`Vfs::truncate`] and the like), then [`Vfs::import_details`],
//! which undoes what writing did to times and modes.

use std::collections::HashSet;

use bt_tree::schema::{Content, Entry, Inode, Key, Name};

use crate::error::Result;
use crate::vfs::Vfs;
use crate::view::{self, Source, is_directory};

/// An entry of a directory that is filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedEntry {
    /// The name.
    pub name: Vec<u8>,
    /// What it stands for, and where in the listing.
    pub record: Name,
}

impl Vfs {
    /// Puts an inode as another zone has it, without its content and attributes; what it has of them here stays.
    pub fn import_inode(&mut self, source: &dyn Source, number: u64, inode: &Inode) -> Result<()> {
        let here = self.zone.tree().get(source, Key::inode(number).as_bytes(), Inode::decode)?.transpose()?;
        let kept = here.unwrap_or_default();
        let record = Inode {
            content: kept.content,
            size: kept.size,
            stored: kept.stored,
            has_attributes: kept.has_attributes,
            is_entrance: false,
            ..*inode
        };
        self.put_inode(source, number, &record)?;
        if here.is_none() {
            self.record.inodes += 1;
            self.record.next_inode = self.record.next_inode.max(number + 1);
            self.record_changed = true;
        }
        Ok(())
    }

    /// Makes the entries of a directory exactly these.
    pub fn import_entries(&mut self, source: &dyn Source, directory: u64, entries: &[ImportedEntry]) -> Result<()> {
        self.changed = true;
        let wanted: HashSet<u64> = entries.iter().map(|entry| entry.record.sequence).collect();
        let mut gone = Vec::new();
        view::list(self.zone.tree(), source, directory, 0, &mut |listed| {
            if !wanted.contains(&listed.sequence) {
                gone.push((listed.sequence, listed.name.to_vec()));
            }
            std::ops::ControlFlow::Continue(())
        })?;
        for (sequence, name) in gone {
            self.zone.remove(source, &Key::entry(directory, sequence))?;
            self.zone.remove(source, &Key::name(directory, &name))?;
        }
        for ImportedEntry { name, record } in entries {
            self.zone.put(source, &Key::name(directory, name), &record.encode())?;
            let entry = Entry { inode: record.inode, kind: record.kind, name };
            self.zone.put(source, &Key::entry(directory, record.sequence), &entry.encode())?;
        }
        Ok(())
    }

    /// Puts the target of a symbolic link.
    pub fn import_target(&mut self, source: &dyn Source, number: u64, target: &[u8]) -> Result<()> {
        self.zone.put(source, &Key::inline(number), target)?;
        self.edit_inode(source, number, |inode| {
            inode.content = Content::Inline;
            (inode.size, inode.stored) = (target.len() as u64, target.len() as u64);
        })
    }

    /// Makes attributes, times and mode of an inode, whose content is in place, those of the other zone.
    pub fn import_details(
        &mut self,
        source: &dyn Source,
        number: u64,
        inode: &Inode,
        attributes: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<()> {
        for name in view::attribute_names(self.zone.tree(), source, number)? {
            self.zone.remove(source, &Key::attribute(number, &name))?;
        }
        for (name, value) in attributes {
            self.zone.put(source, &Key::attribute(number, name), value)?;
        }
        if let Some(file) = self.files.get_mut(&number) {
            file.mtime = None;
        }
        self.edit_inode(source, number, |record| {
            record.has_attributes = !attributes.is_empty();
            record.mode = inode.mode;
            (record.atime, record.mtime, record.ctime, record.btime) =
                (inode.atime, inode.mtime, inode.ctime, inode.btime);
        })
    }

    /// Takes an inode away that the other zone has no more; its names are gone with those of its directory.
    pub fn import_gone(&mut self, source: &dyn Source, number: u64) -> Result<()> {
        let record = view::inode(self.zone.tree(), source, number)?;
        if is_directory(record.mode) {
            self.import_entries(source, number, &[])?;
            self.edit_inode(source, number, |inode| inode.entries = 0)?;
        }
        while !self.free(source, number)?.done {}
        Ok(())
    }

    /// Sets the name that the zone goes by where its parent zone cannot be read.
    pub fn set_label(&mut self, source: &dyn Source, name: &[u8]) -> Result<()> {
        self.changed = true;
        self.zone.put(source, &Key::label(), name)?;
        Ok(())
    }
}
