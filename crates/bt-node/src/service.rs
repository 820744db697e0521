//! Answering requests.

use std::ops::ControlFlow;
use std::sync::Arc;

use bt_base::SegmentId;
use bt_tree::schema::ROOT_INODE;
use bt_tree::zone::SnapshotRecord;
use bt_vfs::Refusal;

use crate::control::limits::LOG_HEADS;
use crate::control::report::{SnapshotInfo, Space, StatusReport, escape};
use crate::control::zone::ZoneTerms;
use crate::control::{Failure, OnProgress, Progress, Request, Response, Service};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::node::Node;
use crate::zones::{NewZone, Resolved};

impl Service for Node {
    fn handle(&self, request: Request, progress: OnProgress<'_>) -> Result<Response, Failure> {
        match request {
            Request::Status => Ok(Response::Status(Box::new(self.status()?))),
            Request::Sync => self.sync(),
            Request::Check { deep } => Ok(Response::Checked(self.zones.check(deep, progress)?)),
            Request::SnapshotDiff { from, to } => {
                Ok(Response::Diff(self.engine.diff(&from, to.as_deref(), progress)?))
            }
            Request::InspectHead => Ok(Response::Head(Box::new(self.engine.inspect_head()?))),
            Request::InspectSegment { id } => self.inspect_segments(id.as_ref()),
            Request::InspectBlock { segment, index } => {
                Ok(Response::Block(Box::new(self.zone_with(&segment).inspect_block(&segment, index)?)))
            }
            Request::Reclaim { all } => Ok(Response::Reclaimed(self.zones.reclaim(all, progress)?)),
            Request::AccessShow { path } => self.show_access(&path),
            Request::AccessAppend { path, zone, records } => self.append_access(&path, &zone, &records),
            Request::Rekey { path, now } => Ok(Response::Rekeyed(self.zone_at(&path)?.rekey(now, progress)?)),
            Request::Log { path, last } => {
                let last = (last as usize).min(LOG_HEADS);
                Ok(Response::Log(Box::new(self.zone_at(&path)?.log(last)?)))
            }
            Request::ZoneTerms { path } => self.zone_terms(&path),
            Request::ZoneMake { path, birth, access } => self.make_zone(&path, &birth, &access, progress),
            Request::SnapshotCreate { name } => self.create_snapshot(&name),
            Request::SnapshotList => self.list_snapshots(),
            Request::SnapshotDelete { name } => self.delete_snapshot(&name, progress),
            other => match self.handle_apps(other) {
                Ok(answer) => answer,
                Err(other) => Err(Failure::refused(format!("{other:?} is not served"), "")),
            },
        }
    }
}

/// Figures of several zones.
#[derive(Default)]
struct Sums {
    inodes: u64,
    snapshots: u64,
    space: Space,
    dirty_bytes: u64,
    journal_bytes: u64,
    journal_capacity_bytes: u64,
}

/// Why a zone takes no more changes, where one does not.
fn stopped(open: &[(u32, Arc<Engine>)]) -> Option<String> {
    open.iter().find_map(|(slot, zone)| match (zone.stopped()?, slot) {
        (why, 0) => Some(why.to_owned()),
        (why, _) => Some(format!("zone {}: {why}", zone.identity.zone().short())),
    })
}

fn failed(what: &str) -> impl Fn(EngineError) -> Failure {
    move |error| error.into_failure(what)
}

impl Node {
    fn status(&self) -> Result<StatusReport, Failure> {
        let engine = &self.engine;
        let (identity, node) = (&engine.identity, self.zones.node());
        let state = engine.state();
        let open = self.zones.open_zones();
        let sums = self.sums(&open)?;
        Ok(StatusReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            dir: escape(self.dir.as_os_str().as_encoded_bytes()),
            tree: *node.tree(),
            zone: identity.zone(),
            zones: self.zones.slots().len() as u64,
            open_zones: open.len() as u64 - 1,
            node: node.principal(),
            node_key: node.key.status(),
            mount: self.mount.lock().expect("no panic under this lock").clone(),
            read_only: stopped(&open),
            revision: state.revision,
            committed: state.committed,
            epoch: engine.source.epoch(),
            inodes: sums.inodes,
            snapshots: sums.snapshots,
            space: sums.space,
            dirty_bytes: sums.dirty_bytes,
            journal_bytes: sums.journal_bytes,
            journal_capacity_bytes: sums.journal_capacity_bytes,
        })
    }

    /// What all open zones have together.
    fn sums(&self, open: &[(u32, Arc<Engine>)]) -> Result<Sums, Failure> {
        let (capacity_bytes, available_bytes) = self.zones.room();
        let mut sums = Sums { space: Space { capacity_bytes, available_bytes, ..Space::default() }, ..Sums::default() };
        for (_, zone) in open {
            let (usage, state) = (zone.containers.usage(), zone.state());
            let live = zone.live_bytes().map_err(failed("reading the accounts"))?;
            sums.inodes += zone.inode_count();
            sums.snapshots += zone.snapshot_records().map_err(failed("listing snapshots"))?.len() as u64;
            sums.space.live_bytes += live;
            sums.space.dead_bytes += usage.segment_bytes.saturating_sub(live);
            sums.space.segments += usage.segments;
            sums.space.containers += usage.containers;
            sums.dirty_bytes += zone.dirty_memory() as u64;
            sums.journal_bytes += state.journal_bytes;
            sums.journal_capacity_bytes += state.journal_capacity_bytes;
        }
        Ok(sums)
    }

    /// Segments that are stored in the zones that are open; with an id, the one that has it.
    fn inspect_segments(&self, id: Option<&SegmentId>) -> Result<Response, Failure> {
        if let Some(id) = id {
            return Ok(Response::Segments(self.zone_with(id).inspect_segments(Some(id))?));
        }
        let mut segments = Vec::new();
        for (_, zone) in self.zones.open_zones() {
            segments.extend(zone.inspect_segments(None)?);
        }
        Ok(Response::Segments(segments))
    }

    /// The open zone that a segment is stored in; the one at the top where none has it.
    fn zone_with(&self, segment: &SegmentId) -> Arc<Engine> {
        let open = self.zones.open_zones().into_iter().map(|(_, zone)| zone);
        let mut having = open.filter(|zone| zone.containers.contains(segment));
        having.next().unwrap_or_else(|| self.engine.clone())
    }

    fn sync(&self) -> Result<Response, Failure> {
        let mut revision = Default::default();
        for (slot, zone) in self.zones.settled_zones() {
            if zone.is_read_only() {
                continue;
            }
            let committed = zone.commit().map_err(failed("committing"))?;
            if slot == 0 {
                revision = committed;
            }
        }
        Ok(Response::Synced { revision })
    }

    fn zone_terms(&self, path: &str) -> Result<Response, Failure> {
        let node = self.zones.node();
        let own = [*node.who.credential(), *node.key.store().credential()];
        let terms = |engine: &Engine, is_zone| {
            let access = &engine.identity.rights.now().access;
            ZoneTerms::new(is_zone, &node.genesis, &engine.identity.birth, access, &own)
        };
        let terms = match self.zones.resolve_entrance(path.as_bytes())? {
            Resolved::In(_, engine, inode) => terms(&engine, inode == ROOT_INODE),
            Resolved::Denied(slot) => self.in_denied(path, slot, |engine| Ok(terms(engine, true)))?,
        };
        Ok(Response::Terms(Box::new(terms)))
    }

    fn make_zone(
        &self,
        path: &str,
        birth: &[u8],
        access: &[u8],
        progress: OnProgress<'_>,
    ) -> Result<Response, Failure> {
        let (slot, engine, inode) = self.zones.resolve(path.as_bytes())?;
        let new = NewZone::decode(&engine, birth, access)?;
        let zone = self.zones.make(slot, &engine, inode, &new, progress)?;
        Ok(Response::ZoneMade { zone })
    }

    fn create_snapshot(&self, name: &str) -> Result<Response, Failure> {
        check_name(name)?;
        let what = format!("taking the snapshot {name:?}");
        let record = self.engine.create_snapshot(name.as_bytes()).map_err(|error| match error {
            EngineError::Refused(Refusal::Exists) => Failure::refused(
                format!("{what}: there is one of this name already"),
                "take another name, or delete that one first; `bt snapshot list` shows all",
            ),
            error => error.into_failure(&what),
        })?;
        Ok(Response::SnapshotCreated(self.snapshot_info(name.as_bytes(), &record)?))
    }

    fn list_snapshots(&self) -> Result<Response, Failure> {
        let mut records = self.engine.snapshot_records().map_err(failed("listing snapshots"))?;
        records.sort_by_key(|(_, record)| record.number);
        let infos = records.iter().map(|(name, record)| self.snapshot_info(name, record)).collect::<Result<_, _>>()?;
        Ok(Response::Snapshots(infos))
    }

    fn snapshot_info(&self, name: &[u8], record: &SnapshotRecord) -> Result<SnapshotInfo, Failure> {
        let (inodes, held_bytes) = self.engine.snapshot_size(record).map_err(failed("reading a snapshot"))?;
        Ok(SnapshotInfo { name: escape(name), revision: record.revision, created: record.time, inodes, held_bytes })
    }

    fn delete_snapshot(&self, name: &str, progress: OnProgress<'_>) -> Result<Response, Failure> {
        check_name(name)?;
        let what = format!("deleting the snapshot {name:?}");
        let mut done = 0;
        let mut step = || {
            done += 1;
            progress(Progress { done, total: 0, what: "steps".into() })
        };
        match self.engine.delete_snapshot(name.as_bytes(), &mut step).map_err(failed(&what))? {
            ControlFlow::Continue(()) => Ok(Response::Done),
            ControlFlow::Break(()) => Err(Failure::interrupted()),
        }
    }
}

fn check_name(name: &str) -> Result<(), Failure> {
    let fits = (1..=255).contains(&name.len()) && name != "." && name != ".." && !name.contains(['/', '\0']);
    if fits {
        Ok(())
    } else {
        Err(Failure::usage(
            format!("{name:?} cannot name a snapshot"),
            "use 1 to 255 bytes without a slash, other than . and ..",
        ))
    }
}
