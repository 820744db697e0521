//! Finding what is sealed under the keys of earlier epochs, so that it can be sealed anew.

use std::ops::ControlFlow;

use super::{Zone, ZoneError};
use crate::block::BlockRef;
use crate::index::{NodeSource, Walk};
use crate::schema::Death;

/// Leaves that [`Zone::old_leaves`] looks at for each that it may give.
const LEAVES_SEEN: usize = 8;

/// Keys of leaves, and the key to go on from.
pub type OldLeaves = (Vec<Vec<u8>>, Option<Vec<u8>>);

/// What lies under the keys of earlier epochs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OldKeys {
    /// Segments.
    pub segments: u64,
    /// Sealed bytes in them that are alive.
    pub live_bytes: u64,
}

impl Zone {
    /// Leaves of the index that were sealed before `epoch`, each by a key in it: at most `limit`, from the key `from` on;
    /// and the key to go on from. Looks at a bounded number of nodes.
    pub fn old_leaves(
        &self,
        source: &dyn NodeSource,
        epoch: u32,
        from: &[u8],
        limit: usize,
    ) -> Result<OldLeaves, ZoneError> {
        let (mut keys, mut next, mut failed, mut seen) = (Vec::new(), None, None, 0);
        self.tree.walk_nodes(source, &mut |visit| {
            if visit.upper.is_some_and(|upper| upper <= from) {
                return Walk::Over;
            }
            let is_old = visit.level == 0 && visit.block.is_some_and(|block| block.epoch < epoch);
            seen += usize::from(visit.level == 0);
            match visit.node {
                Err(error) => {
                    failed = Some(error.to_string());
                    Walk::Stop
                }
                Ok(_) if visit.level == 0 && (keys.len() == limit || seen > limit * LEAVES_SEEN) => {
                    next = Some(visit.lower.to_vec());
                    Walk::Stop
                }
                Ok(node) => {
                    keys.extend(node.records().next().filter(|_| is_old).map(|(key, _)| key.to_vec()));
                    Walk::Into
                }
            }
        });
        match failed {
            None => Ok((keys, next)),
            Some(what) => Err(ZoneError::Missing { what: format!("a node of the index ({what})") }),
        }
    }

    /// Makes the leaves with these keys dirty, and the branches above them: the next commit seals them anew.
    pub fn touch(&mut self, source: &dyn NodeSource, keys: &[Vec<u8>]) -> Result<(), ZoneError> {
        for key in keys {
            self.tree.update(source, key, |_| ())?;
        }
        Ok(())
    }

    /// What the present and the snapshots need of segments that were sealed before `epoch`.
    pub fn old_keys(&self, source: &dyn NodeSource, epoch: u32) -> Result<OldKeys, ZoneError> {
        let mut old = OldKeys::default();
        self.for_accounts(source, &mut |_, account| {
            if account.epoch < epoch {
                old.segments += 1;
                old.live_bytes += account.live_bytes;
            }
            ControlFlow::Continue(())
        })?;
        Ok(old)
    }

    /// Whether a block has more references than one.
    pub fn is_counted(&self, source: &dyn NodeSource, block: &BlockRef) -> Result<bool, ZoneError> {
        Ok(self.count(source, &Death::from(block))? > 0)
    }

    /// Whether a block is alive, by its segment's account.
    pub fn is_alive(&self, source: &dyn NodeSource, block: &BlockRef) -> Result<bool, ZoneError> {
        Ok(self.account(source, &block.segment)?.is_some_and(|account| account.is_live(block.index)))
    }
}
