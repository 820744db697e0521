//! The root directory of a principal that may not read the zone at the top: made of the zones that it may read.
//!
//! It is a small tree in memory, with an entrance for each of these zones under the name that the zone's own record
//! carries. It lives as long as the process, takes no changes, and what it holds is only what the principal can read.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bt_base::ZoneId;
use bt_base::limits::NAME_SIZE;
use bt_crypto::PassphraseCost;
use bt_store::{MemoryStorage, Storage};
use bt_tree::EpochError;
use bt_tree::schema::{ROOT_INODE, is_file_name};
use zeroize::Zeroizing;

use super::slots::SlotList;
use crate::control::Failure;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::identity::{self, NodeIdentity, ZoneIdentity, ZoneRecords};
use crate::options::{InitOptions, NodeKeyOptions, OpenOptions};

/// Memory of the tree that is made, in bytes: it holds a few names.
const MEMORY_BYTES: u64 = 4 << 20;
/// Bytes that tell a second zone of one name apart.
const SUFFIX: usize = 16;
/// Read, and enter.
const DIRECTORY: u32 = 0o040_555;

/// Opens the zone at the top, or what takes its place for a principal that may not read it.
pub(crate) fn open_top(
    storage: &Arc<dyn Storage>,
    node: &Arc<NodeIdentity>,
    options: &OpenOptions,
) -> Result<Arc<Engine>, Failure> {
    match ZoneRecords::load_top(&**storage, node)?.open(node.clone()) {
        Ok(identity) => Engine::open(storage.clone(), identity, options),
        Err(error @ EpochError::NotAReader { .. }) => {
            root_above(storage, node)?.ok_or_else(|| identity::not_opened(node, &error))
        }
        Err(error) => Err(identity::not_opened(node, &error)),
    }
}

/// Makes the root directory of a principal that may not read the top zone; none when it may read no zone at all.
fn root_above(storage: &Arc<dyn Storage>, node: &Arc<NodeIdentity>) -> Result<Option<Arc<Engine>>, Failure> {
    let mut zones = BTreeMap::new();
    for (name, zone) in named(storage, readable(storage, node)?)? {
        // Two zones may have one name: the second is told apart by its id.
        let name = if zones.contains_key(&name) { [&name[..], b" ", zone.short().as_bytes()].concat() } else { name };
        zones.insert(name, zone);
    }
    if zones.is_empty() {
        return Ok(None);
    }
    let failed = |error: EngineError| error.into_failure("making the root directory");
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let passphrase = Zeroizing::new(node.tree().to_string().into_bytes());
    let options = InitOptions { passphrase, compression: None, node_key: NodeKeyOptions::File };
    crate::init::make(memory.clone(), &options, PassphraseCost::LEAST)?;
    let small = OpenOptions { read_only: false, memory_bytes: MEMORY_BYTES };
    let engine = Engine::open(memory.clone(), identity::load_top(&*memory)?, &small)?;
    for (name, zone) in &zones {
        engine.make(ROOT_INODE, name, DIRECTORY, 0, b"", (0, 0, 0)).map_err(failed)?;
        engine.hold_changes().enter(ROOT_INODE, name, zone).map_err(failed)?;
    }
    engine.close()?;
    drop(engine);
    let small = OpenOptions { read_only: true, ..small };
    Engine::open(memory.clone(), identity::load_top(&*memory)?, &small).map(Some)
}

/// The zones that the principal may read, without those that are entered in one of the others.
fn readable(storage: &Arc<dyn Storage>, node: &Arc<NodeIdentity>) -> Result<Vec<ZoneIdentity>, Failure> {
    let mut found = Vec::new();
    for (_, slotted) in SlotList::load(&**storage)?.zones().filter(|(_, slotted)| !slotted.filling) {
        match ZoneRecords::load(&**storage, node, &slotted.zone) {
            Ok(records) => found.extend(records.open(node.clone())),
            Err(failure) => tracing::error!(%failure, zone = %slotted.zone, "a zone cannot be shown"),
        }
    }
    let known: HashSet<ZoneId> = found.iter().map(ZoneIdentity::zone).collect();
    found.retain(|identity| identity.birth.parent().is_none_or(|parent| !known.contains(parent)));
    Ok(found)
}

/// The names of zones, which only their readers know.
fn named(storage: &Arc<dyn Storage>, zones: Vec<ZoneIdentity>) -> Result<Vec<(Vec<u8>, ZoneId)>, Failure> {
    let mut named = Vec::new();
    for identity in zones {
        let zone = identity.zone();
        let options = OpenOptions { read_only: true, memory_bytes: MEMORY_BYTES };
        let label = Engine::open(storage.clone(), identity, &options)
            .and_then(|engine| engine.label().map_err(|error| error.into_failure("reading the zone's name")));
        match label {
            // A writer of the zone chose the name: one that no directory can have must not keep the others out.
            Ok(label) => {
                let name = label.filter(|label| is_file_name(label) && label.len() < NAME_SIZE - SUFFIX);
                named.push((name.unwrap_or_else(|| zone.short().into_bytes()), zone));
            }
            Err(failure) => tracing::error!(%failure, %zone, "a zone cannot be shown"),
        }
    }
    Ok(named)
}
