//! The data map of a file.

use bt_base::codec::DecodeError;
use bt_base::limits::{BLOCK_SIZE, EXTENT_BLOCKS, SEGMENT_BLOCKS};
use bt_base::{BlockHash, Revision, SegmentId};

use super::Reader;
use crate::block::BlockRef;

/// How the blocks of an extent are compressed before they are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Compression {
    /// Stored as they are.
    #[default]
    None = 0,
    /// LZ4 block format.
    Lz4 = 1,
    /// Zstandard, level 3.
    Zstd = 2,
}

impl Compression {
    /// The compression with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::None, Self::Lz4, Self::Zstd].into_iter().find(|compression| *compression as u8 == code)
    }
}

/// One slot of an extent: 16 KiB of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The block; its `len` is the plaintext as sealed.
    pub block: BlockRef,
    /// How the plaintext is compressed.
    pub compression: Compression,
}

/// An extent: 16 consecutive slots of a file, each a block or a hole.
///
/// Encoded as runs of blocks that follow each other in one segment, so that a run names its segment once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extent {
    /// The slots; `None` is a hole.
    pub slots: [Option<Slot>; EXTENT_BLOCKS],
}

impl Extent {
    /// Whether every slot is a hole: such an extent has no record.
    pub fn is_hole(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    /// Encodes the record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + EXTENT_BLOCKS * 36);
        let mut slot = 0;
        while slot < EXTENT_BLOCKS {
            let Some(first) = self.slots[slot] else {
                slot += 1;
                continue;
            };
            let run = self.run_length(slot, &first);
            out.extend_from_slice(&[slot as u8, run as u8]);
            out.extend_from_slice(&first.block.segment.0);
            out.extend_from_slice(&first.block.index.to_le_bytes());
            out.extend_from_slice(&first.block.epoch.to_le_bytes());
            out.extend_from_slice(&first.block.birth.0.to_le_bytes());
            for entry in self.slots[slot..slot + run].iter().flatten() {
                let len = entry.block.len as u16;
                out.extend_from_slice(&len.to_le_bytes());
                out.push(entry.compression as u8);
                out.extend_from_slice(&entry.block.hash.0);
            }
            slot += run;
        }
        out
    }

    fn run_length(&self, start: usize, first: &Slot) -> usize {
        let follows = |(offset, slot): (usize, &Option<Slot>)| {
            slot.is_some_and(|slot| {
                slot.block.segment == first.block.segment
                    && slot.block.index == first.block.index.wrapping_add(offset as u32)
                    && slot.block.epoch == first.block.epoch
                    && slot.block.birth == first.block.birth
            })
        };
        self.slots[start..].iter().enumerate().take_while(|entry| follows(*entry)).count()
    }

    /// Decodes the record.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("extent record", bytes);
        let mut extent = Self::default();
        let mut next = 0;
        if reader.is_empty() {
            return Err(reader.error("an extent of nothing"));
        }
        while !reader.is_empty() {
            let (start, run) = (usize::from(reader.u8()?), usize::from(reader.u8()?));
            if start < next || run == 0 || start + run > EXTENT_BLOCKS {
                return Err(reader.error("a run outside the extent"));
            }
            next = start + run;
            let segment = SegmentId(reader.array()?);
            let (index, epoch, birth) = (reader.u32()?, reader.u32()?, Revision(reader.u64()?));
            if index as usize > SEGMENT_BLOCKS - run {
                return Err(reader.error("blocks outside a segment"));
            }
            for offset in 0..run {
                let len = u32::from(reader.u16()?);
                let compression =
                    Compression::from_code(reader.u8()?).ok_or_else(|| reader.error("unknown compression"))?;
                if len == 0 || len as usize > BLOCK_SIZE {
                    return Err(reader.error("a block of no or too many bytes"));
                }
                let hash = BlockHash(reader.array()?);
                let block = BlockRef { segment, index: index + offset as u32, len, epoch, birth, hash };
                extent.slots[start + offset] = Some(Slot { block, compression });
            }
        }
        Ok(extent)
    }
}
