//! Slots: the places of cells in key order, with as much of each key as finding one mostly takes.
//!
//! The idea is the "poor man's normalized keys" of Graefe and Larson, "B-Tree Indexes and CPU Caches" (ICDE 2001).

use std::cmp::Ordering;
use std::ops::Range;

use super::page::Page;

/// The part of the keys' common beginning that is made use of; longer ones still work.
const PREFIX_SIZE: usize = 39;
/// Bytes of the head: the part of a key after the prefix that its slot holds.
const HEAD_SIZE: usize = 14;

/// The head of a key above the cell's offset in the arena.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(u128);

impl Slot {
    pub fn new(head: u128, offset: usize) -> Self {
        Self(head << 16 | offset as u128)
    }

    pub fn head(self) -> u128 {
        self.0 >> 16
    }

    pub fn offset(self) -> usize {
        (self.0 & 0xffff) as usize
    }
}

/// What all keys begin with, beside the slots so that checking it costs no further cache line.
#[derive(Clone, Copy)]
pub(super) struct Prefix {
    pub len: u8,
    bytes: [u8; PREFIX_SIZE],
}

impl Prefix {
    pub const EMPTY: Self = Self { len: 0, bytes: [0; PREFIX_SIZE] };

    pub fn of(key: &[u8]) -> Self {
        let len = key.len().min(PREFIX_SIZE);
        let mut prefix = Self { len: len as u8, ..Self::EMPTY };
        prefix.bytes[..len].copy_from_slice(&key[..len]);
        prefix
    }

    pub fn len(&self) -> usize {
        self.len as usize
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len()]
    }

    /// The bytes of `key` after the prefix, zeros where it is shorter; keeps the order of keys that share it.
    pub fn head(&self, key: &[u8]) -> u128 {
        let rest = key.get(self.len()..).unwrap_or_default();
        if let Some(bytes) = rest.first_chunk() {
            return u128::from_be_bytes(*bytes) >> (8 * (16 - HEAD_SIZE));
        }
        let mut bytes = [0; 16];
        let len = rest.len().min(HEAD_SIZE);
        bytes[16 - HEAD_SIZE..][..len].copy_from_slice(&rest[..len]);
        u128::from_be_bytes(bytes)
    }
}

impl Page {
    /// Where `key` is, or else where it would be inserted.
    pub fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let prefix = self.prefix.as_bytes();
        if !key.starts_with(prefix) {
            return self.search_outside(key, key < prefix);
        }
        let head = self.prefix.head(key);
        let low = self.lower_bound(head);
        match self.slots.get(low) {
            Some(slot) if slot.head() == head => {}
            _ => return Err(low),
        }
        match self.slots.get(low + 1) {
            Some(slot) if slot.head() == head => self.search_equal_heads(key, head, low),
            _ => match self.key(low).cmp(key) {
                Ordering::Equal => Ok(low),
                Ordering::Less => Err(low + 1),
                Ordering::Greater => Err(low),
            },
        }
    }

    /// The first slot whose head is not below `head`.
    ///
    /// Looks first where the slot would be if keys were spread evenly, as numbers and hashes are, and then in
    /// steps that double: mostly one cache line where bisection takes five. Never more than twice as many steps.
    fn lower_bound(&self, head: u128) -> usize {
        let (first, last) = self.ends;
        if head <= first {
            return 0;
        }
        if head > last {
            return self.len();
        }
        let shift = (128 - (last - first).leading_zeros()).saturating_sub(48);
        let (part, range) = ((head - first) >> shift, (last - first) >> shift);
        let guess = (part as u64 * (self.len() as u64 - 1) / range as u64) as usize;
        let near = self.widen(guess, head);
        near.start + self.slots[near].partition_point(|slot| slot.head() < head)
    }

    /// A range around `guess` that has the first slot whose head is not below `head`, or ends before it.
    fn widen(&self, guess: usize, head: u128) -> Range<usize> {
        let is_below = |at: usize| self.slots[at].head() < head;
        let (mut low, mut high, mut step) = (0, self.len(), 1);
        if is_below(guess) {
            low = guess + 1;
            while low + step < high {
                if !is_below(low + step) {
                    return low..low + step;
                }
                low += step + 1;
                step *= 2;
            }
        } else {
            high = guess;
            while low + step < high {
                if is_below(high - step) {
                    return high - step + 1..high;
                }
                high -= step;
                step *= 2;
            }
        }
        low..high
    }

    /// The search for a key that does not share what all others do.
    #[cold]
    fn search_outside(&self, key: &[u8], is_below: bool) -> Result<usize, usize> {
        let has_empty = self.len() > 0 && self.key(0).is_empty();
        match (has_empty, is_below) {
            (true, _) if key.is_empty() => Ok(0),
            (_, true) => Err(usize::from(has_empty)),
            (_, false) => Err(self.len()),
        }
    }

    /// The search among the slots from `low` whose heads are the same, by whole keys.
    fn search_equal_heads(&self, key: &[u8], head: u128, low: usize) -> Result<usize, usize> {
        let high = low + self.slots[low..].partition_point(|slot| slot.head() <= head);
        match self.slots[low..high].binary_search_by(|slot| self.key_of(*slot).cmp(key)) {
            Ok(at) => Ok(low + at),
            Err(at) => Err(low + at),
        }
    }
}
