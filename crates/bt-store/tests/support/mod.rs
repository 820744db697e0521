//! Segments whose every block can be recognised.
#![allow(dead_code, reason = "each test uses a part")]

pub mod hooked;

use std::ops::Range;
use std::sync::Arc;

use bt_base::{SegmentId, ZoneId};
use bt_store::{Containers, Result, SegmentWrite, Storage};

/// The id of segment `number`.
pub fn id(number: u64) -> SegmentId {
    let mut bytes = [0x5e; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    SegmentId(bytes)
}

/// The content of a block: differs for each segment and index, in length too.
pub fn block(segment: u64, index: u32) -> Vec<u8> {
    let len = 16 + (segment as usize * 7919 + index as usize * 104_729) % 16_400;
    let seed = segment as u32 * 31 + index * 17;
    (0..len as u32).map(|i| (seed + i * 7 + i / 251) as u8).collect()
}

/// A segment in memory: its blocks' ranges, and their bytes.
pub struct Segment {
    pub number: u64,
    pub blocks: Vec<(u32, Range<usize>)>,
    pub bytes: Vec<u8>,
}

/// A segment of the blocks with these indices.
pub fn segment(number: u64, indices: impl IntoIterator<Item = u32>) -> Segment {
    let (mut blocks, mut bytes) = (Vec::new(), Vec::new());
    for index in indices {
        let start = bytes.len();
        bytes.extend_from_slice(&block(number, index));
        blocks.push((index, start..bytes.len()));
    }
    Segment { number, blocks, bytes }
}

impl Segment {
    pub fn write(&self) -> SegmentWrite<'_> {
        let zone = ZoneId([self.number as u8; 32]);
        let epoch = self.number as u32 % 5;
        SegmentWrite { zone, id: id(self.number), epoch, blocks: &self.blocks, bytes: &self.bytes }
    }
}

/// Opens the containers of a storage.
pub fn open(storage: &(impl Storage + Clone + 'static)) -> Containers {
    Containers::open(Arc::new(storage.clone())).unwrap()
}

/// Opens the containers of a storage, each for a few test segments.
pub fn open_small(storage: &(impl Storage + Clone + 'static)) -> Containers {
    Containers::open_sized(Arc::new(storage.clone()), 256 << 10).unwrap()
}

/// Writes segment `number` with blocks `0..count`.
pub fn put(containers: &Containers, number: u64, count: u32) -> Result<()> {
    containers.write_segment(segment(number, 0..count).write())
}

/// Whether a block reads as it was written.
pub fn reads_well(containers: &Containers, number: u64, index: u32) -> bool {
    let mut out = Vec::new();
    containers.read_block(&id(number), index, &mut out).is_ok() && out == block(number, index)
}

/// Requires blocks `indices` of segment `number` to be there.
#[track_caller]
pub fn require(containers: &Containers, number: u64, indices: impl IntoIterator<Item = u32>) {
    for index in indices {
        let mut out = vec![1; 3];
        containers.read_block(&id(number), index, &mut out).unwrap_or_else(|error| panic!("block {index}: {error}"));
        assert!(out == block(number, index), "block {index} of segment {number} has other bytes");
    }
}
