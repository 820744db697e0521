//! What a node does around a [`Vfs`], in memory: blocks under made-up references, flush, journal, commit, recovery.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use bt_base::limits::PAGE_SIZE;
use bt_base::{BlockHash, Revision, SegmentId, Timestamp};
use bt_tree::block::BlockRef;
use bt_tree::check::{Flaw, Observer, References, check_state};
use bt_tree::head::SegmentSummary;
use bt_tree::index::{IndexError, Node, NodeSink, NodeSource};
use bt_tree::schema::{Compression, Slot};
use bt_tree::zone::{Zone, ZoneError};

use crate::op::{Op, decode_records};
use crate::{
    FlushFile, FlushPlan, FlushedFile, FrozenVfs, PageSource, Piece, Replay, SealedSlot, SlotJob, Source, Vfs,
};

/// Blocks that one segment takes here; small, so that segments die.
const SEGMENT_BLOCKS: usize = 8;

/// A segment's blocks, in plain.
type Blocks = Vec<(BlockHash, Arc<[u8]>)>;

/// Blocks as they were written.
#[derive(Default)]
pub(super) struct Memory {
    segments: RefCell<HashMap<SegmentId, Blocks>>,
    written: Cell<u64>,
}

impl Memory {
    fn read(&self, block: &BlockRef) -> Arc<[u8]> {
        let segments = self.segments.borrow();
        let blocks = segments.get(&block.segment).expect("a segment that a state needs is not dropped");
        let (hash, bytes) = &blocks[block.index as usize];
        assert_eq!(*hash, block.hash, "a reference names the block it was made for");
        assert_eq!(bytes.len(), block.len as usize, "a reference knows the block's length");
        bytes.clone()
    }

    fn lengths(&self, segment: &SegmentId) -> Vec<(u32, u32)> {
        let segments = self.segments.borrow();
        segments[segment].iter().zip(0..).map(|((_, bytes), index)| (index, bytes.len() as u32)).collect()
    }
}

impl NodeSource for Memory {
    fn load(&self, block: &BlockRef) -> Result<Arc<Node>, IndexError> {
        Ok(Arc::new(Node::decode(self.read(block).to_vec()).expect("what was written can be decoded")))
    }
}

impl Source for Memory {
    fn read_slot(&self, slot: &Slot, out: &mut Vec<u8>) -> Result<(), ZoneError> {
        out.clear();
        out.extend_from_slice(&self.read(&slot.block));
        Ok(())
    }
}

/// Writes blocks into fresh segments.
struct Sealer<'a> {
    memory: &'a Memory,
    revision: Revision,
    index_blocks: bool,
    segments: Vec<SegmentSummary>,
}

impl<'a> Sealer<'a> {
    fn new(memory: &'a Memory, revision: Revision, index_blocks: bool) -> Self {
        Self { memory, revision, index_blocks, segments: Vec::new() }
    }

    fn seal(&mut self, plain: &[u8]) -> BlockRef {
        let number = self.memory.written.get() + 1;
        self.memory.written.set(number);
        let mut name = [0; 32];
        name[..8].copy_from_slice(&number.to_le_bytes());
        if self.segments.last().is_none_or(|segment| segment.blocks as usize == SEGMENT_BLOCKS) {
            let id = SegmentId(name);
            let (epoch, blocks, sealed_bytes, hash) = (1, 0, 0, [0; 32]);
            let index_blocks = self.index_blocks;
            self.segments.push(SegmentSummary { id, epoch, blocks, sealed_bytes, hash, index_blocks });
        }
        let summary = self.segments.last_mut().expect("just pushed");
        let (index, len) = (summary.blocks, plain.len() as u32);
        summary.blocks += 1;
        summary.sealed_bytes += u64::from(len) + bt_base::limits::TAG_SIZE as u64;
        let mut segments = self.memory.segments.borrow_mut();
        segments.entry(summary.id).or_default().push((BlockHash(name), plain.into()));
        BlockRef { segment: summary.id, index, len, epoch: 1, birth: self.revision, hash: BlockHash(name) }
    }

    fn file(&mut self, file: FlushFile) -> FlushedFile {
        let sealed = |job: &SlotJob| {
            let block = self.seal(&block_content(self.memory, job));
            SealedSlot { slot: job.slot, block: Slot { block, compression: Compression::None } }
        };
        let sealed = file.jobs.iter().map(sealed).collect();
        FlushedFile { file, sealed }
    }
}

impl NodeSink for Sealer<'_> {
    fn write(&mut self, encoded: &[u8]) -> Result<BlockRef, IndexError> {
        Ok(self.seal(encoded))
    }

    fn sealed(&mut self, _: &BlockRef, _: &Arc<Node>) {}
}

fn block_content(memory: &Memory, job: &SlotJob) -> Vec<u8> {
    let mut plain = vec![0; job.len];
    let old = job.old.map(|slot| memory.read(&slot.block));
    for (i, page) in job.pages.iter().enumerate() {
        let start = (i * PAGE_SIZE).min(plain.len());
        let bytes = match page {
            PageSource::Zero => continue,
            PageSource::Dirty(bytes) => &bytes[..],
            PageSource::Old => old.as_ref().expect("the job names it").get(i * PAGE_SIZE..).unwrap_or_default(),
        };
        let len = bytes.len().min(PAGE_SIZE).min(plain.len() - start);
        plain[start..start + len].copy_from_slice(&bytes[..len]);
    }
    plain
}

/// A published state.
struct Head {
    root: (BlockRef, u8),
    revision: Revision,
    covered: u64,
    unaccounted: Vec<SegmentSummary>,
}

/// A commit whose head is not published yet.
pub(super) struct Committing(FrozenVfs);

/// A [`Vfs`] with its storage.
pub(super) struct Bed {
    pub(super) memory: Memory,
    pub(super) vfs: Vfs,
    head: Option<Head>,
    /// Records in the journal, by number.
    journal: BTreeMap<u64, Op>,
    /// Segments that only the two newest heads need.
    dropping: Vec<SegmentId>,
    clock: i64,
}

impl Bed {
    pub(super) fn new() -> Self {
        let memory = Memory::default();
        let vfs = Vfs::create(&memory, (0, 0), Compression::None, Timestamp::new(1, 0)).expect("nothing is read");
        let mut bed = Self { memory, vfs, head: None, journal: BTreeMap::new(), dropping: Vec::new(), clock: 1 };
        bed.commit();
        bed
    }

    /// A time later than all before.
    pub(super) fn now(&mut self) -> Timestamp {
        self.clock += 1;
        Timestamp::new(self.clock, 0)
    }

    /// Takes files as they are now; [`Bed::finish_flush`] puts them into the index.
    pub(super) fn begin_flush(&mut self, inodes: &[u64]) -> FlushPlan {
        self.vfs.begin_flush(&self.memory, inodes).expect("the index is whole")
    }

    pub(super) fn finish_flush(&mut self, plan: FlushPlan) {
        let number = plan.number();
        let mut sealer = Sealer::new(&self.memory, self.vfs.zone().next_revision(), false);
        let files: Vec<_> = plan.files.into_iter().map(|file| sealer.file(file)).collect();
        let segments = sealer.segments;
        self.vfs.finish_flush(&self.memory, number, &segments, files).expect("the index is whole");
    }

    pub(super) fn flush(&mut self, inodes: &[u64]) {
        let plan = self.begin_flush(inodes);
        self.finish_flush(plan);
    }

    /// The first half of fsync(2).
    pub(super) fn begin_sync(&mut self, inode: Option<u64>) {
        self.vfs.sync_file(&self.memory, inode).expect("the index is whole");
    }

    /// The second half: what waits goes into the journal.
    pub(super) fn write_journal(&mut self) {
        let (chunks, _) = self.vfs.take_log(&self.memory).expect("the index is whole");
        for chunk in chunks {
            let ops = decode_records(&chunk.bytes).expect("records can be decoded");
            assert_eq!(ops.len(), chunk.count as usize);
            self.journal.extend((chunk.first..).zip(ops));
        }
    }

    pub(super) fn sync(&mut self, inode: Option<u64>) {
        self.begin_sync(inode);
        self.write_journal();
    }

    pub(super) fn begin_commit(&mut self) -> Committing {
        let owed = self.vfs.must_flush();
        self.flush(&owed);
        Committing(self.vfs.freeze(&self.memory).expect("the index is whole"))
    }

    pub(super) fn finish_commit(&mut self, committing: Committing) {
        self.publish(committing);
        self.check();
    }

    /// A commit of a state that need not be whole; returns what a check says of it.
    pub(super) fn commit_damaged(&mut self) -> Vec<String> {
        let committing = self.begin_commit();
        self.publish(committing);
        self.flaws().into_iter().map(|flaw| flaw.what).collect()
    }

    fn publish(&mut self, committing: Committing) {
        let FrozenVfs { zone, covered } = committing.0;
        let mut sealer = Sealer::new(&self.memory, zone.revision, true);
        let root = zone.tree.seal(&mut sealer).expect("memory takes everything").expect("a zone has records");
        let segments = sealer.segments;
        drop(zone.tree);
        self.head = Some(Head { root, revision: zone.revision, covered, unaccounted: segments.clone() });
        self.vfs.committed(zone.revision, covered, segments);
        self.journal.retain(|number, _| *number > covered);
        for segment in std::mem::replace(&mut self.dropping, zone.released) {
            self.memory.segments.borrow_mut().remove(&segment).expect("a segment is released once");
        }
    }

    pub(super) fn commit(&mut self) {
        let committing = self.begin_commit();
        self.finish_commit(committing);
    }

    /// Whether the newest head's state is whole.
    fn check(&self) {
        let (flaws, head) = (self.flaws(), self.head.as_ref().expect("a commit published it"));
        assert!(flaws.is_empty(), "the state of revision {} is not whole: {flaws:#?}", head.revision);
    }

    fn flaws(&self) -> Vec<Flaw> {
        let head = self.head.as_ref().expect("a commit published it");
        let mut references = References::new();
        references.add_unaccounted(&head.unaccounted);
        let tree = bt_tree::index::Tree::open(head.root.0, head.root.1);
        let mut findings = Findings::default();
        check_state(&self.memory, &tree, true, &mut references, &mut findings);
        references.compare(true, &mut |flaw| findings.0.push(flaw));
        findings.0
    }

    /// Throws away what is in memory alone and recovers from the newest head and the journal.
    pub(super) fn crash(&mut self) {
        let head = self.head.as_ref().expect("a bed begins with a commit");
        let zone = Zone::open(&self.memory, head.root, head.revision, head.unaccounted.clone());
        let zone = zone.expect("the head can be opened");
        let mut vfs = Vfs::open(&self.memory, zone, head.covered).expect("the head can be opened");
        let mut replay = Replay::default();
        for (number, op) in self.journal.range(head.covered + 1..) {
            vfs.replay(&self.memory, &mut replay, *number, op.clone()).expect("a record of the journal applies");
        }
        let lengths = |segment: &SegmentId| Ok(self.memory.lengths(segment));
        vfs.finish_replay(&self.memory, replay, &lengths).expect("the index is whole");
        let mut waiting = vfs.adopt_orphans(&self.memory).expect("the index is whole");
        while let Some(inode) = waiting.pop() {
            let freed = vfs.free(&self.memory, inode).expect("the index is whole");
            waiting.extend((!freed.done).then_some(inode).into_iter().chain(freed.nameless));
        }
        self.vfs = vfs;
        self.commit();
    }

    /// Applies one record that may contradict the state; says whether it did not.
    pub(super) fn replay_one(&mut self, replay: &mut Replay, op: Op) -> bool {
        let number = self.vfs.last_record() + 1;
        self.vfs.replay(&self.memory, replay, number, op).is_ok()
    }

    /// A file's bytes from `offset` on.
    pub(super) fn read(&self, inode: u64, offset: u64, len: usize) -> Vec<u8> {
        let (pieces, _) = self.vfs.read(&self.memory, inode, offset, len).expect("the file is there");
        let mut out = Vec::new();
        for piece in pieces {
            let end = out.len() + piece.len();
            match &piece {
                Piece::Zero(_) => {}
                Piece::Bytes(bytes, range) => out.extend_from_slice(within(bytes, range)),
                Piece::Block(slot, range) => out.extend_from_slice(within(&self.memory.read(&slot.block), range)),
            }
            out.resize(end, 0);
        }
        out
    }
}

impl Bed {
    /// Sealed bytes of file data that are alive.
    pub(super) fn live_data_bytes(&self) -> u64 {
        let mut live = 0;
        let visit = &mut |_, account: bt_tree::zone::Account| {
            live += if account.index_blocks { 0 } else { account.live_bytes };
            ControlFlow::Continue(())
        };
        self.vfs.zone().for_accounts(&self.memory, visit).expect("the index is whole");
        live
    }
}

fn within<'a>(bytes: &'a [u8], range: &std::ops::Range<usize>) -> &'a [u8] {
    &bytes[range.start.min(bytes.len())..range.end.min(bytes.len())]
}

#[derive(Default)]
struct Findings(Vec<Flaw>);

impl Observer for Findings {
    fn flaw(&mut self, flaw: Flaw) {
        self.0.push(flaw);
    }

    fn node(&mut self, _: &BlockRef) {}

    fn data(&mut self, _: u64, _: &[(u64, Slot)]) {}

    fn go_on(&mut self) -> bool {
        true
    }
}
