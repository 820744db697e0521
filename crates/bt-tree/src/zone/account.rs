//! The account of a segment: how much of it is alive, block by block.

use std::ops::ControlFlow;

use bt_base::SegmentId;
use bt_base::codec::DecodeError;
use bt_base::limits::{SEGMENT_BLOCKS, SEGMENT_SIZE, TAG_SIZE};

use super::{Zone, ZoneError};
use crate::head::SegmentSummary;
use crate::index::NodeSource;
use crate::schema::{Death, Key, KeyKind, Reader, parse_key};

const FIXED: usize = 8 + 8 + 4 + 4 + 1;

/// Which blocks of a segment are alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Sealed bytes of all blocks the segment was written with.
    pub sealed_bytes: u64,
    /// Sealed bytes of the blocks that are alive.
    pub live_bytes: u64,
    /// Blocks the segment was written with.
    pub blocks: u32,
    /// The epoch of the segment's key.
    pub epoch: u32,
    /// Whether the blocks are index nodes.
    pub index_blocks: bool,
    /// One bit a block, least significant first; set when the block died.
    pub dead: Vec<u8>,
}

impl Account {
    /// The account of a segment just written: all of it is alive.
    pub fn new(summary: &SegmentSummary) -> Self {
        Self {
            sealed_bytes: summary.sealed_bytes,
            live_bytes: summary.sealed_bytes,
            blocks: summary.blocks,
            epoch: summary.epoch,
            index_blocks: summary.index_blocks,
            dead: vec![0; (summary.blocks as usize).div_ceil(8)],
        }
    }

    /// Whether block `index` is alive.
    pub fn is_live(&self, index: u32) -> bool {
        index < self.blocks && self.dead[index as usize / 8] & (1 << (index % 8)) == 0
    }

    /// Encodes the record; its length depends on the number of blocks alone.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED + self.dead.len());
        out.extend_from_slice(&self.sealed_bytes.to_le_bytes());
        out.extend_from_slice(&self.live_bytes.to_le_bytes());
        out.extend_from_slice(&self.blocks.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.push(u8::from(self.index_blocks));
        out.extend_from_slice(&self.dead);
        out
    }

    /// Decodes the record.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("account record", bytes);
        let account = Self {
            sealed_bytes: reader.u64()?,
            live_bytes: reader.u64()?,
            blocks: reader.u32()?,
            epoch: reader.u32()?,
            index_blocks: reader.bool()?,
            dead: reader.rest().to_vec(),
        };
        let fits = account.blocks as usize <= SEGMENT_BLOCKS
            && account.dead.len() == (account.blocks as usize).div_ceil(8)
            && account.live_bytes <= account.sealed_bytes
            && account.sealed_bytes <= SEGMENT_SIZE as u64
            && (account.blocks.is_multiple_of(8)
                || account.dead.last().is_some_and(|last| last >> (account.blocks % 8) == 0));
        if fits { Ok(account) } else { Err(reader.error("its parts contradict each other")) }
    }

    /// Marks a block dead; false when it is none of the segment's live blocks.
    fn kill(&mut self, block: &Death) -> bool {
        let sealed = u64::from(block.len) + TAG_SIZE as u64;
        if !self.is_live(block.index) || self.live_bytes < sealed {
            return false;
        }
        self.dead[block.index as usize / 8] |= 1 << (block.index % 8);
        self.live_bytes -= sealed;
        true
    }
}

impl Zone {
    /// The account of a segment.
    pub fn account(&self, source: &dyn NodeSource, segment: &SegmentId) -> Result<Option<Account>, ZoneError> {
        Ok(self.with(source, &Key::account(segment), Account::decode)?.transpose()?)
    }

    /// Visits the account of every segment, until `visit` breaks.
    pub fn for_accounts(
        &self,
        source: &dyn NodeSource,
        visit: &mut dyn FnMut(SegmentId, Account) -> ControlFlow<()>,
    ) -> Result<(), ZoneError> {
        let mut failed = None;
        self.tree.scan(source, Key::account(&SegmentId([0; 32])).as_bytes(), &mut |key, value| match (
            parse_key(key),
            Account::decode(value),
        ) {
            (Ok(KeyKind::Account(segment)), Ok(account)) => visit(segment, account),
            (Ok(KeyKind::Account(_)), Err(error)) | (Err(error), _) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
            _ => ControlFlow::Break(()),
        })?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Sealed bytes that are alive in all accounts.
    pub fn live_bytes(&self, source: &dyn NodeSource) -> Result<u64, ZoneError> {
        let mut live = 0;
        self.for_accounts(source, &mut |_, account| {
            live += account.live_bytes;
            ControlFlow::Continue(())
        })?;
        Ok(live)
    }

    pub(super) fn open_account(&mut self, source: &dyn NodeSource, summary: &SegmentSummary) -> Result<(), ZoneError> {
        self.put(source, &Key::account(&summary.id), &Account::new(summary).encode())
    }

    /// Marks blocks of one segment dead and releases the segment when nothing of it is alive.
    pub(super) fn release_blocks(&mut self, source: &dyn NodeSource, blocks: &[Death]) -> Result<(), ZoneError> {
        let Some(first) = blocks.first() else { return Ok(()) };
        let segment = first.segment;
        let missing = || ZoneError::Missing { what: format!("the account of segment {segment}") };
        let mut account = self.account(source, &segment)?.ok_or_else(missing)?;
        for block in blocks {
            if !account.kill(block) {
                let what = format!("live block {} in the account of segment {segment}", block.index);
                return Err(ZoneError::Missing { what });
            }
        }
        if account.live_bytes == 0 {
            self.remove(source, &Key::account(&segment))?;
            self.released.push(segment);
        } else {
            self.put(source, &Key::account(&segment), &account.encode())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bt_base::Revision;

    use super::*;

    #[test]
    fn a_block_dies_once() {
        let summary = SegmentSummary {
            id: SegmentId([1; 32]),
            epoch: 1,
            blocks: 9,
            sealed_bytes: 9 * 116,
            hash: [0; 32],
            index_blocks: false,
        };
        let mut account = Account::new(&summary);
        let block = Death { segment: summary.id, index: 8, len: 100, birth: Revision(1) };
        assert!(account.kill(&block));
        assert!(!account.kill(&block), "dead already");
        assert!(!account.kill(&Death { index: 9, ..block }), "outside");
        assert_eq!(account.live_bytes, 8 * 116);
        assert!(account.is_live(7) && !account.is_live(8));
        assert_eq!(Account::decode(&account.encode()), Ok(account));
    }
}
