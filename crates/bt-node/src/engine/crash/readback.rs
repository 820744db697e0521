//! Reading a whole zone back through the engine.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bt_tree::index::Tree;
use bt_tree::schema::{Inode, ROOT_INODE};
use bt_vfs::view;

use super::model::{Image, Meta, State};
use crate::engine::Engine;

/// All names, attributes, contents and snapshots; an error says what cannot be read or contradicts itself.
pub(super) fn read_back(engine: &Engine) -> Result<State, String> {
    let live = engine.read().zone().tree().clone();
    let inode = |number| engine.inode(number).map_err(|error| format!("inode {number}: {error}"));
    let read = |number, out: &mut [u8]| engine.read_file(number, 0, out);
    let mut state = walk(engine, &live, &inode, &read)?;
    let snapshots = engine.snapshot_records().map_err(|error| format!("the snapshots: {error}"))?;
    for (name, record) in snapshots {
        let tree = record.tree();
        let inode = |number| {
            view::inode(&tree, &engine.source, number).map_err(|error| format!("inode {number} of a snapshot: {error}"))
        };
        let read = |number, out: &mut [u8]| engine.read_frozen(&tree, number, 0, out);
        let frozen = walk(engine, &tree, &inode, &read)?;
        let image = Image { contents: frozen.prints(), names: frozen.names };
        state.names.snapshots.insert(name, Arc::new(image));
    }
    Ok(state)
}

type ReadInode<'a> = &'a dyn Fn(u64) -> Result<Inode, String>;
type ReadContent<'a> = &'a dyn Fn(u64, &mut [u8]) -> crate::error::Result<usize>;

fn walk(engine: &Engine, tree: &Tree, inode: ReadInode<'_>, read: ReadContent<'_>) -> Result<State, String> {
    let mut state = State::default();
    let mut links: BTreeMap<u64, u32> = BTreeMap::new();
    let mut directories = vec![(ROOT_INODE, ROOT_INODE)];
    while let Some((directory, parent)) = directories.pop() {
        let record = inode(directory)?;
        if record.parent != parent {
            return Err(format!("directory {directory} says that its parent is {}, it is {parent}", record.parent));
        }
        let names = list(engine, tree, directory)?;
        if record.entries != names.len() as u64 {
            return Err(format!("directory {directory} counts {} entries, it has {}", record.entries, names.len()));
        }
        state.names.inodes.insert(directory, meta(engine, tree, directory, &record)?);
        for (name, number) in &names {
            let record = inode(*number).map_err(|error| format!("{:?}: {error}", name.escape_ascii().to_string()))?;
            if view::is_directory(record.mode) {
                directories.push((*number, directory));
            } else if *links.entry(*number).and_modify(|count| *count += 1).or_insert(1) == 1 {
                state.names.inodes.insert(*number, meta(engine, tree, *number, &record)?);
                if view::is_regular(record.mode) {
                    state.contents.insert(*number, content(*number, record.size, read)?);
                    state.times.insert(*number, record.mtime);
                }
            }
        }
        state.names.directories.insert(directory, names);
    }
    for (number, count) in links {
        let said = state.names.inodes[&number].links;
        if said != count {
            return Err(format!("inode {number} counts {said} links, it has {count}"));
        }
    }
    Ok(state)
}

fn list(engine: &Engine, tree: &Tree, directory: u64) -> Result<BTreeMap<Vec<u8>, u64>, String> {
    let mut names = BTreeMap::new();
    let listed = view::list(tree, &engine.source, directory, 0, &mut |entry| {
        names.insert(entry.name.to_vec(), entry.inode);
        ControlFlow::Continue(())
    });
    listed.map_err(|error| format!("listing directory {directory}: {error}"))?;
    for (name, inode) in &names {
        let found = view::name(tree, &engine.source, directory, name).map_err(|error| error.to_string())?;
        if found.as_ref().map(|found| found.inode) != Some(*inode) {
            return Err(format!(
                "{:?} is listed as inode {inode}, looked up it is {found:?}",
                name.escape_ascii().to_string()
            ));
        }
    }
    Ok(names)
}

fn meta(engine: &Engine, tree: &Tree, number: u64, record: &Inode) -> Result<Meta, String> {
    let failed = |error| format!("attributes of inode {number}: {error}");
    let mut attributes = BTreeMap::new();
    for name in view::attribute_names(tree, &engine.source, number).map_err(failed)? {
        let value = view::attribute(tree, &engine.source, number, &name).map_err(failed)?;
        attributes.insert(name, value.ok_or_else(|| format!("an attribute of inode {number} is listed and missing"))?);
    }
    if record.has_attributes == attributes.is_empty() {
        return Err(format!("inode {number} says wrongly whether it has attributes"));
    }
    let target = match record.mode & view::TYPE_BITS {
        view::SYMLINK => view::inline(tree, &engine.source, number).map_err(failed)?.unwrap_or_default(),
        _ => Vec::new(),
    };
    Ok(Meta { mode: record.mode, owner: (record.uid, record.gid), links: record.nlink, attributes, target })
}

fn content(number: u64, size: u64, read: ReadContent<'_>) -> Result<Vec<u8>, String> {
    let mut content = vec![0xa5; size as usize + 1];
    let len = read(number, &mut content).map_err(|error| format!("reading file {number}: {error}"))?;
    if len as u64 != size {
        return Err(format!("file {number} has size {size}, a read of all gives {len} bytes"));
    }
    content.truncate(len);
    Ok(content)
}
