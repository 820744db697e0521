//! Dirty pages, kept by block: pages of one block are written, sealed and forgotten together.

use std::collections::BTreeMap;
use std::ops::{Deref, Range};
use std::sync::Arc;

use bt_base::limits::PAGES_PER_BLOCK;

use crate::content::slot_of;

/// Bytes that may share their memory, at most a block's, with the pages beside them.
#[derive(Debug, Clone)]
pub struct Bytes {
    memory: Arc<[u8]>,
    range: Range<usize>,
}

impl Bytes {
    /// A part of `memory`, which belongs to a single block.
    pub(crate) fn part(memory: &Arc<[u8]>, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= memory.len(), "a part lies within the whole");
        Self { memory: memory.clone(), range }
    }

    /// What all parts are together; none where one is missing or does not follow the one before in the same memory.
    pub fn joined<'a>(parts: impl IntoIterator<Item = Option<&'a Bytes>>) -> Option<&'a [u8]> {
        let mut parts = parts.into_iter();
        let first = parts.next()??;
        let mut end = first.range.end;
        for part in parts {
            let part = part?;
            if !Arc::ptr_eq(&first.memory, &part.memory) || part.range.start != end {
                return None;
            }
            end = part.range.end;
        }
        Some(&first.memory[first.range.start..end])
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.range.clone()]
    }
}

impl<T: Into<Arc<[u8]>>> From<T> for Bytes {
    fn from(bytes: T) -> Self {
        let memory = bytes.into();
        let range = 0..memory.len();
        Self { memory, range }
    }
}

/// A page that is not yet in the zone. Shorter than 4 KiB when the rest is zero.
pub(crate) struct Page {
    pub(crate) data: Bytes,
    /// The journal holds this content.
    pub(crate) journaled: bool,
    /// The flush that is writing this content; 0 for none.
    pub(crate) flush: u32,
}

const PER_SLOT: usize = PAGES_PER_BLOCK;

/// Pages by number.
#[derive(Default)]
pub(crate) struct Pages {
    slots: BTreeMap<u64, [Option<Page>; PER_SLOT]>,
    count: usize,
}

impl Pages {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Page> {
        self.slots.get(&slot_of(number))?[place(number)].as_ref()
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut Page> {
        self.slots.get_mut(&slot_of(number))?[place(number)].as_mut()
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.get(number).is_some()
    }

    /// Puts a page; returns the one that was there.
    pub(crate) fn insert(&mut self, number: u64, page: Page) -> Option<Page> {
        let before = self.slots.entry(slot_of(number)).or_default()[place(number)].replace(page);
        self.count += usize::from(before.is_none());
        before
    }

    /// The pages in a range, ascending.
    pub(crate) fn range(&self, range: Range<u64>) -> impl Iterator<Item = (u64, &Page)> {
        let slots =
            slot_of(range.start)..if range.is_empty() { slot_of(range.start) } else { slot_of(range.end - 1) + 1 };
        self.slots.range(slots).flat_map(numbered).filter(move |(number, _)| range.contains(number))
    }

    /// The first page from `number` on.
    pub(crate) fn next_from(&self, number: u64) -> Option<u64> {
        self.range(number..u64::MAX).next().map(|(number, _)| number)
    }

    /// Numbers of the blocks with a page, ascending.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u64> {
        self.slots.keys().copied()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Page> {
        self.slots.values().flatten().flatten()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Page> {
        self.slots.values_mut().flatten().flatten()
    }

    /// Forgets the pages in `range` for which `drop` says so.
    pub(crate) fn drop_if(&mut self, range: Range<u64>, mut drop: impl FnMut(&Page) -> bool) {
        if range.is_empty() {
            return;
        }
        let mut dropped = 0;
        let slots = slot_of(range.start)..=slot_of(range.end - 1);
        self.slots
            .extract_if(slots, |slot, pages| {
                for (i, page) in pages.iter_mut().enumerate() {
                    if range.contains(&(slot * PER_SLOT as u64 + i as u64)) && page.as_ref().is_some_and(&mut drop) {
                        *page = None;
                        dropped += 1;
                    }
                }
                pages.iter().all(Option::is_none)
            })
            .for_each(std::mem::drop);
        self.count -= dropped;
    }
}

fn place(number: u64) -> usize {
    (number % PER_SLOT as u64) as usize
}

fn numbered<'a>(
    (slot, pages): (&u64, &'a [Option<Page>; PER_SLOT]),
) -> impl Iterator<Item = (u64, &'a Page)> + use<'a> {
    let first = slot * PER_SLOT as u64;
    (first..).zip(pages).filter_map(|(number, page)| Some((number, page.as_ref()?)))
}

/// A set of page numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct PageSet {
    slots: BTreeMap<u64, u8>,
    count: usize,
}

const _: () = assert!(PER_SLOT <= 8, "a byte has a bit for each page of a block");

impl PageSet {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn insert(&mut self, number: u64) {
        let bits = self.slots.entry(slot_of(number)).or_default();
        self.count += usize::from(*bits & bit(number) == 0);
        *bits |= bit(number);
    }

    /// The numbers, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> {
        self.slots.iter().flat_map(|(slot, bits)| {
            let first = slot * PER_SLOT as u64;
            (first..first + PER_SLOT as u64).filter(move |number| bits & bit(*number) != 0)
        })
    }

    /// Keeps only numbers of pages in `pages`.
    pub(crate) fn keep_those_of(&mut self, pages: &Pages) {
        let mut count = 0;
        self.slots.retain(|slot, bits| {
            let present = pages.slots.get(slot).map_or(0, |pages| {
                pages.iter().enumerate().filter(|(_, page)| page.is_some()).fold(0, |bits, (i, _)| bits | 1 << i)
            });
            *bits &= present;
            count += bits.count_ones() as usize;
            *bits != 0
        });
        self.count = count;
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Extend<u64> for PageSet {
    fn extend<T: IntoIterator<Item = u64>>(&mut self, numbers: T) {
        numbers.into_iter().for_each(|number| self.insert(number));
    }
}

fn bit(number: u64) -> u8 {
    1 << place(number)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn page(flush: u32) -> Page {
        Page { data: vec![flush as u8].into(), journaled: false, flush }
    }

    #[test]
    fn pages_and_sets_behave_like_a_map_and_a_set() {
        let mut seed = 11_u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        let (mut pages, mut map) = (Pages::default(), BTreeMap::new());
        let (mut set, mut numbers) = (PageSet::default(), BTreeSet::new());
        for round in 0..2000_u32 {
            let number = random(60);
            assert_eq!(pages.insert(number, page(round)).map(|page| page.flush), map.insert(number, round));
            let number = random(60);
            set.insert(number);
            numbers.insert(number);
            let range = random(60)..random(80);
            if round % 5 == 0 {
                pages.drop_if(range.clone(), |page| page.flush % 2 == 0);
                map.retain(|number, flush| !(range.contains(number) && *flush % 2 == 0));
            }
            if round % 7 == 0 {
                set.keep_those_of(&pages);
                numbers.retain(|number| map.contains_key(number));
            }
            let of = |range: Range<u64>| pages.range(range).map(|(number, page)| (number, page.flush));
            let wanted =
                map.iter().filter(|(number, _)| range.contains(number)).map(|(number, flush)| (*number, *flush));
            assert!(of(range.clone()).eq(wanted));
            assert_eq!(pages.next_from(range.start), map.range(range.start..).next().map(|(number, _)| *number));
            assert!((0..60).all(|n| pages.get(n).map(|page| page.flush) == map.get(&n).copied()));
            assert_eq!((pages.len(), pages.is_empty()), (map.len(), map.is_empty()));
            assert!(set.iter().eq(numbers.iter().copied()) && set.len() == numbers.len());
            let slots: BTreeSet<u64> = map.keys().map(|number| slot_of(*number)).collect();
            assert!(pages.slots().eq(slots), "no memory is kept for blocks without a page");
        }
    }

    #[test]
    fn parts_join_only_in_their_order_and_memory() {
        let memory: Arc<[u8]> = Arc::from(&b"abcdef"[..]);
        let part = |range| Bytes::part(&memory, range);
        assert_eq!(Bytes::joined([Some(&part(0..2)), Some(&part(2..5))]), Some(&b"abcde"[..]));
        assert_eq!(Bytes::joined([Some(&part(1..2))]), Some(&b"b"[..]));
        assert_eq!(Bytes::joined([Some(&part(2..4)), Some(&part(0..2))]), None);
        assert_eq!(Bytes::joined([Some(&part(0..2)), Some(&part(3..4))]), None);
        assert_eq!(Bytes::joined([Some(&part(0..2)), Some(&Bytes::from(&b"cd"[..]))]), None);
        assert_eq!(Bytes::joined([Some(&part(0..2)), None]), None);
        assert_eq!(Bytes::joined([]), None);
    }
}
