//! Snapshots: a name for a root, and the list of what died since but that root still needs.

use std::ops::ControlFlow;

use bt_base::codec::DecodeError;
use bt_base::{Revision, Timestamp};

use super::{Zone, ZoneError};
use crate::block::BlockRef;
use crate::index::{LEVELS, NodeSource, Tree};
use crate::schema::{DeadRecord, Death, Key, KeyKind, Reader, parse_key};

/// Dead references that one step of deleting a snapshot handles.
const DEAD_AT_ONCE: usize = 4096;

/// What a snapshot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SnapshotState {
    /// It can be read.
    Ready = 1,
    /// It is being deleted: what only it needs is given back step by step.
    Deleting = 2,
}

/// A snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// Its number, never given twice.
    pub number: u64,
    /// Its state.
    pub state: SnapshotState,
    /// The revision it shows.
    pub revision: Revision,
    /// When it was taken.
    pub time: Timestamp,
    /// The root of the index at that revision.
    pub root: BlockRef,
    /// The level of the root.
    pub level: u8,
}

impl SnapshotRecord {
    /// Encodes the record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + BlockRef::SIZE);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.push(self.state as u8);
        out.extend_from_slice(&self.revision.0.to_le_bytes());
        out.extend_from_slice(&self.time.seconds.to_le_bytes());
        out.extend_from_slice(&self.time.nanos.to_le_bytes());
        out.push(self.level);
        self.root.write_to(&mut out);
        out
    }

    /// Decodes the record.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("snapshot record", bytes);
        let number = reader.u64()?;
        let state = match reader.u8()? {
            1 => SnapshotState::Ready,
            2 => SnapshotState::Deleting,
            _ => return Err(reader.error("unknown state")),
        };
        let revision = Revision(reader.u64()?);
        let time = reader.time()?;
        let level = reader.u8()?;
        if usize::from(level) >= LEVELS {
            return Err(reader.error("a root higher than an index can be"));
        }
        let root = BlockRef::read_from(reader.slice(BlockRef::SIZE)?)?;
        reader.end()?;
        Ok(Self { number, state, revision, time, root, level })
    }

    /// The index as the snapshot shows it.
    pub fn tree(&self) -> Tree {
        Tree::open(self.root, self.level)
    }
}

impl Zone {
    /// A snapshot by name.
    pub fn snapshot(&self, source: &dyn NodeSource, name: &[u8]) -> Result<Option<SnapshotRecord>, ZoneError> {
        Ok(self.with(source, &Key::snapshot(name), SnapshotRecord::decode)?.transpose()?)
    }

    /// All snapshots, by name.
    pub fn snapshots(&self, source: &dyn NodeSource) -> Result<Vec<(Vec<u8>, SnapshotRecord)>, ZoneError> {
        let mut found = Vec::new();
        let mut failed = None;
        self.tree.scan(source, Key::snapshot(b"").as_bytes(), &mut |key, value| {
            match (parse_key(key), SnapshotRecord::decode(value)) {
                (Ok(KeyKind::Snapshot(name)), Ok(record)) => found.push((name.to_vec(), record)),
                (Ok(KeyKind::Snapshot(_)), Err(error)) | (Err(error), _) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
                _ => return ControlFlow::Break(()),
            }
            ControlFlow::Continue(())
        })?;
        failed.map_or(Ok(found), |error| Err(error.into()))
    }

    /// Takes a snapshot of the state that the next [`Zone::freeze`] fixes; ready once [`Zone::finish_snapshot`]
    /// knows its root. The caller has checked that the name is free, and freezes before anything else changes.
    pub fn begin_snapshot(&mut self, number: u64, revision: Revision) {
        self.newest_snapshot = Some((number, revision));
    }

    /// Records a snapshot whose root is written.
    pub fn finish_snapshot(
        &mut self,
        source: &dyn NodeSource,
        name: &[u8],
        record: &SnapshotRecord,
    ) -> Result<(), ZoneError> {
        self.put(source, &Key::snapshot(name), &record.encode())
    }

    /// Marks a snapshot as being deleted: its name can no longer be read.
    pub fn begin_delete(&mut self, source: &dyn NodeSource, name: &[u8]) -> Result<bool, ZoneError> {
        let Some(record) = self.snapshot(source, name)? else { return Ok(false) };
        let record = SnapshotRecord { state: SnapshotState::Deleting, ..record };
        self.put(source, &Key::snapshot(name), &record.encode())?;
        Ok(true)
    }

    /// One step of deleting a snapshot; true when nothing of it is left. Each step leaves a whole state.
    pub fn delete_step(&mut self, source: &dyn NodeSource, name: &[u8]) -> Result<bool, ZoneError> {
        // Another one of the same name may have been made since.
        let deleting = self.snapshot(source, name)?.filter(|record| record.state == SnapshotState::Deleting);
        let Some(record) = deleting else { return Ok(true) };
        let before = self.snapshot_before(source, &record)?;
        let dead = self.dead_of(source, record.number)?;
        let more = dead.len() == DEAD_AT_ONCE;
        let mut released = Vec::new();
        for (block, count) in dead {
            self.remove(source, &Key::dead(record.number, &block))?;
            match before {
                Some((number, revision)) if block.birth <= revision => self.keep(source, number, &block, count)?,
                _ => released.extend(std::iter::repeat_n(block, count as usize)),
            }
        }
        self.release(source, &released)?;
        if !more {
            self.remove(source, &Key::snapshot(name))?;
            self.newest_snapshot = self.find_newest_snapshot(source)?;
        }
        Ok(!more)
    }

    /// The newest snapshot that still collects deaths.
    pub(super) fn find_newest_snapshot(&self, source: &dyn NodeSource) -> Result<Option<(u64, Revision)>, ZoneError> {
        let all = self.snapshots(source)?;
        Ok(all.iter().map(|(_, record)| (record.number, record.revision)).max_by_key(|(number, _)| *number))
    }

    fn snapshot_before(
        &self,
        source: &dyn NodeSource,
        record: &SnapshotRecord,
    ) -> Result<Option<(u64, Revision)>, ZoneError> {
        let all = self.snapshots(source)?;
        let older = all.iter().map(|(_, other)| other).filter(|other| other.number < record.number);
        Ok(older.map(|other| (other.number, other.revision)).max_by_key(|(number, _)| *number))
    }

    /// Sealed bytes of blocks that died since a snapshot, and that it holds.
    pub fn held_bytes(&self, source: &dyn NodeSource, snapshot: u64) -> Result<u64, ZoneError> {
        let mut held = 0;
        self.tree.scan(source, Key::dead_of(snapshot).as_bytes(), &mut |key, value| match (
            parse_key(key),
            DeadRecord::decode(value),
        ) {
            (Ok(KeyKind::Dead(number, ..)), Ok(record)) if number == snapshot => {
                held += u64::from(record.len) + bt_base::limits::TAG_SIZE as u64;
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(()),
        })?;
        Ok(held)
    }

    fn dead_of(&self, source: &dyn NodeSource, snapshot: u64) -> Result<Vec<(Death, u32)>, ZoneError> {
        let mut found = Vec::new();
        let mut failed = None;
        self.tree.scan(source, Key::dead_of(snapshot).as_bytes(), &mut |key, value| {
            let (segment, index, birth) = match parse_key(key) {
                Ok(KeyKind::Dead(number, segment, index, birth)) if number == snapshot => (segment, index, birth),
                Ok(_) => return ControlFlow::Break(()),
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            };
            match DeadRecord::decode(value) {
                Ok(DeadRecord { count, len }) => {
                    found.push((Death { segment, index, len, birth }, count));
                }
                Err(error) => failed = Some(error),
            }
            if failed.is_some() || found.len() == DEAD_AT_ONCE {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        failed.map_or(Ok(found), |error| Err(error.into()))
    }
}
