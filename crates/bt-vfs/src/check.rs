//! What a journal record may say. Records come from a writer of the zone, which may be wrong or malicious: none may
//! bring recovery to a panic or the index beyond its limits.

use bt_base::Timestamp;
use bt_base::codec::DecodeError;
use bt_base::limits::{BLOCK_SIZE, FILE_SIZE, PAGE_SIZE, SEGMENT_BLOCKS, SEGMENT_SIZE, SYMLINK_SIZE, TAG_SIZE};
use bt_tree::head::SegmentSummary;
use bt_tree::schema::{Compression, FIRST_INODE, NUMBER_LIMIT, is_file_name};

use crate::attributes::check_attribute;
use crate::content::pages_in;
use crate::op::{Change, Data, Make, Op};
use crate::view::{SYMLINK, TYPE_BITS, is_directory};

/// Attributes that a new inode can have.
const MAKE_ATTRIBUTES: usize = 2;

impl Op {
    /// Whether every number, length and name of the record is within its bounds.
    pub(crate) fn check(&self) -> Result<(), DecodeError> {
        match self {
            Self::Make { directory, name, inode } => {
                // Without a directory there is no name.
                let named = if *directory == 0 { name.is_empty() } else { is_file_name(name) };
                require(named, "a name that no file can have")?;
                number(*directory)?;
                check_make(inode)
            }
            Self::Link { inode, directory, name, time } => {
                number(*inode).and(number(*directory)).and(file_name(name)).and(check_time(time))
            }
            Self::Unlink { directory, name, time } => number(*directory).and(file_name(name)).and(check_time(time)),
            Self::Rename { from, name, to, new_name, exchange: _, time } => {
                let names = file_name(name).and(file_name(new_name));
                number(*from).and(number(*to)).and(names).and(check_time(time))
            }
            Self::Change { inode, change } => number(*inode).and(check_change(change)),
            Self::Attribute { inode, name, value, time } => {
                let known = check_attribute(name, value.as_deref().unwrap_or_default()).is_ok();
                number(*inode).and(require(known, "an attribute that no file can have")).and(check_time(time))
            }
            Self::Data(data) => check_data(data),
            Self::Share(data) => {
                let only_slots = data.clear.is_empty() && data.pages.is_empty();
                check_data(data).and(require(only_slots, "a share of more than blocks"))
            }
            Self::Segment(summary) => check_segment(summary),
            Self::Enter { directory, name, placeholder, zone: _ } => {
                let plain = is_directory(placeholder.mode) && placeholder.attributes.is_empty();
                let plain = require(plain, "an entrance that is no plain directory");
                number(*directory).and(file_name(name)).and(plain).and(check_make(placeholder))
            }
        }
    }
}

fn require(holds: bool, why: &str) -> Result<(), DecodeError> {
    if holds { Ok(()) } else { Err(DecodeError::malformed("journal record", why)) }
}

fn number(number: u64) -> Result<(), DecodeError> {
    require(number < NUMBER_LIMIT, "a number out of range")
}

fn file_name(name: &[u8]) -> Result<(), DecodeError> {
    require(is_file_name(name), "a name that no file can have")
}

fn check_time(time: &Timestamp) -> Result<(), DecodeError> {
    require(time.nanos < 1_000_000_000, "nanoseconds out of range")
}

fn check_make(make: &Make) -> Result<(), DecodeError> {
    require((FIRST_INODE..NUMBER_LIMIT - 1).contains(&make.inode), "an inode number out of range")?;
    require(make.mode <= 0o177777, "unknown mode bits")?;
    let target = if make.mode & TYPE_BITS == SYMLINK { SYMLINK_SIZE } else { 0 };
    require(make.target.len() <= target, "a target that is too long, or of what is no symbolic link")?;
    require(make.attributes.len() <= MAKE_ATTRIBUTES, "too many attributes")?;
    let known = make.attributes.iter().all(|(name, value)| check_attribute(name, value).is_ok());
    require(known, "an attribute that no file can have")?;
    check_time(&make.time)
}

fn check_change(change: &Change) -> Result<(), DecodeError> {
    require(change.mode.is_none_or(|mode| mode <= 0o177777), "unknown mode bits")?;
    [change.atime, change.mtime, change.ctime].iter().flatten().try_for_each(check_time)
}

fn check_data(data: &Data) -> Result<(), DecodeError> {
    let pages = pages_in(FILE_SIZE);
    number(data.inode)?;
    require(data.size <= FILE_SIZE, "a size beyond the largest file")?;
    data.mtime.iter().try_for_each(check_time)?;
    let within = data.clear.iter().all(|(start, end)| start < end && *end <= pages);
    require(within, "a range of pages that is empty or beyond the largest file")?;
    let slots = FILE_SIZE / BLOCK_SIZE as u64;
    require(data.slots.iter().all(|slot| slot.slot < slots), "a slot beyond the largest file")?;
    let known = data.slots.iter().all(|slot| Compression::from_code(slot.compression).is_some());
    require(known, "an unknown compression")?;
    let fits = data.pages.iter().all(|(page, bytes)| *page < pages && bytes.len() <= PAGE_SIZE);
    require(fits, "a page beyond the largest file, or of more than 4 KiB")
}

fn check_segment(summary: &SegmentSummary) -> Result<(), DecodeError> {
    let blocks = summary.blocks as usize;
    let least = blocks * (1 + TAG_SIZE);
    require((1..=SEGMENT_BLOCKS).contains(&blocks), "a segment of no or too many blocks")?;
    require((least..=SEGMENT_SIZE).contains(&(summary.sealed_bytes as usize)), "a segment of too few or many bytes")?;
    require(!summary.index_blocks, "a segment of index nodes")
}
