//! Paths of inodes, from the records of a state of the zone that may be damaged.

use std::collections::HashMap;
use std::ops::ControlFlow;

use bt_tree::index::{NodeSource, Tree, Walk};
use bt_tree::schema::{Entry, Inode, Key, KeyKind, ROOT_INODE, parse_key};

use super::BlockSource;

/// Directories above each other that a path is followed through.
const DEPTH: usize = 4096;
/// Directories and names of inodes; directory 0 where they are not known.
pub(super) type Names = HashMap<u64, (u64, Vec<u8>)>;

/// Finds the paths of inodes in one state, as far as it is not damaged.
pub(super) struct Paths<'a> {
    source: &'a BlockSource,
    tree: &'a Tree,
    names: Names,
}

impl<'a> Paths<'a> {
    /// `wanted` has the inodes whose names cannot be found from their records: those that are no directories.
    pub(super) fn new(source: &'a BlockSource, tree: &'a Tree, wanted: Names) -> Self {
        Self { source, tree, names: find_names(source, tree, wanted) }
    }

    /// The path of an inode; what is unknown of it becomes a number.
    pub(super) fn path(&mut self, inode: u64) -> Vec<u8> {
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
