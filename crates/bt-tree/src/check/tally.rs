//! Sums over a whole state: links of inodes, entries of directories, slots of files.

use std::collections::HashMap;

use super::bits::WideBits;
use super::{Flaw, Place};
use crate::schema::{Inode, ROOT_INODE};

/// What inodes say of themselves, and what was counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Inode records.
    pub(super) inodes: u64,
    /// The highest inode number.
    pub(super) highest: u64,
    /// Inodes that say they have a name, and those that have.
    linked: WideBits,
    named: WideBits,
    /// Names beyond the first, less those that the inode says. Absent when 0.
    surplus: HashMap<u64, i64>,
    /// Directories that say they have entries, and those that have.
    filled: WideBits,
    listed: WideBits,
    /// Files that say they have slots, and those that have.
    stored: WideBits,
    mapped: WideBits,
}

pub(super) const DIRECTORY_KIND: u32 = 0o04;

pub(super) fn kind_of(mode: u32) -> u32 {
    mode >> 12
}

impl Tally {
    pub(super) fn inode(&mut self, number: u64, inode: &Inode) {
        self.inodes += 1;
        self.highest = self.highest.max(number);
        let is_directory = kind_of(inode.mode) == DIRECTORY_KIND;
        if inode.nlink > 0 && number != ROOT_INODE {
            self.linked.insert(number);
        }
        if !is_directory && inode.nlink > 1 {
            self.add_surplus(number, -(i64::from(inode.nlink) - 1));
        }
        if is_directory && inode.entries > 0 {
            self.filled.insert(number);
        }
        if inode.content == crate::schema::Content::Extents && inode.stored > 0 {
            self.stored.insert(number);
        }
    }

    pub(super) fn entry(&mut self, inode: u64) {
        if !self.named.insert(inode) {
            self.add_surplus(inode, 1);
        }
    }

    pub(super) fn directory(&mut self, directory: u64) {
        self.listed.insert(directory);
    }

    pub(super) fn extents(&mut self, inode: u64) {
        self.mapped.insert(inode);
    }

    fn add_surplus(&mut self, inode: u64, names: i64) {
        let surplus = self.surplus.entry(inode).or_default();
        *surplus += names;
        if *surplus == 0 {
            self.surplus.remove(&inode);
        }
    }

    /// What does not add up, after a walk that saw everything.
    pub(super) fn finish(&self, found: &mut dyn FnMut(Flaw)) {
        let mut report = |inode: u64, what: &str| found(Flaw { what: what.to_owned(), place: Place::Inode(inode) });
        for inode in self.linked.without(&self.named) {
            report(inode, "the inode counts a name, but no directory has one for it");
        }
        for (inode, surplus) in &self.surplus {
            let than = if *surplus > 0 { "more" } else { "fewer" };
            report(*inode, &format!("the inode has {} names {than} than it counts", surplus.unsigned_abs()));
        }
        for directory in self.filled.without(&self.listed) {
            report(directory, "the directory counts entries, but has none");
        }
        for inode in self.stored.without(&self.mapped) {
            report(inode, "the file counts stored data, but has none");
        }
    }
}
