//! Giving a node another key: in a TPM, in another TPM, or in a file; also when the old key is gone.
//!
//! In each zone that the node may use, the root (or an admin) commits what the journal holds, grants the new key what the
//! old one had, and revokes the old one, which makes a new epoch. The new key lies in the file `node.key.next` from
//! before the first grant until all is done: after a crash the same command goes on with it.

use std::path::Path;
use std::sync::Arc;

use bt_base::{PrincipalId, Timestamp, ZoneId};
use bt_crypto::{Credential, KeyStore};
use bt_store::Storage;
use bt_tree::{Action, Rights as Level};

use crate::control::report::NodeKeyStatus;
use crate::control::{Failure, FailureKind};
use crate::engine::Engine;
use crate::identity::{self, NodeIdentity, ZoneIdentity, ZoneRecords};
use crate::layout::{self, ZoneLayout};
use crate::node::open_storage;
use crate::node_key::NodeKey;
use crate::options::{NodeKeyOptions, OpenOptions};
use crate::rollback::{self, NewestHeads};
use crate::system::now;

/// A node with a new key.
#[derive(Clone, Debug)]
pub struct Migrated {
    /// Who it was; none where its old key file could not be read, or named the new key already.
    pub before: Option<PrincipalId>,
    /// Who it is.
    pub node: PrincipalId,
    /// Where its key is.
    pub node_key: NodeKeyStatus,
    /// Zones that it was admitted to.
    pub zones: usize,
}

/// Gives the node of the directory `dir`, which no process serves, a new key; `signer` is the root or an admin of all its
/// zones.
pub fn migrate_node_key(dir: &Path, signer: Arc<dyn KeyStore>, options: &NodeKeyOptions) -> Result<Migrated, Failure> {
    let (_lock, storage) = open_storage(dir)?;
    let old = read_key(&*storage, layout::NODE_KEY);
    let (new, given_up) = next_key(&*storage, options)?;
    let old = old.filter(|old| principal(old) != principal(&new));
    let before: Vec<PrincipalId> = old.iter().chain(&given_up).map(principal).collect();
    let genesis = identity::read_genesis(&*storage)?;
    let node = NodeIdentity { genesis, who: signer, key: new.clone(), newest: Arc::new(NewestHeads::default()) };
    let node = Arc::new(node);
    let mut zones = 0;
    for zone in super::whoami::zones(dir)? {
        zones += usize::from(admit(&storage, &node, &zone, &new, &before)?);
    }
    rollback::step(&*storage, &node)?;
    identity::write(&*storage, layout::NODE_KEY, &new.encode())?;
    remove(&*storage, layout::NEXT_NODE_KEY)?;
    if !new.has_counter() {
        remove(&*storage, layout::COUNTER)?;
    }
    old.iter().chain(&given_up).for_each(NodeKey::discard);
    Ok(Migrated { before: old.as_ref().map(principal), node: principal(&new), node_key: new.status(), zones })
}

fn principal(key: &NodeKey) -> PrincipalId {
    key.store().credential().id()
}

/// The key in a file; none where it is missing or damaged: it is to be replaced.
fn read_key(storage: &dyn Storage, name: &str) -> Option<NodeKey> {
    match storage.exists(name) {
        Ok(false) => None,
        _ => identity::read(storage, name).and_then(|bytes| NodeKey::decode(&bytes)).map_or_else(
            |failure| {
                tracing::warn!(%failure, "a key of the node cannot be read");
                None
            },
            Some,
        ),
    }
}

/// The key that an interrupted migration made, if it is of the kind that is asked for now, else a new one; and the one
/// that is given up for it.
fn next_key(storage: &dyn Storage, options: &NodeKeyOptions) -> Result<(NodeKey, Option<NodeKey>), Failure> {
    let interrupted = read_key(storage, layout::NEXT_NODE_KEY);
    if let Some(key) = interrupted.clone().filter(|key| key.is_as(options)) {
        return Ok((key, None));
    }
    let key = NodeKey::create(options)?;
    let written = identity::write(storage, layout::NEXT_NODE_KEY, &key.encode());
    if written.is_err() {
        key.discard();
    }
    written.map(|()| (key, interrupted))
}

/// Grants the new key what the old ones had in a zone, and revokes them. False where none of them may do anything.
fn admit(
    storage: &Arc<dyn Storage>,
    node: &Arc<NodeIdentity>,
    zone: &ZoneId,
    new: &NodeKey,
    before: &[PrincipalId],
) -> Result<bool, Failure> {
    let new = *new.store().credential();
    let Some(records) = records(&**storage, node, zone)? else { return Ok(false) };
    let had = |principal: &PrincipalId| records.access.standing(principal, now());
    let is_top = records.birth.is_top_of(&node.genesis);
    // Who the node was is not known: it gets what every node has in the zone at the top.
    let unknown = (before.is_empty() && is_top).then_some((Level::Write, None));
    let given = before.iter().filter_map(had).max_by_key(|given| worth(*given)).or(had(&new.id())).or(unknown);
    let Some((rights, until)) = given else { return Ok(false) };
    let revoked: Vec<PrincipalId> = before.iter().copied().filter(|principal| had(principal).is_some()).collect();
    let is_granted = had(&new.id()).is_some_and(|has| worth(has) >= worth((rights, until)));
    if is_granted && revoked.is_empty() {
        return Ok(true);
    }
    let identity = open_zone(node, records)?;
    let engine = Engine::open(storage.clone(), identity, &OpenOptions::default())?;
    let appended = decide(&engine, node, (!is_granted).then_some((new, rights, until)), &revoked);
    let closed = engine.close();
    appended.and(closed).map(|()| true)
}

/// Rights with their end, in an order: more rights first, then the later end.
fn worth((rights, until): (Level, Option<Timestamp>)) -> (Level, Timestamp) {
    (rights, until.unwrap_or(Timestamp::new(i64::MAX, 0)))
}

type Grant = (Credential, Level, Option<Timestamp>);

fn decide(engine: &Engine, node: &NodeIdentity, grant: Option<Grant>, revoked: &[PrincipalId]) -> Result<(), Failure> {
    let grant = grant.map(|(principal, rights, until)| Action::Grant { principal, rights, until });
    // What is durable until now counts, whoever signed it.
    let last = engine.newest_head();
    let revocations = revoked.iter().map(|principal| Action::Revoke { principal: *principal, last });
    let mut access = engine.identity.rights.now().access.clone();
    let mut records = Vec::new();
    for action in grant.into_iter().chain(revocations) {
        let record = access.decide(&*node.who, now(), action);
        let record = record.map_err(|error| Failure::refused(error.to_string(), "sign as the root"))?;
        records.push(record.to_bytes());
    }
    engine.append_access(&records).map_err(|error| error.into_failure("admitting the node's new key"))
}

/// The records of a zone; none where its making was interrupted before they were written.
fn records(storage: &dyn Storage, node: &NodeIdentity, zone: &ZoneId) -> Result<Option<ZoneRecords>, Failure> {
    if *zone == identity::find_top(storage)? {
        return ZoneRecords::load_top(storage, node).map(Some);
    }
    match storage.exists(&ZoneLayout::new(zone).epochs()) {
        Ok(false) => Ok(None),
        _ => ZoneRecords::load(storage, node, zone).map(Some),
    }
}

fn open_zone(node: &Arc<NodeIdentity>, records: ZoneRecords) -> Result<ZoneIdentity, Failure> {
    let zone = *records.birth.zone();
    records.open(node.clone()).map_err(|error| {
        let what = format!("the keys of zone {} do not open for the signer: {error}", zone.short());
        Failure::refused(what, "sign as the root, who can open every zone")
    })
}

fn remove(storage: &dyn Storage, name: &str) -> Result<(), Failure> {
    let removed = match storage.exists(name) {
        Ok(false) => return Ok(()),
        Ok(true) => storage.remove(name),
        Err(error) => Err(error),
    };
    removed.map_err(|error| Failure {
        kind: FailureKind::Io,
        what: format!("removing {name}: {error}"),
        hint: String::new(),
    })
}
