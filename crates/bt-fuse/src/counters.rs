//! Counts of the kernel's requests, by operation; each count is also a sign that the mount is in use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::awake::Awake;
use crate::wire::{self, opcode};

/// Operations above this number are not known.
const OPCODES: usize = 64;

/// Counts of one serving thread, so that threads on different cores do not share the memory they count in.
pub(crate) struct Counters {
    counts: [AtomicU64; OPCODES],
    awake: Arc<Awake>,
}

impl Counters {
    pub(crate) fn new(awake: &Arc<Awake>) -> Arc<Counters> {
        Arc::new(Counters { counts: std::array::from_fn(|_| AtomicU64::new(0)), awake: awake.clone() })
    }

    /// Counts one request.
    pub(crate) fn add(&self, opcode: u32) {
        if let Some(counter) = self.counts.get(opcode as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.awake.request(matches!(opcode, opcode::FSYNC | opcode::FSYNCDIR | opcode::SYNCFS));
    }
}

/// The sums of several threads by the operations' names; those that never came are not listed.
pub(crate) fn sum(counters: &[Arc<Counters>]) -> BTreeMap<&'static str, u64> {
    (0..OPCODES as u32)
        .filter_map(|opcode| {
            let count: u64 =
                counters.iter().map(|counters| counters.counts[opcode as usize].load(Ordering::Relaxed)).sum();
            (count > 0).then_some((wire::opcode_name(opcode)?, count))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn sums_threads() {
        let awake = Awake::new();
        let threads = [Counters::new(&awake), Counters::new(&awake)];
        threads[0].add(opcode::READ);
        threads[1].add(opcode::READ);
        threads[1].add(opcode::WRITE);
        threads[1].add(4096);
        assert_eq!(sum(&threads), BTreeMap::from([("READ", 2), ("WRITE", 1)]));
    }
}
