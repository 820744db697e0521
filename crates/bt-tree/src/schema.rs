//! What a zone's index holds: the keys, ordered type first so that each scan is dense, and their records.
//!
//! | type | key after the type byte | record |
//! |---|---|---|
//! | `01` zone | - | [`ZoneRecord`] |
//! | `10` inode | inode | [`Inode`] |
//! | `20` name | directory, name | [`Name`]: lookup |
//! | `21` entry | directory, sequence | [`Entry`]: listing; the sequence is the readdir cookie |
//! | `30` attribute | inode, name | the value |
//! | `40` extent | inode, first slot / 16 | [`Extent`]: up to 16 slots of 16 KiB |
//! | `50` inline | inode | the content of a small file, or the target of a symbolic link |
//! | `60` orphan | inode | empty: without a name, freed when nobody uses it |
//! | `70` snapshot | name | `SnapshotRecord` |
//! | `80` account | segment | `Account`: which blocks of the segment are alive |
//! | `81` dead | snapshot, segment, index, birth | [`DeadRecord`]: died, but the snapshot needs it |
//! | `82` count | segment, index | references beyond the first, u32 |
//!
//! Integers in keys are big endian (they sort), in records little endian. The byte tables are in
//! `doc/format/index-records.md`.

use bt_base::codec::DecodeError;
use bt_base::limits::EXTENT_BLOCKS;
use bt_base::{Revision, SegmentId, Timestamp};

use crate::block::BlockRef;

/// The inode of a zone's root directory.
pub const ROOT_INODE: u64 = 1;
/// The first inode number given to a file.
pub const FIRST_INODE: u64 = 16;
/// The first sequence number of a directory entry; lower cookies are `.` and `..`.
pub const FIRST_SEQUENCE: u64 = 3;

const ZONE: u8 = 0x01;
const INODE: u8 = 0x10;
const NAME: u8 = 0x20;
const ENTRY: u8 = 0x21;
const ATTRIBUTE: u8 = 0x30;
const EXTENT: u8 = 0x40;
const INLINE: u8 = 0x50;
const ORPHAN: u8 = 0x60;
const SNAPSHOT: u8 = 0x70;
const ACCOUNT: u8 = 0x80;
const DEAD: u8 = 0x81;
const COUNT: u8 = 0x82;

/// The longest key: a name or attribute of 255 bytes with its directory.
pub const KEY_SIZE: usize = 1 + 8 + 255;

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
        INODE => KeyKind::Inode(reader.u64_be()?),
        NAME => KeyKind::Name(reader.u64_be()?, reader.rest()),
        ENTRY => KeyKind::Entry(reader.u64_be()?, reader.u64_be()?),
        ATTRIBUTE => KeyKind::Attribute(reader.u64_be()?, reader.rest()),
        EXTENT => {
            let (inode, group) = (reader.u64_be()?, reader.u64_be()?);
            KeyKind::Extent(inode, group.checked_mul(EXTENT_BLOCKS as u64).ok_or_else(|| reader.error("slot"))?)
        }
        INLINE => KeyKind::Inline(reader.u64_be()?),
        ORPHAN => KeyKind::Orphan(reader.u64_be()?),
        SNAPSHOT => KeyKind::Snapshot(reader.rest()),
        ACCOUNT => KeyKind::Account(SegmentId(reader.array()?)),
        DEAD => KeyKind::Dead(
            reader.u64_be()?,
            SegmentId(reader.array()?),
            u32::from_be_bytes(reader.array()?),
            Revision(reader.u64_be()?),
        ),
        COUNT => KeyKind::Count(SegmentId(reader.array()?), u32::from_be_bytes(reader.array()?)),
        _ => return Err(reader.error("unknown type")),
    };
    reader.end()?;
    Ok(kind)
}

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
            next_inode: reader.u64()?,
            next_snapshot: reader.u64()?,
            inodes: reader.u64()?,
            compression: Compression::from_code(reader.u8()?).ok_or_else(|| reader.error("unknown compression"))?,
        };
        reader.end()?;
        Ok(record)
    }
}

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

/// Where the content of a file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Content {
    /// Nowhere: empty, all hole, or not a file.
    #[default]
    None = 0,
    /// In an inline record.
    Inline = 1,
    /// In extent records.
    Extents = 2,
}

/// An inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inode {
    /// Type and permission bits, as in `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Hard links; for a directory two and one more for each directory in it.
    pub nlink: u32,
    /// Device number of a device node, as the kernel encodes it.
    pub rdev: u32,
    /// Where the content lies.
    pub content: Content,
    /// Whether attribute records exist.
    pub has_attributes: bool,
    /// Bytes of the file or link target.
    pub size: u64,
    /// Bytes of file data that are stored (not holes), in whole slots or inline bytes.
    pub stored: u64,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// Creation.
    pub btime: Timestamp,
    /// The directory that a directory is in; 0 for other types.
    pub parent: u64,
    /// The next sequence number of a directory's entries.
    pub next_sequence: u64,
    /// Entries of a directory.
    pub entries: u64,
}

impl Inode {
    /// Bytes of the record.
    pub const SIZE: usize = 5 * 4 + 2 + 2 * 8 + 4 * 12 + 3 * 8;

    /// Encodes the record.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = Writer::<{ Self::SIZE }>::new();
        out.u32(self.mode).u32(self.uid).u32(self.gid).u32(self.nlink).u32(self.rdev);
        out.u8(self.content as u8).u8(u8::from(self.has_attributes));
        out.u64(self.size).u64(self.stored);
        out.time(self.atime).time(self.mtime).time(self.ctime).time(self.btime);
        out.u64(self.parent).u64(self.next_sequence).u64(self.entries);
        out.finish()
    }

    /// Decodes the record.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("inode record", bytes);
        let inode = Self {
            mode: reader.u32()?,
            uid: reader.u32()?,
            gid: reader.u32()?,
            nlink: reader.u32()?,
            rdev: reader.u32()?,
            content: match reader.u8()? {
                0 => Content::None,
                1 => Content::Inline,
                2 => Content::Extents,
                _ => return Err(reader.error("unknown content")),
            },
            has_attributes: reader.u8()? != 0,
            size: reader.u64()?,
            stored: reader.u64()?,
            atime: reader.time()?,
            mtime: reader.time()?,
            ctime: reader.time()?,
            btime: reader.time()?,
            parent: reader.u64()?,
            next_sequence: reader.u64()?,
            entries: reader.u64()?,
        };
        reader.end()?;
        Ok(inode)
    }
}

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
        let name = Self { inode: reader.u64()?, sequence: reader.u64()?, kind: reader.u8()? };
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
        Ok(Self { inode: reader.u64()?, kind: reader.u8()?, name: reader.rest() })
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
        while !reader.is_empty() {
            let (start, run) = (usize::from(reader.u8()?), usize::from(reader.u8()?));
            if start < next || run == 0 || start + run > EXTENT_BLOCKS {
                return Err(reader.error("a run outside the extent"));
            }
            next = start + run;
            let segment = SegmentId(reader.array()?);
            let (index, epoch, birth) = (reader.u32()?, reader.u32()?, Revision(reader.u64()?));
            for offset in 0..run {
                let len = u32::from(reader.u16()?);
                let compression =
                    Compression::from_code(reader.u8()?).ok_or_else(|| reader.error("unknown compression"))?;
                let index = index.checked_add(offset as u32).ok_or_else(|| reader.error("block index"))?;
                let hash = bt_base::BlockHash(reader.array()?);
                let block = BlockRef { segment, index, len, epoch, birth, hash };
                extent.slots[start + offset] = Some(Slot { block, compression });
            }
        }
        Ok(extent)
    }
}

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

/// Reads fixed-width little-endian fields; running out of bytes is an error.
pub(crate) struct Reader<'a> {
    what: &'static str,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes }
    }

    pub(crate) fn error(&self, why: &str) -> DecodeError {
        DecodeError::malformed(self.what, why)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn slice(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.bytes.split_at_checked(len).ok_or_else(|| self.error("it is too short"))?;
        self.bytes = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(self.slice(N)?.try_into().expect("a slice of N bytes"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    fn u64_be(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp, DecodeError> {
        let seconds = self.array().map(i64::from_le_bytes)?;
        let nanos = self.u32()?;
        if nanos >= 1_000_000_000 {
            return Err(self.error("nanoseconds out of range"));
        }
        Ok(Timestamp { seconds, nanos })
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(self.error("bytes are left over")) }
    }
}

/// Writes fixed-width little-endian fields into an array of exactly their size.
struct Writer<const N: usize> {
    at: usize,
    bytes: [u8; N],
}

impl<const N: usize> Writer<N> {
    fn new() -> Self {
        Self { at: 0, bytes: [0; N] }
    }

    fn put(&mut self, part: &[u8]) -> &mut Self {
        self.bytes[self.at..self.at + part.len()].copy_from_slice(part);
        self.at += part.len();
        self
    }

    fn u8(&mut self, value: u8) -> &mut Self {
        self.put(&[value])
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    fn time(&mut self, time: Timestamp) -> &mut Self {
        self.put(&time.seconds.to_le_bytes()).u32(time.nanos)
    }

    fn finish(&self) -> [u8; N] {
        assert_eq!(self.at, N, "a record is written in full");
        self.bytes
    }
}
