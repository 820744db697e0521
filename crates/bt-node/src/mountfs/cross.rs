//! From one zone into another: at entrances, and back up.

use std::time::Duration;

use bt_fuse::{Entry, Errno};
use bt_tree::schema::{Inode, ROOT_INODE};

use super::convert::{entry, errno};
use super::numbers::{Number, Place, Spot, ZoneRef};
use super::{MountedTree, Result, live_node};
use crate::zones::EnterError;

impl MountedTree {
    /// What a node number stands for.
    pub(super) fn place(&self, node: u64) -> Result<Place<'_>> {
        let renumbered = self.zones.renumbered();
        if node >> super::numbers::VIEW_SHIFT == 0 && renumbered.is_empty() {
            let zone = ZoneRef::Top(&self.engine);
            return Ok(Place::Live(Spot { zone, slot: 0, base: 0, inode: node, renumbered: Some(renumbered) }));
        }
        match Number::of(node, &self.views).ok_or(Errno::ESTALE)? {
            Number::Live { slot, inode } => {
                let (slot, inode) = renumbered.now((slot, inode));
                let spot = self.spot(slot, live_node(slot, inode), inode)?;
                Ok(Place::Live(Spot { renumbered: Some(renumbered), ..spot }))
            }
            Number::Other { other: (slot, None), inode } => Ok(Place::Snapshots(self.spot(slot, node, inode)?)),
            Number::Other { other: (slot, Some(snapshot)), inode } => {
                Ok(Place::Frozen(self.spot(slot, node, inode)?, snapshot))
            }
        }
    }

    /// Makes a call, and once more where it met an inode that just moved to another zone.
    pub(super) fn also_after_a_move<T>(&self, mut call: impl FnMut() -> Result<T>) -> Result<T> {
        let before = self.zones.renumbered().generation();
        match call() {
            Err(Errno::ESTALE) if self.zones.renumbered().generation() != before => call(),
            result => result,
        }
    }

    /// The number that the kernel knows an inode by.
    fn known_node(&self, slot: u32, inode: u64) -> u64 {
        let (slot, inode) = self.zones.renumbered().known_as((slot, inode));
        live_node(slot, inode)
    }

    fn spot(&self, slot: u32, node: u64, inode: u64) -> Result<Spot<'_>> {
        let zone = match slot {
            0 => ZoneRef::Top(&self.engine),
            _ => ZoneRef::Other(self.zones.engine(slot).map_err(|error| told(slot, &error))?),
        };
        Ok(Spot { zone, slot, base: node - inode, inode, renumbered: None })
    }

    /// The root of the zone behind an entrance; the placeholder where it may not be entered.
    pub(super) fn cross(&self, spot: &Spot<'_>, number: u64, placeholder: &Inode) -> Result<Entry> {
        match self.zones.enter(spot.slot, &spot.zone, number) {
            Ok(entered) => {
                // The kernel gets the other zone's root instead.
                spot.zone.forget(number, 1);
                let root = entered.engine.inode(ROOT_INODE).map_err(errno)?;
                entered.engine.hold(ROOT_INODE);
                Ok(entry(self.known_node(entered.slot, ROOT_INODE), &root))
            }
            // Looked up again each time: a grant through the control socket opens it.
            Err(EnterError::Denied) => {
                Ok(Entry { entry_valid: Duration::ZERO, ..entry(spot.node(number), placeholder) })
            }
            Err(error) => {
                spot.zone.forget(number, 1);
                Err(told(spot.slot, &error))
            }
        }
    }

    /// The number of the directory above.
    pub(super) fn parent_of(&self, node: u64, inode: &Inode) -> Result<u64> {
        Ok(match self.place(node)? {
            Place::Live(spot) if spot.inode == ROOT_INODE => self.above(&spot)?,
            Place::Live(spot) => spot.node(inode.parent.max(ROOT_INODE)),
            Place::Snapshots(spot) => self.known_node(spot.slot, ROOT_INODE),
            Place::Frozen(spot, _) if spot.inode == ROOT_INODE => self.views.node((spot.slot, None), ROOT_INODE)?,
            Place::Frozen(spot, _) => spot.node(inode.parent),
        })
    }

    /// The directory around the entrance of a zone; the root itself at the top.
    fn above(&self, spot: &Spot<'_>) -> Result<u64> {
        let Some((outer, placeholder)) = self.zones.place(spot.slot) else { return Ok(spot.node(ROOT_INODE)) };
        let around = self.zones.engine(outer).map_err(|error| told(outer, &error))?;
        let placeholder = around.inode(placeholder).map_err(errno)?;
        Ok(self.known_node(outer, placeholder.parent))
    }
}

/// Logs why a zone is not entered, and gives what the program is told.
fn told(slot: u32, error: &EnterError) -> Errno {
    match error {
        EnterError::Denied => Errno::EACCES,
        error => {
            tracing::error!(%error, slot, "a zone is not entered");
            Errno::EIO
        }
    }
}
