//! Sets of small numbers, a bit each.

use std::collections::HashMap;

/// Numbers below a few thousand.
#[derive(Debug, Clone, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Puts a number in; false when it was there.
    pub(super) fn insert(&mut self, number: u32) -> bool {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let fresh = self.0[word] & bit == 0;
        self.0[word] |= bit;
        fresh
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.0.get(number as usize / 64).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// One more than the highest number that may be in.
    pub(super) fn bound(&self) -> u32 {
        self.0.len() as u32 * 64
    }
}

const PART_BITS: u64 = 4096;

/// Any numbers, in parts of 4096 that exist where a number is.
#[derive(Debug, Default)]
pub(super) struct WideBits(HashMap<u64, Bits>);

impl WideBits {
    /// Puts a number in; false when it was there.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        self.0.entry(number / PART_BITS).or_default().insert((number % PART_BITS) as u32)
    }

    fn contains(&self, number: u64) -> bool {
        self.0.get(&(number / PART_BITS)).is_some_and(|part| part.contains((number % PART_BITS) as u32))
    }

    /// The numbers that are in here and not in `other`, in no order.
    pub(super) fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u64> + 'a {
        let numbers = |(part, bits): (&u64, &'a Bits)| {
            let start = part * PART_BITS;
            (0..bits.bound()).filter(|number| bits.contains(*number)).map(move |number| start + u64::from(number))
        };
        self.0.iter().flat_map(numbers).filter(|number| !other.contains(*number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_put_in() {
        let (mut one, mut other) = (WideBits::default(), WideBits::default());
        for number in [0, 63, 64, 4095, 4096, u64::MAX] {
            assert!(one.insert(number));
            assert!(!one.insert(number));
        }
        other.insert(64);
        other.insert(5);
        let mut left: Vec<u64> = one.without(&other).collect();
        left.sort_unstable();
        assert_eq!(left, [0, 63, 4095, 4096, u64::MAX]);
        assert_eq!(other.without(&one).collect::<Vec<_>>(), [5]);
    }
}
