//! The table of zones: slots, open engines, and closing what nobody uses.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use bt_base::ZoneId;
use bt_fuse::Kernel;
use bt_store::Storage;
use bt_vfs::LookupCounts;

use super::enter::EnterError;
use super::moved::{At, Moved};
use super::slots::{SlotList, Slotted};
use super::{MEMORY_SHARE, OPEN_ZONES};
use crate::control::report::ReclaimReport;
use crate::control::{Failure, OnProgress};
use crate::engine::{Committer, Engine};
use crate::identity::{NodeIdentity, ZoneRecords};
use crate::layout::ZoneLayout;
use crate::options::OpenOptions;

/// All zones of a node.
pub(crate) struct Zones {
    pub(crate) storage: Arc<dyn Storage>,
    pub(super) node: Arc<NodeIdentity>,
    pub(super) options: OpenOptions,
    pub(super) top: Arc<Engine>,
    /// The top is the root directory made for a principal that may not read the real one.
    is_above: bool,
    table: Mutex<Table>,
    /// A zone was opened or closed.
    moved: Condvar,
    /// What the kernel knows by numbers from before a zone was made.
    pub(super) renumbered: Moved,
    /// A directory is being made a zone.
    making: AtomicBool,
    /// What the mount asks of the kernel.
    kernel: OnceLock<Kernel>,
}

/// The right to make a directory a zone: while one holds changes back and moves the last of its files, another that began
/// and ended would let changes go on that the first does not see.
pub(super) struct Turn<'a>(&'a AtomicBool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

pub(super) struct Table {
    pub(super) slots: SlotList,
    states: BTreeMap<u32, State>,
    /// Where zones were entered: the slot of the zone that the entrance is in, and the directory there.
    pub(super) places: BTreeMap<u32, (u32, u64)>,
    /// What the kernel holds of zones that are closed, opening or closing.
    held: BTreeMap<u32, LookupCounts>,
}

enum State {
    /// A thread opens or closes it.
    Moving,
    Open(OpenZone),
    /// No box is for the node's principal. Who grants it something does so through [`Zones::with_own_key`].
    Denied,
}

struct OpenZone {
    engine: Arc<Engine>,
    committer: Option<Committer>,
    used: Instant,
}

impl OpenZone {
    /// Whether only the table and the committer know the engine.
    fn is_idle(&self) -> bool {
        let own = if self.committer.is_some() { 3 } else { 1 };
        Arc::strong_count(&self.engine) == own && !self.engine.has_orphans()
    }
}

impl Zones {
    /// The zones of a node whose top zone is open, or for whose principal a root directory was made.
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        node: Arc<NodeIdentity>,
        top: Arc<Engine>,
        options: &OpenOptions,
    ) -> Result<Self, Failure> {
        let slots = SlotList::load(&*storage)?;
        let (states, places, held) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Ok(Self {
            storage,
            is_above: node.tree() != top.identity.tree(),
            node,
            options: options.clone(),
            top,
            table: Mutex::new(Table { slots, states, places, held }),
            moved: Condvar::new(),
            renumbered: Moved::default(),
            making: AtomicBool::new(false),
            kernel: OnceLock::new(),
        })
    }

    /// The files of the node's directory.
    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        self.storage.clone()
    }

    /// The tree, and the principal that the node acts for.
    pub(crate) fn node(&self) -> &NodeIdentity {
        &self.node
    }

    /// The zone at the tree's top.
    pub(crate) fn top(&self) -> &Arc<Engine> {
        &self.top
    }

    /// Whether the node was opened for reading only.
    pub(crate) fn is_read_only(&self) -> bool {
        self.options.read_only
    }

    /// Whether a zone is the root directory that was made.
    pub(crate) fn is_made_root(&self, zone: &ZoneId) -> bool {
        self.is_above && *zone == self.top.identity.zone()
    }

    /// Whether a zone may be entered in another.
    pub(super) fn fits(&self, zone: &Engine, around: &Engine) -> bool {
        self.is_made_root(&around.identity.zone()) || zone.identity.birth.parent() == Some(&around.identity.zone())
    }

    /// The size of the disk and what can still be written to it, in bytes.
    pub(crate) fn room(&self) -> (u64, u64) {
        match self.storage.space() {
            Ok(space) if self.is_above => (space.total, space.free),
            _ => (self.top.capacity(), self.top.available()),
        }
    }

    /// The mount is up.
    pub(crate) fn connected(&self, kernel: Kernel) {
        if self.kernel.set(kernel).is_err() {
            tracing::error!("a node was connected twice");
        }
    }

    /// What the kernel knows by numbers from before a zone was made.
    pub(crate) fn renumbered(&self) -> &Moved {
        &self.renumbered
    }

    /// The kernel's side of the mount.
    pub(crate) fn kernel(&self) -> Option<&Kernel> {
        self.kernel.get()
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no panic under this lock")
    }

    /// The zone in a slot, opened when it is not.
    pub(crate) fn engine(&self, slot: u32) -> Result<Arc<Engine>, EnterError> {
        if slot == 0 {
            return Ok(self.top.clone());
        }
        let mut table = self.table();
        loop {
            match table.states.get_mut(&slot) {
                Some(State::Open(open)) => {
                    open.used = Instant::now();
                    return Ok(open.engine.clone());
                }
                Some(State::Denied) => return Err(EnterError::Denied),
                Some(State::Moving) => table = self.moved.wait(table).expect("no panic under this lock"),
                None => break,
            }
        }
        let zone = table.slots.zones().find(|(number, _)| *number == slot).map(|(_, slotted)| slotted.zone);
        let zone = zone.ok_or(EnterError::Unknown)?;
        table.states.insert(slot, State::Moving);
        drop(table);
        self.close_surplus();
        let opened = self.open(&zone);
        self.settle(slot, opened)
    }

    /// Enters what opening a zone gave into the table.
    fn settle(&self, slot: u32, opened: Result<OpenZone, EnterError>) -> Result<Arc<Engine>, EnterError> {
        let mut table = self.table();
        let result = match opened {
            Ok(open) => {
                let engine = open.engine.clone();
                engine.adopt_lookups(table.held.remove(&slot).unwrap_or_default());
                table.states.insert(slot, State::Open(open));
                Ok(engine)
            }
            Err(error) => {
                match error {
                    EnterError::Denied => table.states.insert(slot, State::Denied),
                    _ => table.states.remove(&slot),
                };
                Err(error)
            }
        };
        drop(table);
        self.moved.notify_all();
        result
    }

    fn open(&self, zone: &ZoneId) -> Result<OpenZone, EnterError> {
        let engine = self.open_for(zone, self.node.clone())?;
        start(engine).map_err(EnterError::Failed)
    }

    fn open_for(&self, zone: &ZoneId, node: Arc<NodeIdentity>) -> Result<Arc<Engine>, EnterError> {
        let records = ZoneRecords::load(&*self.storage, &node, zone).map_err(EnterError::Failed)?;
        let identity = records.open(node).map_err(EnterError::of_keys)?;
        let options =
            OpenOptions { read_only: self.options.read_only, memory_bytes: self.options.memory_bytes / MEMORY_SHARE };
        Engine::open(self.storage.clone(), identity, &options).map_err(EnterError::Failed)
    }

    /// Opens a zone that the node's principal may not read with the node's own key, for as long as `run` takes: what is
    /// decided in it may open it for the principal.
    pub(crate) fn with_own_key<T>(
        &self,
        slot: u32,
        run: impl FnOnce(&Engine) -> Result<T, Failure>,
    ) -> Result<T, EnterError> {
        let mut table = self.table();
        let zone = table.slots.zones().find(|(number, _)| *number == slot).map(|(_, slotted)| slotted.zone);
        let zone = zone.ok_or(EnterError::Unknown)?;
        while matches!(table.states.get(&slot), Some(State::Moving)) {
            table = self.moved.wait(table).expect("no panic under this lock");
        }
        if let Some(State::Open(open)) = table.states.get(&slot) {
            let engine = open.engine.clone();
            drop(table);
            return run(&engine).map_err(EnterError::Failed);
        }
        table.states.insert(slot, State::Moving);
        drop(table);
        let result = self.open_for(&zone, Arc::new(self.node.with_own_key())).and_then(|engine| {
            let result = run(&engine);
            result.and_then(|done| engine.close().map(|()| done)).map_err(EnterError::Failed)
        });
        self.table().states.remove(&slot);
        self.moved.notify_all();
        result
    }

    /// A zone that was just made is open.
    pub(super) fn opened(&self, slot: u32, engine: Arc<Engine>) -> Result<(), Failure> {
        self.close_surplus();
        let open = start(engine)?;
        self.table().states.insert(slot, State::Open(open));
        Ok(())
    }

    /// A slot for a zone; the one that it has.
    pub(super) fn slot_of(&self, zone: &ZoneId, filling: bool) -> Result<u32, Failure> {
        let mut table = self.table();
        if let Some(slot) = table.slots.find(zone) {
            return Ok(slot);
        }
        if !filling && !self.storage.exists(&ZoneLayout::new(zone).birth()).unwrap_or(false) {
            return Err(Failure::problem(
                format!("zone {zone} is not in this node's directory"),
                "bring its files back",
            ));
        }
        let slot = table.slots.add(Slotted { zone: *zone, filling }).ok_or_else(|| {
            Failure::refused("the node has no slot left for another zone", "zones that are gone leave theirs")
        })?;
        if !self.options.read_only {
            table.slots.store(&*self.storage)?;
        }
        Ok(slot)
    }

    /// Changes the list of slots, durably.
    pub(super) fn change_slots(&self, change: impl FnOnce(&mut SlotList)) -> Result<(), Failure> {
        let mut table = self.table();
        change(&mut table.slots);
        table.slots.store(&*self.storage)
    }

    /// Where the zone of a slot was entered: the slot of the zone around it, and the directory there.
    pub(crate) fn place(&self, slot: u32) -> Option<(u32, u64)> {
        self.table().places.get(&slot).copied()
    }

    /// The zones that are open, the one at the top first.
    pub(crate) fn open_zones(&self) -> Vec<(u32, Arc<Engine>)> {
        let table = self.table();
        let open = table.states.iter().filter_map(|(slot, state)| match state {
            State::Open(open) => Some((*slot, open.engine.clone())),
            _ => None,
        });
        std::iter::once((0, self.top.clone())).chain(open).collect()
    }

    /// The slots of all zones below the top.
    pub(crate) fn slots(&self) -> Vec<u32> {
        self.table().slots.zones().filter(|(_, slotted)| !slotted.filling).map(|(slot, _)| slot).collect()
    }

    /// Gives space back in every zone that the node's principal may write.
    pub(crate) fn reclaim(&self, all: bool, progress: OnProgress<'_>) -> Result<ReclaimReport, Failure> {
        let mut sum = ReclaimReport::default();
        for slot in std::iter::once(0).chain(self.slots()) {
            let zone = match self.engine(slot) {
                Ok(zone) => zone,
                Err(EnterError::Denied) => continue,
                Err(error) => return Err(Failure::problem(error.to_string(), "run `bt check`")),
            };
            if zone.is_read_only() {
                continue;
            }
            let done = zone.reclaim(all, progress)?;
            sum.examined += done.examined;
            sum.dropped += done.dropped;
            sum.moved_bytes += done.moved_bytes;
            sum.freed_bytes += done.freed_bytes;
        }
        Ok(sum)
    }

    /// The open zones, when none is being opened or closed any more: what one that closes holds is committed then.
    pub(crate) fn settled_zones(&self) -> Vec<(u32, Arc<Engine>)> {
        let mut table = self.table();
        while table.states.values().any(|state| matches!(state, State::Moving)) {
            table = self.moved.wait(table).expect("no panic under this lock");
        }
        drop(table);
        self.open_zones()
    }

    /// The kernel lets a node of a zone go, which may be closed.
    pub(crate) fn forget(&self, slot: u32, inode: u64, count: u64) {
        if slot == 0 {
            return self.top.forget(inode, count);
        }
        let engine = {
            let mut table = self.table();
            match table.states.get(&slot) {
                Some(State::Open(open)) => open.engine.clone(),
                _ => {
                    if let Some(held) = table.held.get_mut(&slot) {
                        held.forget(inode, count);
                    }
                    return;
                }
            }
        };
        engine.forget(inode, count);
    }

    /// As [`Zones::forget`], by the number that the kernel knows an inode by.
    pub(crate) fn forget_known(&self, known_as: At, count: u64) {
        let now = self.renumbered.now(known_as);
        self.forget(now.0, now.1, count);
        if now != known_as {
            self.renumbered.forget(now, || self.is_held(now));
        }
    }

    /// Whether the kernel holds an inode.
    fn is_held(&self, (slot, inode): At) -> bool {
        if slot == 0 {
            return self.top.is_held(inode);
        }
        let table = self.table();
        match table.states.get(&slot) {
            Some(State::Open(open)) => open.engine.is_held(inode),
            _ => table.held.get(&slot).is_some_and(|held| held.holds(inode)),
        }
    }

    /// Makes room for one more open zone by closing those that were used longest ago.
    fn close_surplus(&self) {
        while self.open_count() >= OPEN_ZONES {
            if !self.close_one(Duration::ZERO) {
                return;
            }
        }
    }

    fn open_count(&self) -> usize {
        self.table().states.values().filter(|state| matches!(state, State::Open(_))).count()
    }

    /// Closes zones that nobody used for `idle`.
    pub(crate) fn close_idle(&self, idle: Duration) {
        while self.close_one(idle) {}
    }

    /// Closes the zone that was used longest ago, if nobody used it for `idle`.
    fn close_one(&self, idle: Duration) -> bool {
        let taken = {
            let mut table = self.table();
            let open = table.states.iter().filter_map(|(slot, state)| match state {
                State::Open(open) if open.is_idle() && open.used.elapsed() >= idle => Some((open.used, *slot)),
                _ => None,
            });
            let Some((_, slot)) = open.min() else { return false };
            let filling = table.slots.zones().any(|(number, slotted)| number == slot && slotted.filling);
            if filling {
                return false;
            }
            let taken = table.states.insert(slot, State::Moving);
            if let Some(State::Open(open)) = &taken {
                table.held.insert(slot, open.engine.give_lookups());
            }
            (slot, taken)
        };
        let (slot, Some(State::Open(open))) = taken else { return false };
        let kept = shut(open);
        let mut table = self.table();
        let is_closed = kept.is_none();
        match kept {
            None => drop(table.states.remove(&slot)),
            Some(open) => {
                open.engine.adopt_lookups(table.held.remove(&slot).unwrap_or_default());
                table.states.insert(slot, State::Open(open));
            }
        }
        drop(table);
        self.moved.notify_all();
        is_closed
    }

    /// The turn to make a zone; refused while another is being made.
    pub(super) fn turn_to_make(&self) -> Result<Turn<'_>, Failure> {
        match self.making.swap(true, Ordering::AcqRel) {
            false => Ok(Turn(&self.making)),
            true => Err(Failure::refused("another zone is being made in this node", "try again when that has ended")),
        }
    }

    /// Closes the zone of a slot whoever uses it; its changes are not committed.
    pub(super) fn drop_zone(&self, slot: u32) {
        let state = self.table().states.remove(&slot);
        if let Some(State::Open(OpenZone { committer: Some(committer), .. })) = state {
            committer.stop();
        }
        self.moved.notify_all();
    }

    /// Commits and closes every zone but the one at the top; the first failure is told.
    pub(crate) fn close(&self) -> Result<(), Failure> {
        let states = std::mem::take(&mut self.table().states);
        let mut outcome = Ok(());
        for state in states.into_values() {
            if let State::Open(OpenZone { engine, committer, .. }) = state {
                if let Some(committer) = committer {
                    committer.stop();
                }
                outcome = outcome.and(engine.close());
            }
        }
        outcome
    }
}

/// Starts what commits a zone that takes changes.
fn start(engine: Arc<Engine>) -> Result<OpenZone, Failure> {
    let committer = match engine.is_read_only() {
        true => None,
        false => Some(
            Committer::start(engine.clone())
                .map_err(|error| Failure::io("starting the committing thread of a zone", &error))?,
        ),
    };
    Ok(OpenZone { engine, committer, used: Instant::now() })
}

/// Commits and closes a zone. One whose changes cannot be committed (the disk is full) is given back: they are only in
/// its memory, and were acknowledged.
fn shut(mut open: OpenZone) -> Option<OpenZone> {
    if let Err(error) = open.engine.commit() {
        tracing::error!(%error, zone = %open.engine.identity.zone(), "a zone that nobody uses stays open");
        open.used = Instant::now();
        return Some(open);
    }
    let OpenZone { engine, committer, .. } = open;
    if let Some(committer) = committer {
        committer.stop();
    }
    if let Err(failure) = engine.close() {
        tracing::error!(%failure, zone = %engine.identity.zone(), "a zone was not closed in order");
    }
    None
}
