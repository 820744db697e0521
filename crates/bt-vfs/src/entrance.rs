//! Entrances: directories in whose place another zone is entered.
//!
//! A placeholder is an empty directory for this zone. It can be renamed within the zone, but neither be removed nor
//! replaced: what lies behind it is not this zone's to remove.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bt_base::{Timestamp, ZoneId};
use bt_tree::schema::{Key, KeyKind, Name, ROOT_INODE, decode_entrance, parse_key};

use crate::error::{Refusal, Result};
use crate::op::{Make, Op};
use crate::vfs::Vfs;
use crate::view::{self, Listed, Source, is_directory};

/// Entries that one step of emptying a directory takes.
const ENTRIES_AT_ONCE: usize = 256;

/// A directory that made way for a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entered {
    /// The new directory, in whose place the zone is entered.
    pub placeholder: u64,
    /// The directory that had the name: without a name now, to be freed with all below it.
    pub nameless: u64,
}

impl Vfs {
    /// Turns the directory `name` into the entrance of `zone`. What it held goes with it.
    pub fn enter(
        &mut self,
        source: &dyn Source,
        directory: u64,
        name: &[u8],
        zone: &ZoneId,
        now: Timestamp,
    ) -> Result<Entered> {
        let found = view::name(self.zone.tree(), source, directory, name)?.ok_or(Refusal::NotFound)?;
        let old = view::directory(self.zone.tree(), source, found.inode)?;
        if old.is_entrance {
            return Err(Refusal::Busy.into());
        }
        let placeholder = Make {
            inode: self.next_inode(),
            mode: old.mode,
            uid: old.uid,
            gid: old.gid,
            rdev: 0,
            time: now,
            target: Vec::new(),
            attributes: Vec::new(),
        };
        let number = placeholder.inode;
        let nameless = self.apply_enter(source, directory, name, &found, &placeholder, zone)?;
        self.log.append(&Op::Enter { directory, name: name.to_vec(), placeholder, zone: *zone });
        Ok(Entered { placeholder: number, nameless: nameless.unwrap_or(found.inode) })
    }

    pub(crate) fn apply_enter(
        &mut self,
        source: &dyn Source,
        directory: u64,
        name: &[u8],
        found: &Name,
        placeholder: &Make,
        zone: &ZoneId,
    ) -> Result<Option<u64>> {
        let nameless = self.apply_unlink(source, directory, name, found, placeholder.time)?;
        self.apply_make(source, directory, name, placeholder)?;
        self.edit_inode(source, placeholder.inode, |inode| inode.is_entrance = true)?;
        self.zone.put(source, &Key::entrance(placeholder.inode), &zone.0)?;
        self.entrances.insert(placeholder.inode, *zone);
        Ok(nameless)
    }

    /// The zone that is entered in place of a directory.
    pub fn entrance(&self, inode: u64) -> Option<ZoneId> {
        self.entrances.get(&inode).copied()
    }

    /// All entrances: the directories, and the zones that are entered there.
    pub fn entrances(&self) -> &BTreeMap<u64, ZoneId> {
        &self.entrances
    }

    pub(crate) fn load_entrances(&mut self, source: &dyn Source) -> Result<()> {
        let mut failed = None;
        let entrances = &mut self.entrances;
        self.zone.tree().scan(source, Key::entrance(0).as_bytes(), &mut |key, value| {
            let Ok(KeyKind::Entrance(inode)) = parse_key(key) else { return ControlFlow::Break(()) };
            match decode_entrance(value) {
                Ok(zone) => drop(entrances.insert(inode, zone)),
                Err(error) => failed = Some(error),
            }
            ControlFlow::Continue(())
        })?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// The name that the zone goes by where its parent zone cannot be read.
    pub fn label(&self, source: &dyn Source) -> Result<Option<Vec<u8>>> {
        Ok(self.zone.tree().get(source, Key::label().as_bytes(), <[u8]>::to_vec)?)
    }

    /// Takes the names of some entries of a directory without a name away; returns the inodes that lost their last.
    pub(crate) fn empty(&mut self, source: &dyn Source, directory: u64) -> Result<Vec<u64>> {
        let mut entries: Vec<(Vec<u8>, Name)> = Vec::new();
        view::list(self.zone.tree(), source, directory, 0, &mut |listed| {
            let Listed { inode, sequence, kind, name } = listed;
            entries.push((name.to_vec(), Name { inode, sequence, kind }));
            if entries.len() < ENTRIES_AT_ONCE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let mut nameless = Vec::new();
        for (name, found) in entries {
            let now = view::inode(self.zone.tree(), source, directory)?.ctime;
            nameless.extend(self.apply_unlink(source, directory, &name, &found, now)?);
        }
        Ok(nameless)
    }

    /// The directory and name of a directory, by looking through the one that it is in.
    pub fn name_of_directory(&self, source: &dyn Source, inode: u64) -> Result<Option<(u64, Vec<u8>)>> {
        let record = view::inode(self.zone.tree(), source, inode)?;
        if inode == ROOT_INODE || !is_directory(record.mode) {
            return Ok(None);
        }
        let mut found = None;
        view::list(self.zone.tree(), source, record.parent, 0, &mut |listed| {
            if listed.inode != inode {
                return ControlFlow::Continue(());
            }
            found = Some((record.parent, listed.name.to_vec()));
            ControlFlow::Break(())
        })?;
        Ok(found)
    }
}
