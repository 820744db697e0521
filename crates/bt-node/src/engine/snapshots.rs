//! Snapshots of the zone.

use std::ops::ControlFlow;

use bt_tree::schema::{Key, ZoneRecord};
use bt_tree::zone::{SnapshotRecord, SnapshotState};

use super::Engine;
use crate::error::Result;
use crate::system::now;

impl Engine {
    /// Snapshots that can be read, by name.
    pub(crate) fn snapshot_records(&self) -> Result<Vec<(Vec<u8>, SnapshotRecord)>> {
        Ok(self.read().snapshots(&self.source)?)
    }

    /// Inodes of the zone.
    pub(crate) fn inode_count(&self) -> u64 {
        self.read().record().inodes
    }

    /// Takes a snapshot of everything written so far; durable when this returns.
    pub(crate) fn create_snapshot(&self, name: &[u8]) -> Result<SnapshotRecord> {
        self.check_writable()?;
        self.obey()?;
        let mut flushing = self.flushing();
        let number = self.write().begin_snapshot(&self.source, name)?;
        let outcome = self.commit_locked(&mut flushing, Some(number))?;
        let record = SnapshotRecord {
            number,
            state: SnapshotState::Ready,
            revision: outcome.revision,
            time: now(),
            root: outcome.root.0,
            level: outcome.root.1,
        };
        self.guard(self.write().finish_snapshot(&self.source, name, &record))?;
        self.commit_locked(&mut flushing, None)?;
        Ok(record)
    }

    /// Deletes a snapshot and gives back what only it needed. When `go_on` breaks, the rest is left to a later call;
    /// the snapshot is hidden at once.
    pub(crate) fn delete_snapshot(
        &self,
        name: &[u8],
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        self.check_writable()?;
        self.guard(self.write().begin_snapshot_delete(&self.source, name))?;
        loop {
            let done = {
                let mut vfs = self.write();
                let done = self.guard(vfs.snapshot_delete_step(&self.source, name));
                self.gauge(&vfs);
                done?
            };
            if done || self.is_crowded() {
                self.commit()?;
            }
            if done {
                return Ok(ControlFlow::Continue(()));
            }
            if go_on().is_break() {
                self.commit()?;
                return Ok(ControlFlow::Break(()));
            }
        }
    }
}

impl Engine {
    /// Inodes in a snapshot, and sealed bytes that died since but that it holds.
    pub(crate) fn snapshot_size(&self, record: &SnapshotRecord) -> Result<(u64, u64)> {
        let zone = record.tree().get(&self.source, Key::zone().as_bytes(), ZoneRecord::decode)?;
        let inodes = match zone {
            Some(zone) => zone.map_err(bt_tree::zone::ZoneError::from)?.inodes,
            None => 0,
        };
        let held = self.read().zone().held_bytes(&self.source, record.number)?;
        Ok((inodes, held))
    }

    /// Sealed bytes that the present or a snapshot needs.
    pub(crate) fn live_bytes(&self) -> Result<u64> {
        let vfs = self.read();
        let unaccounted: u64 = vfs.zone().unaccounted().iter().map(|summary| summary.sealed_bytes).sum();
        Ok(vfs.zone().live_bytes(&self.source)? + unaccounted)
    }
}
