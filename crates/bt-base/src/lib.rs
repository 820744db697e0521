//! The vocabulary that every other crate shares: ids, labels, limits, time, canonical encoding.
//!
//! Nothing here does I/O, reads a clock or draws randomness: time and entropy are arguments everywhere in the
//! pure crates, so that a test can replay any run from a seed.
//!
//! Start with [`id`] for the names of things and [`limits`] for the bounds on them.

pub mod codec;
pub mod id;
pub mod label;
pub mod limits;
pub mod time;

pub use id::{BlockHash, HeadHash, JournalId, PackageId, PrincipalId, RecordHash, Revision, SegmentId, TreeId, ZoneId};
pub use time::Timestamp;

/// A source of unpredictable bytes, handed to pure code by the caller (getrandom(2) in a node, a seed in a test).
pub trait Entropy {
    /// Fills `out` completely.
    fn fill(&mut self, out: &mut [u8]);
}
