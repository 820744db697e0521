//! The zones of a node: which are open, where they are entered, and how a directory becomes one.
//!
//! The zone at the tree's top is open as long as the node is. Others open when a path first enters them, keep a slot
//! (the number that a mount shows their inodes under), and are closed again when nobody used them for a while, or
//! when too many are open. Each has its own directory, heads, journal, containers and committing thread.
//!
//! # Invariants
//!
//! * A zone is entered only where its birth record names the zone that the entrance is in, or in the root directory made
//!   for a principal that may not read the zone at the top.
//! * An engine is closed only while nobody else has a reference to it: an operation holds one from its first look to
//!   its reply.
//! * The table's lock is never held while a zone is opened, closed or worked in.

mod above;
mod check;
mod ending;
mod enter;
#[cfg(test)]
mod failure_tests;
mod fill;
mod keeper;
mod leftovers;
mod make;
mod moved;
mod slots;
mod table;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use above::open_top;
pub(crate) use check::check_directory;
pub(crate) use enter::{EnterError, Resolved, denied};
pub(crate) use keeper::Keeper;
pub(crate) use make::NewZone;
pub(crate) use moved::Moved;
pub use slots::SlotList;
pub(crate) use table::Zones;

use std::time::Duration;

/// Zones, beside the one at the top, that are open at the same time.
pub(crate) const OPEN_ZONES: usize = 4;
/// What one of them gets of the node's memory, as a divisor.
pub(crate) const MEMORY_SHARE: u64 = 6;
/// How long a zone stays open that nobody uses.
pub(crate) const IDLE: Duration = Duration::from_secs(120);
/// Bytes of the journal of a zone below the top.
pub(crate) const JOURNAL_BYTES: u64 = 8 << 20;
