//! References that died, and blocks with several.

use bt_base::codec::DecodeError;
use bt_base::limits::BLOCK_SIZE;
use bt_base::{Revision, SegmentId};

use super::Reader;
use super::fields::Writer;
use crate::block::BlockRef;

/// A reference that died: what accounting needs of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// The block's segment.
    pub segment: SegmentId,
    /// The block's place in it.
    pub index: u32,
    /// Plaintext bytes of the block as sealed.
    pub len: u32,
    /// The revision in which the reference was made.
    pub birth: Revision,
}

impl From<&BlockRef> for Death {
    fn from(block: &BlockRef) -> Self {
        Self { segment: block.segment, index: block.index, len: block.len, birth: block.birth }
    }
}

/// The record of references that died while a snapshot needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadRecord {
    /// References with this block and birth that died.
    pub count: u32,
    /// Plaintext bytes of the block as sealed.
    pub len: u32,
}

impl DeadRecord {
    /// Encodes the record.
    pub fn encode(&self) -> [u8; 8] {
        let mut out = Writer::<8>::new();
        out.u32(self.count).u32(self.len);
        out.finish()
    }

    /// Decodes the record.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("dead record", bytes);
        let record = Self { count: reader.u32()?, len: reader.u32()? };
        reader.end()?;
        if record.count == 0 || record.len == 0 || record.len as usize > BLOCK_SIZE {
            return Err(reader.error("a death of nothing, or of a block of no or too many bytes"));
        }
        Ok(record)
    }
}

/// Decodes a count record: references beyond the first, at least one.
pub fn decode_count(bytes: &[u8]) -> Result<u32, DecodeError> {
    let mut reader = Reader::new("count record", bytes);
    let extra = reader.u32()?;
    reader.end()?;
    if extra == 0 { Err(reader.error("a count of nothing")) } else { Ok(extra) }
}
