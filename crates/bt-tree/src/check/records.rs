//! Walking one state of the index, record by record.

use std::collections::BTreeSet;

use bt_base::codec::DecodeError;
use bt_base::limits::{BLOCK_SIZE, EXTENT_BLOCKS, FILE_SIZE};
use bt_base::{Revision, ZoneId};

use super::tally::{DIRECTORY_KIND, Tally, kind_of};
use super::{Flaw, Held, Observer, Place, References, place_of_key};
use crate::index::{Node, NodeSource, NodeVisit, Tree, Walk};
use crate::schema::{
    Content, DeadRecord, Death, Entry, Extent, Inode, Key, KeyKind, Name, ROOT_INODE, Slot, ZoneRecord,
    decode_entrance, parse_key,
};
use crate::zone::{Account, SnapshotRecord};

const REGULAR_KIND: u32 = 0o10;
const SYMLINK_KIND: u32 = 0o12;

/// What a state consists of, as far as it could be read.
#[derive(Debug, Default)]
pub struct StateSummary {
    /// Every node could be had.
    pub complete: bool,
    /// The observer ended the walk.
    pub interrupted: bool,
    /// Inode records that the walk came by.
    pub inodes: u64,
    /// Directories that are entrances, and the zones they lead to.
    pub entrances: Vec<(u64, ZoneId)>,
    /// The snapshots that this state has.
    pub snapshots: Vec<(Vec<u8>, SnapshotRecord)>,
}

/// Checks one state. The newest one comes first: its accounts are what references are compared with. In a snapshot's
/// state, what an earlier walk came by is not walked again.
pub fn check_state(
    source: &dyn NodeSource,
    tree: &Tree,
    is_newest: bool,
    references: &mut References,
    observer: &mut dyn Observer,
) -> StateSummary {
    let mut check = StateCheck {
        source,
        tree,
        is_newest,
        references,
        observer,
        summary: StateSummary { complete: true, ..StateSummary::default() },
        zone: None,
        tally: Tally::default(),
        directory: None,
        file: None,
        owner: None,
        dead_lists: BTreeSet::new(),
    };
    tree.walk_nodes(source, &mut |visit| check.node(&visit));
    check.finish()
}

/// Entries of one directory, which follow each other.
struct DirectoryRun {
    directory: u64,
    entries: u64,
    directories: u64,
}

/// Extents of one file, which follow each other.
struct FileRun {
    inode: u64,
    slots: u64,
}

struct StateCheck<'a> {
    source: &'a dyn NodeSource,
    tree: &'a Tree,
    is_newest: bool,
    references: &'a mut References,
    observer: &'a mut dyn Observer,
    summary: StateSummary,
    zone: Option<ZoneRecord>,
    tally: Tally,
    directory: Option<DirectoryRun>,
    file: Option<FileRun>,
    /// The inode last looked up: records of one follow each other.
    owner: Option<(u64, Option<Inode>)>,
    /// Numbers of snapshots with a dead list, and the latest birth on it.
    dead_lists: BTreeSet<(u64, Revision)>,
}

impl StateCheck<'_> {
    fn node(&mut self, visit: &NodeVisit<'_>) -> Walk {
        let fresh = visit.block.is_none_or(|block| match self.is_newest {
            true => self.references.add_live(block, true),
            false => self.references.add_kept(block, true),
        });
        let node = match (visit.node, visit.block) {
            _ if !fresh => return Walk::Over,
            (Ok(node), _) => node,
            (Err(error), block) => {
                self.summary.complete = false;
                let held = Held { lower: visit.lower.to_vec(), upper: visit.upper.map(<[u8]>::to_vec) };
                let block = block.expect("a node that is read has a block");
                self.flaw(error.to_string(), Place::Node { block: Box::new(*block), held });
                return self.go_on(Walk::Over);
            }
        };
        if let Some(block) = visit.block {
            self.observer.node(block);
            self.check_alive(block, true);
        }
        self.records(node);
        self.go_on(Walk::Into)
    }

    fn go_on(&mut self, walk: Walk) -> Walk {
        if self.observer.go_on() {
            return walk;
        }
        self.summary.interrupted = true;
        self.summary.complete = false;
        Walk::Stop
    }

    fn flaw(&mut self, what: impl Into<String>, place: Place) {
        self.observer.flaw(Flaw { what: what.into(), place });
    }

    /// What a snapshot needs must be alive. The newest state is compared as a whole, when all accounts are known.
    fn check_alive(&mut self, block: &crate::block::BlockRef, is_node: bool) {
        if self.is_newest || self.references.is_live(&block.segment, block.index) {
            return;
        }
        let what = match is_node {
            true => "a snapshot needs this index node, but its segment's account counts it as dead",
            false => "a snapshot needs this block of file data, but its segment's account counts it as dead",
        };
        self.flaw(what, Place::Block { segment: block.segment, index: block.index });
    }

    fn records(&mut self, node: &Node) {
        for (key, value) in node.records() {
            let checked = match parse_key(key) {
                Ok(kind) => self.record(kind, value),
                Err(error) => Err(error),
            };
            if let Err(error) = checked {
                self.flaw(format!("a record of the index cannot be read: {error}"), place_of_key(key));
            }
        }
    }

    fn record(&mut self, kind: KeyKind<'_>, value: &[u8]) -> Result<(), DecodeError> {
        match kind {
            KeyKind::Zone => self.zone = Some(ZoneRecord::decode(value)?),
            KeyKind::Label => self.label(value),
            KeyKind::Inode(number) => self.inode(number, &Inode::decode(value)?),
            KeyKind::Name(directory, name) => self.name(directory, name, &Name::decode(value)?),
            KeyKind::Entry(directory, sequence) => self.entry(directory, sequence, &Entry::decode(value)?),
            KeyKind::Attribute(inode, name) => self.attribute(inode, name),
            KeyKind::Extent(inode, first) => self.extent(inode, first, &Extent::decode(value)?),
            KeyKind::Inline(inode) => self.inline(inode, value.len() as u64),
            KeyKind::Orphan(inode) => self.orphan(inode),
            KeyKind::Entrance(inode) => self.entrance(inode, value),
            KeyKind::Snapshot(name) => {
                self.summary.snapshots.push((name.to_vec(), SnapshotRecord::decode(value)?));
            }
            KeyKind::Account(segment) => {
                let account = Account::decode(value)?;
                if self.is_newest && !self.references.add_account(segment, account) {
                    self.flaw("the segment has an account, but the newest head brings it", Place::Segment(segment));
                }
            }
            KeyKind::Dead(snapshot, segment, index, birth) => {
                let DeadRecord { count, len } = DeadRecord::decode(value)?;
                if self.is_newest {
                    self.references.add_dead(&Death { segment, index, len, birth }, count);
                    self.dead_lists.insert((snapshot, birth));
                    self.keep_latest(snapshot);
                }
            }
            KeyKind::Count(segment, index) => {
                let extra = crate::schema::decode_count(value)?;
                if self.is_newest {
                    self.references.add_count(segment, index, extra);
                }
            }
        }
        Ok(())
    }

    /// Only the latest birth of each dead list matters.
    fn keep_latest(&mut self, snapshot: u64) {
        let range = (snapshot, Revision(0))..=(snapshot, Revision(u64::MAX));
        while self.dead_lists.range(range.clone()).count() > 1 {
            let first = *self.dead_lists.range(range.clone()).next().expect("there are two");
            self.dead_lists.remove(&first);
        }
    }

    /// Looks a record up. None when that is not possible: the walk itself tells of the damage.
    fn look<R>(&mut self, key: &Key, read: impl FnOnce(&[u8]) -> R) -> Option<Option<R>> {
        let found = self.tree.get(self.source, key.as_bytes(), read);
        self.summary.complete &= found.is_ok();
        found.ok()
    }

    /// The inode that a record belongs to. None when it cannot be read.
    fn owner(&mut self, number: u64) -> Option<Option<Inode>> {
        if let Some((known, inode)) = self.owner
            && known == number
        {
            return Some(inode);
        }
        let inode = self.look(&Key::inode(number), Inode::decode)?.transpose().ok()?;
        self.owner = Some((number, inode));
        Some(inode)
    }

    fn inode(&mut self, number: u64, inode: &Inode) {
        self.summary.inodes += 1;
        self.tally.inode(number, inode);
        let place = || Place::Inode(number);
        let kind = kind_of(inode.mode);
        if !matches!(kind, 0o01 | 0o02 | 0o04 | 0o06 | 0o10 | 0o12 | 0o14) {
            self.flaw(format!("the inode has mode {:o}, which is no type of file", inode.mode), place());
        }
        if inode.size > FILE_SIZE {
            self.flaw(format!("the inode counts {} bytes, more than a file can have", inode.size), place());
        }
        let may_have = match inode.content {
            Content::None => true,
            Content::Inline => kind == REGULAR_KIND || kind == SYMLINK_KIND,
            Content::Extents => kind == REGULAR_KIND,
        };
        if !may_have {
            self.flaw("the inode has content, but is neither a file nor a symbolic link", place());
        }
        if inode.content == Content::Inline && self.look(&Key::inline(number), |_| ()) == Some(None) {
            self.flaw("the content of this small file or symbolic link is missing", place());
        }
        if inode.is_entrance {
            self.placeholder(number, inode);
        }
        let orphan = self.look(&Key::orphan(number), |_| ());
        if let Some(orphan) = orphan
            && orphan.is_some() != (inode.nlink == 0)
        {
            self.flaw(format!("the inode has {} links, its orphan record says otherwise", inode.nlink), place());
        }
    }

    fn name(&mut self, directory: u64, name: &[u8], record: &Name) {
        let matches = |bytes: &[u8]| {
            Entry::decode(bytes)
                .is_ok_and(|entry| entry.name == name && entry.inode == record.inode && entry.kind == record.kind)
        };
        let what = match self.look(&Key::entry(directory, record.sequence), matches) {
            None | Some(Some(true)) => return,
            Some(Some(false)) => "the name can be looked up, but a listing has something else in its place",
            Some(None) => "the name can be looked up, but a listing lacks it",
        };
        self.flaw(what, Place::Name { directory, name: name.to_vec() });
    }

    fn entry(&mut self, directory: u64, sequence: u64, entry: &Entry<'_>) {
        if self.directory.as_ref().is_none_or(|run| run.directory != directory) {
            self.end_directory();
            self.directory = Some(DirectoryRun { directory, entries: 0, directories: 0 });
        }
        let run = self.directory.as_mut().expect("just begun");
        run.entries += 1;
        run.directories += u64::from(u32::from(entry.kind) == DIRECTORY_KIND);
        if self.is_newest {
            self.tally.directory(directory);
            self.tally.entry(entry.inode);
        }
        for what in self.entry_flaws(directory, sequence, entry) {
            self.flaw(what, Place::Name { directory, name: entry.name.to_vec() });
        }
    }

    fn entry_flaws(&mut self, directory: u64, sequence: u64, entry: &Entry<'_>) -> Vec<&'static str> {
        let mut flaws = Vec::new();
        match self.look(&Key::name(directory, clipped(entry.name)), Name::decode) {
            Some(Some(Ok(name))) if name.sequence == sequence && name.inode == entry.inode => {}
            Some(Some(Ok(_))) => flaws.push("the listing has the name, but looking it up gives something else"),
            Some(None) => flaws.push("the listing has the name, but it cannot be looked up"),
            Some(Some(Err(_))) | None => {}
        }
        if let Some(parent) = self.owner(directory) {
            match parent {
                Some(parent) if kind_of(parent.mode) != DIRECTORY_KIND => flaws.push("the name is in no directory"),
                Some(parent) if sequence >= parent.next_sequence => {
                    flaws.push("the directory would give the place of this name again");
                }
                Some(_) => {}
                None => flaws.push("the name is in a directory that does not exist"),
            }
        }
        match self.look(&Key::inode(entry.inode), Inode::decode) {
            Some(Some(Ok(inode))) => {
                if kind_of(inode.mode) != u32::from(entry.kind) {
                    flaws.push("the name and its inode are of different types");
                } else if u32::from(entry.kind) == DIRECTORY_KIND && inode.parent != directory {
                    flaws.push("the directory of this name says that it is in another directory");
                }
                if inode.nlink == 0 {
                    flaws.push("the inode of this name counts no names");
                }
            }
            Some(None) => flaws.push("the inode of this name does not exist"),
            Some(Some(Err(_))) | None => {}
        }
        flaws
    }

    fn end_directory(&mut self) {
        let Some(run) = self.directory.take() else { return };
        let Some(Some(inode)) = self.owner(run.directory) else { return };
        if !self.is_newest || !self.summary.complete {
            return;
        }
        let place = || Place::Inode(run.directory);
        if inode.entries != run.entries {
            self.flaw(format!("the directory counts {} entries and has {}", inode.entries, run.entries), place());
        }
        if inode.nlink > 0 && u64::from(inode.nlink) != run.directories + 2 {
            let expected = run.directories + 2;
            self.flaw(format!("the directory has {} links, {expected} were expected", inode.nlink), place());
        }
    }

    fn attribute(&mut self, inode: u64, name: &[u8]) {
        let what = match self.owner(inode) {
            Some(Some(owner)) if !owner.has_attributes => "an extended attribute of an inode that says it has none",
            Some(None) => "an extended attribute of an inode that does not exist",
            _ => return,
        };
        self.flaw(format!("{what}: {}", name.escape_ascii()), Place::Inode(inode));
    }

    fn extent(&mut self, inode: u64, first: u64, extent: &Extent) {
        if self.file.as_ref().is_none_or(|run| run.inode != inode) {
            self.end_file();
            self.file = Some(FileRun { inode, slots: 0 });
            self.tally.extents(inode);
        }
        let slots = (first..).zip(extent.slots).filter_map(|(number, slot)| Some((number, slot?)));
        let slots: Vec<(u64, Slot)> = slots.collect();
        self.file.as_mut().expect("just begun").slots += slots.len() as u64;
        self.extent_flaws(inode, &slots);
        let mut fresh = Vec::with_capacity(EXTENT_BLOCKS);
        for (number, slot) in slots {
            let is_fresh = match self.is_newest {
                true => self.references.add_live(&slot.block, false),
                false => self.references.add_kept(&slot.block, false),
            };
            if is_fresh {
                self.check_alive(&slot.block, false);
                fresh.push((number, slot));
            }
        }
        if !fresh.is_empty() {
            self.observer.data(inode, &fresh);
        }
    }

    fn extent_flaws(&mut self, inode: u64, slots: &[(u64, Slot)]) {
        let place = || Place::Inode(inode);
        if slots.is_empty() {
            self.flaw("the file has an extent record without data", place());
        }
        match self.owner(inode) {
            Some(None) => self.flaw("stored data belongs to an inode that does not exist", place()),
            Some(Some(owner)) if owner.content != Content::Extents => {
                self.flaw("stored data belongs to an inode that says it has none", place());
            }
            Some(Some(owner)) => {
                let beyond = slots.iter().find(|(number, _)| number * BLOCK_SIZE as u64 >= owner.size);
                if let Some((number, _)) = beyond {
                    let (at, size) = (number * BLOCK_SIZE as u64, owner.size);
                    self.flaw(format!("the file has data at byte {at}, beyond its end at {size}"), place());
                }
            }
            None => {}
        }
        let odd = |slot: &Slot| slot.block.len == 0 || slot.block.len as usize > BLOCK_SIZE;
        if slots.iter().any(|(_, slot)| odd(slot)) {
            self.flaw("the file names a block of a length that no block has", place());
        }
    }

    fn end_file(&mut self) {
        let Some(run) = self.file.take() else { return };
        let Some(Some(inode)) = self.owner(run.inode) else { return };
        let stored = run.slots * BLOCK_SIZE as u64;
        if self.is_newest && self.summary.complete && inode.stored != stored {
            let what = format!("the file counts {} bytes as stored and has {stored}", inode.stored);
            self.flaw(what, Place::Inode(run.inode));
        }
    }

    fn inline(&mut self, inode: u64, len: u64) {
        let what = match self.owner(inode) {
            Some(None) => "content belongs to an inode that does not exist".to_owned(),
            Some(Some(owner)) if owner.content != Content::Inline => {
                "content belongs to an inode that says it has none in the index".to_owned()
            }
            Some(Some(owner)) if len > owner.size || len != owner.stored => {
                format!("the inode counts {} bytes, {} of them stored, and has {len}", owner.size, owner.stored)
            }
            _ => return,
        };
        self.flaw(what, Place::Inode(inode));
    }

    fn orphan(&mut self, inode: u64) {
        if self.owner(inode) == Some(None) {
            self.flaw("an orphan record names an inode that does not exist", Place::Inode(inode));
        }
    }

    /// The directory in whose place another zone is entered.
    fn placeholder(&mut self, number: u64, inode: &Inode) {
        let place = || Place::Inode(number);
        if kind_of(inode.mode) != DIRECTORY_KIND {
            self.flaw("the entrance of a zone is no directory", place());
        }
        if inode.entries > 0 {
            let what = format!("the entrance of a zone holds {} entries of this zone", inode.entries);
            self.flaw(what, place());
        }
        if self.look(&Key::entrance(number), |_| ()) == Some(None) {
            self.flaw("the directory is the entrance of a zone, but which is not recorded", place());
        }
    }

    fn entrance(&mut self, inode: u64, value: &[u8]) {
        match decode_entrance(value) {
            Ok(zone) => self.summary.entrances.push((inode, zone)),
            Err(error) => self.flaw(error.to_string(), Place::Inode(inode)),
        }
        let what = match self.owner(inode) {
            Some(None) => "the entrance of a zone is at an inode that does not exist",
            Some(Some(owner)) if !owner.is_entrance => "the entrance of a zone is at an inode that says it is none",
            _ => return,
        };
        self.flaw(what, Place::Inode(inode));
    }

    fn label(&mut self, value: &[u8]) {
        if !crate::schema::is_file_name(value) {
            self.flaw("the zone's name is one that no directory can have", Place::Zone);
        }
    }

    fn finish(mut self) -> StateSummary {
        self.end_directory();
        self.end_file();
        if self.is_newest && self.summary.complete {
            self.sums();
        }
        self.summary
    }

    fn sums(&mut self) {
        let observer = &mut *self.observer;
        self.tally.finish(&mut |flaw| observer.flaw(flaw));
        match self.zone {
            None => self.flaw("the zone's own record is missing", Place::Zone),
            Some(zone) => {
                if zone.inodes != self.tally.inodes {
                    let what = format!("the zone counts {} inodes and has {}", zone.inodes, self.tally.inodes);
                    self.flaw(what, Place::Zone);
                }
                if zone.next_inode <= self.tally.highest {
                    self.flaw("the zone would give an inode number again", Place::Inode(self.tally.highest));
                }
                let highest = self.summary.snapshots.iter().map(|(_, record)| record.number).max();
                if highest.is_some_and(|number| zone.next_snapshot <= number) {
                    self.flaw("the zone would give the number of a snapshot again", Place::Zone);
                }
            }
        }
        if self.look(&Key::inode(ROOT_INODE), |_| ()) == Some(None) {
            self.flaw("the root directory is missing", Place::Inode(ROOT_INODE));
        }
        for (number, birth) in std::mem::take(&mut self.dead_lists) {
            let snapshot = self.summary.snapshots.iter().find(|(_, record)| record.number == number);
            let what = match snapshot {
                None => format!("blocks are kept for snapshot {number}, which does not exist"),
                Some((_, record)) if record.revision < birth => {
                    format!("blocks are kept for snapshot {number} that were made after it")
                }
                Some(_) => continue,
            };
            self.flaw(what, Place::Zone);
        }
    }
}

/// A name as long as a key can hold.
fn clipped(name: &[u8]) -> &[u8] {
    &name[..name.len().min(bt_base::limits::NAME_SIZE)]
}
