//! What differs between two states of the zone, by path.
//!
//! The two indexes are compared node by node, without those that both have. Names and inodes that differ become
//! paths in the old state and in the new one, and what both have under one path is compared.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use bt_base::Timestamp;
use bt_base::codec::DecodeError;
use bt_tree::index::Tree;
use bt_tree::schema::{Entry, Extent, Inode, Key, KeyKind, Name, parse_key};
use bt_tree::zone::{SnapshotRecord, ZoneError};
use bt_vfs::view::{self, DIRECTORY, REGULAR, SYMLINK, TYPE_BITS};

use super::paths::Paths;
use super::{BlockSource, Engine, Pin};
use crate::control::limits::DIFF_ENTRIES;
use crate::control::report::{Change, DiffEntry, DiffReport, escape};
use crate::control::{Failure, OnProgress, Progress};
use crate::error::{EngineError, Result};

/// Records that differ after which progress is told.
const TELL_RECORDS: u64 = 1024;
/// Seconds by which a change time is older than a snapshot that is surely older than it.
const SETTLED_SECONDS: i64 = 2;
/// Differing names and inodes that a comparison keeps in memory.
const KEPT: usize = 4 * DIFF_ENTRIES;

/// How an inode that both states have differs.
#[derive(Clone, Copy, Default)]
struct Differs {
    content: bool,
    attributes: bool,
}

/// What the comparison of the two indexes found.
#[derive(Default)]
struct Found {
    /// Directories and names in them that stand for different inodes, or for one in one state only.
    names: BTreeSet<(u64, Vec<u8>)>,
    inodes: BTreeMap<u64, Differs>,
    truncated: bool,
}

/// A path in one state.
struct Item {
    number: u64,
    inode: Inode,
}

/// Paths, with each `/` as a zero so that they sort as a walk goes, and what the old and the new state have there.
type Merged = BTreeMap<Vec<u8>, [Option<Item>; 2]>;

impl Engine {
    /// Compares a snapshot with a later one, or with the present.
    pub(crate) fn diff(
        &self,
        from: &str,
        to: Option<&str>,
        progress: OnProgress<'_>,
    ) -> std::result::Result<DiffReport, Failure> {
        let failed = |error: EngineError| error.into_failure("comparing snapshots");
        let _pin = self.prepare(to.is_none()).map_err(failed)?;
        let old = self.state_of(from)?;
        let settled = Timestamp { seconds: old.time.seconds - SETTLED_SECONDS, ..old.time };
        let old = old.tree();
        let (new, is_live) = match to {
            Some(name) => (self.state_of(name)?.tree(), false),
            None => (self.read().zone().tree().clone(), true),
        };
        let mut found =
            self.compare(&old, &new, settled, progress).map_err(failed)?.ok_or_else(Failure::interrupted)?;
        if is_live {
            // Only what a zone that is open for reading recovered can still be outside of the index.
            for inode in self.read().dirty_files() {
                found.inodes.entry(inode).or_default().content = true;
            }
        }
        let merged = self.merge(&old, &new, &mut found).map_err(failed)?;
        self.report(merged, &found, [&old, &new]).map_err(failed)
    }

    /// Makes the present whole, and keeps what it needs.
    fn prepare(&self, with_present: bool) -> Result<Option<Pin<'_>>> {
        if self.is_read_only() || self.stopped().is_some() {
            return Ok(None);
        }
        if with_present {
            self.commit()?;
        }
        let mut flushing = self.flushing();
        Ok(Some(self.pin(&mut flushing)))
    }

    fn state_of(&self, name: &str) -> std::result::Result<SnapshotRecord, Failure> {
        let all = self.snapshot_records().map_err(|error| error.into_failure("listing snapshots"))?;
        let found = all.iter().find(|(known, _)| known == name.as_bytes());
        found.map(|(_, record)| *record).ok_or_else(|| {
            Failure::refused(format!("there is no snapshot {name:?}"), "`bt snapshot list` shows those there are")
        })
    }

    /// None when it was interrupted.
    fn compare(&self, old: &Tree, new: &Tree, settled: Timestamp, progress: OnProgress<'_>) -> Result<Option<Found>> {
        let mut found = Found::default();
        let mut resealed = Resealed { source: &self.source, trees: [old, new], settled, last: None };
        let (mut failed, mut records, mut interrupted) = (None, 0, false);
        Tree::diff(old, new, &self.source, &mut |key, before, after| {
            records += 1;
            if records % TELL_RECORDS == 0 {
                interrupted = progress(Progress { done: records, total: 0, what: "records".into() }).is_break();
            }
            match resealed.is_same(key, before, after) {
                Ok(true) => return ControlFlow::Continue(()),
                Ok(false) => failed = found.note(key, before, after).err(),
                Err(error) => failed = Some(error),
            }
            found.truncated = found.names.len() + found.inodes.len() >= KEPT;
            if failed.is_some() || interrupted || found.truncated {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        match failed {
            Some(error) => Err(ZoneError::from(error).into()),
            None => Ok((!interrupted).then_some(found)),
        }
    }

    /// All paths that may differ, in both states.
    fn merge(&self, old: &Tree, new: &Tree, found: &mut Found) -> Result<Merged> {
        self.name_inodes(new, found)?;
        let mut merged = Merged::new();
        for (side, tree) in [old, new].into_iter().enumerate() {
            let other = [new, old][side];
            let mut paths = Paths::new(&self.source, tree, HashMap::new());
            for (directory, name) in &found.names {
                let key = Key::name(*directory, name);
                let Some(record) = tree.get(&self.source, key.as_bytes(), Name::decode)? else { continue };
                let record = record.map_err(ZoneError::from)?;
                let path = join(&paths.path(*directory), name);
                let moved = u32::from(record.kind) == DIRECTORY >> 12
                    && other.contains(&self.source, Key::inode(record.inode).as_bytes())?;
                self.add(tree, side, path.clone(), record.inode, &mut merged)?;
                // What lies in a directory that moved has another path too.
                if moved && !self.is_same_name(other, *directory, name, record.inode)? {
                    self.add_below(tree, side, path, record.inode, &mut merged)?;
                }
                if merged.len() >= KEPT {
                    found.truncated = true;
                    break;
                }
            }
        }
        Ok(merged)
    }

    fn is_same_name(&self, tree: &Tree, directory: u64, name: &[u8], inode: u64) -> Result<bool> {
        Ok(view::name(tree, &self.source, directory, name)?.is_some_and(|found| found.inode == inode))
    }

    /// Adds the names of inodes that differ. Such a name is in both states or among the differing ones.
    fn name_inodes(&self, new: &Tree, found: &mut Found) -> Result<()> {
        if found.inodes.is_empty() {
            return Ok(());
        }
        let mut failed = None;
        new.scan(&self.source, Key::entry(0, 0).as_bytes(), &mut |key, value| match (
            parse_key(key),
            Entry::decode(value),
        ) {
            (Ok(KeyKind::Entry(directory, _)), Ok(entry)) => {
                if found.inodes.contains_key(&entry.inode) {
                    found.names.insert((directory, entry.name.to_vec()));
                }
                ControlFlow::Continue(())
            }
            (Ok(KeyKind::Entry(..)), Err(error)) | (Err(error), _) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
            _ => ControlFlow::Break(()),
        })?;
        failed.map_or(Ok(()), |error: DecodeError| Err(ZoneError::from(error).into()))
    }

    fn add(&self, tree: &Tree, side: usize, path: Vec<u8>, number: u64, merged: &mut Merged) -> Result<()> {
        let inode = view::inode(tree, &self.source, number)?;
        merged.entry(path).or_default()[side] = Some(Item { number, inode });
        Ok(())
    }

    /// Adds everything below a directory, in no order.
    fn add_below(&self, tree: &Tree, side: usize, path: Vec<u8>, directory: u64, merged: &mut Merged) -> Result<()> {
        let mut waiting = vec![(path, directory)];
        while let Some((path, directory)) = waiting.pop() {
            let mut inside = Vec::new();
            view::list(tree, &self.source, directory, 0, &mut |entry| {
                inside.push((join(&path, entry.name), entry.inode, entry.kind));
                if merged.len() + inside.len() < KEPT { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            for (path, inode, kind) in inside {
                self.add(tree, side, path.clone(), inode, merged)?;
                if u32::from(kind) == DIRECTORY >> 12 && merged.len() < KEPT {
                    waiting.push((path, inode));
                }
            }
        }
        Ok(())
    }

    fn report(&self, merged: Merged, found: &Found, trees: [&Tree; 2]) -> Result<DiffReport> {
        let mut report = DiffReport { entries: Vec::new(), truncated: found.truncated };
        for (path, [old, new]) in merged {
            let Some(change) = self.change_of(old.as_ref(), new.as_ref(), found, trees)? else { continue };
            if report.entries.len() == DIFF_ENTRIES {
                report.truncated = true;
                break;
            }
            let shown: Vec<u8> = path.iter().map(|byte| if *byte == 0 { b'/' } else { *byte }).collect();
            report.entries.push(DiffEntry {
                path: escape(&shown),
                change,
                old_size: old.map(|item| item.inode.size),
                new_size: new.map(|item| item.inode.size),
            });
        }
        Ok(report)
    }

    fn change_of(
        &self,
        old: Option<&Item>,
        new: Option<&Item>,
        found: &Found,
        trees: [&Tree; 2],
    ) -> Result<Option<Change>> {
        let (old, new) = match (old, new) {
            (None, None) => return Ok(None),
            (None, Some(_)) => return Ok(Some(Change::Added)),
            (Some(_), None) => return Ok(Some(Change::Removed)),
            (Some(old), Some(new)) => (old, new),
        };
        let kind = new.inode.mode & TYPE_BITS;
        if old.inode.mode & TYPE_BITS != kind {
            return Ok(Some(Change::Kind));
        }
        let mut differs = found.inodes.get(&new.number).copied().unwrap_or_default();
        if old.number != new.number {
            differs.attributes = attributes_differ(&old.inode, &new.inode);
            differs.content = match kind {
                REGULAR => true,
                SYMLINK => {
                    view::inline(trees[0], &self.source, old.number)?
                        != view::inline(trees[1], &self.source, new.number)?
                }
                _ => false,
            };
        }
        Ok(match differs {
            Differs { content: true, .. } if kind == REGULAR || kind == SYMLINK => Some(Change::Content),
            Differs { attributes: true, .. } => Some(Change::Attributes),
            _ => None,
        })
    }
}

impl Found {
    /// Notes a record that differs.
    fn note(
        &mut self,
        key: &[u8],
        before: Option<&[u8]>,
        after: Option<&[u8]>,
    ) -> std::result::Result<(), DecodeError> {
        match parse_key(key)? {
            KeyKind::Inode(number) => {
                if let (Some(before), Some(after)) = (before, after) {
                    let (before, after) = (Inode::decode(before)?, Inode::decode(after)?);
                    if before.size != after.size {
                        self.inodes.entry(number).or_default().content = true;
                    }
                    if attributes_differ(&before, &after) {
                        self.inodes.entry(number).or_default().attributes = true;
                    }
                }
            }
            KeyKind::Name(directory, name) => {
                let inode = |record: Option<&[u8]>| record.map(Name::decode).transpose();
                if inode(before)?.map(|name| name.inode) != inode(after)?.map(|name| name.inode) {
                    self.names.insert((directory, name.to_vec()));
                }
            }
            KeyKind::Attribute(inode, _) => self.inodes.entry(inode).or_default().attributes = true,
            KeyKind::Extent(inode, _) | KeyKind::Inline(inode) => self.inodes.entry(inode).or_default().content = true,
            _ => {}
        }
        Ok(())
    }
}

/// Tells content that was only sealed anew, under other keys, from content that changed.
struct Resealed<'a> {
    source: &'a BlockSource,
    trees: [&'a Tree; 2],
    /// An inode with the same change time in both states, older than this, was not written to between them.
    settled: Timestamp,
    /// The inode last asked for: extents of one follow each other.
    last: Option<(u64, Touched)>,
}

/// Whether an inode was written to between two states, by its change time.
#[derive(Clone, Copy)]
enum Touched {
    No,
    /// It was changed in the moment in which the older state was taken.
    Perhaps,
    Yes,
}

impl Resealed<'_> {
    /// Whether a record that differs holds the same content, in blocks of the same lengths.
    fn is_same(
        &mut self,
        key: &[u8],
        before: Option<&[u8]>,
        after: Option<&[u8]>,
    ) -> std::result::Result<bool, DecodeError> {
        let (Ok(KeyKind::Extent(inode, _)), Some(before), Some(after)) = (parse_key(key), before, after) else {
            return Ok(false);
        };
        let (before, after) = (Extent::decode(before)?, Extent::decode(after)?);
        let shape = |extent: &Extent| extent.slots.map(|slot| slot.map(|slot| (slot.block.len, slot.compression)));
        if shape(&before) != shape(&after) {
            return Ok(false);
        }
        Ok(match self.touched(inode) {
            Touched::No => true,
            Touched::Perhaps => self.has_same_blocks(&before, &after),
            Touched::Yes => false,
        })
    }

    fn touched(&mut self, inode: u64) -> Touched {
        if let Some((last, touched)) = self.last
            && last == inode
        {
            return touched;
        }
        let [old, new] = self.trees.map(|tree| view::inode(tree, self.source, inode));
        let touched = match (old, new) {
            (Ok(old), Ok(new)) if old.ctime != new.ctime => Touched::Yes,
            (Ok(old), Ok(_)) if old.ctime < self.settled => Touched::No,
            (Ok(_), Ok(_)) => Touched::Perhaps,
            _ => Touched::Yes,
        };
        self.last = Some((inode, touched));
        touched
    }

    /// Compares the blocks of two extents of one shape; those that cannot be read differ.
    fn has_same_blocks(&self, before: &Extent, after: &Extent) -> bool {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        let mut pairs = before.slots.iter().flatten().zip(after.slots.iter().flatten());
        pairs.all(|(before, after)| {
            let mut is_read = || {
                self.source
                    .open_block(&before.block, &mut one)
                    .and_then(|()| self.source.open_block(&after.block, &mut other))
            };
            before.block == after.block || is_read().is_ok() && one == other
        })
    }
}

/// Whether what a user set differs. The times of a directory follow its entries, which are compared themselves.
fn attributes_differ(old: &Inode, new: &Inode) -> bool {
    let is_directory = new.mode & TYPE_BITS == DIRECTORY;
    (old.mode, old.uid, old.gid, old.rdev) != (new.mode, new.uid, new.gid, new.rdev)
        || !is_directory && old.mtime != new.mtime
}

/// A path below a directory's, with zeros for slashes.
fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path: Vec<u8> = directory.iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect();
    if path.len() > 1 {
        path.push(0);
    }
    path.extend_from_slice(name);
    path
}

#[cfg(test)]
mod tests {
    use bt_vfs::{AttributeFlags, RenameFlags};

    use super::*;
    use crate::engine::testing::{ROOT, TestZone, go_on, noise};

    fn diff(zone: &TestZone, from: &str, to: Option<&str>) -> Vec<(String, Change)> {
        let report = zone.engine.diff(from, to, &mut go_on).unwrap();
        assert!(!report.truncated);
        report.entries.into_iter().map(|entry| (entry.path, entry.change)).collect()
    }

    fn expected(entries: &[(&str, Change)]) -> Vec<(String, Change)> {
        entries.iter().map(|(path, change)| ((*path).to_owned(), *change)).collect()
    }

    #[test]
    fn every_kind_of_change_is_told_in_the_order_of_a_walk() {
        let zone = TestZone::new();
        let directory = zone.directory(ROOT, "a");
        let moved = zone.directory(directory, "moved");
        zone.file(moved, "inside", b"stays the same");
        for name in ["content", "attributes", "removed", "same", "kind", "xattr", "replaced"] {
            zone.file(directory, name, &noise(40_000, 1));
        }
        zone.file(ROOT, "a-b", b"sorts after what is in a");
        zone.engine.create_snapshot(b"one").unwrap();
        assert_eq!(diff(&zone, "one", None), []);

        zone.file(directory, "content", b"other");
        zone.file(ROOT, "a-b", b"other bytes");
        let inode = |name: &str| zone.engine.lookup(directory, name.as_bytes()).unwrap().unwrap().0;
        let change = bt_vfs::op::Change { mode: Some(0o600), ..Default::default() };
        zone.engine.set_attributes(inode("attributes"), None, |_| Some(change), false).unwrap();
        zone.engine.set_attribute(inode("xattr"), b"user.x", b"y", AttributeFlags::default(), false).unwrap();
        zone.remove(directory, "removed");
        zone.remove(directory, "kind");
        zone.directory(directory, "kind");
        zone.file(directory, "new file", &noise(40_000, 1));
        zone.engine.rename((directory, b"new file"), (directory, b"replaced"), RenameFlags::Replace).unwrap();
        zone.file(moved, "new", b"");
        zone.engine.rename((directory, b"moved"), (ROOT, b"z"), RenameFlags::Replace).unwrap();
        let changes = expected(&[
            ("/a/attributes", Change::Attributes),
            ("/a/content", Change::Content),
            ("/a/kind", Change::Kind),
            ("/a/moved", Change::Removed),
            ("/a/moved/inside", Change::Removed),
            ("/a/removed", Change::Removed),
            ("/a/replaced", Change::Content),
            ("/a/xattr", Change::Attributes),
            ("/a-b", Change::Content),
            ("/z", Change::Added),
            ("/z/inside", Change::Added),
            ("/z/new", Change::Added),
        ]);
        assert_eq!(diff(&zone, "one", None), changes);
        zone.engine.create_snapshot(b"two").unwrap();
        zone.remove(directory, "same");
        assert_eq!(diff(&zone, "one", Some("two")), changes);
        assert_eq!(diff(&zone, "two", None), expected(&[("/a/same", Change::Removed)]));
        assert_eq!(zone.engine.flushing().pins, 0);
    }

    #[test]
    fn exchanged_directories_differ_by_what_is_in_them() {
        let zone = TestZone::new();
        let (a, b) = (zone.directory(ROOT, "a"), zone.directory(ROOT, "b"));
        zone.file(a, "both", b"of a");
        zone.file(a, "only a", b"");
        zone.file(b, "both", b"of b");
        zone.engine.create_snapshot(b"one").unwrap();
        zone.engine.rename((ROOT, b"a"), (ROOT, b"b"), RenameFlags::Exchange).unwrap();
        let changes = [
            ("/a/both", Change::Content),
            ("/a/only a", Change::Removed),
            ("/b/both", Change::Content),
            ("/b/only a", Change::Added),
        ];
        assert_eq!(diff(&zone, "one", None), expected(&changes));
    }

    #[test]
    fn sizes_are_those_of_each_state_and_unknown_snapshots_are_refused() {
        let zone = TestZone::new();
        zone.file(ROOT, "file", b"four");
        zone.engine.create_snapshot(b"one").unwrap();
        zone.file(ROOT, "file", &noise(100_000, 1));
        let report = zone.engine.diff("one", None, &mut go_on).unwrap();
        assert_eq!((report.entries[0].old_size, report.entries[0].new_size), (Some(4), Some(100_000)));
        let failure = zone.engine.diff("none", None, &mut go_on).unwrap_err();
        assert!(failure.what.contains("none"), "{failure}");
    }
}
