//! Filling a zone with what a directory holds in frozen states of its parent zone.
//!
//! Inodes keep their numbers: what is in the zone is known by them, so nothing grows with the directory but the set of
//! those that were seen.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use bt_base::limits::{BLOCK_SIZE, EXTENT_BLOCKS};
use bt_tree::index::Tree;
use bt_tree::schema::{Content, Inode, KeyKind, Name, ROOT_INODE, Slot, parse_key};
use bt_vfs::op::Change;
use bt_vfs::view::{self, Listed, SYMLINK, TYPE_BITS, is_directory, is_regular};
use bt_vfs::{Allocate, ImportedEntry};

use crate::control::{Failure, OnProgress, Progress};
use crate::engine::Engine;
use crate::error::{EngineError, Result};

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// What an earlier pass left: the state it copied, what changed since, and the inodes that were there.
pub(super) type Earlier<'a> = (&'a Tree, &'a HashSet<u64>, &'a HashSet<u64>);

pub(super) struct Filling<'a, 'p> {
    pub(super) parent: &'a Engine,
    pub(super) child: &'a Engine,
    /// The directory, in the parent.
    pub(super) directory: u64,
    /// Bytes copied, and those that the first look counted.
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) progress: OnProgress<'p>,
}

impl Filling<'_, '_> {
    /// Makes the zone what the directory is in `tree`; returns its inodes.
    pub(super) fn pass(
        &mut self,
        earlier: Option<Earlier<'_>>,
        tree: &Tree,
    ) -> std::result::Result<HashSet<u64>, Failure> {
        let failed = |error: EngineError| error.into_failure("moving the directory into its zone");
        let mut seen = HashSet::from([self.directory]);
        let mut directories = vec![self.directory];
        while let Some(directory) = directories.pop() {
            let entries = entries_of(self.parent, tree, directory).map_err(failed)?;
            for entry in &entries {
                let number = entry.record.inode;
                if !seen.insert(number) {
                    continue;
                }
                if u32::from(entry.record.kind) << 12 == view::DIRECTORY {
                    directories.push(number);
                } else {
                    self.bring(earlier, tree, number).map_err(failed)?;
                }
            }
            self.bring_directory(earlier, tree, directory, &entries).map_err(failed)?;
            self.tell()?;
        }
        if let Some((_, _, before)) = earlier {
            for gone in before.difference(&seen) {
                self.child.import_gone(*gone).map_err(failed)?;
            }
        }
        Ok(seen)
    }

    fn tell(&mut self) -> std::result::Result<(), Failure> {
        let (done, total) = (self.done.min(self.total), self.total);
        match (self.progress)(Progress { done, total, what: "bytes".into() }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Failure::interrupted()),
        }
    }

    fn bring_directory(
        &self,
        earlier: Option<Earlier<'_>>,
        tree: &Tree,
        number: u64,
        entries: &[ImportedEntry],
    ) -> Result<()> {
        if is_same(earlier, number) {
            return Ok(());
        }
        let here = |inode: u64| if inode == self.directory { ROOT_INODE } else { inode };
        let inode = view::inode(tree, &self.parent.source, number)?;
        let parent = if number == self.directory { ROOT_INODE } else { here(inode.parent) };
        let inode = Inode { parent, ..inode };
        self.child.import_inode(here(number), &inode)?;
        self.child.import_entries(here(number), entries)?;
        self.child.import_details(here(number), &inode, &attributes_of(self.parent, tree, number)?)
    }

    /// Brings what is no directory.
    fn bring(&mut self, earlier: Option<Earlier<'_>>, tree: &Tree, number: u64) -> Result<()> {
        if is_same(earlier, number) {
            return Ok(());
        }
        let inode = view::inode(tree, &self.parent.source, number)?;
        self.child.import_inode(number, &inode)?;
        if inode.mode & TYPE_BITS == SYMLINK {
            let target = view::inline(tree, &self.parent.source, number)?.unwrap_or_default();
            self.child.import_target(number, &target)?;
        } else if is_regular(inode.mode) {
            let known = earlier.filter(|(_, _, before)| before.contains(&number)).map(|(tree, ..)| tree);
            self.bring_content(known, tree, number, &inode)?;
        }
        self.child.import_details(number, &inode, &attributes_of(self.parent, tree, number)?)
    }

    fn bring_content(&mut self, known: Option<&Tree>, tree: &Tree, number: u64, inode: &Inode) -> Result<()> {
        let source = &self.parent.source;
        let known = match known {
            Some(before) => (view::inode(before, source, number)?.content == Content::Extents).then_some(before),
            None => None,
        };
        let resize = |size| self.child.set_attributes(number, Some(size), |_| None::<Change>, false).map(drop);
        if known.is_none() || inode.content != Content::Extents {
            resize(0)?;
        }
        resize(inode.size)?;
        match inode.content {
            Content::None => Ok(()),
            Content::Inline => {
                let content = view::inline(tree, source, number)?.unwrap_or_default();
                self.done += content.len() as u64;
                self.child.write_file(number, 0, &content, false)
            }
            Content::Extents => self.bring_extents(known, tree, number, inode.size),
        }
    }

    /// Copies the slots that differ, in runs.
    fn bring_extents(&mut self, known: Option<&Tree>, tree: &Tree, number: u64, size: u64) -> Result<()> {
        let mut from = 0;
        while let Some(first) = self.next_extent(known, tree, number, from)? {
            let now = view::extent(tree, &self.parent.source, number, first)?.slots;
            let before = match known {
                Some(before) => view::extent(before, &self.parent.source, number, first)?.slots,
                None => [const { None }; EXTENT_BLOCKS],
            };
            let differs = |slot: &usize| now[*slot] != before[*slot];
            let slots: Vec<usize> = (0..EXTENT_BLOCKS).filter(differs).collect();
            for run in slots.chunk_by(|a, b| a + 1 == *b && now[*a].is_some() == now[*b].is_some()) {
                self.bring_run(tree, number, size, first + run[0] as u64, run.len() as u64, now[run[0]].as_ref())?;
            }
            from = first + EXTENT_BLOCKS as u64;
        }
        Ok(())
    }

    /// The first slot of the next extent that one of the states has.
    fn next_extent(&self, known: Option<&Tree>, tree: &Tree, number: u64, from: u64) -> Result<Option<u64>> {
        let source = &self.parent.source;
        let now = view::next_stored_slot(tree, source, number, from)?;
        let before = match known {
            Some(before) => view::next_stored_slot(before, source, number, from)?,
            None => None,
        };
        let next = [now, before].into_iter().flatten().min();
        Ok(next.map(|slot| slot / EXTENT_BLOCKS as u64 * EXTENT_BLOCKS as u64))
    }

    fn bring_run(
        &mut self,
        tree: &Tree,
        number: u64,
        size: u64,
        first: u64,
        count: u64,
        stored: Option<&Slot>,
    ) -> Result<()> {
        let (mut at, end) = (first * BLOCK_SIZE as u64, ((first + count) * BLOCK_SIZE as u64).min(size));
        if at >= end {
            return Ok(());
        }
        if stored.is_none() {
            return self.child.allocate(number, at, end - at, Allocate::PunchHole, false);
        }
        let mut buffer = vec![0; COPY_BYTES.min((end - at) as usize)];
        while at < end {
            let part = buffer.len().min((end - at) as usize);
            self.parent.read_frozen(tree, number, at, &mut buffer[..part])?;
            self.child.write_file(number, at, &buffer[..part], false)?;
            at += part as u64;
            self.done += part as u64;
        }
        Ok(())
    }
}

/// Whether an earlier pass brought an inode as it is now.
fn is_same(earlier: Option<Earlier<'_>>, number: u64) -> bool {
    earlier.is_some_and(|(_, changed, before)| before.contains(&number) && !changed.contains(&number))
}

/// The inodes of which some record differs.
pub(super) fn changed(engine: &Engine, old: &Tree, new: &Tree) -> Result<HashSet<u64>> {
    let mut changed = HashSet::new();
    Tree::diff(old, new, &engine.source, &mut |key, _, _| {
        if let Ok(
            KeyKind::Inode(inode)
            | KeyKind::Name(inode, _)
            | KeyKind::Entry(inode, _)
            | KeyKind::Attribute(inode, _)
            | KeyKind::Extent(inode, _)
            | KeyKind::Inline(inode),
        ) = parse_key(key)
        {
            changed.insert(inode);
        }
        ControlFlow::Continue(())
    })?;
    Ok(changed)
}

fn entries_of(engine: &Engine, tree: &Tree, directory: u64) -> Result<Vec<ImportedEntry>> {
    let mut entries = Vec::new();
    view::list(tree, &engine.source, directory, 0, &mut |listed| {
        let Listed { inode, sequence, kind, name } = listed;
        entries.push(ImportedEntry { name: name.to_vec(), record: Name { inode, sequence, kind } });
        ControlFlow::Continue(())
    })?;
    Ok(entries)
}

fn attributes_of(engine: &Engine, tree: &Tree, inode: u64) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut attributes = Vec::new();
    for name in view::attribute_names(tree, &engine.source, inode)? {
        let value = view::attribute(tree, &engine.source, inode, &name)?.unwrap_or_default();
        attributes.push((name, value));
    }
    Ok(attributes)
}

/// Counts the stored bytes below a directory, and refuses what cannot move: names of files that have others outside,
/// and entrances of other zones.
pub(super) fn survey(engine: &Engine, tree: &Tree, directory: u64) -> std::result::Result<u64, Failure> {
    let failed = |error: EngineError| error.into_failure("looking through the directory");
    let source = &engine.source;
    let mut bytes = 0;
    let mut linked: BTreeMap<u64, (u32, u32, Vec<u8>)> = BTreeMap::new();
    let mut directories = vec![(directory, Vec::new())];
    while let Some((directory, path)) = directories.pop() {
        for entry in entries_of(engine, tree, directory).map_err(failed)? {
            let number = entry.record.inode;
            let inode = view::inode(tree, source, number).map_err(|error| failed(error.into()))?;
            let below = [&path[..], b"/", &entry.name].concat();
            if inode.is_entrance {
                let what = format!("another zone is entered in it: {}", shown(&below));
                return Err(Failure::refused(what, "move that directory elsewhere first"));
            }
            if is_directory(inode.mode) {
                directories.push((number, below));
                continue;
            }
            bytes += inode.stored;
            if inode.nlink > 1 {
                linked.entry(number).or_insert((inode.nlink, 0, below)).1 += 1;
            }
        }
    }
    let outside: Vec<String> = linked
        .into_values()
        .filter(|(links, found, _)| links != found)
        .map(|(.., path)| shown(&path))
        .take(10)
        .collect();
    if outside.is_empty() {
        return Ok(bytes);
    }
    let what = format!("files in it have other names outside of it: {}", outside.join(", "));
    Err(Failure::refused(what, "remove those names, or copy the files: a file lies in one zone"))
}

/// A path below the directory, for people.
fn shown(path: &[u8]) -> String {
    crate::control::report::escape(path.strip_prefix(b"/").unwrap_or(path))
}
