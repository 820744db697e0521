//! The two records of a name, and that of an entrance.

use bt_base::ZoneId;
use bt_base::codec::DecodeError;
use bt_base::limits::NAME_SIZE;

use super::Reader;
use super::fields::Writer;

/// The lookup record of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// What the name stands for.
    pub inode: u64,
    /// The entry's sequence number.
    pub sequence: u64,
    /// The type bits of the inode's mode, shifted right by 12.
    pub kind: u8,
}

impl Name {
    /// Bytes of the record.
    pub const SIZE: usize = 17;

    /// Encodes the record.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = Writer::<{ Self::SIZE }>::new();
        out.u64(self.inode).u64(self.sequence).u8(self.kind);
        out.finish()
    }

    /// Decodes the record.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("name record", bytes);
        let name = Self { inode: reader.number()?, sequence: reader.number()?, kind: kind(&mut reader)? };
        reader.end()?;
        Ok(name)
    }
}

/// The listing record of a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What the entry stands for.
    pub inode: u64,
    /// The type bits of the inode's mode, shifted right by 12.
    pub kind: u8,
    /// The entry's name.
    pub name: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Encodes the record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(9 + self.name.len());
        out.extend_from_slice(&self.inode.to_le_bytes());
        out.push(self.kind);
        out.extend_from_slice(self.name);
        out
    }

    /// Decodes the record.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("entry record", bytes);
        let entry = Self { inode: reader.number()?, kind: kind(&mut reader)?, name: reader.rest() };
        if is_file_name(entry.name) { Ok(entry) } else { Err(reader.error("a name that no file can have")) }
    }
}

fn kind(reader: &mut Reader<'_>) -> Result<u8, DecodeError> {
    let kind = reader.u8()?;
    if kind > 0xf { Err(reader.error("unknown type of file")) } else { Ok(kind) }
}

/// Reads the record of an entrance: the zone that it leads to.
pub fn decode_entrance(bytes: &[u8]) -> Result<ZoneId, DecodeError> {
    let mut reader = Reader::new("entrance record", bytes);
    let zone = ZoneId(reader.array()?);
    reader.end()?;
    Ok(zone)
}

/// Whether a file can have this name: 1 to 255 bytes, none of them `/` or NUL, and not `.` or `..`.
pub fn is_file_name(name: &[u8]) -> bool {
    let length = 1..=NAME_SIZE;
    length.contains(&name.len()) && !name.contains(&b'/') && !name.contains(&0) && name != b"." && name != b".."
}
