//! The record of a zone.

use bt_base::codec::DecodeError;

use super::fields::Writer;
use super::{Compression, Reader};

/// The zone's own record: the counters that must never go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneRecord {
    /// The next inode number to give.
    pub next_inode: u64,
    /// The next snapshot number to give.
    pub next_snapshot: u64,
    /// Files, directories and all else with an inode.
    pub inodes: u64,
    /// How new blocks of file data are compressed: a [`Compression`] code.
    pub compression: Compression,
}

impl ZoneRecord {
    /// Bytes of the record.
    pub const SIZE: usize = 25;

    /// Encodes the record.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = Writer::<{ Self::SIZE }>::new();
        out.u64(self.next_inode).u64(self.next_snapshot).u64(self.inodes).u8(self.compression as u8);
        out.finish()
    }

    /// Decodes the record.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("zone record", bytes);
        let record = Self {
            next_inode: reader.number()?,
            next_snapshot: reader.number()?,
            inodes: reader.number()?,
            compression: Compression::from_code(reader.u8()?).ok_or_else(|| reader.error("unknown compression"))?,
        };
        reader.end()?;
        Ok(record)
    }
}
