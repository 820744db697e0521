//! Answering requests about who may do what.

use std::sync::Arc;

use bt_base::ZoneId;
use bt_tree::schema::ROOT_INODE;
use bt_tree::{AccessError, AccessLog, Action};

use crate::control::access::{AccessReport, AppReport, GrantReport, RevokedReport};
use crate::control::{Failure, Response};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::node::Node;
use crate::system::now;
use crate::zones::{EnterError, Resolved, denied};

impl Node {
    /// The zone that is entered at `path`.
    pub(crate) fn zone_at(&self, path: &str) -> Result<Arc<Engine>, Failure> {
        self.opened_at(path, self.zones.resolve(path.as_bytes())?).map(|(_, engine)| engine)
    }

    fn opened_at(
        &self,
        path: &str,
        (slot, engine, inode): (u32, Arc<Engine>, u64),
    ) -> Result<(u32, Arc<Engine>), Failure> {
        if inode != ROOT_INODE {
            return Err(Failure::refused(
                format!("{path} is not a zone of its own"),
                "rights are those of whole zones: name the path at which one is entered, / for the top",
            ));
        }
        match self.zones.is_made_root(&engine.identity.zone()) {
            true => Err(Failure::refused(
                "the zone at the top cannot be read by whom this node acts for",
                "name a zone below it, or unmount first",
            )),
            false => Ok((slot, engine)),
        }
    }

    /// Works in the zone at `path`. One that whom this node acts for may not read is opened with the node's own key.
    fn in_zone<T>(&self, path: &str, run: impl FnOnce(u32, &Engine) -> Result<T, Failure>) -> Result<T, Failure> {
        match self.zones.resolve_entrance(path.as_bytes())? {
            Resolved::In(slot, engine, inode) => {
                let (slot, engine) = self.opened_at(path, (slot, engine, inode))?;
                run(slot, &engine)
            }
            Resolved::Denied(slot) => self.in_denied(path, slot, |engine| run(slot, engine)),
        }
    }

    /// Works in the zone of a slot with the node's own key.
    pub(crate) fn in_denied<T>(
        &self,
        path: &str,
        slot: u32,
        run: impl FnOnce(&Engine) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.zones.with_own_key(slot, run).map_err(|error| match error {
            EnterError::Denied => denied(path.as_bytes()),
            EnterError::Failed(failure) => failure,
            error => Failure::problem(format!("{path}: {error}"), "run `bt check`"),
        })
    }

    /// Who may do what in the zone at `path`.
    pub(crate) fn show_access(&self, path: &str) -> Result<Response, Failure> {
        self.in_zone(path, |_, engine| {
            // What was written until now counts, whoever is revoked next.
            if !engine.is_read_only() && engine.stopped().is_none() {
                engine.commit().map_err(|error| error.into_failure("committing"))?;
            }
            Ok(Response::Access(Box::new(report(engine, path))))
        })
    }

    /// Appends signed records to the access log of the zone at `path`.
    pub(crate) fn append_access(&self, path: &str, zone: &ZoneId, records: &[Vec<u8>]) -> Result<Response, Failure> {
        self.in_zone(path, |slot, engine| {
            if engine.identity.zone() != *zone {
                return Ok(Response::Outdated);
            }
            match self.zones.append_access(slot, engine, records) {
                Ok(()) => Ok(Response::Access(Box::new(report(engine, path)))),
                Err(EngineError::OutdatedHead | EngineError::Access(AccessError::Chain { .. })) => {
                    Ok(Response::Outdated)
                }
                Err(error) => Err(error.into_failure("changing who may do what")),
            }
        })
    }
}

fn report(engine: &Engine, path: &str) -> AccessReport {
    let (rights, now) = (engine.identity.rights.now(), now());
    let access = &rights.access;
    let (root, own) = (access.root().id(), engine.identity.node.principal());
    let grants = access.grants(now).into_iter().map(|grant| GrantReport {
        principal: grant.principal,
        right: grant.rights.into(),
        until: grant.until,
        granted_by: grant.granted.map(|(by, _)| by),
        granted: grant.granted.map(|(_, time)| time),
        is_root: grant.principal == root,
        is_self: grant.principal == own,
    });
    AccessReport {
        tree: *access.tree(),
        zone: *access.zone(),
        path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
        grants: grants.collect(),
        revoked: revoked(access),
        apps: apps(access),
        records: access.records().len() as u64,
        newest: access.newest(),
        newest_time: access.records().last().map(|record| record.statement().time),
        head: engine.newest_head().map(|head| (head.revision, head.hash)),
        epoch: rights.epochs.newest_number(),
        keys_are_current: !rights.needs_epoch(now),
    }
}

fn apps(access: &AccessLog) -> Vec<AppReport> {
    let installed = access.apps().iter();
    installed
        .map(|(name, app)| AppReport { name: name.to_string(), record: app.record, by: app.by, time: app.time })
        .collect()
}

/// Everyone whose newest record is a revocation, oldest first.
fn revoked(access: &AccessLog) -> Vec<RevokedReport> {
    let mut found: Vec<RevokedReport> = Vec::new();
    for (place, statement) in access.records().iter().map(|record| record.statement()).enumerate() {
        let about = statement.action.principal();
        let principal = access.taken_from(place);
        found.retain(|revoked| Some(revoked.principal) != about && Some(revoked.principal) != principal);
        if let (Some(principal), Action::Revoke { last, .. } | Action::Succeed { last, .. }) =
            (principal, &statement.action)
        {
            found.push(RevokedReport {
                principal,
                revoked_by: statement.signer,
                revoked: statement.time,
                last_revision: last.map(|last| last.revision),
            });
        }
    }
    found
}
