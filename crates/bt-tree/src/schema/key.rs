//! Keys of the index.

use bt_base::codec::DecodeError;
use bt_base::limits::{BLOCK_SIZE, EXTENT_BLOCKS, FILE_SIZE, NAME_SIZE, SEGMENT_BLOCKS};
use bt_base::{Revision, SegmentId};

use super::{Death, Reader};

const ZONE: u8 = 0x01;
const LABEL: u8 = 0x02;
const INODE: u8 = 0x10;
const NAME: u8 = 0x20;
const ENTRY: u8 = 0x21;
const ATTRIBUTE: u8 = 0x30;
const EXTENT: u8 = 0x40;
const INLINE: u8 = 0x50;
const ORPHAN: u8 = 0x60;
const ENTRANCE: u8 = 0x61;
const SNAPSHOT: u8 = 0x70;
const ACCOUNT: u8 = 0x80;
const DEAD: u8 = 0x81;
const COUNT: u8 = 0x82;

/// The longest key: a name or attribute of 255 bytes with its directory.
pub const KEY_SIZE: usize = 1 + 8 + 255;

/// Bytes of a file that one extent record covers.
const EXTENT_SIZE: u64 = (EXTENT_BLOCKS * BLOCK_SIZE) as u64;

/// A key of the index, built on the stack: keys are made for every operation.
#[derive(Clone)]
pub struct Key {
    len: usize,
    bytes: [u8; KEY_SIZE],
}

impl Key {
    fn new(kind: u8) -> Self {
        let mut key = Self { len: 1, bytes: [0; KEY_SIZE] };
        key.bytes[0] = kind;
        key
    }

    fn with(mut self, part: &[u8]) -> Self {
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
        self
    }

    fn number(self, number: u64) -> Self {
        self.with(&number.to_be_bytes())
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The zone's own record.
    pub fn zone() -> Self {
        Self::new(ZONE)
    }

    /// The name that the zone goes by where its parent zone cannot be read.
    pub fn label() -> Self {
        Self::new(LABEL)
    }

    /// An inode.
    pub fn inode(inode: u64) -> Self {
        Self::new(INODE).number(inode)
    }

    /// A name in a directory; `name` has at most 255 bytes.
    pub fn name(directory: u64, name: &[u8]) -> Self {
        Self::new(NAME).number(directory).with(name)
    }

    /// An entry of a directory, by sequence.
    pub fn entry(directory: u64, sequence: u64) -> Self {
        Self::new(ENTRY).number(directory).number(sequence)
    }

    /// An extended attribute; `name` has at most 255 bytes.
    pub fn attribute(inode: u64, name: &[u8]) -> Self {
        Self::new(ATTRIBUTE).number(inode).with(name)
    }

    /// The extent that holds slot `slot` (16 KiB units) of a file.
    pub fn extent(inode: u64, slot: u64) -> Self {
        Self::new(EXTENT).number(inode).number(slot / EXTENT_BLOCKS as u64)
    }

    /// The inline content of a file or symbolic link.
    pub fn inline(inode: u64) -> Self {
        Self::new(INLINE).number(inode)
    }

    /// An inode without a name.
    pub fn orphan(inode: u64) -> Self {
        Self::new(ORPHAN).number(inode)
    }

    /// A directory that is the entrance of another zone.
    pub fn entrance(inode: u64) -> Self {
        Self::new(ENTRANCE).number(inode)
    }

    /// A snapshot; `name` has at most 255 bytes.
    pub fn snapshot(name: &[u8]) -> Self {
        Self::new(SNAPSHOT).with(name)
    }

    /// The account of a segment.
    pub fn account(segment: &SegmentId) -> Self {
        Self::new(ACCOUNT).with(&segment.0)
    }

    /// All that a snapshot keeps alive.
    pub fn dead_of(snapshot: u64) -> Self {
        Self::new(DEAD).number(snapshot)
    }

    /// A reference that died, but that `snapshot` needs.
    pub fn dead(snapshot: u64, death: &Death) -> Self {
        Self::dead_of(snapshot).with(&death.segment.0).with(&death.index.to_be_bytes()).number(death.birth.0)
    }

    /// The count of a block with several references.
    pub fn count(segment: &SegmentId, index: u32) -> Self {
        Self::new(COUNT).with(&segment.0).with(&index.to_be_bytes())
    }

    /// The least key of all counts.
    pub fn counts() -> Self {
        Self::new(COUNT)
    }
}

/// What a key says, read back from its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind<'a> {
    /// The zone's own record.
    Zone,
    /// The zone's name.
    Label,
    /// An inode.
    Inode(u64),
    /// A directory and a name in it.
    Name(u64, &'a [u8]),
    /// A directory and a sequence number.
    Entry(u64, u64),
    /// An inode and the name of an attribute.
    Attribute(u64, &'a [u8]),
    /// An inode and the first slot that the extent holds.
    Extent(u64, u64),
    /// An inode with inline content.
    Inline(u64),
    /// An inode without a name.
    Orphan(u64),
    /// A directory that is the entrance of another zone.
    Entrance(u64),
    /// A snapshot's name.
    Snapshot(&'a [u8]),
    /// A segment.
    Account(SegmentId),
    /// Snapshot, segment, index and birth of a reference that died.
    Dead(u64, SegmentId, u32, Revision),
    /// Segment and index of a block with several references.
    Count(SegmentId, u32),
}

/// Reads a key back.
pub fn parse_key(key: &[u8]) -> Result<KeyKind<'_>, DecodeError> {
    let mut reader = Reader::new("index key", key);
    let kind = match reader.u8()? {
        ZONE => KeyKind::Zone,
        LABEL => KeyKind::Label,
        INODE => KeyKind::Inode(reader.u64_be()?),
        NAME => KeyKind::Name(reader.u64_be()?, text(&mut reader)?),
        ENTRY => KeyKind::Entry(reader.u64_be()?, reader.u64_be()?),
        ATTRIBUTE => KeyKind::Attribute(reader.u64_be()?, text(&mut reader)?),
        EXTENT => {
            let (inode, group) = (reader.u64_be()?, reader.u64_be()?);
            if group >= FILE_SIZE / EXTENT_SIZE {
                return Err(reader.error("an extent beyond the largest file"));
            }
            KeyKind::Extent(inode, group * EXTENT_BLOCKS as u64)
        }
        INLINE => KeyKind::Inline(reader.u64_be()?),
        ORPHAN => KeyKind::Orphan(reader.u64_be()?),
        ENTRANCE => KeyKind::Entrance(reader.u64_be()?),
        SNAPSHOT => KeyKind::Snapshot(text(&mut reader)?),
        ACCOUNT => KeyKind::Account(SegmentId(reader.array()?)),
        DEAD => KeyKind::Dead(
            reader.u64_be()?,
            SegmentId(reader.array()?),
            block_index(&mut reader)?,
            Revision(reader.u64_be()?),
        ),
        COUNT => KeyKind::Count(SegmentId(reader.array()?), block_index(&mut reader)?),
        _ => return Err(reader.error("unknown type")),
    };
    reader.end()?;
    Ok(kind)
}

/// A name at the end of a key: 1 to 255 bytes.
fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let text = reader.rest();
    if text.is_empty() || text.len() > NAME_SIZE {
        Err(reader.error("a name of no or too many bytes"))
    } else {
        Ok(text)
    }
}

fn block_index(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    let index = u32::from_be_bytes(reader.array()?);
    if index as usize >= SEGMENT_BLOCKS { Err(reader.error("a block outside a segment")) } else { Ok(index) }
}
