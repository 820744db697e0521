//! The record of an inode.

use bt_base::Timestamp;
use bt_base::codec::DecodeError;
use bt_base::limits::FILE_SIZE;

use super::Reader;
use super::fields::Writer;

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

/// All bits of a mode: 4 of the type, 12 of the permissions.
const MODE_BITS: u32 = 0o177777;

const HAS_ATTRIBUTES: u8 = 1;
const IS_ENTRANCE: u8 = 2;

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
    /// Whether this is the placeholder of another zone: an empty directory with an entrance record.
    pub is_entrance: bool,
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
        let attributes = if self.has_attributes { HAS_ATTRIBUTES } else { 0 };
        let entrance = if self.is_entrance { IS_ENTRANCE } else { 0 };
        out.u8(self.content as u8).u8(attributes | entrance);
        out.u64(self.size).u64(self.stored);
        out.time(self.atime).time(self.mtime).time(self.ctime).time(self.btime);
        out.u64(self.parent).u64(self.next_sequence).u64(self.entries);
        out.finish()
    }

    /// Decodes the record.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("inode record", bytes);
        let (mode, uid, gid) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let (nlink, rdev) = (reader.u32()?, reader.u32()?);
        let content = match reader.u8()? {
            0 => Content::None,
            1 => Content::Inline,
            2 => Content::Extents,
            _ => return Err(reader.error("unknown content")),
        };
        let flags = reader.u8()?;
        if flags > HAS_ATTRIBUTES | IS_ENTRANCE {
            return Err(reader.error("unknown flags"));
        }
        let inode = Self {
            mode,
            uid,
            gid,
            nlink,
            rdev,
            content,
            has_attributes: flags & HAS_ATTRIBUTES != 0,
            is_entrance: flags & IS_ENTRANCE != 0,
            size: reader.u64()?,
            stored: reader.u64()?,
            atime: reader.time()?,
            mtime: reader.time()?,
            ctime: reader.time()?,
            btime: reader.time()?,
            parent: reader.number()?,
            next_sequence: reader.number()?,
            entries: reader.number()?,
        };
        reader.end()?;
        if inode.size > FILE_SIZE || inode.stored > FILE_SIZE {
            return Err(reader.error("more bytes than the largest file"));
        }
        if inode.mode > MODE_BITS {
            return Err(reader.error("unknown mode bits"));
        }
        Ok(inode)
    }
}
