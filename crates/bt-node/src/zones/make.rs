//! Making a zone out of a directory: its records, its directory, and the switch in the parent.
//!
//! The zone is filled from frozen states of the directory while work goes on: first all of it, then what changed
//! since, until little is left. Then changes wait: what the kernel still holds arrived, the rest is moved, the zone is
//! committed, and one record in the parent turns the directory into the entrance. What the kernel has open goes on in
//! the zone (`moved.rs`). Until that record is durable a crash leaves the directory as it was, and the next opening
//! removes what was filled.
//!
//! Inodes keep their numbers: what is in the zone is known by them, so nothing grows with the directory but the set of
//! those that were seen.

use std::collections::HashSet;
use std::sync::Arc;

use bt_base::ZoneId;
use bt_store::{Heads, JournalFile};
use bt_tree::checks::{Check, enforce};
use bt_tree::schema::ROOT_INODE;
use bt_tree::{AccessLog, Birth, EpochList, Keyring, Rights, SessionKey};

use super::fill::{Filling, changed, survey};
use super::{JOURNAL_BYTES, MEMORY_SHARE, Zones};
use crate::control::{Failure, OnProgress};
use crate::engine::{Engine, FrozenState};
use crate::error::EngineError;
use crate::identity::{self, ZoneRecords};
use crate::layout::{self, ZoneLayout};
use crate::options::OpenOptions;
use crate::system::{SystemEntropy, now};

/// Passes while work goes on, at most.
const PASSES: usize = 6;
/// Inodes that changed during a pass up to which the next one is the last.
const FEW: usize = 64;

/// The signed records that a new zone begins with: whoever shares signs them, the node cannot.
pub(crate) struct NewZone {
    pub(crate) birth: Birth,
    pub(crate) access: AccessLog,
}

impl NewZone {
    /// Verifies the records of a zone that is to be made in the zone of `parent`.
    pub(crate) fn decode(parent: &Engine, birth: &[u8], access: &[u8]) -> std::result::Result<Self, Failure> {
        let refused = |error: String| Failure::refused(error, "use the bt that mounted the tree");
        let identity = &parent.identity;
        let rights = identity.rights.now();
        let birth = Birth::decode(identity.tree(), birth).map_err(|error| refused(error.to_string()))?;
        let access = AccessLog::decode(&identity.node.genesis, &birth, access)
            .map_err(|error| refused(format!("the new zone's access log: {error}")))?;
        if birth.parent() != Some(&identity.zone()) {
            return Err(refused("the new zone's birth record names another parent zone".into()));
        }
        let obeys_newest = match *birth.succession() == identity.node.genesis.newest_succession() {
            true => Ok(()),
            false => Err(refused("the new zone would obey a root of the tree that was succeeded".into())),
        };
        enforce(Check::NewestRoot, obeys_newest)?;
        let creator = birth.creator().id();
        rights.access.may(&creator, Rights::Admin, &rights.access.newest(), now()).map_err(|error| {
            Failure::refused(error.to_string(), "sign as the root, or as an admin of the zone that the directory is in")
        })?;
        Ok(Self { birth, access })
    }
}

impl Zones {
    /// Turns the directory `inode` of the zone in slot `outer` into a zone. Returns the zone.
    pub(crate) fn make(
        &self,
        outer: u32,
        parent: &Engine,
        inode: u64,
        new: &NewZone,
        progress: OnProgress<'_>,
    ) -> std::result::Result<ZoneId, Failure> {
        let zone = *new.birth.zone();
        if parent.is_read_only() {
            return Err(Failure::refused("the zone that the directory is in takes no changes here", ""));
        }
        let failed = |error: EngineError| error.into_failure("making a zone of the directory");
        let Some((_, label)) = parent.name_of_directory(inode).map_err(failed)? else {
            return Err(Failure::refused("only a directory below a zone's root becomes a zone", ""));
        };
        let _turn = self.turn_to_make()?;
        self.refuse_existing(&zone)?;
        let first = parent.frozen().map_err(failed)?;
        let total = survey(parent, &first.tree, inode)?;
        let slot = self.slot_of(&zone, true)?;
        let made = self.create(&zone, new, &label, parent).and_then(|child| {
            self.opened(slot, child.clone())?;
            let filling = Filling { parent, child: &child, directory: inode, done: 0, total, progress };
            self.fill(filling, first, (outer, slot, &zone))
        });
        match made {
            Ok((entered, settled)) => {
                self.table().places.insert(slot, (outer, entered.placeholder));
                self.show_entrance(outer, entered.directory, &entered.name);
                // Until then the slot says that it is being filled: the next opening looks whether the entrance is there.
                let settled = settled.and_then(|()| self.change_slots(|slots| slots.filled(slot)));
                settled.map(|()| zone).map_err(|failure| {
                    let what = &failure.what;
                    let what = format!("the directory became a zone, but that may not outlive a crash: {what}");
                    Failure { what, ..failure }
                })
            }
            Err(failure) => {
                self.drop_zone(slot);
                if let Err(left) = self.remove_zone(slot, &zone) {
                    tracing::warn!(%left, %zone, "what was made of a zone is removed when the node is opened again");
                }
                Err(failure)
            }
        }
    }

    /// Refuses a zone that is there already: its files must not be written over, nor removed when this goes wrong.
    fn refuse_existing(&self, zone: &ZoneId) -> std::result::Result<(), Failure> {
        let birth = ZoneLayout::new(zone).birth();
        let exists = self.storage.exists(&birth).map_err(|error| Failure::problem(error.to_string(), ""))?;
        match exists || self.table().slots.find(zone).is_some() {
            true => Err(Failure::refused(format!("zone {zone} exists already"), "sign a new birth record")),
            false => Ok(()),
        }
    }

    /// Makes the zone's directory and its first, empty, head.
    fn create(
        &self,
        zone: &ZoneId,
        new: &NewZone,
        label: &[u8],
        parent: &Engine,
    ) -> std::result::Result<Arc<Engine>, Failure> {
        let storage = &self.storage;
        let io = |error: bt_store::StoreError| EngineError::from(error).into_failure("making the zone's directory");
        let layout = ZoneLayout::new(zone);
        storage.create_dir(&layout.directory).map_err(io)?;
        let epochs = self.first_epoch(&new.access)?;
        identity::write(&**storage, &layout.birth(), new.birth.as_bytes())?;
        identity::write(&**storage, &layout.access(), &new.access.to_bytes())?;
        identity::write(&**storage, &layout.epochs(), &epochs.to_bytes())?;
        Heads::new(storage.clone(), &layout.directory).create().map_err(io)?;
        JournalFile::create(&**storage, &layout.journal(), JOURNAL_BYTES).map_err(io)?;
        storage.sync_dir(&layout.directory).map_err(io)?;
        storage.sync_dir(layout::ZONES).map_err(io)?;
        let records = ZoneRecords::load(&**storage, &self.node, zone)?;
        let identity = records.open(self.node.clone()).map_err(|error| {
            Failure::refused(error.to_string(), "grant the principal that this node acts for the right to write")
        })?;
        let memory_bytes = self.options.memory_bytes / MEMORY_SHARE;
        let options = OpenOptions { memory_bytes, ..self.options.clone() };
        let compression = parent.compression();
        let child = Engine::create(storage.clone(), identity, &options, compression)?;
        child.set_label(label).map_err(|error| error.into_failure("naming the zone"))?;
        Ok(child)
    }

    fn first_epoch(&self, access: &AccessLog) -> std::result::Result<EpochList, Failure> {
        let refused = |error: String| {
            Failure::refused(error, "grant the principal that this node acts for the right to write the zone")
        };
        let session = SessionKey::issue(&*self.node.who, self.node.tree(), now(), 3600, &mut SystemEntropy)
            .map_err(|error| refused(error.to_string()))?;
        let mut epochs = EpochList::new(access);
        epochs
            .advance(access, &mut Keyring::default(), &session, now(), &mut SystemEntropy)
            .map_err(|error| refused(error.to_string()))?;
        Ok(epochs)
    }

    /// Fills the zone and puts its entrance in the directory's place. An error says that nothing leads to the zone; once
    /// something does, what went wrong after is told beside it.
    fn fill(
        &self,
        mut filling: Filling<'_, '_>,
        first: FrozenState<'_>,
        (outer, slot, zone): (u32, u32, &ZoneId),
    ) -> std::result::Result<(MadeEntrance, std::result::Result<(), Failure>), Failure> {
        let failed = |error: EngineError| error.into_failure("moving the directory into its zone");
        let (parent, child, directory) = (filling.parent, filling.child, filling.directory);
        let mut seen = filling.pass(None, &first.tree)?;
        let mut last = first;
        for _ in 0..PASSES {
            let next = parent.frozen().map_err(failed)?;
            let changed = changed(parent, &last.tree, &next.tree).map_err(failed)?;
            let few = changed.len() <= FEW;
            seen = filling.pass(Some((&last.tree, &changed, &seen)), &next.tree)?;
            last = next;
            if few {
                break;
            }
        }
        self.write_out(outer, seen.iter().copied().filter(|inode| parent.is_held(*inode)));
        child.commit().map_err(failed)?;
        let held = parent.hold_changes();
        let next = parent.frozen().map_err(failed)?;
        survey(parent, &next.tree, directory)?;
        let changed = changed(parent, &last.tree, &next.tree).map_err(failed)?;
        let seen = filling.pass(Some((&last.tree, &changed, &seen)), &next.tree)?;
        child.commit().map_err(failed)?;
        let named = parent.name_of_directory(directory).map_err(failed)?;
        let (around, name) = named.ok_or_else(|| Failure::refused("the directory was removed meanwhile", ""))?;
        let entered = held.enter(around, &name, zone).map_err(failed)?;
        self.renumber(&filling, (outer, slot), &seen);
        let settled = held.settle(&entered).map_err(failed);
        Ok((MadeEntrance { placeholder: entered.placeholder, directory: around, name }, settled))
    }

    /// What the kernel knows of the directory is in the zone now.
    fn renumber(&self, filling: &Filling<'_, '_>, (outer, slot): (u32, u32), seen: &HashSet<u64>) {
        let (parent, child) = (filling.parent, filling.child);
        let there = |inode: u64| if inode == filling.directory { ROOT_INODE } else { inode };
        let known: Vec<u64> = seen.iter().copied().filter(|inode| parent.is_held(*inode)).collect();
        self.renumbered.add(known.iter().map(|inode| ((outer, *inode), (slot, there(*inode)))));
        for inode in known {
            child.adopt_lookup(there(inode), parent.give_lookup(inode));
        }
    }

    /// The number that the kernel knows an inode by.
    pub(crate) fn known_node(&self, at: (u32, u64)) -> u64 {
        let (slot, inode) = self.renumbered.known_as(at);
        crate::mountfs::live_node(slot, inode)
    }

    /// The kernel forgets the directory that became an entrance. Called without any lock.
    fn show_entrance(&self, outer: u32, directory: u64, name: &[u8]) {
        let Some(kernel) = self.kernel() else { return };
        let node = self.known_node((outer, directory));
        if let Err(error) = kernel.forget_name(node, name) {
            tracing::warn!(%error, "the kernel still shows the directory that became a zone");
        }
    }
}

/// Where the entrance is.
struct MadeEntrance {
    placeholder: u64,
    directory: u64,
    name: Vec<u8>,
}
