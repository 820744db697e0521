//! How often the kernel holds each inode: what FUSE calls lookup counts.
//!
//! Inode numbers rise and are dense among files made together, so counts lie in pages of 1024: about four bytes
//! an inode, where a hash map would need twenty.

use std::collections::HashMap;

const PAGE: usize = 1024;

struct CountPage {
    held: u32,
    counts: Box<[u32; PAGE]>,
}

/// Lookup counts by inode.
#[derive(Default)]
pub struct LookupCounts {
    pages: HashMap<u64, CountPage>,
    held: u64,
}

impl LookupCounts {
    /// The kernel was given the inode once more.
    pub fn add(&mut self, inode: u64) {
        let page =
            self.pages.entry(inode / PAGE as u64).or_insert_with(|| CountPage { held: 0, counts: Box::new([0; PAGE]) });
        let count = &mut page.counts[inode as usize % PAGE];
        if *count == 0 {
            page.held += 1;
            self.held += 1;
        }
        *count = count.saturating_add(1);
    }

    /// The kernel gave `number` of its references back; true when it holds none any more.
    pub fn forget(&mut self, inode: u64, number: u64) -> bool {
        let key = inode / PAGE as u64;
        let Some(page) = self.pages.get_mut(&key) else { return true };
        let count = &mut page.counts[inode as usize % PAGE];
        if *count == 0 {
            return true;
        }
        *count = u64::from(*count).saturating_sub(number) as u32;
        if *count > 0 {
            return false;
        }
        page.held -= 1;
        self.held -= 1;
        if page.held == 0 {
            self.pages.remove(&key);
        }
        true
    }

    /// The kernel was given the inode `number` times more.
    pub fn add_many(&mut self, inode: u64, number: u64) {
        if number > 0 {
            self.add(inode);
            let count =
                &mut self.pages.get_mut(&(inode / PAGE as u64)).expect("just added").counts[inode as usize % PAGE];
            *count = u32::try_from(number - 1).map_or(u32::MAX, |more| count.saturating_add(more));
        }
    }

    /// Takes all references to an inode away; returns how many there were.
    pub fn take(&mut self, inode: u64) -> u64 {
        let count = self.pages.get(&(inode / PAGE as u64)).map_or(0, |page| page.counts[inode as usize % PAGE]);
        self.forget(inode, count.into());
        count.into()
    }

    /// Whether the kernel holds the inode.
    pub fn holds(&self, inode: u64) -> bool {
        self.pages.get(&(inode / PAGE as u64)).is_some_and(|page| page.counts[inode as usize % PAGE] > 0)
    }

    /// The inodes that the kernel holds, in no order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        let of_page = |(key, page): (&u64, &CountPage)| {
            let first = key * PAGE as u64;
            let held = page.counts.iter().enumerate().filter(|(_, count)| **count > 0);
            held.map(|(at, _)| first + at as u64).collect::<Vec<_>>()
        };
        self.pages.iter().flat_map(of_page)
    }

    /// How many inodes the kernel holds.
    pub fn held(&self) -> u64 {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_is_held_until_all_is_forgotten() {
        let mut counts = LookupCounts::default();
        counts.add(5);
        counts.add(5);
        counts.add(5000);
        assert!(!counts.forget(5, 1));
        assert!(counts.holds(5));
        assert!(counts.forget(5, 1));
        assert!(!counts.holds(5));
        assert_eq!(counts.held(), 1);
        assert_eq!(counts.iter().collect::<Vec<_>>(), [5000]);
        assert!(counts.forget(5000, 1));
        assert!(counts.pages.is_empty(), "no memory is kept for inodes that nobody holds");
    }

    #[test]
    fn references_go_from_one_to_another() {
        let (mut from, mut to) = (LookupCounts::default(), LookupCounts::default());
        (0..3).for_each(|_| from.add(7));
        to.add(8);
        to.add_many(8, from.take(7));
        assert!(!from.holds(7) && from.pages.is_empty());
        to.add_many(9, from.take(7));
        assert!(!to.holds(9), "nothing is left to take");
        assert!(!to.forget(8, 3) && to.forget(8, 1));
    }
}
