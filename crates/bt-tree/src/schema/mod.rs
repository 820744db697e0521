//! What a zone's index holds: the keys, ordered type first so that each scan is dense, and their records.
//!
//! | type | key after the type byte | record |
//! |---|---|---|
//! | `01` zone | - | [`ZoneRecord`] |
//! | `02` label | - | the name that the zone goes by where its parent zone cannot be read |
//! | `10` inode | inode | [`Inode`] |
//! | `20` name | directory, name | [`Name`]: lookup |
//! | `21` entry | directory, sequence | [`Entry`]: listing; the sequence is the readdir cookie |
//! | `30` attribute | inode, name | the value |
//! | `40` extent | inode, first slot / 16 | [`Extent`]: up to 16 slots of 16 KiB |
//! | `50` inline | inode | the content of a small file, or the target of a symbolic link |
//! | `60` orphan | inode | empty: without a name, freed when nobody uses it |
//! | `61` entrance | inode | the zone that is entered through this directory, 32 bytes |
//! | `70` snapshot | name | `SnapshotRecord` |
//! | `80` account | segment | `Account`: which blocks of the segment are alive |
//! | `81` dead | snapshot, segment, index, birth | [`DeadRecord`]: died, but the snapshot needs it |
//! | `82` count | segment, index | references beyond the first, u32 |
//!
//! Integers in keys are big endian (they sort), in records little endian. The byte tables are in
//! `doc/format/index-records.md`.

mod dead;
mod extent;
mod fields;
mod inode;
mod key;
mod name;
mod zone;

#[cfg(test)]
mod tests;

pub use dead::{DeadRecord, Death, decode_count};
pub use extent::{Compression, Extent, Slot};
pub(crate) use fields::Reader;
pub use inode::{Content, Inode};
pub use key::{KEY_SIZE, Key, KeyKind, parse_key};
pub use name::{Entry, Name, decode_entrance, is_file_name};
pub use zone::ZoneRecord;

/// The inode of a zone's root directory.
pub const ROOT_INODE: u64 = 1;
/// The first inode number given to a file.
pub const FIRST_INODE: u64 = 16;
/// The first sequence number of a directory entry; lower cookies are `.` and `..`.
pub const FIRST_SEQUENCE: u64 = 3;
/// Numbers of inodes, snapshots and entries stay below this: they are seen by programs as signed.
pub const NUMBER_LIMIT: u64 = 1 << 63;
