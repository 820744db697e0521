//! All references to blocks, against the accounts of their segments.

use std::collections::HashMap;

use bt_base::SegmentId;
use bt_base::limits::{SEGMENT_BLOCKS, TAG_SIZE};

use super::bits::Bits;
use super::{Flaw, Place};
use crate::block::BlockRef;
use crate::head::SegmentSummary;
use crate::schema::Death;
use crate::zone::Account;

/// What refers to blocks, and what accounts say about them.
#[derive(Debug, Default)]
pub struct References {
    segments: HashMap<SegmentId, Use>,
}

/// One segment.
#[derive(Debug, Default)]
struct Use {
    account: Option<Account>,
    /// Blocks that the newest state or a dead list names.
    named: Bits,
    /// Blocks that a walk came by.
    visited: Bits,
    /// Sealed bytes of the blocks in `named`.
    named_bytes: u64,
    /// For each block, references beyond the first less those that its count record says. Empty when all are 0.
    surplus: Vec<i64>,
    nodes: bool,
    data: bool,
    epochs: Option<(u32, u32)>,
}

impl Use {
    fn add_surplus(&mut self, index: u32, references: i64) {
        let index = index as usize;
        if index >= self.surplus.len() {
            self.surplus.resize(index + 1, 0);
        }
        self.surplus[index] = self.surplus[index].saturating_add(references);
    }

    fn name(&mut self, index: u32, len: u32, references: u32) {
        if references == 0 {
            return;
        }
        let fresh = self.named.insert(index);
        if fresh {
            self.named_bytes += u64::from(len) + TAG_SIZE as u64;
        }
        let beyond = i64::from(references) - i64::from(fresh);
        if beyond != 0 {
            self.add_surplus(index, beyond);
        }
    }

    fn note_kind(&mut self, block: &BlockRef, is_node: bool) {
        self.nodes |= is_node;
        self.data |= !is_node;
        let (least, most) = self.epochs.unwrap_or((block.epoch, block.epoch));
        self.epochs = Some((least.min(block.epoch), most.max(block.epoch)));
    }
}

impl References {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Index segments that the newest head brought: no account names them yet, and all of their blocks are alive.
    pub fn add_unaccounted<'a>(&mut self, segments: impl IntoIterator<Item = &'a SegmentSummary>) {
        for summary in segments {
            self.segments.entry(summary.id).or_default().account = Some(Account::new(summary));
        }
    }

    /// An account of the newest state; false when the segment has one.
    pub(super) fn add_account(&mut self, segment: SegmentId, account: Account) -> bool {
        let known = &mut self.segments.entry(segment).or_default().account;
        let fresh = known.is_none();
        if fresh {
            *known = Some(account);
        }
        fresh
    }

    /// References beyond the first, as a count record of the newest state says.
    pub(super) fn add_count(&mut self, segment: SegmentId, index: u32, extra: u32) {
        self.segments.entry(segment).or_default().add_surplus(index, -i64::from(extra));
    }

    /// References on the dead list of a snapshot.
    pub(super) fn add_dead(&mut self, death: &Death, references: u32) {
        self.segments.entry(death.segment).or_default().name(death.index, death.len, references);
    }

    /// A reference in the newest state. True when no walk came by the block before.
    pub(super) fn add_live(&mut self, block: &BlockRef, is_node: bool) -> bool {
        let segment = self.segments.entry(block.segment).or_default();
        segment.name(block.index, block.len, 1);
        segment.note_kind(block, is_node);
        segment.visited.insert(block.index)
    }

    /// A reference in a snapshot. True when no walk came by the block before.
    pub(super) fn add_kept(&mut self, block: &BlockRef, is_node: bool) -> bool {
        let segment = self.segments.entry(block.segment).or_default();
        segment.note_kind(block, is_node);
        segment.visited.insert(block.index)
    }

    /// Whether the accounts say that a block is alive.
    pub fn is_live(&self, segment: &SegmentId, index: u32) -> bool {
        self.account(segment).is_some_and(|account| account.is_live(index))
    }

    /// The account of a segment.
    pub fn account(&self, segment: &SegmentId) -> Option<&Account> {
        self.segments.get(segment)?.account.as_ref()
    }

    /// All segments that an account or a reference names.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentId> {
        self.segments.keys()
    }

    /// Says where references and accounts disagree. Unless the walk saw all of the newest state, that nothing refers
    /// to a block means nothing.
    pub fn compare(&self, complete: bool, found: &mut dyn FnMut(Flaw)) {
        for (id, segment) in &self.segments {
            let mut report = |what: String| found(Flaw { what, place: Place::Segment(*id) });
            match &segment.account {
                Some(account) => compare_account(segment, account, complete, &mut report),
                None if segment.named.is_empty() && segment.visited.is_empty() => {
                    report("a reference count names a block of this segment, but no account does".into());
                }
                None => report("blocks of this segment are in use, but it has no account".into()),
            }
            if let Some((least, most)) = segment.epochs
                && least != most
            {
                report(format!("references name epochs {least} and {most} for one segment"));
            }
        }
    }
}

fn compare_account(segment: &Use, account: &Account, complete: bool, report: &mut dyn FnMut(String)) {
    let blocks = 0..SEGMENT_BLOCKS as u32;
    let named_dead: Vec<u32> =
        blocks.clone().filter(|at| segment.named.contains(*at) && !account.is_live(*at)).collect();
    if let Some(first) = named_dead.first() {
        let count = named_dead.len();
        report(format!("{count} blocks are in use that its account counts as dead, block {first} among them"));
    }
    if !complete {
        return;
    }
    let unnamed: Vec<u32> = blocks.filter(|at| !segment.named.contains(*at) && account.is_live(*at)).collect();
    if let Some(first) = unnamed.first() {
        let count = unnamed.len();
        report(format!("its account counts {count} blocks as alive that nothing uses, block {first} among them"));
    }
    if named_dead.is_empty() && unnamed.is_empty() && account.live_bytes != segment.named_bytes {
        let (said, found) = (account.live_bytes, segment.named_bytes);
        report(format!("its account says that {said} bytes are alive, its blocks in use have {found}"));
    }
    if let Some(at) = segment.surplus.iter().position(|surplus| *surplus != 0) {
        let off = segment.surplus[at];
        let than = if off > 0 { "more" } else { "fewer" };
        report(format!("block {at} has {} references {than} than its count says", off.unsigned_abs()));
    }
    let right_kind = if account.index_blocks { !segment.data } else { !segment.nodes };
    if !right_kind {
        report("it holds index nodes and file data, which never share a segment".into());
    }
    if segment.epochs.is_some_and(|(least, _)| least != account.epoch) {
        report(format!("its account says epoch {}, its references name another", account.epoch));
    }
    if account.live_bytes == 0 {
        report("its account counts nothing as alive, and should be gone".into());
    }
}

#[cfg(test)]
mod tests {
    use bt_base::{BlockHash, Revision};

    use super::*;

    const SEGMENT: SegmentId = SegmentId([3; 32]);

    fn block(index: u32) -> BlockRef {
        BlockRef { segment: SEGMENT, index, len: 84, epoch: 1, birth: Revision(1), hash: BlockHash::default() }
    }

    /// An account of three blocks of 84 bytes, of which those in `dead` died.
    fn account(dead: &[u32]) -> Account {
        let dead_bits = dead.iter().fold(0, |bits, index| bits | 1 << index);
        let live_bytes = 300 - 100 * dead.len() as u64;
        Account { sealed_bytes: 300, live_bytes, blocks: 3, epoch: 1, index_blocks: false, dead: vec![dead_bits] }
    }

    fn flaws(references: &References, complete: bool) -> Vec<String> {
        let mut flaws = Vec::new();
        references.compare(complete, &mut |flaw| flaws.push(flaw.what));
        flaws
    }

    /// References to each of the blocks, in the newest state.
    fn with(account: Account, live: &[u32]) -> References {
        let mut references = References::new();
        assert!(references.add_account(SEGMENT, account));
        for index in live {
            references.add_live(&block(*index), false);
        }
        references
    }

    #[test]
    fn right_accounts_have_no_flaws() {
        assert!(flaws(&with(account(&[]), &[0, 1, 2]), true).is_empty());
        assert!(flaws(&with(account(&[1]), &[2, 0]), true).is_empty());
        let mut shared = with(account(&[0]), &[1, 2, 1, 1]);
        shared.add_count(SEGMENT, 1, 2);
        assert!(flaws(&shared, true).is_empty());
        let mut kept = with(account(&[0]), &[1]);
        kept.add_dead(&Death::from(&block(2)), 1);
        assert!(flaws(&kept, true).is_empty());
        assert!(kept.is_live(&SEGMENT, 2) && !kept.is_live(&SEGMENT, 0) && !kept.is_live(&SEGMENT, 3));
    }

    #[test]
    fn each_wrong_account_is_told() {
        let mut counted = with(account(&[]), &[0, 1, 2]);
        counted.add_count(SEGMENT, 1, 1);
        let other_epoch = Account { epoch: 2, ..account(&[]) };
        let other_kind = Account { index_blocks: true, ..account(&[]) };
        for (references, part) in [
            (with(account(&[1]), &[0, 1, 2]), "counts as dead, block 1"),
            (with(account(&[]), &[0, 2]), "counts 1 blocks as alive that nothing uses, block 1"),
            (with(account(&[]), &[0, 1, 2, 2]), "block 2 has 1 references more than its count"),
            (with(Account { live_bytes: 299, ..account(&[]) }, &[0, 1, 2]), "299 bytes are alive"),
            (with(account(&[0, 1, 2]), &[]), "counts nothing as alive"),
            (with(account(&[]), &[0, 1, 2, 3]), "counts as dead, block 3"),
            (with(other_epoch, &[0, 1, 2]), "says epoch 2"),
            (with(other_kind, &[0, 1, 2]), "never share a segment"),
            (counted, "block 1 has 1 references fewer"),
        ] {
            let flaws = flaws(&references, true);
            assert!(flaws.iter().any(|flaw| flaw.contains(part)), "{part}: {flaws:?}");
        }
        let mut without = References::new();
        without.add_live(&block(0), false);
        assert_eq!(flaws(&without, true), ["blocks of this segment are in use, but it has no account"]);
    }

    #[test]
    fn what_could_not_be_walked_is_not_missed() {
        assert!(flaws(&with(account(&[]), &[0]), false).is_empty());
        assert_eq!(flaws(&with(account(&[1]), &[0, 1]), false).len(), 1, "what was seen still counts");
    }
}
