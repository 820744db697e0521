//! Node numbers: a view above bit 44, an inode below it.
//!
//! The live state of the zone in slot `s` is view `s`, so the top zone's inodes are their own numbers. Snapshots, and
//! the directories of them, get views as they are come by, from [`OTHER_VIEWS`] on; a view is never given twice.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, RwLock};

use bt_fuse::Errno;

use crate::engine::Engine;
use crate::zones::Moved;

/// Bits of an inode's number.
pub(crate) const VIEW_SHIFT: u32 = 44;
const INODE_BITS: u64 = (1 << VIEW_SHIFT) - 1;
/// The first view that is not the live state of a zone.
const OTHER_VIEWS: u64 = 1 << 18;
/// The most of them: a view has 19 bits, so that numbers are positive for programs.
const OTHER_VIEW_COUNT: usize = 1 << 18;

/// A zone that an operation works in.
pub(super) enum ZoneRef<'a> {
    /// The one at the top, which needs no look into the table.
    Top(&'a Engine),
    Other(Arc<Engine>),
}

impl Deref for ZoneRef<'_> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        match self {
            Self::Top(engine) => engine,
            Self::Other(engine) => engine,
        }
    }
}

/// An inode of a zone, and how the mount numbers those beside it.
pub(super) struct Spot<'a> {
    pub(super) zone: ZoneRef<'a>,
    pub(super) slot: u32,
    /// The view, in its place.
    pub(super) base: u64,
    pub(super) inode: u64,
    /// What the kernel knows by other numbers; none in a snapshot.
    pub(super) renumbered: Option<&'a Moved>,
}

impl Spot<'_> {
    /// The node of an inode in the same view.
    pub(super) fn node(&self, inode: u64) -> u64 {
        match self.renumbered {
            Some(renumbered) if !renumbered.is_empty() => {
                let (slot, inode) = renumbered.known_as((self.slot, inode));
                live_node(slot, inode)
            }
            _ => self.base | inode,
        }
    }
}

/// What a node number stands for.
pub(super) enum Place<'a> {
    Live(Spot<'a>),
    /// The directory of a zone's snapshots.
    Snapshots(Spot<'a>),
    Frozen(Spot<'a>, u64),
}

/// A view that is not the live state of a zone: the zone's slot, and the snapshot's number; none for the directory of
/// all.
pub(super) type Other = (u32, Option<u64>);

/// The views beside the live ones.
#[derive(Default)]
pub(super) struct Views(RwLock<(Vec<Other>, HashMap<Other, u64>)>);

impl Views {
    /// The node of an inode in a view, which gets a number when it has none.
    pub(super) fn node(&self, other: Other, inode: u64) -> Result<u64, Errno> {
        let known = self.0.read().expect("no panic under this lock").1.get(&other).copied();
        if let Some(view) = known {
            return Ok(view << VIEW_SHIFT | inode);
        }
        let mut views = self.0.write().expect("no panic under this lock");
        let (list, numbers) = &mut *views;
        if list.len() == OTHER_VIEW_COUNT {
            return Err(Errno::ENFILE);
        }
        let view = *numbers.entry(other).or_insert_with(|| {
            list.push(other);
            OTHER_VIEWS + list.len() as u64 - 1
        });
        Ok(view << VIEW_SHIFT | inode)
    }

    fn other(&self, view: u64) -> Option<Other> {
        self.0.read().expect("no panic under this lock").0.get((view - OTHER_VIEWS) as usize).copied()
    }
}

/// A node number, taken apart.
pub(super) enum Number {
    Live { slot: u32, inode: u64 },
    Other { other: Other, inode: u64 },
}

impl Number {
    /// None for a number that was never given.
    pub(super) fn of(node: u64, views: &Views) -> Option<Self> {
        let (view, inode) = (node >> VIEW_SHIFT, node & INODE_BITS);
        if view < OTHER_VIEWS {
            return Some(Self::Live { slot: view as u32, inode });
        }
        Some(Self::Other { other: views.other(view)?, inode })
    }
}

/// The node of an inode in the live state of a zone.
pub(crate) fn live_node(slot: u32, inode: u64) -> u64 {
    u64::from(slot) << VIEW_SHIFT | inode
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_apart_as_they_were_made() {
        let views = Views::default();
        for (slot, inode) in [(0, 1), (1, 1), (OTHER_VIEWS as u32 - 1, INODE_BITS)] {
            let found = Number::of(live_node(slot, inode), &views);
            assert!(matches!(found, Some(Number::Live { slot: s, inode: i }) if (s, i) == (slot, inode)));
        }
        let all = [(0, None), (0, Some(4)), (3, None), (3, Some(4))];
        let nodes = all.map(|other| views.node(other, 77).unwrap());
        assert_eq!(nodes, all.map(|other| views.node(other, 77).unwrap()), "a view keeps its number");
        for (node, other) in nodes.into_iter().zip(all) {
            assert!(node < 1 << 63);
            assert!(matches!(Number::of(node, &views), Some(Number::Other { other: o, inode: 77 }) if o == other));
        }
        assert!(Number::of(u64::MAX, &views).is_none());
    }
}
