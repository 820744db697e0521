//! Handing a tree to a new root, in a directory that nobody serves.
//!
//! In this order, so that a crash never loses a root: the new root's file is written beside the old one, then the
//! succession, then in each zone the record by which it obeys the new root and an epoch with a box for it; last the
//! files change places. Whatever is left undone is done by running it again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bt_base::limits::SESSION_SECONDS;
use bt_base::{PrincipalId, Timestamp, ZoneId};
use bt_crypto::{KeyStore, RootSeed, SoftwareKeyStore};
use bt_store::{DirLock, FileStorage, Heads, Storage};
use bt_tree::{AccessLog, Action, Birth, EpochError, EpochList, Genesis, Keyring, LastHead, SessionKey, SignedHead};

use super::root::{create_root, not_the_root};
use super::{file, whoami};
use crate::control::Failure;
use crate::identity::{self, damaged};
use crate::layout::{self, ZoneLayout};
use crate::system::{SystemEntropy, now};

/// A directory whose tree is about to have a new root: locked, read, and everything that can be refused was.
pub struct Rotation {
    storage: Arc<dyn Storage>,
    genesis: Genesis,
    old: SoftwareKeyStore,
    root_file: PathBuf,
    top: ZoneId,
    zones: Vec<Zone>,
    _lock: DirLock,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationReport {
    /// The root from now on.
    pub root: PrincipalId,
    /// Zones that obey it.
    pub zones: usize,
    /// Where the file of the root before was put.
    pub set_aside: PathBuf,
}

struct Zone {
    layout: ZoneLayout,
    birth: Birth,
    access: AccessLog,
    epochs: EpochList,
    /// None where the root before is no reader: the zone has its epoch already, or its next writer makes it.
    keys: Option<Keyring>,
    last: Option<LastHead>,
}

impl Rotation {
    /// Locks and reads the node's directory `dir` for a succession of the root in `old`, which came from `root_file`.
    pub fn begin(dir: &Path, root_file: &Path, old: &RootSeed) -> Result<Self, Failure> {
        let lock = DirLock::acquire(dir)
            .map_err(|error| Failure::refused(error.to_string(), "unmount it first: every zone needs new keys"))?;
        let storage = FileStorage::open(dir).map_err(problem)?;
        let storage: Arc<dyn Storage> = Arc::new(storage);
        let genesis = identity::read_genesis(&*storage)?;
        let old = old.key_store();
        let top = identity::find_top(&*storage)?;
        if !whoami::zones(dir)?.contains(&top) {
            return Err(damaged(&ZoneLayout::new(&top).epochs(), "it is not there"));
        }
        let read = |zone| Zone::read(&storage, &genesis, zone, &old);
        let zones = whoami::zones(dir)?.into_iter().map(read).collect::<Result<_, _>>()?;
        let root_file = root_file.canonicalize().map_err(|error| Failure::io("finding the root file", &error))?;
        let rotation = Self { storage, genesis, old, root_file, top, zones, _lock: lock };
        rotation.refuse_other_roots(dir)?;
        Ok(rotation)
    }

    /// Whether an earlier run wrote the succession and stopped: the new root's file is there and only to be opened.
    pub fn is_resumed(&self) -> bool {
        self.old.credential() != self.genesis.root()
    }

    /// Where the new root's file is until all is done.
    pub fn new_file(&self) -> PathBuf {
        with_suffix(&self.root_file, "next")
    }

    /// Makes the new root and its file; nothing obeys it yet.
    pub fn make_root(&self, passphrase: &[u8]) -> Result<RootSeed, Failure> {
        let seed = RootSeed::generate(&mut SystemEntropy);
        create_root(&self.new_file(), &seed, passphrase)?;
        Ok(seed)
    }

    /// Takes back what [`Self::make_root`] did.
    pub fn abandon(self) {
        // A file that cannot be removed is found, and explained, by the next run.
        let _ = std::fs::remove_file(self.new_file());
    }

    /// Makes the principal in `new` the root of the tree and of each zone in the directory.
    pub fn finish(mut self, new: &RootSeed) -> Result<RotationReport, Failure> {
        let new = new.key_store();
        if !self.is_resumed() {
            self.genesis.succeed(&self.old, &new, self.top, now()).map_err(problem)?;
            identity::write(&*self.storage, layout::SUCCESSION, &self.genesis.successions_to_bytes())?;
        }
        if new.credential() != self.genesis.root() {
            let what = format!("{} does not hold the root that the succession names", self.new_file().display());
            return Err(Failure::refused(what, "find the file or the words of that root"));
        }
        for zone in &mut self.zones {
            zone.obey(&*self.storage, &self.genesis, &new)?;
        }
        let set_aside = with_suffix(&self.root_file, &self.old.credential().id().short());
        file::exchange(&self.root_file, &self.new_file(), &set_aside)?;
        Ok(RotationReport { root: new.credential().id(), zones: self.zones.len(), set_aside })
    }

    fn refuse_other_roots(&self, dir: &Path) -> Result<(), Failure> {
        let waiting = self.new_file().exists();
        let was_root = |root| self.old.credential() == root;
        let successors = self.genesis.successions().iter().map(|succession| &succession.statement().successor);
        let known = std::iter::once(self.genesis.founder()).chain(successors).any(was_root);
        match (self.is_resumed(), waiting) {
            (false, false) => Ok(()),
            (true, true) if known => Ok(()),
            (false, true) => Err(Failure::refused(
                format!("{} is left of a rotation that changed nothing", self.new_file().display()),
                "remove it, forget the words that were shown with it, and run the command again",
            )),
            (true, _) => Err(not_the_root(dir, &self.genesis, self.old.credential())),
        }
    }
}

impl Zone {
    fn read(
        storage: &Arc<dyn Storage>,
        genesis: &Genesis,
        zone: ZoneId,
        old: &SoftwareKeyStore,
    ) -> Result<Self, Failure> {
        let layout = ZoneLayout::new(&zone);
        let birth = Birth::decode_for(genesis.tree(), &zone, &identity::read(&**storage, &layout.birth())?)
            .map_err(|error| damaged(&layout.birth(), error))?;
        let access = AccessLog::decode(genesis, &birth, &identity::read(&**storage, &layout.access())?)
            .map_err(|error| damaged(&layout.access(), error))?;
        let epochs = EpochList::decode(&access, &identity::read(&**storage, &layout.epochs())?)
            .map_err(|error| damaged(&layout.epochs(), error))?;
        let keys = match epochs.open_with(old) {
            Ok(keys) => Some(keys),
            Err(EpochError::NotAReader { .. } | EpochError::NoEpoch) => None,
            Err(error) => return Err(damaged(&layout.epochs(), error)),
        };
        let last = last_head(storage, &layout, &access)?;
        Ok(Self { layout, birth, access, epochs, keys, last })
    }

    /// Appends the record by which the zone obeys the new root, then an epoch with a box for it.
    fn obey(&mut self, storage: &dyn Storage, genesis: &Genesis, new: &SoftwareKeyStore) -> Result<(), Failure> {
        // It was read before the succession was made.
        self.access = AccessLog::decode(genesis, &self.birth, &self.access.to_bytes()).map_err(problem)?;
        if !self.access.obeys_newest_root() {
            let root = new.credential().id();
            let action = Action::Succeed { succession: genesis.newest_succession(), root, last: self.last };
            self.access.decide(new, now(), action).map_err(problem)?;
            identity::write(storage, &self.layout.access(), &self.access.to_bytes())?;
        }
        let Some(keys) = &mut self.keys else { return Ok(()) };
        let newest = |time: Timestamp, at: &Timestamp| time.max(*at);
        let times = self.access.records().last().map(|record| record.statement().time);
        let epoch = self.epochs.records().last().map(|record| record.statement().time);
        let start = times.iter().chain(&epoch).fold(now(), newest);
        let session =
            SessionKey::issue(new, genesis.tree(), start, SESSION_SECONDS, &mut SystemEntropy).map_err(problem)?;
        self.epochs.advance(&self.access, keys, &session, start, &mut SystemEntropy).map_err(problem)?;
        identity::write(storage, &self.layout.epochs(), &self.epochs.to_bytes())
    }
}

/// The zone's newest head that counts.
fn last_head(storage: &Arc<dyn Storage>, layout: &ZoneLayout, access: &AccessLog) -> Result<Option<LastHead>, Failure> {
    let loaded = Heads::new(storage.clone(), &layout.directory).load().map_err(problem)?;
    let verified = loaded.copies.iter().filter_map(|copy| {
        let signed = SignedHead::decode(&copy.bytes).ok()?;
        let revision = signed.verify(access).ok()?.revision;
        Some(LastHead { revision, hash: signed.hash() })
    });
    Ok(verified.max_by_key(|last| last.revision))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

fn problem(error: impl std::fmt::Display) -> Failure {
    Failure::problem(error.to_string(), "run `bt check` to see what is damaged")
}
