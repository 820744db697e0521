//! Sealing anew what snapshots hold under the keys of earlier epochs.
//!
//! A step moves the blocks of some whole segments to others and writes the nodes above them again, bottom up. Nothing but
//! names of blocks changes: each reference keeps its birth, each record and node its length, so dead lists, counts and
//! accounts go on under the new names, and snapshots share what they shared before.
//!
//! # Why only snapshots matter here
//!
//! The present is sealed anew before (see [`Zone::old_keys`]). From then on each reference that is renamed has died there,
//! and is on the dead list of the newest snapshot that has it. [`Zone::rename`] makes sure of that, block by block, before
//! it changes anything.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;

use bt_base::SegmentId;
use bt_base::codec::DecodeError;

use super::snapshot::{SnapshotRecord, SnapshotState};
use super::{Account, Zone, ZoneError};
use crate::block::BlockRef;
use crate::index::{IndexError, Node, NodeSource, Tree, load_node};
use crate::schema::{DeadRecord, Death, Extent, Key, KeyKind, parse_key};

/// Nodes that are remembered as having nothing old below.
const CLEAN_NODES: usize = 1 << 18;
/// Segments that one step takes at most; a head lists them all.
const SEGMENTS: usize = 256;

/// Blocks of file data by segment and index.
pub type OldBlocks = BTreeMap<SegmentId, BTreeMap<u32, BlockRef>>;

/// Where blocks went, by the segment and index that they had.
pub type MovedBlocks = HashMap<(SegmentId, u32), BlockRef>;

/// Seals the plaintext of a node and says where it went.
pub type SealNode<'a> = dyn FnMut(&Node) -> Result<BlockRef, IndexError> + 'a;

/// Snapshots by name, the newest first.
pub type Snapshots = [(Vec<u8>, SnapshotRecord)];

/// Finds what snapshots hold of epochs before one; remembers where nothing is left.
pub struct Resealing {
    epoch: u32,
    clean: HashSet<(SegmentId, u32)>,
}

/// A node that was written again.
struct NodeRename {
    /// The newest snapshot that has it.
    snapshot: u64,
    old: BlockRef,
    new: BlockRef,
}

/// What changes when a step counts; see [`Zone::rename`].
pub struct Renames {
    data: BTreeMap<SegmentId, BTreeMap<u32, BlockRef>>,
    nodes: Vec<NodeRename>,
    /// Snapshots with another root, as they were and as they are to be.
    roots: Vec<(Vec<u8>, SnapshotRecord, SnapshotRecord)>,
    snapshots: Vec<u64>,
}

impl Renames {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }
}

impl Resealing {
    /// Nothing is known yet.
    pub fn new(epoch: u32) -> Self {
        Self { epoch, clean: HashSet::new() }
    }

    /// Blocks of file data of some segments from before the epoch: all that these snapshots name in them. Takes segments
    /// until `bytes` are alive in them; `present` has their accounts.
    pub fn find(
        &mut self,
        source: &dyn NodeSource,
        present: &Tree,
        snapshots: &Snapshots,
        bytes: u64,
    ) -> Result<OldBlocks, ZoneError> {
        let (epoch, left) = (self.epoch, bytes);
        let mut search = Search {
            source,
            present,
            epoch,
            clean: &mut self.clean,
            seen: HashMap::new(),
            found: OldBlocks::new(),
            left,
        };
        for (_, record) in snapshots {
            search.node(&record.root, record.level)?;
        }
        Ok(search.found)
    }

    /// Seals nodes again: all that name one of the blocks in `moved`, and up to `limit` others from before the epoch.
    pub fn rewrite(
        &mut self,
        source: &dyn NodeSource,
        snapshots: &Snapshots,
        moved: &MovedBlocks,
        seal: &mut SealNode<'_>,
        limit: usize,
    ) -> Result<Renames, ZoneError> {
        let mut data = OldBlocks::new();
        for ((segment, index), new) in moved {
            data.entry(*segment).or_default().insert(*index, *new);
        }
        let mut rewriting = Rewriting {
            source,
            epoch: self.epoch,
            clean: &mut self.clean,
            done: HashMap::new(),
            moved,
            seal,
            limit,
            snapshot: 0,
            nodes: Vec::new(),
        };
        let mut roots = Vec::new();
        for (name, record) in snapshots {
            rewriting.snapshot = record.number;
            if let Some(root) = rewriting.node(&record.root, record.level)?.new {
                roots.push((name.clone(), *record, SnapshotRecord { root, ..*record }));
            }
        }
        let snapshots = snapshots.iter().map(|(_, record)| record.number).collect();
        Ok(Renames { data, nodes: rewriting.nodes, roots, snapshots })
    }
}

/// The first walk: which blocks.
struct Search<'a> {
    source: &'a dyn NodeSource,
    present: &'a Tree,
    epoch: u32,
    clean: &'a mut HashSet<(SegmentId, u32)>,
    /// Whether nothing old is in a node or below it.
    seen: HashMap<(SegmentId, u32), bool>,
    found: OldBlocks,
    left: u64,
}

impl Search<'_> {
    fn node(&mut self, block: &BlockRef, level: u8) -> Result<bool, ZoneError> {
        let key = (block.segment, block.index);
        if self.clean.contains(&key) {
            return Ok(true);
        }
        if let Some(seen) = self.seen.get(&key) {
            return Ok(*seen);
        }
        let node = load_node(self.source, block, level)?;
        let mut is_clean = block.epoch >= self.epoch;
        for child in node.references() {
            is_clean &= self.node(&child, level - 1)?;
        }
        for (_, extent) in extents(&node) {
            for block in extent?.slots.iter().flatten().map(|slot| slot.block) {
                if block.epoch < self.epoch {
                    is_clean = false;
                    self.take(&block)?;
                }
            }
        }
        self.seen.insert(key, is_clean);
        if is_clean && self.clean.len() < CLEAN_NODES {
            self.clean.insert(key);
        }
        Ok(is_clean)
    }

    /// Takes a block whose segment is taken or can still be.
    fn take(&mut self, block: &BlockRef) -> Result<(), ZoneError> {
        if !self.found.contains_key(&block.segment) {
            if self.left == 0 || self.found.len() == SEGMENTS {
                return Ok(());
            }
            let account = self.present.get(self.source, Key::account(&block.segment).as_bytes(), Account::decode)?;
            let account = account.ok_or_else(|| missing_account(&block.segment))??;
            self.left = self.left.saturating_sub(account.live_bytes.max(1));
        }
        self.found.entry(block.segment).or_default().insert(block.index, *block);
        Ok(())
    }
}

/// What became of a node.
#[derive(Clone, Copy)]
struct Outcome {
    /// Where it was written again.
    new: Option<BlockRef>,
    /// Nothing old is left in it or below.
    is_clean: bool,
}

/// The second walk: other names in the nodes, from below.
struct Rewriting<'a, 'b> {
    source: &'a dyn NodeSource,
    epoch: u32,
    clean: &'a mut HashSet<(SegmentId, u32)>,
    done: HashMap<(SegmentId, u32), Outcome>,
    moved: &'a MovedBlocks,
    seal: &'a mut SealNode<'b>,
    /// Nodes that may be written again for their own sake.
    limit: usize,
    /// The snapshot that is walked.
    snapshot: u64,
    nodes: Vec<NodeRename>,
}

impl Rewriting<'_, '_> {
    fn node(&mut self, block: &BlockRef, level: u8) -> Result<Outcome, ZoneError> {
        let key = (block.segment, block.index);
        if self.clean.contains(&key) {
            return Ok(Outcome { new: None, is_clean: true });
        }
        if let Some(done) = self.done.get(&key) {
            return Ok(*done);
        }
        let node = load_node(self.source, block, level)?;
        let (again, below_is_clean) = match level {
            0 => self.leaf(&node)?,
            _ => self.branch(&node, level)?,
        };
        let is_old = block.epoch < self.epoch;
        let again = match again {
            None if is_old && self.limit > 0 => {
                self.limit -= 1;
                Some(node.with_values(&[]))
            }
            again => again,
        };
        let outcome = match again {
            None => Outcome { new: None, is_clean: below_is_clean && !is_old },
            Some(again) => {
                let new = BlockRef { birth: block.birth, ..(self.seal)(&again)? };
                self.nodes.push(NodeRename { snapshot: self.snapshot, old: *block, new });
                Outcome { new: Some(new), is_clean: below_is_clean }
            }
        };
        self.done.insert(key, outcome);
        Ok(outcome)
    }

    fn branch(&mut self, node: &Node, level: u8) -> Result<(Option<Node>, bool), ZoneError> {
        let (mut new, mut is_clean) = (Vec::new(), true);
        for (place, child) in node.references().enumerate() {
            let outcome = self.node(&child, level - 1)?;
            is_clean &= outcome.is_clean;
            new.extend(outcome.new.map(|block| (place, block)));
        }
        Ok(((!new.is_empty()).then(|| node.with_references(&new)), is_clean))
    }

    fn leaf(&mut self, node: &Node) -> Result<(Option<Node>, bool), ZoneError> {
        let (mut new, mut is_clean) = (Vec::new(), true);
        for (place, extent) in extents(node) {
            let mut extent = extent?;
            let before = extent.encode().len();
            let mut is_moved = false;
            for slot in extent.slots.iter_mut().flatten().filter(|slot| slot.block.epoch < self.epoch) {
                match self.moved.get(&(slot.block.segment, slot.block.index)) {
                    Some(to) => {
                        slot.block = BlockRef { birth: slot.block.birth, ..*to };
                        is_moved = true;
                    }
                    None => is_clean = false,
                }
            }
            if is_moved {
                let value = extent.encode();
                if value.len() != before {
                    return Err(DecodeError::malformed("extent record", "moving its blocks changes its length").into());
                }
                new.push((place, value));
            }
        }
        Ok(((!new.is_empty()).then(|| node.with_values(&new)), is_clean))
    }
}

/// The extents of a leaf, by place.
fn extents(node: &Node) -> impl Iterator<Item = (usize, Result<Extent, DecodeError>)> {
    let is_extent = |key: &[u8]| matches!(parse_key(key), Ok(KeyKind::Extent(..)));
    node.records().enumerate().filter(move |(_, (key, _))| is_extent(key)).map(|(place, (_, value))| {
        // What does not encode to the same bytes could not be put back in its place.
        let extent = Extent::decode(value).and_then(|extent| match extent.encode().len() == value.len() {
            true => Ok(extent),
            false => Err(DecodeError::malformed("extent record", "it is not as this program encodes it")),
        });
        (place, extent)
    })
}

fn missing_account(segment: &SegmentId) -> ZoneError {
    ZoneError::Missing { what: format!("the account of segment {segment}") }
}

/// A reference on the dead list of a snapshot.
struct Kept {
    snapshot: u64,
    death: Death,
    references: u32,
    new: BlockRef,
}

impl Zone {
    /// Puts new names in the place of old ones in all accounts, and other roots under the snapshots. The segments of the
    /// new blocks have accounts already. False when something but these snapshots has one of the blocks, or one of the
    /// snapshots is no more as it was: nothing is changed then.
    pub fn rename(&mut self, source: &dyn NodeSource, renames: &Renames) -> Result<bool, ZoneError> {
        for (name, before, _) in &renames.roots {
            if before.state != SnapshotState::Ready || self.snapshot(source, name)? != Some(*before) {
                return Ok(false);
            }
        }
        let (Some(mut kept), Some(nodes)) = (self.kept_data(source, renames)?, self.kept_nodes(source, renames)?)
        else {
            return Ok(false);
        };
        kept.extend(nodes);
        for Kept { snapshot, death, references, new } in &kept {
            self.remove(source, &Key::dead(*snapshot, death))?;
            let renamed = Death { birth: death.birth, ..Death::from(new) };
            let record = DeadRecord { count: *references, len: new.len };
            self.put(source, &Key::dead(*snapshot, &renamed), &record.encode())?;
        }
        self.move_blocks(source, &kept)?;
        for (name, _, after) in &renames.roots {
            self.put(source, &Key::snapshot(name), &after.encode())?;
        }
        Ok(true)
    }

    /// What the dead lists have of the data blocks; none when not all references are there.
    fn kept_data(&self, source: &dyn NodeSource, renames: &Renames) -> Result<Option<Vec<Kept>>, ZoneError> {
        let mut kept = Vec::new();
        for (segment, blocks) in &renames.data {
            let mut found: HashMap<u32, u32> = HashMap::new();
            for snapshot in &renames.snapshots {
                self.for_dead_of_segment(source, *snapshot, segment, &mut |death, references| {
                    if let Some(new) = blocks.get(&death.index) {
                        *found.entry(death.index).or_default() += references;
                        kept.push(Kept { snapshot: *snapshot, death, references, new: *new });
                    }
                })?;
            }
            for index in blocks.keys() {
                let first = Death { segment: *segment, index: *index, len: 0, birth: Default::default() };
                let all = u64::from(self.count(source, &first)?) + 1;
                if found.get(index).map_or(0, |found| u64::from(*found)) != all {
                    return Ok(None);
                }
            }
        }
        Ok(Some(kept))
    }

    fn for_dead_of_segment(
        &self,
        source: &dyn NodeSource,
        snapshot: u64,
        segment: &SegmentId,
        visit: &mut dyn FnMut(Death, u32),
    ) -> Result<(), ZoneError> {
        let first = Death { segment: *segment, index: 0, len: 0, birth: Default::default() };
        let mut failed = None;
        self.tree.scan(source, Key::dead(snapshot, &first).as_bytes(), &mut |key, value| match (
            parse_key(key),
            DeadRecord::decode(value),
        ) {
            (Ok(KeyKind::Dead(number, of, index, birth)), Ok(DeadRecord { count, len }))
                if (number, of) == (snapshot, *segment) =>
            {
                visit(Death { segment: of, index, len, birth }, count);
                ControlFlow::Continue(())
            }
            (Ok(KeyKind::Dead(number, of, ..)), Err(error)) if (number, of) == (snapshot, *segment) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
            _ => ControlFlow::Break(()),
        })?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// As [`Zone::kept_data`], of the nodes: each is on the list of the newest snapshot that has it.
    fn kept_nodes(&self, source: &dyn NodeSource, renames: &Renames) -> Result<Option<Vec<Kept>>, ZoneError> {
        let mut kept = Vec::with_capacity(renames.nodes.len());
        for NodeRename { snapshot, old, new } in &renames.nodes {
            let death = Death::from(old);
            let record = self.with(source, &Key::dead(*snapshot, &death), DeadRecord::decode)?.transpose()?;
            if record != Some(DeadRecord { count: 1, len: old.len }) {
                return Ok(None);
            }
            kept.push(Kept { snapshot: *snapshot, death, references: 1, new: *new });
        }
        Ok(Some(kept))
    }

    /// The old blocks are dead; counts go on under the new names.
    fn move_blocks(&mut self, source: &dyn NodeSource, kept: &[Kept]) -> Result<(), ZoneError> {
        let blocks: BTreeMap<(SegmentId, u32), &Kept> =
            kept.iter().map(|kept| ((kept.death.segment, kept.death.index), kept)).collect();
        let mut dead = Vec::with_capacity(blocks.len());
        for Kept { death, new, .. } in blocks.values() {
            let extra = self.count(source, death)?;
            if extra > 0 {
                self.remove(source, &Key::count(&death.segment, death.index))?;
                self.put(source, &Key::count(&new.segment, new.index), &extra.to_le_bytes())?;
            }
            dead.push(*death);
        }
        for segment in dead.chunk_by(|a, b| a.segment == b.segment) {
            self.release_blocks(source, segment)?;
        }
        Ok(())
    }

    /// Blocks that were written for nothing: they are dead from the start.
    pub fn drop_fillers(&mut self, source: &dyn NodeSource, fillers: &[Death]) -> Result<(), ZoneError> {
        for segment in fillers.chunk_by(|a, b| a.segment == b.segment) {
            self.release_blocks(source, segment)?;
        }
        Ok(())
    }
}
