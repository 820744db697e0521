//! Whom a node acts for, and the records and keys of its zones, read from its directory and verified.

use std::sync::Arc;

use bt_base::{PrincipalId, TreeId, ZoneId};
use bt_crypto::KeyStore;
use bt_store::Storage;
use bt_tree::{AccessLog, Birth, EpochError, EpochList, Genesis};
use zeroize::Zeroizing;

use crate::control::Failure;
use crate::layout::{self, ZoneLayout};
use crate::node_key::{NodeKey, key_failure};
use crate::rights::{Rights, ZoneRights};
use crate::rollback::NewestHeads;

/// The largest record file that is read, and so that is written.
pub(crate) const FILE_SIZE: u64 = 256 << 20;

/// The end of the name of a file that is to take the place of another.
const UNFINISHED: &str = ".new";

/// What all zones of a node have in common: the tree, and the principal that the process acts for.
pub(crate) struct NodeIdentity {
    pub(crate) genesis: Genesis,
    /// Certifies session keys, and opens the boxes of epochs.
    pub(crate) who: Arc<dyn KeyStore>,
    /// The node's own key.
    pub(crate) key: NodeKey,
    /// The newest heads of its zones, as far as they are known.
    pub(crate) newest: Arc<NewestHeads>,
}

impl NodeIdentity {
    /// Reads and verifies the tree's record; the node's own key acts.
    pub(crate) fn load(storage: &dyn Storage) -> Result<Self, Failure> {
        check_format(storage)?;
        let node = Zeroizing::new(read(storage, layout::NODE_KEY)?);
        let key = NodeKey::decode(&node)?;
        Ok(Self { genesis: read_genesis(storage)?, who: key.store(), key, newest: Arc::default() })
    }

    /// The same; another principal than the node acts.
    pub(crate) fn load_as(storage: &dyn Storage, who: Arc<dyn KeyStore>) -> Result<Self, Failure> {
        Ok(Self { who, ..Self::load(storage)? })
    }

    /// The same; the node's own key acts.
    pub(crate) fn with_own_key(&self) -> Self {
        let Self { genesis, key, newest, .. } = self;
        Self { genesis: genesis.clone(), who: key.store(), key: key.clone(), newest: newest.clone() }
    }

    /// The tree.
    pub(crate) fn tree(&self) -> &TreeId {
        self.genesis.tree()
    }

    /// The principal that the process acts for.
    pub(crate) fn principal(&self) -> PrincipalId {
        self.who.credential().id()
    }
}

/// The records and keys of one zone.
pub(crate) struct ZoneIdentity {
    pub(crate) node: Arc<NodeIdentity>,
    pub(crate) birth: Birth,
    /// Who may do what, and the keys; they change while the zone is open.
    pub(crate) rights: Arc<ZoneRights>,
    pub(crate) layout: ZoneLayout,
}

/// A zone's records, verified, without its keys.
pub(crate) struct ZoneRecords {
    pub(crate) birth: Birth,
    pub(crate) access: AccessLog,
    pub(crate) epochs: EpochList,
    pub(crate) layout: ZoneLayout,
}

impl ZoneRecords {
    /// Reads and verifies the records of a zone.
    pub(crate) fn load(storage: &dyn Storage, node: &NodeIdentity, zone: &ZoneId) -> Result<Self, Failure> {
        Self::read(storage, node, zone, ZoneLayout::new(zone))
    }

    /// Reads and verifies the records of the zone at the tree's top.
    pub(crate) fn load_top(storage: &dyn Storage, node: &NodeIdentity) -> Result<Self, Failure> {
        let zone = find_top(storage)?;
        let records = Self::read(storage, node, &zone, ZoneLayout::top(&zone))?;
        match records.birth.is_top_of(&node.genesis) {
            true => Ok(records),
            false => Err(damaged(&records.layout.birth(), "it is not the record of this tree's first zone")),
        }
    }

    fn read(storage: &dyn Storage, node: &NodeIdentity, zone: &ZoneId, layout: ZoneLayout) -> Result<Self, Failure> {
        let birth = Birth::decode_for(node.tree(), zone, &read(storage, &layout.birth())?)
            .map_err(|error| damaged(&layout.birth(), error))?;
        let access = AccessLog::decode(&node.genesis, &birth, &read(storage, &layout.access())?)
            .map_err(|error| damaged(&layout.access(), error))?;
        let epochs = EpochList::decode(&access, &read(storage, &layout.epochs())?)
            .map_err(|error| damaged(&layout.epochs(), error))?;
        Ok(Self { birth, access, epochs, layout })
    }

    /// Opens the zone's keys with the key of the node's principal; fails when no box is for it.
    pub(crate) fn open(self, node: Arc<NodeIdentity>) -> Result<ZoneIdentity, EpochError> {
        let Self { birth, access, epochs, layout } = self;
        let keys = epochs.open_with(&*node.who)?;
        let rights = Arc::new(ZoneRights::new(Rights::new(access, epochs, keys, node.principal())));
        Ok(ZoneIdentity { node, birth, rights, layout })
    }
}

impl ZoneIdentity {
    /// Reads and verifies all records of the zone at the tree's top.
    pub(crate) fn load_top(storage: &dyn Storage, node: Arc<NodeIdentity>) -> Result<Self, Failure> {
        let records = ZoneRecords::load_top(storage, &node)?;
        records.open(node.clone()).map_err(|error| not_opened(&node, &error))
    }

    /// Reads and verifies the records again, for the same principal.
    pub(crate) fn reload(&self, storage: &dyn Storage) -> Result<Self, Failure> {
        let node = Arc::new(NodeIdentity::load_as(storage, self.node.who.clone())?);
        if self.layout.home.is_empty() {
            return Self::load_top(storage, node);
        }
        let records = ZoneRecords::load(storage, &node, &self.zone())?;
        records.open(node.clone()).map_err(|error| not_opened(&node, &error))
    }

    /// The zone.
    pub(crate) fn zone(&self) -> ZoneId {
        *self.birth.zone()
    }

    /// The tree.
    pub(crate) fn tree(&self) -> &TreeId {
        self.node.tree()
    }
}

/// Why the keys of a zone do not open.
pub(crate) fn not_opened(node: &NodeIdentity, error: &EpochError) -> Failure {
    let other = || {
        let what = format!("the zone's keys do not open for node {}: {error}", node.principal().short());
        Failure::refused(what, "use the node.key that was admitted to this tree")
    };
    match error {
        EpochError::Key(error) => key_failure(error, other),
        _ => other(),
    }
}

/// The records of the zone at the tree's top, with the node's own key.
pub(crate) fn load_top(storage: &dyn Storage) -> Result<ZoneIdentity, Failure> {
    ZoneIdentity::load_top(storage, Arc::new(NodeIdentity::load(storage)?))
}

/// The tree's first record, with the successions of its roots.
pub(crate) fn read_genesis(storage: &dyn Storage) -> Result<Genesis, Failure> {
    let genesis = Genesis::decode(&read(storage, layout::GENESIS)?).map_err(|error| damaged(layout::GENESIS, error))?;
    match storage.exists(layout::SUCCESSION) {
        Ok(false) => Ok(genesis),
        // What cannot be looked at cannot be read either, and that says why.
        Ok(true) | Err(_) => {
            let successions = read(storage, layout::SUCCESSION)?;
            genesis.with_successions(&successions).map_err(|error| damaged(layout::SUCCESSION, error))
        }
    }
}

/// Refuses directories that are none of ours, or of another version.
fn check_format(storage: &dyn Storage) -> Result<(), Failure> {
    let exists = storage.exists(layout::FORMAT).map_err(|error| Failure::problem(error.to_string(), ""))?;
    if !exists {
        let what = "this directory holds no Blocktree node";
        return Err(Failure::usage(what, "make one with `bt init DIR`, or name the right directory"));
    }
    let text = read(storage, layout::FORMAT)?;
    let text = String::from_utf8_lossy(&text);
    let version = text.lines().next().and_then(|line| line.strip_prefix(layout::FORMAT_PREFIX));
    match version.and_then(|version| version.trim().parse::<u32>().ok()) {
        Some(layout::FORMAT_VERSION) => Ok(()),
        Some(newer) if newer > layout::FORMAT_VERSION => Err(Failure::refused(
            format!("the directory has layout version {newer}, this program knows {}", layout::FORMAT_VERSION),
            "use a newer bt",
        )),
        Some(older) => {
            Err(Failure::refused(format!("the directory has layout version {older}"), "use the bt that made it"))
        }
        None => Err(Failure::problem("the file format is damaged: its first line is not one that bt writes", "")),
    }
}

/// The zone at the top of the tree.
pub(crate) fn find_top(storage: &dyn Storage) -> Result<ZoneId, Failure> {
    let named = read(storage, &format!("{}/root", layout::ZONES))?;
    let text = String::from_utf8_lossy(&named);
    text.trim().parse().map_err(|error| damaged("zones/root", error))
}

/// Reads a whole file of the directory.
pub(crate) fn read(storage: &dyn Storage, name: &str) -> Result<Vec<u8>, Failure> {
    let failed = |error: bt_store::StoreError| {
        Failure::problem(format!("cannot read {name}: {error}"), "restore the file from a backup of the directory")
    };
    let file = storage.open(name, false).map_err(failed)?;
    let len = file.len().map_err(failed)?;
    if len > FILE_SIZE {
        return Err(Failure::problem(format!("{name} has {len} bytes, more than it can have"), ""));
    }
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    Ok(bytes)
}

/// Writes a whole file of the directory; durable when this returns.
pub(crate) fn write(storage: &dyn Storage, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    replace(storage, name, bytes).map_err(|error| Failure {
        kind: crate::control::FailureKind::Io,
        what: format!("cannot write {name}: {error}"),
        hint: String::new(),
    })
}

/// Puts a file in the place of another: after a crash it is the one or the other. Durable when this returns.
pub(crate) fn replace(storage: &dyn Storage, name: &str, bytes: &[u8]) -> Result<(), bt_store::StoreError> {
    let new = format!("{name}{UNFINISHED}");
    let file = storage.open(&new, true)?;
    file.set_len(0)?;
    file.write_at(bytes, 0)?;
    file.sync_data()?;
    storage.rename(&new, name)?;
    storage.sync_dir(bt_store::storage::directory_of(name))
}

/// Removes what a crash left of files that were to take the place of others.
pub(crate) fn remove_unfinished(storage: &dyn Storage, directory: &str) -> Result<(), bt_store::StoreError> {
    let mut unfinished = storage.list(directory)?;
    unfinished.retain(|name| name.ends_with(UNFINISHED));
    for name in &unfinished {
        tracing::info!(file = %name, "what a crash left of a file that was not yet in place is removed");
        storage.remove(name)?;
    }
    if unfinished.is_empty() { Ok(()) } else { storage.sync_dir(directory) }
}

/// A file of the directory that does not hold what it should.
pub(crate) fn damaged(file: &str, error: impl std::fmt::Display) -> Failure {
    Failure::problem(format!("{file} is damaged: {error}"), "restore the file from a backup of the directory")
}
