//! Sharing blocks between files: copy_file_range(2) without copying.

use bt_base::Timestamp;
use bt_base::limits::{BLOCK_SIZE, EXTENT_BLOCKS, PAGES_PER_BLOCK};
use bt_tree::block::BlockRef;
use bt_tree::schema::{Compression, Content, Slot};

use crate::error::{Refusal, Result};
use crate::flush::SealedSlot;
use crate::op::{Data, Op, SlotRecord};
use crate::vfs::Vfs;
use crate::view::{self, Source};

const BLOCK: u64 = BLOCK_SIZE as u64;
/// Slots that one call shares.
const SLOTS_AT_ONCE: u64 = 16 * EXTENT_BLOCKS as u64;

/// A range to share.
#[derive(Debug, Clone, Copy)]
pub struct ShareRange {
    /// The file that has the blocks.
    pub from: u64,
    /// Where, in bytes.
    pub from_offset: u64,
    /// The file that gets them too.
    pub to: u64,
    /// Where, in bytes.
    pub to_offset: u64,
    /// How many bytes.
    pub len: u64,
}

impl Vfs {
    /// Shares whole blocks at the start of a range; returns the bytes shared, 0 when the bytes there must be copied:
    /// offsets between blocks, content that is not in a segment yet, or a last block that does not end the new file.
    pub fn share(&mut self, source: &dyn Source, range: ShareRange, now: Timestamp) -> Result<u64> {
        let ShareRange { from, from_offset, to, to_offset, len } = range;
        let source_size = self.inode(source, from)?.size;
        let len = len.min(source_size.saturating_sub(from_offset)).min(SLOTS_AT_ONCE * BLOCK);
        let target = self.file_size(source, to)?;
        let whole = if from_offset + len == source_size && to_offset + len >= target { len } else { len - len % BLOCK };
        if from_offset % BLOCK != 0 || to_offset % BLOCK != 0 || whole == 0 || from == to {
            return Ok(0);
        }
        if to_offset.checked_add(whole).is_none_or(|end| end > bt_base::limits::FILE_SIZE) {
            return Err(Refusal::TooLarge.into());
        }
        let target_content = view::inode(self.zone.tree(), source, to)?.content;
        if target_content == Content::Inline || !self.is_stored(source, from, from_offset, whole)? {
            return Ok(0);
        }
        let (first, target_first) = (from_offset / BLOCK, to_offset / BLOCK);
        let slots = (0..whole.div_ceil(BLOCK))
            .map(|i| {
                let slot = view::slot(self.zone.tree(), source, from, first + i)?;
                Ok(SlotRecord {
                    slot: target_first + i,
                    block: slot.map(|slot| slot.block),
                    compression: slot.map_or(0, |slot| slot.compression as u8),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        self.file_mut(source, to)?;
        self.append_data(source, to)?;
        let size = target.max(to_offset + whole);
        let data = Data { inode: to, size, mtime: Some(now), slots, ..Data::default() };
        self.apply_share(source, &data, &mut |vfs, block| Ok(vfs.zone.share(source, block)?))?;
        self.log_names_blocks = true;
        self.log.append(&Op::Share(data));
        Ok(whole)
    }

    fn file_size(&self, source: &dyn Source, inode: u64) -> Result<u64> {
        Ok(self.inode(source, inode)?.size)
    }

    /// Whether a range is in segments, with no change over it.
    fn is_stored(&self, source: &dyn Source, inode: u64, offset: u64, len: u64) -> Result<bool> {
        let pages = offset / BLOCK * PAGES_PER_BLOCK as u64..(offset + len).div_ceil(BLOCK) * PAGES_PER_BLOCK as u64;
        let clean = self.files.get(&inode).is_none_or(|file| {
            file.pages.range(pages.clone()).next().is_none()
                && !file.masked.iter().any(|masked| masked.start < pages.end && pages.start < masked.end)
        });
        Ok(clean && view::inode(self.zone.tree(), source, inode)?.content == Content::Extents)
    }

    /// Makes the references of a share, live or from the journal; `refer` makes one.
    pub(crate) fn apply_share(
        &mut self,
        source: &dyn Source,
        data: &Data,
        refer: &mut dyn FnMut(&mut Self, BlockRef) -> Result<BlockRef>,
    ) -> Result<()> {
        let inode = data.inode;
        let mut shared = Vec::with_capacity(data.slots.len());
        let file = self.file_mut(source, inode)?;
        let mut shrunk = 0;
        for slot in &data.slots {
            let pages = slot.slot * PAGES_PER_BLOCK as u64..(slot.slot + 1) * PAGES_PER_BLOCK as u64;
            shrunk += file.clear_pages(pages.clone());
            if slot.block.is_some() {
                file.masked.remove(pages.clone());
            }
            file.undurable_mask.remove(pages);
        }
        file.size = data.size;
        file.mtime = data.mtime;
        // The zone gets the blocks at once, holes, size and time with the next flush: a commit must not come between.
        (file.changed, file.journaled) = (true, true);
        file.clean_at = None;
        self.dirty_bytes = self.dirty_bytes.strict_add_signed(-shrunk);
        for slot in &data.slots {
            let Some(block) = slot.block else { continue };
            let block = refer(self, block)?;
            let compression = Compression::from_code(slot.compression).ok_or(Refusal::Invalid)?;
            shared.push(SealedSlot { slot: slot.slot, block: Slot { block, compression } });
        }
        if shared.is_empty() {
            return Ok(());
        }
        let mut record = view::inode(self.zone.tree(), source, inode)?;
        self.store_slots(source, inode, &mut record, &shared)?;
        record.size = record.size.max(data.size);
        self.put_inode(source, inode, &record)
    }
}
