//! Reading file content: what to copy, what to fetch, what is zero.

use std::ops::Range;

use bt_base::limits::{BLOCK_SIZE, EXTENT_BLOCKS, PAGE_SIZE, PAGES_PER_BLOCK};
use bt_tree::BlockRef;
use bt_tree::index::Tree;
use bt_tree::schema::{Content, Extent, Inode, Slot};

use crate::content::{FileState, page_of, pages_in, slot_of};
use crate::error::{Refusal, Result};
use crate::pages::Bytes;
use crate::vfs::Vfs;
use crate::view::{self, Source};

const PAGE: u64 = PAGE_SIZE as u64;
const BLOCK: u64 = BLOCK_SIZE as u64;

/// A part of what a read returns.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Bytes in memory; `range` of them, and zeros where they end early.
    Bytes(Bytes, Range<usize>),
    /// Zeros.
    Zero(usize),
    /// `range` of a block's content, and zeros where it ends early.
    Block(Slot, Range<usize>),
}

impl Piece {
    /// Bytes that the piece stands for.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(_, range) | Self::Block(_, range) => range.len(),
            Self::Zero(len) => *len,
        }
    }

    /// Whether the piece stands for nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What lseek(2) looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// The next byte that is stored.
    Data,
    /// The next byte that is not.
    Hole,
}

impl Vfs {
    /// What a read of `len` bytes at `offset` consists of (short at the end of the file), and the inode.
    pub fn read(&self, source: &dyn Source, inode: u64, offset: u64, len: usize) -> Result<(Vec<Piece>, Inode)> {
        read(self.zone.tree(), source, self.files.get(&inode), inode, offset, len)
    }

    /// The blocks of `len` bytes from `offset` on, for whoever reads them soon.
    pub fn blocks_ahead(&self, source: &dyn Source, inode: u64, offset: u64, len: usize) -> Result<Vec<BlockRef>> {
        let (pieces, _) = self.read(source, inode, offset, len)?;
        let block = |piece: Piece| match piece {
            Piece::Block(slot, _) => Some(slot.block),
            _ => None,
        };
        Ok(pieces.into_iter().filter_map(block).collect())
    }

    /// lseek(2) with SEEK_DATA or SEEK_HOLE.
    pub fn seek(&self, source: &dyn Source, inode: u64, offset: u64, what: Seek) -> Result<u64> {
        seek(self.zone.tree(), source, self.files.get(&inode), inode, offset, what)
    }
}

/// What a read from a state that does not change consists of.
pub fn read_tree(tree: &Tree, source: &dyn Source, inode: u64, offset: u64, len: usize) -> Result<Vec<Piece>> {
    Ok(read(tree, source, None, inode, offset, len)?.0)
}

/// lseek(2) in a state that does not change.
pub fn seek_tree(tree: &Tree, source: &dyn Source, inode: u64, offset: u64, what: Seek) -> Result<u64> {
    seek(tree, source, None, inode, offset, what)
}

fn read(
    tree: &Tree,
    source: &dyn Source,
    file: Option<&FileState>,
    inode: u64,
    offset: u64,
    len: usize,
) -> Result<(Vec<Piece>, Inode)> {
    let record = view::inode(tree, source, inode)?;
    let size = file.map_or(record.size, |file| file.size);
    let end = offset.saturating_add(len as u64).min(size);
    let mut reader = Reader { tree, source, inode, content: record.content, inline: None, extent: None };
    let mut pieces = Vec::new();
    let mut at = offset;
    while at < end {
        let (piece, next) = match file.filter(|file| !file.pages.is_empty() || !file.masked.is_empty()) {
            Some(file) => reader.layered(file, at, end)?,
            None => reader.stored(at, end)?,
        };
        pieces.push(piece);
        at = next;
    }
    Ok((pieces, record))
}

/// Looks for data or a hole.
fn seek(
    tree: &Tree,
    source: &dyn Source,
    file: Option<&FileState>,
    inode: u64,
    offset: u64,
    what: Seek,
) -> Result<u64> {
    let record = view::inode(tree, source, inode)?;
    let size = file.map_or(record.size, |file| file.size);
    if offset >= size {
        return Err(Refusal::NoSuchOffset.into());
    }
    let mut page = page_of(offset);
    while page < pages_in(size) {
        let (stored, next) = state_of(tree, source, file, record.content, inode, page)?;
        if stored == (what == Seek::Data) {
            return Ok((page * PAGE).max(offset));
        }
        page = next;
    }
    if what == Seek::Hole { Ok(size) } else { Err(Refusal::NoSuchOffset.into()) }
}

/// Whether a page is stored, and the next page at which that may change.
fn state_of(
    tree: &Tree,
    source: &dyn Source,
    file: Option<&FileState>,
    content: Content,
    inode: u64,
    page: u64,
) -> Result<(bool, u64)> {
    let next_dirty = file.and_then(|file| file.pages.next_from(page));
    if next_dirty == Some(page) {
        return Ok((true, page + 1));
    }
    let limit = next_dirty.unwrap_or(u64::MAX);
    if let Some(range) = file.and_then(|file| file.masked.iter().find(|range| range.contains(&page))) {
        return Ok((false, range.end.min(limit)));
    }
    let stored = match content {
        Content::None => return Ok((false, limit)),
        Content::Inline => return Ok((page == 0, if page == 0 { 1 } else { limit })),
        Content::Extents => view::next_stored_slot(tree, source, inode, slot_of(page))?,
    };
    match stored {
        Some(slot) if slot == slot_of(page) => {
            let end = (slot + 1) * PAGES_PER_BLOCK as u64;
            let masked = file.and_then(|file| file.masked.iter().find(|range| range.start > page));
            Ok((true, masked.map_or(end, |range| range.start.min(end))))
        }
        Some(slot) => {
            let mut next = (slot * PAGES_PER_BLOCK as u64).min(limit);
            if let Some(range) = file.and_then(|file| file.masked.iter().find(|range| range.start > page)) {
                next = next.min(range.start);
            }
            Ok((false, next))
        }
        None => Ok((false, limit)),
    }
}

/// One page as the zone has it.
pub(crate) fn zone_page(tree: &Tree, source: &dyn Source, inode: u64, page: u64) -> Result<Vec<u8>> {
    let content = view::inode(tree, source, inode)?.content;
    let start = (page % PAGES_PER_BLOCK as u64) as usize * PAGE_SIZE;
    let bytes = match content {
        Content::None => return Ok(Vec::new()),
        Content::Inline if page > 0 => return Ok(Vec::new()),
        Content::Inline => view::inline(tree, source, inode)?.unwrap_or_default(),
        Content::Extents => match view::slot(tree, source, inode, slot_of(page))? {
            None => return Ok(Vec::new()),
            Some(slot) => {
                let mut block = Vec::new();
                source.read_slot(&slot, &mut block)?;
                block
            }
        },
    };
    let end = (start + PAGE_SIZE).min(bytes.len());
    Ok(bytes.get(start..end).unwrap_or_default().to_vec())
}

struct Reader<'a> {
    tree: &'a Tree,
    source: &'a dyn Source,
    inode: u64,
    content: Content,
    inline: Option<Bytes>,
    /// The extent last read, by its first slot.
    extent: Option<(u64, Extent)>,
}

impl Reader<'_> {
    /// The piece at `at` where dirty pages lie over the zone; pieces end at page boundaries.
    fn layered(&mut self, file: &FileState, at: u64, end: u64) -> Result<(Piece, u64)> {
        let page = page_of(at);
        let start = (at - page * PAGE) as usize;
        let next = end.min((page + 1) * PAGE);
        if let Some(page) = file.pages.get(page) {
            let piece = Piece::Bytes(page.data.clone(), start..start + (next - at) as usize);
            return Ok((piece, next));
        }
        if let Some(range) = file.masked.iter().find(|range| range.contains(&page)) {
            let dirty = file.pages.next_from(page).unwrap_or(u64::MAX);
            let next = end.min(range.end.min(dirty).saturating_mul(PAGE));
            return Ok((Piece::Zero((next - at) as usize), next));
        }
        self.stored(at, self.undisturbed(file, page, end))
    }

    /// Up to where the zone's content shows without a change, within the slot of `page`.
    fn undisturbed(&self, file: &FileState, page: u64, end: u64) -> u64 {
        let slot_end = (slot_of(page) + 1) * PAGES_PER_BLOCK as u64;
        let dirty = file.pages.range(page..slot_end).next().map_or(slot_end, |(number, _)| number);
        let masked = file.masked.iter().map(|range| range.start).find(|start| *start > page).unwrap_or(slot_end);
        end.min(dirty.min(masked).min(slot_end) * PAGE)
    }

    /// The piece at `at` as the zone has it; it ends with its slot.
    fn stored(&mut self, at: u64, end: u64) -> Result<(Piece, u64)> {
        match self.content {
            Content::None => Ok((Piece::Zero((end - at) as usize), end)),
            Content::Inline => {
                let bytes = self.inline()?;
                let range = at as usize..end as usize;
                Ok(if at >= bytes.len() as u64 {
                    (Piece::Zero(range.len()), end)
                } else {
                    (Piece::Bytes(bytes, range), end)
                })
            }
            Content::Extents => {
                let slot = at / BLOCK;
                let next = end.min((slot + 1) * BLOCK);
                let start = (at - slot * BLOCK) as usize;
                let range = start..start + (next - at) as usize;
                Ok((self.slot(slot)?.map_or(Piece::Zero(range.len()), |slot| Piece::Block(slot, range.clone())), next))
            }
        }
    }

    fn inline(&mut self) -> Result<Bytes> {
        if self.inline.is_none() {
            self.inline = Some(view::inline(self.tree, self.source, self.inode)?.unwrap_or_default().into());
        }
        Ok(self.inline.clone().expect("just read"))
    }

    fn slot(&mut self, slot: u64) -> Result<Option<Slot>> {
        let first = slot - slot % EXTENT_BLOCKS as u64;
        if self.extent.as_ref().is_none_or(|(cached, _)| *cached != first) {
            self.extent = Some((first, view::extent(self.tree, self.source, self.inode, slot)?));
        }
        Ok(self.extent.as_ref().expect("just read").1.slots[(slot - first) as usize])
    }
}
