//! Where the bytes of a node lie: its journal, its segments of sealed blocks, its heads.
//!
//! The store places bytes and gives them back. It never sees a key, does not interpret what is sealed or signed, and
//! does not decide what is still needed: that is the work of the crates above. What it promises is about disks:
//!
//! * what a sync covered is there after a crash at any point, and after losing the location map;
//! * whatever a file holds (flipped bits, a cut, an older version, another file), the answer is an error that names
//!   the file and the place, or bytes that the caller's hashes judge; never a panic;
//! * a sync that failed is final: nothing is written to that journal or those containers any more.
//!
//! Start with [`storage::Storage`], the seam that everything goes through; then [`Containers`], [`JournalFile`] and
//! [`Heads`], each over one kind of file. `doc/format/` has their byte tables.

pub mod ballast;
pub mod containers;
pub mod error;
mod format;
pub mod heads;
pub mod journal;
pub mod limits;
pub mod lock;
pub mod records;
pub mod storage;

pub use ballast::Ballast;
pub use containers::{BlockPlace, Compaction, Containers, SegmentInfo, SegmentWrite, Sweep, Usage};
pub use error::{Result, StoreError};
pub use heads::{HeadCopy, Heads, LoadedHeads};
pub use journal::{JournalFile, JournalPage};
pub use lock::DirLock;
pub use records::{LoadedRecords, RecordFile};
pub use storage::{FaultStorage, FileStorage, MemoryStorage, Space, Storage, StorageFile, WriteMode};
