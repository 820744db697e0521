//! Inodes that the kernel knows by the number they had before their directory became a zone.
//!
//! A program may have a file of the directory open, and the kernel pages of it that nobody asked it for. So the kernel
//! goes on with the number it has: what comes under it is done in the new zone, and what is looked up there is shown
//! under it, until the kernel forgets it. There is one number for a file at any time, and so one set of pages.

use std::collections::HashMap;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The slot of a zone, and an inode there.
pub(crate) type At = (u32, u64);

/// What moved, and is still known by its number from before.
#[derive(Default)]
pub(crate) struct Moved {
    count: AtomicUsize,
    /// Raised whenever something moves.
    generation: AtomicU64,
    maps: RwLock<Maps>,
}

#[derive(Default)]
struct Maps {
    /// By the kernel's number.
    now: HashMap<At, At>,
    /// The kernel's number, by where it is.
    known_as: HashMap<At, At>,
}

impl Moved {
    /// Whether nothing that moved is still known by its number from before.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Changes when something moves: what was found out before may no longer be so.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Where that is what the kernel means.
    pub(crate) fn now(&self, known_as: At) -> At {
        self.look(|maps| &maps.now, known_as)
    }

    /// What the kernel calls an inode.
    pub(crate) fn known_as(&self, now: At) -> At {
        self.look(|maps| &maps.known_as, now)
    }

    fn look(&self, of: impl FnOnce(&Maps) -> &HashMap<At, At>, at: At) -> At {
        if self.is_empty() {
            return at;
        }
        of(&self.maps.read().expect("no panic under this lock")).get(&at).copied().unwrap_or(at)
    }

    /// Inodes go from one place to another, all at once.
    pub(super) fn add(&self, moves: impl IntoIterator<Item = (At, At)>) {
        let mut maps = self.maps.write().expect("no panic under this lock");
        for (from, to) in moves {
            let known_as = maps.known_as.remove(&from).unwrap_or(from);
            maps.now.insert(known_as, to);
            maps.known_as.insert(to, known_as);
        }
        self.count.store(maps.now.len(), Ordering::Release);
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// The kernel has forgotten an inode, unless `is_held` says that it was told of it again.
    pub(crate) fn forget(&self, now: At, is_held: impl FnOnce() -> bool) {
        let mut maps = self.maps.write().expect("no panic under this lock");
        if is_held() {
            return;
        }
        if let Some(known_as) = maps.known_as.remove(&now) {
            maps.now.remove(&known_as);
        }
        self.count.store(maps.now.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moved_twice_keeps_its_first_number_until_it_is_forgotten() {
        let moved = Moved::default();
        assert!(moved.is_empty());
        assert_eq!((moved.now((0, 5)), moved.known_as((1, 5))), ((0, 5), (1, 5)));
        moved.add([((0, 5), (1, 5)), ((0, 9), (1, 1))]);
        let before = moved.generation();
        moved.add([((1, 5), (2, 1))]);
        assert_ne!(moved.generation(), before);
        assert_eq!((moved.now((0, 5)), moved.known_as((2, 1))), ((2, 1), (0, 5)));
        assert_eq!(moved.known_as((1, 5)), (1, 5), "nothing is there any more");
        assert_eq!((moved.now((0, 9)), moved.known_as((1, 1))), ((1, 1), (0, 9)));
        moved.forget((2, 1), || true);
        assert_eq!(moved.now((0, 5)), (2, 1), "the kernel was told of it again");
        moved.forget((2, 1), || false);
        moved.forget((1, 1), || false);
        assert_eq!((moved.now((0, 5)), moved.known_as((2, 1))), ((0, 5), (2, 1)));
        assert!(moved.is_empty());
    }
}
