//! A zone in memory: its index, and the accounts that say which sealed blocks are alive.
//!
//! # Invariants
//!
//! * A block is alive when the live index, a snapshot, or one of the two newest heads reaches it. Accounts count
//!   the first two; the store keeps what the two newest heads need by dropping segments late.
//! * A reference that dies is either *released* (its block dies, unless it is counted) or, when the newest
//!   snapshot is not older than the reference, *kept* in that snapshot's dead list.
//! * Index blocks written by a commit enter the accounts in the next one, because their number is known only once
//!   they are written; until then the newest head lists them. Nodes of snapshots that are sealed anew are accounted for
//!   at once.
//! * [`Zone::freeze`] leaves no death unaccounted: what it returns is a whole state.

mod account;
mod dead;
mod rekey;
mod reseal;
mod snapshot;

use std::ops::ControlFlow;

use bt_base::codec::DecodeError;
use bt_base::{Revision, SegmentId};

pub use account::Account;
pub use rekey::{OldKeys, OldLeaves};
pub use reseal::{MovedBlocks, OldBlocks, Renames, Resealing, SealNode, Snapshots};
pub use snapshot::{SnapshotRecord, SnapshotState};

use crate::block::BlockRef;
use crate::head::SegmentSummary;
use crate::index::{DeadNode, IndexError, NodeSource, Tree};
use crate::schema::{Death, Key, KeyKind, ZoneRecord, parse_key};

/// Why a zone's state could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ZoneError {
    /// A node of the index could not be loaded.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A record of the index does not follow its format.
    #[error("the index is damaged: {0}")]
    Record(#[from] DecodeError),
    /// A record that others point to is missing.
    #[error("the index is damaged: {what} is missing")]
    Missing {
        /// The record that was expected.
        what: String,
    },
}

/// Deaths are accounted in batches of this many references, so that deleting a large file needs little memory.
const DEATHS_AT_ONCE: usize = 4096;

/// A zone's live state.
pub struct Zone {
    tree: Tree,
    /// The revision of the next commit: the birth of all references made now.
    next: Revision,
    dead: Vec<Death>,
    /// Index segments of the last commit that no account covers yet.
    unaccounted: Vec<SegmentSummary>,
    /// Segments without a live block since the last freeze.
    released: Vec<SegmentId>,
    /// The newest snapshot's number and revision.
    newest_snapshot: Option<(u64, Revision)>,
    /// Whether any block has several references.
    has_counts: bool,
}

/// A state of the zone that no longer changes: what a commit writes.
pub struct Frozen {
    /// The index.
    pub tree: Tree,
    /// The revision that the commit will have.
    pub revision: Revision,
    /// Segments that this state no longer needs.
    pub released: Vec<SegmentId>,
}

impl Zone {
    /// A zone without a commit: the caller inserts the zone record and the root inode.
    pub fn create() -> Self {
        Self {
            tree: Tree::empty(),
            next: Revision(1),
            dead: Vec::new(),
            unaccounted: Vec::new(),
            released: Vec::new(),
            newest_snapshot: None,
            has_counts: false,
        }
    }

    /// The zone at a head: its root (reference and level), its revision and the index segments it added, of which some
    /// may have accounts.
    pub fn open(
        source: &dyn NodeSource,
        root: (BlockRef, u8),
        revision: Revision,
        unaccounted: Vec<SegmentSummary>,
    ) -> Result<Self, ZoneError> {
        let tree = Tree::open(root.0, root.1);
        let mut zone = Self {
            tree,
            next: revision.next(),
            dead: Vec::new(),
            unaccounted,
            released: Vec::new(),
            newest_snapshot: None,
            has_counts: false,
        };
        zone.newest_snapshot = zone.find_newest_snapshot(source)?;
        for summary in std::mem::take(&mut zone.unaccounted) {
            if zone.account(source, &summary.id)?.is_none() {
                zone.unaccounted.push(summary);
            }
        }
        zone.tree.scan(source, Key::counts().as_bytes(), &mut |key, _| {
            zone.has_counts = matches!(parse_key(key), Ok(KeyKind::Count(..)));
            ControlFlow::Break(())
        })?;
        Ok(zone)
    }

    /// The index, for reading.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The revision of the next commit.
    pub fn next_revision(&self) -> Revision {
        self.next
    }

    /// Puts a record, replacing what the key had.
    pub fn put(&mut self, source: &dyn NodeSource, key: &Key, value: &[u8]) -> Result<(), ZoneError> {
        self.tree.insert(source, key.as_bytes(), value)?;
        Ok(())
    }

    /// Removes a record; false when there was none.
    pub fn remove(&mut self, source: &dyn NodeSource, key: &Key) -> Result<bool, ZoneError> {
        Ok(self.tree.remove(source, key.as_bytes())?)
    }

    /// Reads a record through `f`.
    pub fn with<R>(
        &self,
        source: &dyn NodeSource,
        key: &Key,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, ZoneError> {
        Ok(self.tree.get(source, key.as_bytes(), f)?)
    }

    /// Changes a record in place, keeping its length.
    pub fn update<R>(
        &mut self,
        source: &dyn NodeSource,
        key: &Key,
        f: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<Option<R>, ZoneError> {
        Ok(self.tree.update(source, key.as_bytes(), f)?)
    }

    /// The zone's own record.
    pub fn record(&self, source: &dyn NodeSource) -> Result<ZoneRecord, ZoneError> {
        self.with(source, &Key::zone(), ZoneRecord::decode)?
            .ok_or_else(|| ZoneError::Missing { what: "the zone record".into() })?
            .map_err(ZoneError::from)
    }

    /// A reference to a block of file data was removed.
    pub fn drop_reference(&mut self, source: &dyn NodeSource, block: BlockRef) -> Result<(), ZoneError> {
        self.drop_death(source, Death::from(&block))
    }

    /// As [`Zone::drop_reference`], of a block whose hash is not at hand.
    pub fn drop_death(&mut self, source: &dyn NodeSource, death: Death) -> Result<(), ZoneError> {
        self.dead.push(death);
        if self.dead.len() >= DEATHS_AT_ONCE {
            let dead = std::mem::take(&mut self.dead);
            self.account_deaths(source, dead)?;
        }
        Ok(())
    }

    /// A block of file data got one more reference (reflink). Returns the reference, born now.
    pub fn share(&mut self, source: &dyn NodeSource, block: BlockRef) -> Result<BlockRef, ZoneError> {
        self.add_count(source, &block)?;
        self.has_counts = true;
        Ok(BlockRef { birth: self.next, ..block })
    }

    /// A segment of file data was written, and its blocks are referenced from now on.
    pub fn add_segment(&mut self, source: &dyn NodeSource, summary: &SegmentSummary) -> Result<(), ZoneError> {
        self.open_account(source, summary)
    }

    /// Accounts for everything that died and fixes the state. The live zone goes on in the next revision.
    pub fn freeze(&mut self, source: &dyn NodeSource) -> Result<Frozen, ZoneError> {
        for summary in std::mem::take(&mut self.unaccounted) {
            self.open_account(source, &summary)?;
        }
        loop {
            let mut dead = std::mem::take(&mut self.dead);
            dead.extend(self.tree.take_dead().into_iter().filter_map(resolve));
            if dead.is_empty() {
                break;
            }
            self.account_deaths(source, dead)?;
        }
        let revision = self.next;
        self.next = revision.next();
        Ok(Frozen { tree: self.tree.clone(), revision, released: std::mem::take(&mut self.released) })
    }

    /// Takes the next revision for a head that shows the last committed state again.
    pub fn skip_revision(&mut self) -> Revision {
        let revision = self.next;
        self.next = revision.next();
        revision
    }

    /// The frozen state is on disk; `index_segments` are the segments that its nodes went to.
    pub fn committed(&mut self, index_segments: Vec<SegmentSummary>) {
        self.unaccounted = index_segments;
        self.tree.release_clean();
    }

    /// Index nodes that changed since the last commit.
    pub fn dirty_nodes(&self) -> usize {
        self.tree.dirty_nodes()
    }

    /// Index segments of the last commit that no account covers yet.
    pub fn unaccounted(&self) -> &[SegmentSummary] {
        &self.unaccounted
    }
}

/// The block that a dead node had, if it ever had one.
fn resolve(node: DeadNode) -> Option<Death> {
    match node {
        DeadNode::Block(block) => Some(Death::from(&block)),
        DeadNode::Pending(node) => node.sealed_as().map(Death::from),
    }
}
