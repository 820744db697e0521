//! Entering a zone through its entrance.

use std::sync::Arc;

use bt_base::ZoneId;
use bt_tree::EpochError;

use super::Zones;
use crate::control::Failure;
use crate::engine::Engine;

/// Why a zone is not entered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnterError {
    /// The zone's newest epoch has no box for the node's principal.
    #[error("the zone cannot be read by the principal that the node acts for")]
    Denied,
    /// The zone is not in this node's directory.
    #[error("the zone is not in this node's directory")]
    Unknown,
    /// The entrance is in another zone than the one that the zone was born in.
    #[error("zone {zone} was born in zone {born_in}, not in zone {entered_in}: somebody swapped a directory")]
    Misplaced {
        /// The zone.
        zone: ZoneId,
        /// Its parent, as its birth record says.
        born_in: String,
        /// The zone that the entrance is in.
        entered_in: ZoneId,
    },
    /// It could not be opened.
    #[error("{0}")]
    Failed(Failure),
}

impl EnterError {
    pub(super) fn of_keys(error: EpochError) -> Self {
        match error {
            EpochError::NotAReader { .. } => Self::Denied,
            other => Self::Failed(Failure::problem(other.to_string(), "run `bt check`")),
        }
    }
}

/// A zone that was entered.
pub(crate) struct EnteredZone {
    /// Its slot.
    pub(crate) slot: u32,
    pub(crate) engine: Arc<Engine>,
}

/// What a path leads to.
pub(crate) enum Resolved {
    /// The zone of a slot, and an inode in it.
    In(u32, Arc<Engine>, u64),
    /// The entrance of a zone that whom the node acts for may not read.
    Denied(u32),
}

impl Zones {
    /// Enters the zone that `directory`, a placeholder in the zone of slot `outer`, leads to.
    pub(crate) fn enter(&self, outer: u32, around: &Engine, directory: u64) -> Result<EnteredZone, EnterError> {
        let zone = around.entrance(directory).ok_or(EnterError::Unknown)?;
        let slot = self.slot_of(&zone, false).map_err(EnterError::Failed)?;
        let engine = self.engine(slot)?;
        if !self.fits(&engine, around) {
            let (born_in, entered_in) = (engine.identity.birth.parent(), around.identity.zone());
            let born_in = born_in.map_or_else(|| "none".to_owned(), |zone| zone.to_string());
            return Err(EnterError::Misplaced { zone, born_in, entered_in });
        }
        self.table().places.insert(slot, (outer, directory));
        Ok(EnteredZone { slot, engine })
    }

    /// The zone and the inode that a path leads to, from the tree's top.
    pub(crate) fn resolve(&self, path: &[u8]) -> Result<(u32, Arc<Engine>, u64), Failure> {
        match self.resolve_entrance(path)? {
            Resolved::In(slot, engine, inode) => Ok((slot, engine, inode)),
            Resolved::Denied(_) => Err(denied(path)),
        }
    }

    /// As [`Zones::resolve`]; the path may also end at a zone that whom the node acts for may not read.
    pub(crate) fn resolve_entrance(&self, path: &[u8]) -> Result<Resolved, Failure> {
        let shown = || String::from_utf8_lossy(path).into_owned();
        let (mut slot, mut engine) = (0, self.top().clone());
        let mut inode = bt_tree::schema::ROOT_INODE;
        let mut parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
        while let Some(part) = parts.next() {
            let found = engine.find(inode, part).map_err(|error| error.into_failure(&shown()))?;
            let Some((number, record)) = found else {
                let hint = match self.is_made_root(&engine.identity.zone()) {
                    true => {
                        "whom this node acts for may not read the top of the tree, and sees only what it may: unmount first"
                    }
                    false => "paths begin at the top of the tree",
                };
                return Err(Failure::refused(format!("{} does not exist", shown()), hint));
            };
            inode = number;
            if record.is_entrance {
                let entered = match self.enter(slot, &engine, number) {
                    Err(EnterError::Denied) if parts.next().is_none() => {
                        let zone = engine.entrance(number).ok_or_else(|| denied(path))?;
                        return self.slot_of(&zone, false).map(Resolved::Denied);
                    }
                    Err(EnterError::Denied) => return Err(denied(path)),
                    entered => entered.map_err(|error| Failure::refused(format!("{}: {error}", shown()), ""))?,
                };
                (slot, engine, inode) = (entered.slot, entered.engine, bt_tree::schema::ROOT_INODE);
            }
        }
        Ok(Resolved::In(slot, engine, inode))
    }
}

/// Why a path is not followed, and what to do.
pub(crate) fn denied(path: &[u8]) -> Failure {
    let what = format!("{}: {}", String::from_utf8_lossy(path), EnterError::Denied);
    Failure::refused(what, "unmount first, then run the command again: it acts for whoever signs, or for the node")
}
