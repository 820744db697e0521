//! Sealing blocks into segments and writing them to the store.

use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;

use bt_base::label::SEGMENT_ID;
use bt_base::limits::{SEGMENT_BLOCKS, SEGMENT_SIZE, TAG_SIZE};
use bt_base::{BlockHash, Entropy, PrincipalId, Revision, SegmentId, TreeId, ZoneId};
use bt_crypto::{SegmentCipher, labelled_hash};
use bt_store::{Containers, SegmentWrite, StoreError};
use bt_tree::index::{IndexError, Node, NodeSink};
use bt_tree::{BlockRef, SegmentSummary};

use super::source::BlockSource;
use crate::system::{SystemEntropy, now};

/// Makes segment ids that are never repeated.
pub(crate) struct SegmentIds {
    pub(crate) tree: TreeId,
    pub(crate) node: PrincipalId,
    counter: std::sync::atomic::AtomicU64,
}

impl SegmentIds {
    pub(crate) fn new(tree: TreeId, node: PrincipalId) -> Self {
        Self { tree, node, counter: std::sync::atomic::AtomicU64::new(0) }
    }

    fn next(&self) -> SegmentId {
        let mut random = [0; 32];
        SystemEntropy.fill(&mut random);
        let time = now();
        let count = self.counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let parts: [&[u8]; 5] =
            [&random, &self.node.0, &time.seconds.to_le_bytes(), &time.nanos.to_le_bytes(), &count.to_le_bytes()];
        SegmentId(labelled_hash(SEGMENT_ID, &self.tree, &parts))
    }
}

/// A segment that is being filled.
struct Open {
    id: SegmentId,
    cipher: Arc<SegmentCipher>,
    /// Memory to seal into, of which the first `len` bytes are sealed. It keeps its length from segment to segment:
    /// what is overwritten anyway need not be cleared.
    bytes: Vec<u8>,
    len: usize,
    blocks: Vec<(u32, Range<usize>)>,
    hashes: blake3::Hasher,
}

impl Open {
    fn write(
        self,
        containers: &Containers,
        zone: ZoneId,
        epoch: u32,
        index_blocks: bool,
    ) -> Result<Written, StoreError> {
        let Self { id, bytes, len, blocks, hashes, .. } = self;
        containers.write_segment(SegmentWrite { zone, id, epoch, blocks: &blocks, bytes: &bytes[..len] })?;
        let summary = SegmentSummary {
            id,
            epoch,
            blocks: blocks.len() as u32,
            sealed_bytes: len as u64,
            hash: *hashes.finalize().as_bytes(),
            index_blocks,
        };
        Ok((summary, bytes))
    }

    /// Seals the next block; returns its index and hash.
    fn seal(&mut self, plain: &[u8]) -> (u32, BlockHash) {
        let (index, start) = (self.blocks.len() as u32, self.len);
        self.len += plain.len() + TAG_SIZE;
        if self.bytes.len() < self.len {
            self.bytes.resize((2 * self.len).min(SEGMENT_SIZE).max(self.len), 0);
        }
        let hash = self.cipher.seal_into(index, plain, &mut self.bytes[start..self.len]);
        self.blocks.push((index, start..self.len));
        self.hashes.update(&hash.0);
        (index, hash)
    }
}

/// Seals blocks one after the other. A full segment is written while the next one is sealed.
pub(crate) struct Sealer<'a> {
    pub(crate) source: &'a BlockSource,
    pub(crate) containers: &'a Arc<Containers>,
    pub(crate) ids: &'a SegmentIds,
    pub(crate) zone: ZoneId,
    pub(crate) revision: Revision,
    pub(crate) index_blocks: bool,
    /// All that this sealer writes belongs to this epoch.
    epoch: u32,
    open: Option<Open>,
    /// A full segment that another thread writes while the next one is sealed.
    writing: Option<JoinHandle<Result<Written, StoreError>>>,
    /// Memory of segments before: fresh memory costs more than sealing.
    spare: Vec<Vec<u8>>,
    written: Vec<SegmentSummary>,
}

/// A segment that is in the store, and the memory it was sealed in.
type Written = (SegmentSummary, Vec<u8>);

impl<'a> Sealer<'a> {
    pub(crate) fn new(
        source: &'a BlockSource,
        containers: &'a Arc<Containers>,
        ids: &'a SegmentIds,
        zone: ZoneId,
        revision: Revision,
        index_blocks: bool,
    ) -> Self {
        Self {
            source,
            containers,
            ids,
            zone,
            revision,
            index_blocks,
            epoch: source.epoch(),
            open: None,
            writing: None,
            spare: Vec::new(),
            written: Vec::new(),
        }
    }

    /// Seals one block.
    pub(crate) fn seal(&mut self, plain: &[u8]) -> Result<BlockRef, StoreError> {
        let full = self.open.as_ref().is_some_and(|open| {
            open.blocks.len() == SEGMENT_BLOCKS || open.len + plain.len() + TAG_SIZE > SEGMENT_SIZE
        });
        if full {
            self.write_behind()?;
        }
        let epoch = self.epoch;
        if self.open.is_none() {
            let id = self.ids.next();
            let cipher = self.source.cipher(&id, epoch).expect("the newest epoch's key opened the zone");
            let bytes = self.spare.pop().unwrap_or_default();
            self.open = Some(Open { id, cipher, bytes, len: 0, blocks: Vec::new(), hashes: blake3::Hasher::new() });
        }
        let open = self.open.as_mut().expect("just opened");
        let (index, hash) = open.seal(plain);
        Ok(BlockRef { segment: open.id, index, len: plain.len() as u32, epoch, birth: self.revision, hash })
    }

    /// Begins another segment where so much would not fit in the one that is being filled; says whether that has blocks.
    pub(crate) fn make_room(&mut self, blocks: usize, sealed_bytes: usize) -> Result<bool, StoreError> {
        let full = self
            .open
            .as_ref()
            .is_some_and(|open| open.blocks.len() + blocks > SEGMENT_BLOCKS || open.len + sealed_bytes > SEGMENT_SIZE);
        if full {
            self.write_behind()?;
        }
        Ok(self.open.is_some())
    }

    /// Has another thread write the full segment, after the one before is written.
    fn write_behind(&mut self) -> Result<(), StoreError> {
        self.await_writing()?;
        let Some(open) = self.open.take() else { return Ok(()) };
        let (zone, epoch, index_blocks) = (self.zone, self.epoch, self.index_blocks);
        let containers = self.containers.clone();
        let write = move || open.write(&containers, zone, epoch, index_blocks);
        match std::thread::Builder::new().name("bt-segment".into()).spawn(write) {
            Ok(thread) => self.writing = Some(thread),
            Err(source) => return Err(StoreError::io("start a thread to write", "a segment", 0, source)),
        }
        Ok(())
    }

    fn await_writing(&mut self) -> Result<(), StoreError> {
        let Some(thread) = self.writing.take() else { return Ok(()) };
        let (summary, memory) = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        self.written.push(summary);
        self.spare.push(memory);
        Ok(())
    }

    fn write_open(&mut self) -> Result<(), StoreError> {
        self.await_writing()?;
        let Some(open) = self.open.take() else { return Ok(()) };
        let (summary, memory) = open.write(self.containers, self.zone, self.epoch, self.index_blocks)?;
        self.written.push(summary);
        self.spare.push(memory);
        Ok(())
    }

    /// Writes what is left and returns all segments written. They are durable after the store's sync.
    pub(crate) fn finish(&mut self) -> Result<Vec<SegmentSummary>, StoreError> {
        self.write_open()?;
        Ok(std::mem::take(&mut self.written))
    }

    /// The memory that was used, for the next sealer: that of the segment being sealed and of the one being written.
    pub(crate) fn into_memory(mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.spare)
    }

    /// Seals into this memory first.
    pub(crate) fn with_memory(mut self, memory: Vec<Vec<u8>>) -> Self {
        self.spare = memory;
        self
    }

    /// Gives back what was written, after something failed.
    pub(crate) fn abandon(&mut self) {
        self.open = None;
        if let Err(error) = self.await_writing() {
            tracing::debug!(%error, "a segment was not written either");
        }
        for summary in self.written.drain(..) {
            if let Err(error) = self.containers.drop_segment(&summary.id) {
                tracing::warn!(%error, segment = %summary.id, "an unused segment could not be dropped");
            }
        }
    }
}

/// Writes the nodes of a frozen index.
pub(crate) struct NodeSealer<'a, 'b>(pub(crate) &'a mut Sealer<'b>);

impl NodeSink for NodeSealer<'_, '_> {
    fn write(&mut self, encoded: &[u8]) -> Result<BlockRef, IndexError> {
        self.0.seal(encoded).map_err(|error| IndexError::Sink(Box::new(error)))
    }

    fn finish(&mut self) -> Result<(), IndexError> {
        self.0.write_open().map_err(|error| IndexError::Sink(Box::new(error)))
    }

    fn sealed(&mut self, block: &BlockRef, node: &Arc<Node>) {
        self.0.source.keep_node(block, node);
    }
}
