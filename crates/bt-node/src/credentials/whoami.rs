//! Who a node or a credential file is in a tree, read from the records of a directory.
//!
//! Nothing is opened or locked: records are replaced as whole files, so they can be read while another process serves
//! the directory.

use std::path::Path;

use bt_base::{PrincipalId, Timestamp, TreeId, ZoneId};
use bt_crypto::Credential;
use bt_store::{FileStorage, Storage};
use bt_tree::{AccessLog, Birth, Genesis, Rights};
use serde::Serialize;

use crate::control::Failure;
use crate::identity::{self, NodeIdentity, damaged};
use crate::layout::{self, ZoneLayout};
use crate::system::now;

/// A principal, and what it may do in the zones of a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WhoAmI {
    /// The principal.
    pub id: PrincipalId,
    /// Its public key as text (`btp1...`), to hand to those who share with it.
    pub public: String,
    /// The tree.
    pub tree: TreeId,
    /// Whether it is the root of the tree.
    pub is_root: bool,
    /// What it may do now, one entry a zone, the top zone first.
    pub zones: Vec<Standing>,
}

/// What a principal may do in one zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The zone.
    pub zone: ZoneId,
    /// Whether it is the zone at the top of the tree.
    pub is_top: bool,
    /// "read", "write" or "admin", each with those before; absent for nothing.
    pub rights: Option<&'static str>,
    /// The last time at which that holds; absent for no end.
    pub until: Option<Timestamp>,
}

/// Who `principal` is in the tree of the node's directory `dir`; without one, who its node is.
pub fn whoami(dir: &Path, principal: Option<Credential>) -> Result<WhoAmI, Failure> {
    let storage = FileStorage::open(dir).map_err(|error| Failure::problem(error.to_string(), ""))?;
    let genesis = identity::read_genesis(&storage)?;
    let principal = match principal {
        Some(principal) => principal,
        None => *NodeIdentity::load(&storage)?.who.credential(),
    };
    let mut zones = zones(dir)?
        .into_iter()
        .map(|zone| standing(&storage, &genesis, zone, &principal))
        .collect::<Result<Vec<_>, _>>()?;
    zones.sort_by_key(|standing| (!standing.is_top, standing.zone));
    let is_root = principal == *genesis.root();
    Ok(WhoAmI { id: principal.id(), public: principal.to_string(), tree: *genesis.tree(), is_root, zones })
}

/// The zones that the directory holds. One without epochs, whose file is written last, was being made when a crash came:
/// nothing leads to it.
pub(super) fn zones(dir: &Path) -> Result<Vec<ZoneId>, Failure> {
    let path = dir.join(layout::ZONES);
    let names = || std::fs::read_dir(&path)?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>();
    let names = names().map_err(|error| Failure::io(format_args!("reading {}", path.display()), &error))?;
    let zones = names.iter().filter_map(|name| name.to_str()?.parse().ok());
    Ok(zones.filter(|zone| dir.join(ZoneLayout::new(zone).epochs()).exists()).collect())
}

fn standing(
    storage: &dyn Storage,
    genesis: &Genesis,
    zone: ZoneId,
    principal: &Credential,
) -> Result<Standing, Failure> {
    let layout = ZoneLayout::new(&zone);
    let birth = Birth::decode_for(genesis.tree(), &zone, &identity::read(storage, &layout.birth())?)
        .map_err(|error| damaged(&layout.birth(), error))?;
    let access = AccessLog::decode(genesis, &birth, &identity::read(storage, &layout.access())?)
        .map_err(|error| damaged(&layout.access(), error))?;
    let standing = access.standing(&principal.id(), now());
    let word = |rights| match rights {
        Rights::Read => "read",
        Rights::Write => "write",
        Rights::Admin => "admin",
    };
    Ok(Standing {
        zone,
        is_top: birth.is_top_of(genesis),
        rights: standing.map(|(rights, _)| word(rights)),
        until: standing.and_then(|(_, until)| until),
    })
}
