//! Checking a zone's index: every node, every record, and what records say about each other and about blocks.
//!
//! [`check_state`] walks one state (the newest head's, then each snapshot's) and puts every reference to a block
//! into [`References`]; [`References::compare`] then says where the space accounts are wrong. What is found goes to
//! an [`Observer`] as [`Flaw`]s, and damage never ends the walk: what lies beside it is checked all the same.
//!
//! # What bounds memory
//!
//! Three bits for each stored block and four for each inode, and a word for each block of a segment that has blocks
//! with several references; names are checked by looking them up, not by collecting them. A node that two states
//! share is walked once.
//!
//! # What a snapshot's walk leaves out
//!
//! Sums over a whole state (links of an inode, entries of a directory, slots of a file) are checked in the newest
//! head's state, which each snapshot's state once was. In a snapshot, records in nodes that no other state has are
//! compared with the records that they name, in both directions.

mod bits;
mod records;
mod references;
mod tally;

pub use records::{StateSummary, check_state};
pub use references::References;

use bt_base::SegmentId;

use crate::block::BlockRef;
use crate::schema::{KeyKind, Slot, parse_key};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// What is wrong, as a sentence without its end.
    pub what: String,
    /// What it is wrong with.
    pub place: Place,
}

/// What a flaw is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A node of the index that cannot be had.
    Node {
        /// Its block.
        block: Box<BlockRef>,
        /// What it held.
        held: Held,
    },
    /// An inode.
    Inode(u64),
    /// A name in a directory.
    Name {
        /// The directory.
        directory: u64,
        /// The name.
        name: Vec<u8>,
    },
    /// A block.
    Block {
        /// Its segment.
        segment: SegmentId,
        /// Its index.
        index: u32,
    },
    /// A segment.
    Segment(SegmentId),
    /// A snapshot.
    Snapshot(Vec<u8>),
    /// The zone as a whole, or a record whose key says nothing.
    Zone,
}

/// The range of keys below a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// No key is below this one.
    pub lower: Vec<u8>,
    /// All keys are below this one; none when the range is open.
    pub upper: Option<Vec<u8>>,
}

impl Held {
    /// The inodes whose records of one kind the node held, when it held no others: what kind, the first and the last.
    pub fn inodes(&self) -> Option<(&'static str, u64, u64)> {
        let (first, last) = (self.lower.as_slice(), self.upper.as_deref()?);
        let kind = match (first.first()?, last.first()?) {
            (0x10, 0x10) => "inodes",
            (0x20, 0x20) => "names by text in directories",
            (0x21, 0x21) => "names by place in directories",
            (0x30, 0x30) => "extended attributes of inodes",
            (0x40, 0x40) => "the data map of inodes",
            (0x50, 0x50) => "the content of small files, inodes",
            _ => return None,
        };
        Some((kind, number_in(first), number_in(last)))
    }
}

/// The number after the type of a key, which may be cut.
fn number_in(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let number = &key[1..key.len().min(9)];
    bytes[..number.len()].copy_from_slice(number);
    u64::from_be_bytes(bytes)
}

/// What a walk tells while it goes.
pub trait Observer {
    /// Something is wrong.
    fn flaw(&mut self, flaw: Flaw);

    /// A node was read and verified, for the first time in this check.
    fn node(&mut self, block: &BlockRef);

    /// Slots of a file, by number, with blocks that no state walked before named.
    fn data(&mut self, inode: u64, slots: &[(u64, Slot)]);

    /// Whether to go on; asked after each node.
    fn go_on(&mut self) -> bool;
}

/// What the key of a record names.
pub fn place_of_key(key: &[u8]) -> Place {
    match parse_key(key) {
        Ok(KeyKind::Inode(inode) | KeyKind::Extent(inode, _) | KeyKind::Inline(inode) | KeyKind::Orphan(inode)) => {
            Place::Inode(inode)
        }
        Ok(KeyKind::Entrance(inode)) => Place::Inode(inode),
        Ok(KeyKind::Attribute(inode, _) | KeyKind::Entry(inode, _)) => Place::Inode(inode),
        Ok(KeyKind::Name(directory, name)) => Place::Name { directory, name: name.to_vec() },
        Ok(KeyKind::Snapshot(name)) => Place::Snapshot(name.to_vec()),
        Ok(KeyKind::Account(segment)) => Place::Segment(segment),
        Ok(KeyKind::Dead(_, segment, index, _) | KeyKind::Count(segment, index)) => Place::Block { segment, index },
        Ok(KeyKind::Zone | KeyKind::Label) | Err(_) => Place::Zone,
    }
}
