//! Reading sealed blocks: fetch, verify, decrypt, decompress, cache.

use std::cell::RefCell;
use std::error::Error;
use std::sync::Arc;

use bt_base::limits::{BLOCK_SIZE, TAG_SIZE};
use bt_base::{SegmentId, TreeId, ZoneId};
use bt_crypto::{SegmentCipher, SegmentContext};
use bt_store::{Containers, StoreError};
use bt_tree::BlockRef;
use bt_tree::index::{IndexError, Node, NodeSource};
use bt_tree::schema::{Compression, Slot};
use bt_tree::zone::ZoneError;
use bt_vfs::Source;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::rights::ZoneRights;

/// Ciphers of segments that are kept ready.
const CIPHERS: usize = 512;

/// A block could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The store does not have it or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its epoch's key is not ours.
    #[error("block {index} of segment {segment} belongs to epoch {epoch}, whose key this node does not have")]
    NoKey { segment: SegmentId, index: u32, epoch: u32 },
    /// Its bytes are not those that the reference names.
    #[error("block {index} of segment {segment} is damaged: its bytes are not those that were written")]
    Damaged { segment: SegmentId, index: u32 },
    /// Its content does not decompress.
    #[error("block {index} of segment {segment} does not decompress")]
    Compression { segment: SegmentId, index: u32 },
    /// It is not a node of the index.
    #[error("block {index} of segment {segment} is not an index node: {why}")]
    NotANode { segment: SegmentId, index: u32, why: bt_base::codec::DecodeError },
}

#[derive(Clone)]
struct NodeWeight;

impl Weighter<(SegmentId, u32), Arc<Node>> for NodeWeight {
    fn weight(&self, _: &(SegmentId, u32), node: &Arc<Node>) -> u64 {
        node.memory_size() as u64 + 128
    }
}

#[derive(Clone)]
struct BlockWeight;

impl Weighter<(SegmentId, u32), Arc<[u8]>> for BlockWeight {
    fn weight(&self, _: &(SegmentId, u32), block: &Arc<[u8]>) -> u64 {
        block.len() as u64 + 128
    }
}

/// Blocks of one zone, through caches bounded in bytes.
pub(crate) struct BlockSource {
    tree: TreeId,
    zone: ZoneId,
    rights: Arc<ZoneRights>,
    pub(crate) containers: Arc<Containers>,
    ciphers: Cache<SegmentId, Arc<SegmentCipher>>,
    nodes: Cache<(SegmentId, u32), Arc<Node>, NodeWeight>,
    blocks: Cache<(SegmentId, u32), Arc<[u8]>, BlockWeight>,
}

impl BlockSource {
    pub(crate) fn new(
        tree: TreeId,
        zone: ZoneId,
        rights: Arc<ZoneRights>,
        containers: Arc<Containers>,
        node_bytes: u64,
        block_bytes: u64,
    ) -> Self {
        Self {
            tree,
            zone,
            rights,
            containers,
            ciphers: Cache::new(CIPHERS),
            nodes: Cache::with_weighter(node_bytes as usize / BLOCK_SIZE, node_bytes, NodeWeight),
            blocks: Cache::with_weighter(block_bytes as usize / BLOCK_SIZE, block_bytes, BlockWeight),
        }
    }

    /// The newest epoch.
    pub(crate) fn epoch(&self) -> u32 {
        self.rights.now().keys.newest().map_or(0, |(epoch, _)| epoch)
    }

    /// The cipher of a segment; `None` when the epoch's key is not in the keyring.
    pub(crate) fn cipher(&self, segment: &SegmentId, epoch: u32) -> Option<Arc<SegmentCipher>> {
        if let Some(cipher) = self.ciphers.get(segment) {
            return Some(cipher);
        }
        let context = SegmentContext { tree: self.tree, zone: self.zone, segment: *segment, epoch };
        let cipher = Arc::new(SegmentCipher::new(self.rights.now().keys.key(epoch)?, &context));
        self.ciphers.insert(*segment, cipher.clone());
        Some(cipher)
    }

    /// Keeps a node that was just written.
    pub(crate) fn keep_node(&self, block: &BlockRef, node: &Arc<Node>) {
        self.nodes.insert((block.segment, block.index), node.clone());
    }

    /// Reads and opens one block into `out`, replacing its content.
    pub(crate) fn open_block(&self, block: &BlockRef, out: &mut Vec<u8>) -> Result<(), ReadError> {
        with_buffers(|Buffers { sealed, .. }| {
            self.containers.read_block(&block.segment, block.index, sealed)?;
            out.clear();
            out.resize(block.len as usize, 0);
            self.open_sealed(block, sealed, out)
        })
    }

    /// Opens sealed bytes into `out`, which has the block's length.
    pub(crate) fn open_sealed(&self, block: &BlockRef, sealed: &[u8], out: &mut [u8]) -> Result<(), ReadError> {
        let BlockRef { segment, index, epoch, .. } = *block;
        let cipher = self.cipher(&segment, epoch).ok_or(ReadError::NoKey { segment, index, epoch })?;
        if sealed.len() != out.len() + TAG_SIZE {
            return Err(ReadError::Damaged { segment, index });
        }
        cipher.open(index, &block.hash, sealed, out).map_err(|_| ReadError::Damaged { segment, index })
    }

    /// A block of file data, decompressed, through the cache.
    pub(crate) fn data(&self, slot: &Slot) -> Result<Arc<[u8]>, ReadError> {
        let key = (slot.block.segment, slot.block.index);
        if let Some(block) = self.blocks.get(&key) {
            return Ok(block);
        }
        let mut plain = Vec::new();
        self.open_block(&slot.block, &mut plain)?;
        let block: Arc<[u8]> = decompress(slot, plain)?.into();
        self.blocks.insert(key, block.clone());
        Ok(block)
    }

    /// Fetches a run of uncompressed blocks that follow each other in a segment with one read of the store, and opens
    /// each into its part of `out`; parts longer than their block are zero at the end.
    pub(crate) fn data_run(&self, run: &[BlockRef], parts: &mut [&mut [u8]]) -> Result<(), ReadError> {
        let first = run.first().expect("a run has a block");
        with_buffers(|Buffers { sealed, lens }| {
            self.containers.read_run(&first.segment, first.index, run.len() as u32, sealed, lens)?;
            let mut rest = &sealed[..];
            for ((block, part), len) in run.iter().zip(parts).zip(lens) {
                let (bytes, tail) = rest.split_at(*len as usize);
                rest = tail;
                self.open_into(block, bytes, part)?;
            }
            Ok(())
        })
    }

    /// Opens the start of a block into `part`, with zeros where the block ends early.
    fn open_into(&self, block: &BlockRef, sealed: &[u8], part: &mut [u8]) -> Result<(), ReadError> {
        let plain = (block.len as usize).min(part.len());
        let (content, rest) = part.split_at_mut(plain);
        if plain == block.len as usize {
            self.open_sealed(block, sealed, content)?;
        } else {
            let mut whole = vec![0; block.len as usize];
            self.open_sealed(block, sealed, &mut whole)?;
            content.copy_from_slice(&whole[..plain]);
        }
        rest.fill(0);
        Ok(())
    }

    /// Asks the disk for blocks that will be read soon.
    pub(crate) fn prefetch(&self, run: &[BlockRef]) {
        for run in run.chunk_by(|a, b| a.segment == b.segment && a.index + 1 == b.index) {
            self.containers.prefetch_run(&run[0].segment, run[0].index, run.len() as u32);
        }
    }
}

/// Buffers for sealed bytes, kept by each thread: fresh memory for each read would cost more than opening it.
#[derive(Default)]
struct Buffers {
    sealed: Vec<u8>,
    lens: Vec<u32>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

fn with_buffers<T>(run: impl FnOnce(&mut Buffers) -> T) -> T {
    BUFFERS.with_borrow_mut(run)
}

/// The content of a slot from its sealed plaintext.
pub(crate) fn decompress(slot: &Slot, plain: Vec<u8>) -> Result<Vec<u8>, ReadError> {
    let BlockRef { segment, index, .. } = slot.block;
    let failed = || ReadError::Compression { segment, index };
    match slot.compression {
        Compression::None => Ok(plain),
        Compression::Lz4 => {
            let mut out = vec![0; BLOCK_SIZE];
            let len = lz4_flex::block::decompress_into(&plain, &mut out).map_err(|_| failed())?;
            out.truncate(len);
            Ok(out)
        }
        Compression::Zstd => zstd::bulk::decompress(&plain, BLOCK_SIZE).map_err(|_| failed()),
    }
}

/// The plaintext to seal for a slot's content, when compressing it saves at least an eighth.
pub(crate) fn compress(compression: Compression, content: &[u8]) -> Option<Vec<u8>> {
    const ZSTD_LEVEL: i32 = 3;
    let smaller = match compression {
        Compression::None => return None,
        Compression::Lz4 => lz4_flex::block::compress(content),
        Compression::Zstd => zstd::bulk::compress(content, ZSTD_LEVEL).ok()?,
    };
    (smaller.len() + content.len() / 8 <= content.len() && !smaller.is_empty()).then_some(smaller)
}

fn index_error(block: &BlockRef, source: impl Error + Send + Sync + 'static) -> IndexError {
    IndexError::Source { block: Box::new(*block), source: Box::new(source) }
}

impl NodeSource for BlockSource {
    fn load(&self, block: &BlockRef) -> Result<Arc<Node>, IndexError> {
        let key = (block.segment, block.index);
        if let Some(node) = self.nodes.get(&key) {
            return Ok(node);
        }
        let mut plain = Vec::new();
        self.open_block(block, &mut plain).map_err(|error| index_error(block, error))?;
        let node = Node::decode(plain).map_err(|why| {
            index_error(block, ReadError::NotANode { segment: block.segment, index: block.index, why })
        })?;
        let node = Arc::new(node);
        self.nodes.insert(key, node.clone());
        Ok(node)
    }
}

impl Source for BlockSource {
    fn read_slot(&self, slot: &Slot, out: &mut Vec<u8>) -> Result<(), ZoneError> {
        let block = self.data(slot).map_err(|error| ZoneError::Index(index_error(&slot.block, error)))?;
        out.clear();
        out.extend_from_slice(&block);
        Ok(())
    }
}
