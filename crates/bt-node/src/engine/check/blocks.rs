//! Blocks as they are stored: verified while a walk comes by, and segments against their accounts.

use std::collections::HashSet;
use std::ops::ControlFlow;

use bt_base::SegmentId;
use bt_base::limits::{SEGMENT_BLOCKS, TAG_SIZE};
use bt_store::Containers;
use bt_tree::BlockRef;
use bt_tree::check::{Flaw, Observer, Place, References};
use bt_tree::schema::{Compression, Slot};

use super::places::block_place;
use super::report::{Findings, told};
use super::{BlockSource, Frozen};
use crate::control::report::CheckReport;
use crate::engine::source::{ReadError, decompress};

/// Blocks after which progress is told.
const TELL_BLOCKS: u64 = 64;

/// Tells how far a check is; breaks when it is to end.
type Tell<'a> = &'a mut dyn FnMut(&CheckReport) -> ControlFlow<()>;

/// Counts what a walk comes by, and reads the blocks of file data.
pub(super) struct BlockCheck<'a> {
    source: &'a BlockSource,
    deep: bool,
    report: &'a mut CheckReport,
    found: &'a mut dyn FnMut(Flaw),
    tell: Tell<'a>,
    told: u64,
    broken: bool,
    sealed: Vec<u8>,
    lens: Vec<u32>,
    plain: Vec<u8>,
}

impl<'a> BlockCheck<'a> {
    pub(super) fn new(
        source: &'a BlockSource,
        deep: bool,
        report: &'a mut CheckReport,
        found: &'a mut dyn FnMut(Flaw),
        tell: Tell<'a>,
    ) -> Self {
        let (told, broken) = (report.blocks, false);
        let (sealed, lens, plain) = (Vec::new(), Vec::new(), Vec::new());
        Self { source, deep, report, found, tell, told, broken, sealed, lens, plain }
    }

    fn count(&mut self, block: &BlockRef) {
        self.report.blocks += 1;
        self.report.bytes += u64::from(block.len) + TAG_SIZE as u64;
        if self.report.blocks >= self.told + TELL_BLOCKS {
            self.told = self.report.blocks;
            self.broken |= (self.tell)(self.report).is_break();
        }
    }

    /// Reads blocks that follow each other at once; one by one where that fails.
    fn read_run(&mut self, inode: u64, run: &[(u64, Slot)]) {
        let first = &run[0].1.block;
        let read = self.source.containers.read_run(
            &first.segment,
            first.index,
            run.len() as u32,
            &mut self.sealed,
            &mut self.lens,
        );
        let mut at = 0;
        for (i, (number, slot)) in run.iter().enumerate() {
            let opened = match &read {
                Ok(()) => {
                    let end = at + self.lens[i] as usize;
                    let range = std::mem::replace(&mut at, end)..end;
                    open(self.source, slot, &self.sealed[range], &mut self.plain)
                }
                Err(_) => self.source.open_block(&slot.block, &mut self.plain),
            };
            let content = opened.and_then(|()| match slot.compression {
                Compression::None => Ok(()),
                _ => decompress(slot, self.plain.clone()).map(|_| ()),
            });
            self.count(&slot.block);
            if let Err(error) = content {
                let start = number * bt_base::limits::BLOCK_SIZE as u64;
                let place = block_place(&slot.block.segment, slot.block.index, &self.source.containers);
                let what = format!("the data of a file is damaged from byte {start} on: {error}; it is {place}");
                (self.found)(Flaw { what, place: Place::Inode(inode) });
            }
        }
    }
}

fn open(source: &BlockSource, slot: &Slot, sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), ReadError> {
    plain.clear();
    plain.resize(slot.block.len as usize, 0);
    source.open_sealed(&slot.block, sealed, plain)
}

impl Observer for BlockCheck<'_> {
    fn flaw(&mut self, flaw: Flaw) {
        (self.found)(flaw);
    }

    fn node(&mut self, block: &BlockRef) {
        self.count(block);
    }

    fn data(&mut self, inode: u64, slots: &[(u64, Slot)]) {
        if !self.deep || self.broken {
            return;
        }
        let follows = |(_, a): &(u64, Slot), (_, b): &(u64, Slot)| {
            (a.block.segment, a.block.index + 1) == (b.block.segment, b.block.index)
        };
        for run in slots.chunk_by(follows) {
            self.read_run(inode, run);
        }
    }

    fn go_on(&mut self) -> bool {
        !self.broken
    }
}

/// Compares accounts with the segments that are stored. What no account names may look like anything: a crash leaves
/// segments cut short.
pub(super) fn check_segments(
    containers: &Containers,
    references: &References,
    frozen: &Frozen<'_>,
    report: &mut CheckReport,
    findings: &mut Findings,
) {
    report.segments = frozen.stored.len() as u64;
    let known: HashSet<&SegmentId> =
        references.segments().filter(|segment| references.account(segment).is_some()).collect();
    for segment in &known {
        check_segment(containers, references, segment, findings);
    }
    let leftover = |id: &SegmentId| !known.contains(id) && !frozen.expected.contains(id);
    report.leftovers = frozen.stored.iter().filter(|info| leftover(&info.id)).count() as u64;
}

/// Every live block must be in the segment's table.
fn check_segment(containers: &Containers, references: &References, segment: &SegmentId, findings: &mut Findings) {
    let account = references.account(segment).expect("asked for segments with an account");
    let flaw = |what: String| Flaw { what, place: Place::Segment(*segment) };
    let places = match containers.blocks(segment) {
        Ok(places) => places,
        Err(error) => return findings.add_flaw(flaw(told(&error)), None),
    };
    let mut stored = vec![false; SEGMENT_BLOCKS];
    let mut live_bytes = 0;
    for place in places.iter().filter(|place| account.is_live(place.index)) {
        stored[place.index as usize] = true;
        live_bytes += u64::from(place.len);
    }
    let missing = (0..account.blocks).filter(|index| account.is_live(*index) && !stored[*index as usize]);
    let missing: Vec<u32> = missing.collect();
    if let Some(first) = missing.first() {
        let what = format!("{} blocks that are in use are not stored, block {first} among them", missing.len());
        findings.add_flaw(flaw(what), None);
    } else if live_bytes != account.live_bytes {
        let said = account.live_bytes;
        findings.add_flaw(flaw(format!("its account says that {said} bytes are alive, stored are {live_bytes}")), None);
    }
    if account.index_blocks && places.iter().any(|place| place.len as usize > bt_base::limits::BLOCK_SIZE + TAG_SIZE) {
        findings.add_flaw(flaw("it has an index node longer than any can be".into()), None);
    }
}
