//! Entrances of other zones, and what making one takes: a state that stays, and changes that wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, RwLockWriteGuard};

use bt_base::ZoneId;
use bt_tree::index::Tree;
use bt_tree::schema::Inode;
use bt_vfs::{Entered, ImportedEntry, LookupCounts, Vfs};

use super::{Engine, Pin};
use crate::error::Result;
use crate::system::file_time;

/// Where changes wait while the last of a directory is moved into a zone of its own.
#[derive(Default)]
pub(super) struct Gate {
    /// Set and cleared under the lock around the state.
    held: AtomicBool,
    turn: Mutex<()>,
    opened: Condvar,
}

/// A state of the zone that stays readable.
pub(crate) struct FrozenState<'a> {
    pub(crate) tree: Tree,
    _pin: Pin<'a>,
}

/// While it lives, no change of the zone happens but through it.
pub(crate) struct HeldChanges<'a>(&'a Engine);

impl Drop for HeldChanges<'_> {
    fn drop(&mut self) {
        let gate = &self.0.gate;
        let _turn = gate.turn.lock().expect("no panic under this lock");
        gate.held.store(false, Ordering::Release);
        gate.opened.notify_all();
    }
}

impl Engine {
    /// The state for changing, when no changes are held back.
    pub(super) fn write_in_turn(&self) -> RwLockWriteGuard<'_, Vfs> {
        loop {
            let vfs = self.write();
            if !self.gate.held.load(Ordering::Acquire) {
                return vfs;
            }
            drop(vfs);
            let mut turn = self.gate.turn.lock().expect("no panic under this lock");
            while self.gate.held.load(Ordering::Acquire) {
                turn = self.gate.opened.wait(turn).expect("no panic under this lock");
            }
        }
    }

    /// Whether changes wait.
    pub(crate) fn holds_changes(&self) -> bool {
        self.gate.held.load(Ordering::Relaxed)
    }

    /// Holds changes back; none is under way when this returns.
    pub(crate) fn hold_changes(&self) -> HeldChanges<'_> {
        let _vfs = self.write();
        self.gate.held.store(true, Ordering::Release);
        HeldChanges(self)
    }

    /// Commits, and keeps the state as it is then.
    pub(crate) fn frozen(&self) -> Result<FrozenState<'_>> {
        let mut flushing = self.flushing();
        let pin = self.pin(&mut flushing);
        let flushed = if self.read().is_changed() { self.commit_locked(&mut flushing, None).map(drop) } else { Ok(()) };
        drop(flushing);
        // Only now: letting the pin go takes the lock.
        flushed?;
        Ok(FrozenState { tree: self.read().zone().tree().clone(), _pin: pin })
    }

    /// The zone that is entered in place of a directory.
    pub(crate) fn entrance(&self, directory: u64) -> Option<ZoneId> {
        self.read().entrance(directory)
    }

    /// All zones that are entered in this one, by directory.
    pub(crate) fn entrances(&self) -> Vec<(u64, ZoneId)> {
        self.read().entrances().iter().map(|(inode, zone)| (*inode, *zone)).collect()
    }

    /// The name that the zone goes by where its parent cannot be read.
    pub(crate) fn label(&self) -> Result<Option<Vec<u8>>> {
        Ok(self.read().label(&self.source)?)
    }

    /// The directory that a directory is in, and its name there; none for the root.
    pub(crate) fn name_of_directory(&self, inode: u64) -> Result<Option<(u64, Vec<u8>)>> {
        Ok(self.read().name_of_directory(&self.source, inode)?)
    }

    /// What a name stands for; the kernel does not get to hold it.
    pub(crate) fn find(&self, directory: u64, name: &[u8]) -> Result<Option<(u64, Inode)>> {
        Ok(self.read().lookup(&self.source, directory, name)?)
    }

    /// Whether inodes without a name wait to be freed, or are used.
    pub(crate) fn has_orphans(&self) -> bool {
        self.read().has_orphans()
    }

    /// Takes over what the kernel holds of the zone.
    pub(crate) fn adopt_lookups(&self, counts: LookupCounts) {
        *self.lookups.lock().expect("no panic under this lock") = counts;
    }

    /// Gives away what the kernel holds of the zone.
    pub(crate) fn give_lookups(&self) -> LookupCounts {
        std::mem::take(&mut *self.lookups.lock().expect("no panic under this lock"))
    }

    /// Gives away what the kernel holds of one inode: how often it was told of it.
    pub(crate) fn give_lookup(&self, inode: u64) -> u64 {
        self.lookups.lock().expect("no panic under this lock").take(inode)
    }

    /// Takes over what the kernel holds of one inode.
    pub(crate) fn adopt_lookup(&self, inode: u64, count: u64) {
        self.lookups.lock().expect("no panic under this lock").add_many(inode, count);
    }

    /// Whether the kernel holds an inode.
    pub(crate) fn is_held(&self, inode: u64) -> bool {
        self.lookups.lock().expect("no panic under this lock").holds(inode)
    }
}

impl HeldChanges<'_> {
    /// Turns a directory into the entrance of a zone; durable after [`HeldChanges::settle`]. When this fails nothing
    /// changed.
    pub(crate) fn enter(&self, directory: u64, name: &[u8], zone: &ZoneId) -> Result<Entered> {
        let engine = self.0;
        engine.check_writable()?;
        let mut vfs = engine.write();
        let entered = engine.guard(vfs.enter(&engine.source, directory, name, zone, file_time()));
        engine.gauge(&vfs);
        entered
    }

    /// Makes an entrance durable, and frees what the directory held; what the kernel knows of it is in the zone by then.
    /// When this fails the entrance may be durable all the same, or become so: the zone behind it must stay.
    pub(crate) fn settle(&self, entered: &Entered) -> Result<()> {
        self.0.sync_file(None)?;
        if let Err(error) = self.0.free_below(entered.nameless) {
            tracing::warn!(%error, "what a directory held that became a zone is freed later");
        }
        Ok(())
    }
}

/// Inodes that lose their place at once; a larger directory's last ones are freed while work goes on.
const FREED_AT_ONCE: usize = 100_000;

impl Engine {
    /// Frees an inode without a name and all that is below it, whether the kernel holds it or not.
    fn free_below(&self, inode: u64) -> Result<()> {
        let (mut waiting, mut freed) = (vec![inode], 0);
        while let Some(inode) = waiting.pop() {
            let step = {
                let mut vfs = self.write();
                let step = self.guard(vfs.free(&self.source, inode));
                self.gauge(&vfs);
                step?
            };
            if !step.done {
                waiting.push(inode);
            }
            waiting.extend(step.nameless);
            freed += usize::from(step.done);
            if freed >= FREED_AT_ONCE {
                self.unused.lock().expect("no panic under this lock").append(&mut waiting);
            }
            if self.is_crowded()
                && let Err(error) = self.commit()
            {
                self.unused.lock().expect("no panic under this lock").append(&mut waiting);
                return Err(error);
            }
        }
        Ok(())
    }

    /// One step of filling the zone with what another holds.
    fn import<T>(&self, bytes: u64, run: impl FnOnce(&mut Vfs) -> bt_vfs::Result<T>) -> Result<T> {
        self.change(bytes, |vfs, _| run(vfs))
    }

    /// Puts an inode as another zone has it, but for content and attributes.
    pub(crate) fn import_inode(&self, number: u64, inode: &Inode) -> Result<()> {
        self.import(1024, |vfs| vfs.import_inode(&self.source, number, inode))
    }

    /// Makes the entries of a directory exactly these.
    pub(crate) fn import_entries(&self, directory: u64, entries: &[ImportedEntry]) -> Result<()> {
        let bytes = entries.iter().map(|entry| 2 * entry.name.len() as u64 + 64).sum();
        self.import(bytes, |vfs| vfs.import_entries(&self.source, directory, entries))
    }

    /// Puts the target of a symbolic link.
    pub(crate) fn import_target(&self, number: u64, target: &[u8]) -> Result<()> {
        self.import(target.len() as u64, |vfs| vfs.import_target(&self.source, number, target))
    }

    /// Gives an inode whose content is in place its attributes, times and mode.
    pub(crate) fn import_details(&self, number: u64, inode: &Inode, attributes: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        self.import(1024, |vfs| vfs.import_details(&self.source, number, inode, attributes))
    }

    /// Takes an inode away that the other zone has no more.
    pub(crate) fn import_gone(&self, number: u64) -> Result<()> {
        self.import(0, |vfs| vfs.import_gone(&self.source, number))
    }

    /// Sets the name that the zone goes by where its parent cannot be read.
    pub(crate) fn set_label(&self, name: &[u8]) -> Result<()> {
        self.import(name.len() as u64, |vfs| vfs.set_label(&self.source, name))
    }
}
