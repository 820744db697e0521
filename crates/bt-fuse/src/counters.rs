//! Counts of the kernel's requests, by operation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::wire;

/// Operations above this number are not known.
const OPCODES: usize = 64;

/// Counts of one serving thread, so that threads on different cores do not share the memory they count in.
pub(crate) struct Counters([AtomicU64; OPCODES]);

impl Counters {
    pub(crate) fn new() -> Arc<Counters> {
        Arc::new(Counters(std::array::from_fn(|_| AtomicU64::new(0))))
    }

    /// Counts one request.
    pub(crate) fn add(&self, opcode: u32) {
        if let Some(counter) = self.0.get(opcode as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The sums of several threads by the operations' names; those that never came are not listed.
pub(crate) fn sum(counters: &[Arc<Counters>]) -> BTreeMap<&'static str, u64> {
    (0..OPCODES as u32)
        .filter_map(|opcode| {
            let count: u64 = counters.iter().map(|counters| counters.0[opcode as usize].load(Ordering::Relaxed)).sum();
            (count > 0).then_some((wire::opcode_name(opcode)?, count))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::opcode;

    #[test]
    fn sums_threads() {
        let threads = [Counters::new(), Counters::new()];
        threads[0].add(opcode::READ);
        threads[1].add(opcode::READ);
        threads[1].add(opcode::WRITE);
        threads[1].add(4096);
        assert_eq!(sum(&threads), BTreeMap::from([("READ", 2), ("WRITE", 1)]));
    }
}
