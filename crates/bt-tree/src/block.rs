//! References to sealed blocks: where a block lies, how long it is, and what its bytes must hash to.

use std::io::{Error, ErrorKind, Read, Write};

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::codec::DecodeError;
use bt_base::limits::{BLOCK_SIZE, SEGMENT_BLOCKS};
use bt_base::{BlockHash, Revision, SegmentId};

const WHAT: &str = "block reference";

/// Names one sealed block and binds its content.
///
/// The encoding has a fixed length of [`BlockRef::SIZE`] bytes, the same alone and inside borsh records; its byte
/// table is in `doc/format/block.md`. A decoded reference always satisfies the bounds given at its fields.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BlockRef {
    /// The segment that holds the block.
    pub segment: SegmentId,
    /// The block's place in the segment, below [`SEGMENT_BLOCKS`]; also the nonce it was sealed under.
    pub index: u32,
    /// Bytes of plaintext, from 1 to [`BLOCK_SIZE`].
    pub len: u32,
    /// The epoch whose key sealed the block.
    pub epoch: u32,
    /// The revision in which this reference was made, which may be later than the block's.
    pub birth: Revision,
    /// The hash of the sealed bytes with their place and keys.
    pub hash: BlockHash,
}

impl BlockRef {
    /// Bytes of an encoded reference.
    pub const SIZE: usize = 84;

    /// Appends the [`BlockRef::SIZE`] bytes of the reference.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bytes());
    }

    /// Decodes the reference at the start of `bytes`, which may be longer.
    ///
    /// Fails where there are fewer than [`BlockRef::SIZE`] bytes, or the index or length is out of bounds.
    pub fn read_from(bytes: &[u8]) -> Result<Self, DecodeError> {
        let bytes: &[u8; Self::SIZE] = bytes
            .first_chunk()
            .ok_or_else(|| DecodeError::malformed(WHAT, format!("{} bytes of {}", bytes.len(), Self::SIZE)))?;
        let reference = Self {
            segment: SegmentId(array(bytes, 0)),
            index: u32::from_le_bytes(array(bytes, 32)),
            len: u32::from_le_bytes(array(bytes, 36)),
            epoch: u32::from_le_bytes(array(bytes, 40)),
            birth: Revision(u64::from_le_bytes(array(bytes, 44))),
            hash: BlockHash(array(bytes, 52)),
        };
        if reference.index as usize >= SEGMENT_BLOCKS {
            return Err(DecodeError::malformed(WHAT, format!("index {} in a segment", reference.index)));
        }
        if reference.len == 0 || reference.len as usize > BLOCK_SIZE {
            return Err(DecodeError::malformed(WHAT, format!("a block of {} bytes", reference.len)));
        }
        Ok(reference)
    }

    fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..32].copy_from_slice(&self.segment.0);
        bytes[32..36].copy_from_slice(&self.index.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.len.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[44..52].copy_from_slice(&self.birth.0.to_le_bytes());
        bytes[52..].copy_from_slice(&self.hash.0);
        bytes
    }
}

impl BorshSerialize for BlockRef {
    fn serialize<W: Write>(&self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(&self.to_bytes())
    }
}

impl BorshDeserialize for BlockRef {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let mut bytes = [0; Self::SIZE];
        reader.read_exact(&mut bytes)?;
        Self::read_from(&bytes).map_err(|error| Error::new(ErrorKind::InvalidData, error))
    }
}

fn array<const N: usize>(bytes: &[u8; BlockRef::SIZE], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the fields lie within the reference")
}

#[cfg(test)]
mod tests {
    use bt_base::codec::{decode_exact, encode};

    use super::*;

    fn example() -> BlockRef {
        BlockRef {
            segment: SegmentId(std::array::from_fn(|i| i as u8)),
            index: 4095,
            len: 16384,
            epoch: 7,
            birth: Revision(0x0102_0304_0506_0708),
            hash: BlockHash(std::array::from_fn(|i| 0xff - i as u8)),
        }
    }

    #[test]
    fn a_reference_survives_both_encodings_which_are_the_same() {
        let mut bytes = Vec::new();
        example().write_to(&mut bytes);
        assert_eq!(bytes.len(), BlockRef::SIZE);
        assert_eq!(bytes, encode(&example()));
        assert_eq!(BlockRef::read_from(&bytes), Ok(example()));
        assert_eq!(decode_exact("block reference", &bytes, BlockRef::SIZE), Ok(example()));
        bytes.push(1);
        assert_eq!(BlockRef::read_from(&bytes), Ok(example()));
    }

    #[test]
    fn the_fields_lie_where_the_byte_table_says() {
        let bytes = encode(&example());
        assert_eq!(bytes[..32], example().segment.0);
        assert_eq!(bytes[32..44], [0xff, 0x0f, 0, 0, 0, 0x40, 0, 0, 7, 0, 0, 0]);
        assert_eq!(bytes[44..52], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes[52..], example().hash.0);
    }

    #[test]
    fn a_truncated_reference_is_refused_at_every_length() {
        let bytes = encode(&example());
        for len in 0..bytes.len() {
            assert!(BlockRef::read_from(&bytes[..len]).is_err(), "{len} bytes were accepted");
        }
    }

    #[test]
    fn a_reference_out_of_bounds_is_refused() {
        for wrong in [
            BlockRef { index: 4096, ..example() },
            BlockRef { len: 0, ..example() },
            BlockRef { len: 16385, ..example() },
        ] {
            assert!(BlockRef::read_from(&encode(&wrong)).is_err(), "{wrong:?} was accepted");
            assert!(decode_exact::<BlockRef>("block reference", &encode(&wrong), 84).is_err());
        }
    }
}
