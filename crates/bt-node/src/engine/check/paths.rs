//! Where problems are, in words: files by their paths, blocks by their place in a container.

use std::collections::HashMap;
use std::ops::ControlFlow;

use bt_base::SegmentId;
use bt_store::Containers;
use bt_tree::check::{Held, Place};
use bt_tree::index::{NodeSource, Tree, Walk};
use bt_tree::schema::{Entry, Inode, Key, KeyKind, ROOT_INODE, parse_key};

use super::BlockSource;
use super::report::{Findings, Located, shown};

/// Directories above each other that a path is followed through.
const DEPTH: usize = 4096;
/// Names of inodes and directories.
type Names = HashMap<u64, (u64, Vec<u8>)>;

/// Puts the places of all flaws into words. `states` has the newest state and all snapshots.
pub(super) fn resolve(
    source: &BlockSource,
    states: &[(Option<Vec<u8>>, Tree)],
    containers: &Containers,
    findings: &mut Findings,
) {
    for (snapshot, tree) in states {
        let mut wanted: Names = HashMap::new();
        for (_, located) in findings.located().filter(|(_, located)| located.snapshot == *snapshot) {
            wanted.extend(inode_of(&located.place).map(|inode| (inode, (0, Vec::new()))));
        }
        let mut paths = Paths { source, tree, names: find_names(source, tree, wanted) };
        for (problem, located) in findings.located().filter(|(_, located)| located.snapshot == *snapshot) {
            problem.where_ = describe(located, &mut paths, containers);
        }
    }
}

fn inode_of(place: &Place) -> Option<u64> {
    match place {
        Place::Inode(inode) => Some(*inode),
        Place::Node { held, .. } => held.inodes().map(|(_, first, _)| first),
        _ => None,
    }
}

/// Some name of each inode that is asked for. Damage on the way is passed by.
fn find_names(source: &dyn NodeSource, tree: &Tree, mut wanted: Names) -> Names {
    if wanted.is_empty() {
        return wanted;
    }
    let entries = (Key::entry(0, 0).as_bytes()[0], Key::entry(0, 0).as_bytes()[0] + 1);
    tree.walk_nodes(source, &mut |visit| {
        let before = visit.upper.is_some_and(|upper| upper <= &[entries.0][..]);
        if before || visit.lower >= &[entries.1][..] {
            return Walk::Over;
        }
        for (key, value) in visit.node.into_iter().flat_map(|node| node.records()) {
            if let (Ok(KeyKind::Entry(directory, _)), Ok(entry)) = (parse_key(key), Entry::decode(value))
                && let Some(name) = wanted.get_mut(&entry.inode)
            {
                *name = (directory, entry.name.to_vec());
            }
        }
        Walk::Into
    });
    wanted
}

struct Paths<'a> {
    source: &'a BlockSource,
    tree: &'a Tree,
    names: Names,
}

impl Paths<'_> {
    /// The path of an inode; what is unknown of it becomes a number.
    fn path(&mut self, inode: u64) -> Vec<u8> {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let mut at = inode;
        while at != ROOT_INODE && parts.len() < DEPTH {
            match self.name(at) {
                Some((directory, name)) => {
                    parts.push(name);
                    at = directory;
                }
                None => {
                    parts.push(format!("(inode {at})").into_bytes());
                    break;
                }
            }
        }
        parts.reverse();
        [&b"/"[..], &parts.join(&b'/')].concat()
    }

    /// The directory and the name of an inode that is a directory, or whose name was looked for.
    fn name(&mut self, inode: u64) -> Option<(u64, Vec<u8>)> {
        if let Some((directory, name)) = self.names.get(&inode)
            && *directory != 0
        {
            return Some((*directory, name.clone()));
        }
        let record = self.tree.get(self.source, Key::inode(inode).as_bytes(), Inode::decode).ok()??.ok()?;
        let parent = record.parent;
        let mut found = None;
        let _ = self.tree.scan(self.source, Key::entry(parent, 0).as_bytes(), &mut |key, value| match (
            parse_key(key),
            Entry::decode(value),
        ) {
            (Ok(KeyKind::Entry(directory, _)), Ok(entry)) if directory == parent => {
                if entry.inode == inode {
                    found = Some((parent, entry.name.to_vec()));
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(()),
        });
        self.names.extend(found.clone().map(|name| (inode, name)));
        found.filter(|(directory, _)| *directory != 0)
    }
}

fn describe(located: &Located, paths: &mut Paths<'_>, containers: &Containers) -> String {
    let prefix = located.snapshot.as_ref().map_or_else(String::new, |name| format!("/.snapshots/{}", shown(name)));
    match &located.place {
        Place::Inode(inode) => format!("{prefix}{} (inode {inode})", shown(&paths.path(*inode))),
        Place::Name { directory, name } => {
            let directory = paths.path(*directory);
            let separator = if directory.len() > 1 { "/" } else { "" };
            format!("{prefix}{}{separator}{}", shown(&directory), shown(name))
        }
        Place::Node { block, held } => {
            let place = block_place(&block.segment, block.index, containers);
            format!("{place}{}", describe_held(held, &prefix, paths))
        }
        Place::Block { segment, index } => block_place(segment, *index, containers),
        Place::Segment(segment) => segment_place(segment, containers),
        Place::Snapshot(name) => format!("the snapshot {}", shown(name)),
        Place::Zone => format!("{prefix}/"),
    }
}

fn describe_held(held: &Held, prefix: &str, paths: &mut Paths<'_>) -> String {
    match held.inodes() {
        None => String::new(),
        Some((kind, first, last)) => {
            let path = shown(&paths.path(first));
            format!("; it held {kind} {first} to {last}, from {prefix}{path} on")
        }
    }
}

fn segment_place(segment: &SegmentId, containers: &Containers) -> String {
    match containers.segment(segment) {
        Some(info) => format!("segment {segment} in {} at byte {}", info.file(), info.offset),
        None => format!("segment {segment}, which is not stored"),
    }
}

fn block_place(segment: &SegmentId, index: u32, containers: &Containers) -> String {
    let place = containers.blocks(segment).ok().and_then(|places| places.into_iter().find(|at| at.index == index));
    match (containers.segment(segment), place) {
        (Some(info), Some(place)) => {
            let at = info.offset + u64::from(place.offset);
            format!("block {index} of segment {segment} in {} at byte {at}", info.file())
        }
        _ => format!("block {index} of {}", segment_place(segment, containers)),
    }
}
