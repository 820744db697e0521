//! Sets of page numbers, kept as few sorted ranges.

use std::ops::Range;

/// A set of numbers as sorted ranges that neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `number` is in the set.
    pub fn contains(&self, number: u64) -> bool {
        self.0.iter().any(|range| range.contains(&number))
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.0.iter()
    }

    /// Adds a range.
    pub fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let mut merged = range;
        self.0.retain(|own| {
            let apart = own.end < merged.start || merged.end < own.start;
            if !apart {
                merged = merged.start.min(own.start)..merged.end.max(own.end);
            }
            apart
        });
        let at = self.0.partition_point(|own| own.start < merged.start);
        self.0.insert(at, merged);
    }

    /// Removes a range.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let cut = |own: Range<u64>| [own.start..own.end.min(range.start), own.start.max(range.end)..own.end];
        self.0 = std::mem::take(&mut self.0).into_iter().flat_map(cut).filter(|own| !own.is_empty()).collect();
    }

    /// Empties the set.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_merges_what_overlaps_or_touches() {
        let mut ranges = Ranges::default();
        for range in [10..20, 30..40, 5..6, 20..22, 35..50, 21..30] {
            ranges.add(range);
        }
        assert_eq!(ranges.iter().cloned().collect::<Vec<_>>(), [5..6, 10..50]);
        assert!(ranges.contains(5) && !ranges.contains(6));
    }

    #[test]
    fn a_set_of_ranges_behaves_like_a_set_of_numbers() {
        let mut seed = 7_u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        let mut ranges = Ranges::default();
        let mut numbers = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let start = random(100);
            let end = start + random(8);
            ranges.add(start..end);
            numbers.extend(start..end);
            let start = random(100);
            let end = start + random(4);
            ranges.remove(start..end);
            numbers.retain(|n| !(start..end).contains(n));
            assert!((0..110).all(|n| ranges.contains(n) == numbers.contains(&n)));
            assert!(ranges.0.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
