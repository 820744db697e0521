//! Reading a state of a zone: the live one or a snapshot.

use std::ops::ControlFlow;

use bt_base::limits::EXTENT_BLOCKS;
use bt_tree::index::{NodeSource, Tree};
use bt_tree::schema::{Entry, Extent, Inode, Key, KeyKind, Name, Slot, parse_key};
use bt_tree::zone::ZoneError;

use crate::error::{Refusal, Result, VfsError};

/// Where index nodes and blocks of file data come from.
pub trait Source: NodeSource {
    /// Reads, verifies, decrypts and decompresses one block of file data into `out`, replacing its content.
    fn read_slot(&self, slot: &Slot, out: &mut Vec<u8>) -> std::result::Result<(), ZoneError>;
}

/// One entry of a directory, as a listing gives it.
pub struct Listed<'a> {
    /// What the entry stands for.
    pub inode: u64,
    /// The cookie after which a listing goes on.
    pub sequence: u64,
    /// The type bits of the mode, shifted right by 12.
    pub kind: u8,
    /// The name.
    pub name: &'a [u8],
}

/// An inode; [`Refusal::Stale`] when there is none.
pub fn inode(tree: &Tree, source: &dyn Source, inode: u64) -> Result<Inode> {
    match tree.get(source, Key::inode(inode).as_bytes(), Inode::decode)? {
        Some(found) => Ok(found?),
        None => Err(Refusal::Stale.into()),
    }
}

/// What a name in a directory stands for.
pub fn name(tree: &Tree, source: &dyn Source, directory: u64, name: &[u8]) -> Result<Option<Name>> {
    Ok(tree.get(source, Key::name(directory, name).as_bytes(), Name::decode)?.transpose()?)
}

/// Lists a directory from the first entry above `after`, until `visit` breaks.
pub fn list(
    tree: &Tree,
    source: &dyn Source,
    directory: u64,
    after: u64,
    visit: &mut dyn FnMut(Listed<'_>) -> ControlFlow<()>,
) -> Result<()> {
    let mut failed = None;
    let from = Key::entry(directory, after.saturating_add(1));
    tree.scan(source, from.as_bytes(), &mut |key, value| {
        let sequence = match parse_key(key) {
            Ok(KeyKind::Entry(owner, sequence)) if owner == directory => sequence,
            Ok(_) => return ControlFlow::Break(()),
            Err(error) => {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        };
        match Entry::decode(value) {
            Ok(entry) => visit(Listed { inode: entry.inode, sequence, kind: entry.kind, name: entry.name }),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// The extent record that holds a slot; all hole when there is none.
pub fn extent(tree: &Tree, source: &dyn Source, inode: u64, slot: u64) -> Result<Extent> {
    Ok(tree.get(source, Key::extent(inode, slot).as_bytes(), Extent::decode)?.transpose()?.unwrap_or_default())
}

/// One slot of a file.
pub fn slot(tree: &Tree, source: &dyn Source, inode: u64, slot: u64) -> Result<Option<Slot>> {
    Ok(extent(tree, source, inode, slot)?.slots[slot as usize % EXTENT_BLOCKS])
}

/// The first slot at or after `from` that is stored.
pub fn next_stored_slot(tree: &Tree, source: &dyn Source, inode: u64, from: u64) -> Result<Option<u64>> {
    let mut found = None;
    for_extents(tree, source, inode, from, &mut |first, extent| {
        found = (0..EXTENT_BLOCKS as u64).find(|i| extent.slots[*i as usize].is_some() && first + i >= from);
        found = found.map(|i| first + i);
        if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

/// Visits a file's extent records from the one that holds slot `from`.
pub fn for_extents(
    tree: &Tree,
    source: &dyn Source,
    inode: u64,
    from: u64,
    visit: &mut dyn FnMut(u64, Extent) -> ControlFlow<()>,
) -> Result<()> {
    let mut failed = None;
    tree.scan(source, Key::extent(inode, from).as_bytes(), &mut |key, value| match parse_key(key) {
        Ok(KeyKind::Extent(owner, first)) if owner == inode => match Extent::decode(value) {
            Ok(extent) => visit(first, extent),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        },
        Ok(_) => ControlFlow::Break(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// The inline content of a file, or the target of a symbolic link.
pub fn inline(tree: &Tree, source: &dyn Source, inode: u64) -> Result<Option<Vec<u8>>> {
    Ok(tree.get(source, Key::inline(inode).as_bytes(), <[u8]>::to_vec)?)
}

/// The value of an extended attribute.
pub fn attribute(tree: &Tree, source: &dyn Source, inode: u64, name: &[u8]) -> Result<Option<Vec<u8>>> {
    Ok(tree.get(source, Key::attribute(inode, name).as_bytes(), <[u8]>::to_vec)?)
}

/// The names of an inode's extended attributes.
pub fn attribute_names(tree: &Tree, source: &dyn Source, inode: u64) -> Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    tree.scan(source, Key::attribute(inode, b"").as_bytes(), &mut |key, _| match parse_key(key) {
        Ok(KeyKind::Attribute(owner, name)) if owner == inode => {
            names.push(name.to_vec());
            ControlFlow::Continue(())
        }
        _ => ControlFlow::Break(()),
    })?;
    Ok(names)
}

/// An inode that must be a directory.
pub fn directory(tree: &Tree, source: &dyn Source, number: u64) -> Result<Inode> {
    let found = inode(tree, source, number)?;
    if is_directory(found.mode) { Ok(found) } else { Err(VfsError::Refused(Refusal::NotDirectory)) }
}

/// The type bits of a mode.
pub const TYPE_BITS: u32 = 0o170000;
/// A directory.
pub const DIRECTORY: u32 = 0o040000;
/// A regular file.
pub const REGULAR: u32 = 0o100000;
/// A symbolic link.
pub const SYMLINK: u32 = 0o120000;

/// Whether a mode is a directory's.
pub fn is_directory(mode: u32) -> bool {
    mode & TYPE_BITS == DIRECTORY
}

/// Whether a mode is a regular file's.
pub fn is_regular(mode: u32) -> bool {
    mode & TYPE_BITS == REGULAR
}
