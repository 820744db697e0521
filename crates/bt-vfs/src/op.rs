//! Operations as records: what the journal carries, and what recovery applies again.
//!
//! Records are blind: applying a suffix of the log to a state that already holds some of its effects gives the
//! state at its end. Name-space records are numbered by the caller and never applied below the head's number.

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::{Timestamp, ZoneId};
use bt_tree::block::BlockRef;
use bt_tree::head::SegmentSummary;

/// The most bytes of one encoded record.
pub const OP_SIZE: usize = 40 << 20;

/// A new inode.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Make {
    /// Its number.
    pub inode: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node.
    pub rdev: u32,
    /// When.
    pub time: Timestamp,
    /// The target of a symbolic link, else empty.
    pub target: Vec<u8>,
    /// Attributes that it starts with (inherited access control lists).
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A change of an inode's attributes; what is `None` stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Change {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last access.
    pub atime: Option<Timestamp>,
    /// Last change of the content.
    pub mtime: Option<Timestamp>,
    /// Last change of the inode.
    pub ctime: Option<Timestamp>,
}

/// A block of file data that was written to a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SlotRecord {
    /// Which 16 KiB of the file.
    pub slot: u64,
    /// The block; `None` makes a hole.
    pub block: Option<BlockRef>,
    /// The code of its compression.
    pub compression: u8,
}

/// The content of a file as far as it changed since it was last made durable.
///
/// Applied in this order: clear, slots, pages, then size and time.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct Data {
    /// The file.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// When its content last changed.
    pub mtime: Option<Timestamp>,
    /// Ranges of 4 KiB pages (start, end) whose older content is gone.
    pub clear: Vec<(u64, u64)>,
    /// Blocks already in segments.
    pub slots: Vec<SlotRecord>,
    /// Pages by number; shorter than 4 KiB when the rest is zero.
    pub pages: Vec<(u64, Vec<u8>)>,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Op {
    /// A new inode under a name; without a name (`O_TMPFILE`) when the directory is 0.
    Make {
        /// The directory.
        directory: u64,
        /// The name in it.
        name: Vec<u8>,
        /// The inode.
        inode: Make,
    },
    /// One more name for an inode.
    Link {
        /// The inode.
        inode: u64,
        /// The directory of the new name.
        directory: u64,
        /// The new name.
        name: Vec<u8>,
        /// When.
        time: Timestamp,
    },
    /// A name is removed; with the last name of an inode, the inode.
    Unlink {
        /// The directory.
        directory: u64,
        /// The name.
        name: Vec<u8>,
        /// When.
        time: Timestamp,
    },
    /// A name moves, replacing or exchanging what the new name stood for.
    Rename {
        /// The directory of the old name.
        from: u64,
        /// The old name.
        name: Vec<u8>,
        /// The directory of the new name.
        to: u64,
        /// The new name.
        new_name: Vec<u8>,
        /// Whether the two names exchange what they stand for.
        exchange: bool,
        /// When.
        time: Timestamp,
    },
    /// Attributes of an inode change.
    Change {
        /// The inode.
        inode: u64,
        /// What changes.
        change: Change,
    },
    /// An extended attribute is set, or removed when there is no value.
    Attribute {
        /// The inode.
        inode: u64,
        /// The attribute's name.
        name: Vec<u8>,
        /// Its value.
        value: Option<Vec<u8>>,
        /// When.
        time: Timestamp,
    },
    /// The content of a file.
    Data(Data),
    /// A segment of file data was written; blocks of it are named by later records.
    Segment(SegmentSummary),
    /// References to blocks that exist are made in a file (reflink).
    Share(Data),
    /// A directory, with all that is below it, makes way for the entrance of another zone.
    Enter {
        /// The directory that it is in.
        directory: u64,
        /// Its name.
        name: Vec<u8>,
        /// The new directory in its place.
        placeholder: Make,
        /// The zone that is entered there.
        zone: ZoneId,
    },
}

/// The log of operations since the last commit, as encoded records: u32 length, then borsh.
///
/// Numbers rise by one a record, without gap, over the life of a zone.
#[derive(Default)]
pub struct Log {
    /// The number of the newest record; 0 before the first.
    last: u64,
    /// Records not yet in the journal, oldest first.
    pending: Vec<Chunk>,
}

/// Records that follow each other.
#[derive(Default)]
pub struct Chunk {
    /// The number of the first record.
    pub first: u64,
    /// How many.
    pub count: u32,
    /// Their bytes.
    pub bytes: Vec<u8>,
}

impl Log {
    /// A log that goes on after record `last`.
    pub fn new(last: u64) -> Self {
        Self { last, pending: Vec::new() }
    }

    /// The number of the newest record.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Goes on after record `number`, which the journal already has.
    pub(crate) fn skip_to(&mut self, number: u64) {
        self.last = number;
    }

    /// Bytes of records that are not in the journal.
    pub fn pending_bytes(&self) -> usize {
        self.pending.iter().map(|chunk| chunk.bytes.len()).sum()
    }

    /// Whether records wait for the journal.
    pub fn has_pending(&self) -> bool {
        self.pending.iter().any(|chunk| chunk.count > 0)
    }

    /// Appends a record; returns its number.
    pub fn append(&mut self, op: &Op) -> u64 {
        self.last += 1;
        if self.pending.is_empty() {
            self.pending.push(Chunk { first: self.last, ..Chunk::default() });
        }
        let chunk = self.pending.last_mut().expect("a chunk was pushed");
        if chunk.count == 0 {
            chunk.first = self.last;
        }
        let start = chunk.bytes.len();
        chunk.bytes.extend_from_slice(&[0; 4]);
        op.serialize(&mut chunk.bytes).expect("encoding into memory does not fail");
        let len = (chunk.bytes.len() - start - 4) as u32;
        chunk.bytes[start..start + 4].copy_from_slice(&len.to_le_bytes());
        chunk.count += 1;
        self.last
    }

    /// Starts a new chunk, so that the records so far can be dropped together.
    pub fn split(&mut self) {
        self.pending.push(Chunk { first: self.last + 1, ..Chunk::default() });
    }

    /// A commit covers records up to `number`, which was the newest when [`Log::split`] was called.
    pub fn covered(&mut self, number: u64) {
        self.pending.retain(|chunk| chunk.first + u64::from(chunk.count) > number + 1 || chunk.first > number);
    }

    /// Puts records that were taken before those that wait now.
    pub(crate) fn put_back(&mut self, mut taken: Vec<Chunk>) {
        taken.append(&mut self.pending);
        self.pending = taken;
        // What was put back may end with a chunk that a commit covers: nothing is added to it.
        self.split();
    }

    /// Takes all records that wait for the journal.
    pub fn take(&mut self) -> Vec<Chunk> {
        let mut taken = std::mem::take(&mut self.pending);
        taken.retain(|chunk| chunk.count > 0);
        taken
    }
}

/// Reads the records of a chunk back; each is within the limits of `doc/format/journal-records.md`.
pub fn decode_records(bytes: &[u8]) -> Result<Vec<Op>, bt_base::codec::DecodeError> {
    let mut rest = bytes;
    let mut ops = Vec::new();
    let short = || bt_base::codec::DecodeError::malformed("journal record", "it is too short");
    while !rest.is_empty() {
        let (len, tail) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let (record, tail) = tail.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(short)?;
        let op: Op = bt_base::codec::decode_exact("journal record", record, OP_SIZE)?;
        op.check()?;
        ops.push(op);
        rest = tail;
    }
    Ok(ops)
}
