//! A segment on the disk: a header with a table of its blocks, then the sealed blocks back to back.
//!
//! The byte table is in `doc/format/containers.md`.

use std::ops::Range;

use bt_base::{SegmentId, ZoneId};

use crate::format::{Reader, Writer, checksum};
use crate::limits::{ALIGNMENT, CONTAINER_BYTES, SEGMENT_BLOCK_COUNT, SEGMENT_BYTES};

/// The first bytes of every segment.
pub(super) const MAGIC: [u8; 8] = *b"BTSEGM\r\n";
const VERSION: u16 = 1;
/// The header without its table.
pub(super) const FIXED_BYTES: usize = 128;
const TABLE_ENTRY_BYTES: usize = 12;
const CHECKSUM_AT: usize = 96;
const CHECKSUM_LABEL: &str = "blocktree/segment-header 1";

/// Where a sealed block lies within its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    /// The block's index, which names it within the segment.
    pub index: u32,
    /// Bytes from the start of the segment.
    pub offset: u32,
    /// The sealed length in bytes.
    pub len: u32,
}

/// What the header of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) id: SegmentId,
    pub(super) zone: ZoneId,
    pub(super) epoch: u32,
    /// 0 for the segment as it was written, one more for each compacted copy.
    pub(super) generation: u16,
    /// The blocks by rising index, back to back from the end of the header.
    pub(super) blocks: Vec<BlockPlace>,
}

/// The length in bytes of a header with `blocks` blocks.
pub(super) const fn header_bytes(blocks: usize) -> usize {
    FIXED_BYTES + blocks * TABLE_ENTRY_BYTES
}

impl SegmentHeader {
    /// A header for blocks of these indices and sealed lengths, placed back to back.
    pub(super) fn new(
        (id, zone, epoch, generation): (SegmentId, ZoneId, u32, u16),
        lengths: impl ExactSizeIterator<Item = (u32, u32)>,
    ) -> Self {
        let mut offset = header_bytes(lengths.len()) as u32;
        let place = |(index, len)| {
            let place = BlockPlace { index, offset, len };
            offset += len;
            place
        };
        Self { id, zone, epoch, generation, blocks: lengths.map(place).collect() }
    }

    /// The length of the header in bytes; the blocks begin there.
    pub(super) fn len(&self) -> usize {
        header_bytes(self.blocks.len())
    }

    /// The length of the segment in bytes: header and blocks.
    pub(super) fn total(&self) -> u32 {
        self.blocks.last().map_or(self.len() as u32, |block| block.offset + block.len)
    }

    /// The place of a block, and its position in the table.
    pub(super) fn find(&self, index: u32) -> Option<(usize, BlockPlace)> {
        let at = self.blocks.binary_search_by_key(&index, |block| block.index).ok()?;
        Some((at, self.blocks[at]))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut fixed = Writer::with_capacity(self.len());
        fixed.bytes(&MAGIC).u16(VERSION).u16(self.generation).u32(self.blocks.len() as u32);
        fixed.bytes(&self.id.0).bytes(&self.zone.0).u32(self.epoch).u32(self.len() as u32);
        fixed.u64(u64::from(self.total()));
        let mut table = Writer::with_capacity(self.blocks.len() * TABLE_ENTRY_BYTES);
        for block in &self.blocks {
            table.u32(block.index).u32(block.offset).u32(block.len);
        }
        let sum = checksum(CHECKSUM_LABEL, &[fixed.as_slice(), table.as_slice()]);
        fixed.bytes(&sum).bytes(table.as_slice());
        fixed.finish()
    }

    /// Reads a header; `bytes` may go on behind it. The error says what is wrong.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let fixed = bytes.get(..FIXED_BYTES).ok_or("the segment's header is cut short")?;
        let len = claimed_header_bytes(fixed).ok_or("there is no header of a segment")?;
        let mut reader = Reader::new(fixed);
        let _magic = reader.array::<8>();
        let version = reader.u16();
        if version != VERSION {
            return Err(format!("the segment has format version {version}, this program knows {VERSION}"));
        }
        let generation = reader.u16();
        let _count = reader.u32();
        let (id, zone) = (SegmentId(reader.array()), ZoneId(reader.array()));
        let epoch = reader.u32();
        let (claimed_len, claimed_total) = (reader.u32(), reader.u64());
        let sum = reader.array::<32>();
        let table = bytes.get(FIXED_BYTES..len).ok_or("the segment's table of blocks is cut short")?;
        if checksum(CHECKSUM_LABEL, &[&fixed[..CHECKSUM_AT], table]) != sum {
            return Err(format!("the checksum of the header of segment {id} does not match"));
        }
        let blocks = decode_table(table);
        let header = Self { id, zone, epoch, generation, blocks };
        if !header.is_sound() || claimed_len as usize != len || claimed_total != u64::from(header.total()) {
            return Err(format!("the header of segment {id} contradicts itself"));
        }
        Ok(header)
    }

    /// Indices rise, blocks lie back to back, and all is within the limits.
    fn is_sound(&self) -> bool {
        let mut end = self.len() as u64;
        let mut before = None;
        for block in &self.blocks {
            if before.is_some_and(|before| block.index <= before) || u64::from(block.offset) != end {
                return false;
            }
            end += u64::from(block.len);
            before = Some(block.index);
        }
        !self.blocks.is_empty() && end <= (self.len() + SEGMENT_BYTES) as u64
    }
}

/// The length that the fixed part of a header claims for the whole, if it looks like a header at all.
pub(super) fn claimed_header_bytes(fixed: &[u8]) -> Option<usize> {
    if fixed.len() < FIXED_BYTES || fixed[..8] != MAGIC {
        return None;
    }
    let count = u32::from_le_bytes(fixed[12..16].try_into().expect("four bytes")) as usize;
    (1..=SEGMENT_BLOCK_COUNT).contains(&count).then(|| header_bytes(count))
}

fn decode_table(table: &[u8]) -> Vec<BlockPlace> {
    let entry = |bytes: &[u8]| {
        let mut reader = Reader::new(bytes);
        BlockPlace { index: reader.u32(), offset: reader.u32(), len: reader.u32() }
    };
    table.chunks_exact(TABLE_ENTRY_BYTES).map(entry).collect()
}

/// A segment to be written.
#[derive(Clone, Copy, Debug)]
pub struct SegmentWrite<'a> {
    /// The zone it belongs to.
    pub zone: ZoneId,
    /// Its id, never used before.
    pub id: SegmentId,
    /// The epoch of the zone's keys that sealed it.
    pub epoch: u32,
    /// The blocks by rising index, each with its range of `bytes`; back to back from 0, covering all.
    pub blocks: &'a [(u32, Range<usize>)],
    /// The sealed blocks, at most 8 MiB.
    pub bytes: &'a [u8],
}

impl SegmentWrite<'_> {
    /// The header, or the rule that the blocks break.
    pub(super) fn header(&self) -> Result<SegmentHeader, String> {
        if self.blocks.is_empty() || self.blocks.len() > SEGMENT_BLOCK_COUNT || self.bytes.len() > SEGMENT_BYTES {
            return Err(format!(
                "segment {} of {} blocks and {} bytes; it may have 1 to {SEGMENT_BLOCK_COUNT} and {SEGMENT_BYTES}",
                self.id,
                self.blocks.len(),
                self.bytes.len()
            ));
        }
        let mut end = 0;
        for (index, range) in self.blocks {
            if range.start != end || range.end < range.start {
                return Err(format!("block {index} of segment {} does not begin where the one before ends", self.id));
            }
            end = range.end;
        }
        if end != self.bytes.len() {
            return Err(format!("the blocks of segment {} cover {end} of {} bytes", self.id, self.bytes.len()));
        }
        if self.blocks.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err(format!("the block indices of segment {} do not rise", self.id));
        }
        let lengths = self.blocks.iter().map(|(index, range)| (*index, range.len() as u32));
        Ok(SegmentHeader::new((self.id, self.zone, self.epoch, 0), lengths))
    }
}

/// The bytes that a segment of `total` bytes takes in its container.
pub(super) fn placed_bytes(total: u32) -> u64 {
    u64::from(total).next_multiple_of(ALIGNMENT)
}

const _: () = assert!(
    CONTAINER_BYTES + (SEGMENT_BYTES + header_bytes(SEGMENT_BLOCK_COUNT)) as u64 + ALIGNMENT < u32::MAX as u64,
    "offsets within a container fit 32 bits"
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> impl Strategy<Value = SegmentHeader> {
        let lengths = prop::collection::btree_map(any::<u32>(), 0..16_400u32, 1..100);
        let names = (any::<[u8; 32]>(), any::<[u8; 32]>(), any::<u32>(), any::<u16>());
        (names, lengths).prop_map(|((id, zone, epoch, generation), lengths)| {
            SegmentHeader::new((SegmentId(id), ZoneId(zone), epoch, generation), lengths.into_iter())
        })
    }

    proptest! {
        #[test]
        fn a_header_survives_its_bytes(header in header(), behind in prop::collection::vec(any::<u8>(), 0..50)) {
            let mut bytes = header.encode();
            prop_assert_eq!(bytes.len(), header.len());
            bytes.extend(behind);
            prop_assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        }

        #[test]
        fn no_flipped_bit_and_no_cut_passes(header in header(), at: prop::sample::Index, bit in 0..8u32) {
            let mut bytes = header.encode();
            let at = at.index(bytes.len());
            prop_assert!(SegmentHeader::decode(&bytes[..at]).is_err());
            bytes[at] ^= 1 << bit;
            prop_assert!(SegmentHeader::decode(&bytes).is_err());
        }

        #[test]
        fn a_table_with_a_good_checksum_is_still_checked(
            mut header in header(),
            which: prop::sample::Index,
            place in (any::<u32>(), any::<u32>(), any::<u32>()),
        ) {
            let which = which.index(header.blocks.len());
            let (index, offset, len) = place;
            prop_assume!(header.blocks[which] != BlockPlace { index, offset, len } && u64::from(offset) + u64::from(len) < 1 << 32);
            let sound = header.clone();
            header.blocks[which] = BlockPlace { index, offset, len };
            if let Ok(decoded) = SegmentHeader::decode(&header.encode()) {
                prop_assert!(decoded.is_sound() && decoded.blocks.len() == sound.blocks.len());
            }
        }
    }
}
