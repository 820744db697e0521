//! POSIX rules over a zone: inodes, names, attributes, dirty data, and the log of operations.
//!
//! [`Vfs`] is the state of one zone that somebody works in. An operation changes it in memory and appends a record
//! to its log; nothing here waits for a disk except to load index nodes and blocks through [`Source`]. The caller
//! (bt-node) owns the lock around it, time, threads, the journal and the commit:
//!
//! 1. operations: [`Vfs::make`], [`Vfs::write`], [`Vfs::rename`], ...
//! 2. fsync: [`Vfs::sync_file`] appends what the file needs; [`Vfs::take_log`] is what to write to the journal.
//! 3. flush: [`Vfs::begin_flush`] names the blocks to seal, [`Vfs::finish_flush`] puts them into the index.
//! 4. commit: [`Vfs::freeze`] fixes a whole state, [`Vfs::committed`] says that it is on disk.
//! 5. recovery: [`Vfs::replay`] applies journal records above the newest head.
//!
//! # Invariants
//!
//! * The index holds each file as it was at one instant between two operations, never a mixture.
//! * What the journal acknowledged is in the index before a commit covers its record.
//! * A rename's record never becomes durable before the content of the file it renames.
//! * No clock, no thread, no randomness, no file: a test replays any run.

mod acl;
mod attributes;
mod check;
mod content;
mod entrance;
mod error;
mod files;
mod flush;
mod import;
mod lookups;
mod names;
pub mod op;
mod pages;
mod ranges;
mod read;
mod rekey;
mod replay;
mod share;
#[cfg(test)]
mod tests;
mod vfs;
pub mod view;

pub use attributes::AttributeFlags;
pub use entrance::Entered;
pub use error::{Refusal, Result, VfsError};
pub use files::Allocate;
pub use flush::{FlushFile, FlushPlan, FlushedFile, Freed, PageSource, SealedSlot, SlotJob};
pub use import::ImportedEntry;
pub use lookups::LookupCounts;
pub use names::{Creator, RenameFlags};
pub use pages::Bytes;
pub use read::{Piece, Seek, read_tree, seek_tree};
pub use rekey::{ContentPlace, Moved, OldSlot};
pub use replay::{BlocksOf, Replay};
pub use share::ShareRange;
pub use vfs::{FrozenVfs, Vfs};
pub use view::Source;
