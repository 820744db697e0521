//! The state of a zone that somebody works in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use bt_base::limits::{BLOCK_SIZE, EXTENT_BLOCKS, PAGES_PER_BLOCK};
use bt_base::{Revision, Timestamp, ZoneId};
use bt_tree::head::SegmentSummary;
use bt_tree::schema::{Compression, Content, FIRST_INODE, FIRST_SEQUENCE, Inode, Key, ROOT_INODE, ZoneRecord};
use bt_tree::zone::{Frozen, SnapshotRecord, SnapshotState, Zone};

use crate::content::FileState;
use crate::error::{Refusal, Result};
use crate::op::{Chunk, Log};
use crate::view::{self, DIRECTORY, Source};

/// A zone's state: its index, what lies over it, and the log.
pub struct Vfs {
    pub(crate) zone: Zone,
    pub(crate) record: ZoneRecord,
    pub(crate) record_changed: bool,
    /// Files that differ from the last published head.
    pub(crate) files: HashMap<u64, FileState>,
    /// Inodes without a name that somebody still uses; true when the index has an orphan record.
    pub(crate) orphans: HashMap<u64, bool>,
    /// Directories in whose place other zones are entered, as the index has them.
    pub(crate) entrances: BTreeMap<u64, ZoneId>,
    /// Files whose content must become durable with a rename.
    pub(crate) ordered: BTreeSet<u64>,
    /// Files that become clean when a revision is published.
    pub(crate) cleaning: Vec<(Revision, u64)>,
    pub(crate) log: Log,
    /// A log record names blocks: their segments must be durable before the record is.
    pub(crate) log_names_blocks: bool,
    /// Bytes of dirty pages.
    pub(crate) dirty_bytes: usize,
    pub(crate) flushes: u32,
    /// Set by any change since the last freeze.
    pub(crate) changed: bool,
}

/// A whole state, and the log number it covers.
pub struct FrozenVfs {
    /// The zone's state.
    pub zone: Frozen,
    /// All records up to this number are in it.
    pub covered: u64,
}

impl Vfs {
    /// A new zone with an empty root directory.
    pub fn create(source: &dyn Source, owner: (u32, u32), compression: Compression, now: Timestamp) -> Result<Self> {
        let mut zone = Zone::create();
        let record = ZoneRecord { next_inode: FIRST_INODE, next_snapshot: 1, inodes: 1, compression };
        let root = Inode {
            mode: DIRECTORY | 0o755,
            uid: owner.0,
            gid: owner.1,
            nlink: 2,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            parent: ROOT_INODE,
            next_sequence: FIRST_SEQUENCE,
            ..Inode::default()
        };
        zone.put(source, &Key::zone(), &record.encode())?;
        zone.put(source, &Key::inode(ROOT_INODE), &root.encode())?;
        Ok(Self { changed: true, ..Self::over(zone, record, 0) })
    }

    /// The state at a head that covers log records up to `covered`.
    pub fn open(source: &dyn Source, zone: Zone, covered: u64) -> Result<Self> {
        let record = zone.record(source)?;
        let mut vfs = Self::over(zone, record, covered);
        // A journal record may give one of them a name.
        vfs.adopt_orphans(source)?;
        vfs.load_entrances(source)?;
        Ok(vfs)
    }

    fn over(zone: Zone, record: ZoneRecord, covered: u64) -> Self {
        Self {
            zone,
            record,
            record_changed: false,
            files: HashMap::new(),
            orphans: HashMap::new(),
            entrances: BTreeMap::new(),
            ordered: BTreeSet::new(),
            cleaning: Vec::new(),
            log: Log::new(covered),
            log_names_blocks: false,
            dirty_bytes: 0,
            flushes: 0,
            changed: false,
        }
    }

    /// The zone, for reading its index, accounts and snapshots.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The zone's record as it would be committed now.
    pub fn record(&self) -> &ZoneRecord {
        &self.record
    }

    /// Sets how new blocks are compressed.
    pub fn set_compression(&mut self, compression: Compression) {
        self.record.compression = compression;
        self.record_changed = true;
        self.changed = true;
    }

    /// Bytes of dirty pages in memory.
    pub fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }

    /// Index nodes that changed since the last commit.
    pub fn dirty_nodes(&self) -> usize {
        self.zone.dirty_nodes()
    }

    /// Whether a commit has something to write.
    pub fn is_changed(&self) -> bool {
        self.changed || self.record_changed || self.files.values().any(FileState::is_dirty)
    }

    /// The number of the newest log record.
    pub fn last_record(&self) -> u64 {
        self.log.last()
    }

    /// Bytes of log records that the journal does not have.
    pub fn pending_bytes(&self) -> usize {
        self.log.pending_bytes()
    }

    /// Takes the log records that the journal does not have, oldest first, and whether they name blocks whose
    /// segments must be durable first. Content that a rename among them waits for is put in before they go: a rename
    /// may have come after [`Vfs::sync_file`].
    pub fn take_log(&mut self, source: &dyn Source) -> Result<(Vec<Chunk>, bool)> {
        self.sync_file(source, None)?;
        Ok((self.log.take(), std::mem::take(&mut self.log_names_blocks)))
    }

    /// Gives back what [`Vfs::take_log`] gave and the journal did not take.
    pub fn put_back_log(&mut self, chunks: Vec<Chunk>, names_blocks: bool) {
        self.log.put_back(chunks);
        self.log_names_blocks |= names_blocks;
    }

    /// Whether log records wait for the journal.
    pub fn has_pending_log(&self) -> bool {
        self.log.has_pending()
    }

    /// An inode as it is now, dirty content included.
    pub fn inode(&self, source: &dyn Source, number: u64) -> Result<Inode> {
        let mut inode = view::inode(self.zone.tree(), source, number)?;
        if let Some(file) = self.files.get(&number) {
            inode.size = file.size;
            if let Some(mtime) = file.mtime {
                inode.mtime = mtime;
                inode.ctime = inode.ctime.max(mtime);
            }
            let hidden = self.hidden_bytes(source, number, file, &inode)?;
            let dirty = (file.pages.len() * bt_base::limits::PAGE_SIZE) as u64;
            inode.stored = inode.stored.saturating_sub(hidden).max(dirty).min(inode.size.next_multiple_of(4096));
        }
        Ok(inode)
    }

    /// Stored bytes of a file that were cut off or punched since its last flush.
    fn hidden_bytes(&self, source: &dyn Source, number: u64, file: &FileState, inode: &Inode) -> Result<u64> {
        let mut hidden = 0;
        if inode.content != Content::Extents {
            return Ok(if file.shows_zone(0) { 0 } else { inode.stored });
        }
        for range in file.masked.iter() {
            let whole = range.start.div_ceil(PAGES_PER_BLOCK as u64)..range.end / PAGES_PER_BLOCK as u64;
            view::for_extents(self.zone.tree(), source, number, whole.start, &mut |first, extent| {
                if first >= whole.end {
                    return ControlFlow::Break(());
                }
                let gone = |slot: &u64| whole.contains(&(first + slot)) && extent.slots[*slot as usize].is_some();
                hidden += (0..EXTENT_BLOCKS as u64).filter(gone).count() as u64 * BLOCK_SIZE as u64;
                ControlFlow::Continue(())
            })?;
        }
        Ok(hidden)
    }

    pub(crate) fn put_inode(&mut self, source: &dyn Source, number: u64, inode: &Inode) -> Result<()> {
        self.changed = true;
        Ok(self.zone.put(source, &Key::inode(number), &inode.encode())?)
    }

    /// Changes an inode record; [`Refusal::Stale`] when it is gone.
    pub(crate) fn edit_inode<R>(
        &mut self,
        source: &dyn Source,
        number: u64,
        edit: impl FnOnce(&mut Inode) -> R,
    ) -> Result<R> {
        self.changed = true;
        let changed = self.zone.update(source, &Key::inode(number), |bytes| {
            Inode::decode(bytes).map(|mut inode| {
                let result = edit(&mut inode);
                bytes.copy_from_slice(&inode.encode());
                result
            })
        })?;
        Ok(changed.ok_or(Refusal::Stale)??)
    }

    pub(crate) fn next_inode(&mut self) -> u64 {
        let number = self.record.next_inode;
        self.record.next_inode += 1;
        self.record_changed = true;
        number
    }

    /// Fixes a whole state for a commit. The caller has flushed: what the journal acknowledged or a rename waits
    /// for must not be dirty any more.
    ///
    /// # Panics
    /// When an acknowledged file is still dirty: a commit would lose it.
    pub fn freeze(&mut self, source: &dyn Source) -> Result<FrozenVfs> {
        assert!(self.must_flush().is_empty(), "a commit begins only after all that was acknowledged is flushed");
        let unrecorded: Vec<u64> =
            self.orphans.iter().filter(|(_, recorded)| !**recorded).map(|(inode, _)| *inode).collect();
        for inode in unrecorded {
            self.zone.put(source, &Key::orphan(inode), b"")?;
            self.orphans.insert(inode, true);
        }
        self.put_record(source)?;
        self.changed = false;
        self.log.split();
        let covered = self.log.last();
        Ok(FrozenVfs { zone: self.zone.freeze(source)?, covered })
    }

    /// Gives a revision away to a head that shows the last committed state again.
    pub fn skip_revision(&mut self) -> Revision {
        self.zone.skip_revision()
    }

    pub(crate) fn put_record(&mut self, source: &dyn Source) -> Result<()> {
        if std::mem::take(&mut self.record_changed) {
            self.zone.put(source, &Key::zone(), &self.record.encode())?;
        }
        Ok(())
    }

    /// The frozen state is durable.
    pub fn committed(&mut self, revision: Revision, covered: u64, index_segments: Vec<SegmentSummary>) {
        self.zone.committed(index_segments);
        self.log.covered(covered);
        let (done, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.cleaning).into_iter().partition(|(at, _)| *at <= revision);
        self.cleaning = later;
        self.files.values_mut().for_each(|file| file.published(revision));
        for (_, inode) in done {
            if self.files.get(&inode).is_some_and(|file| file.clean_at.is_some_and(|at| at <= revision)) {
                self.files.remove(&inode);
                self.ordered.remove(&inode);
            }
        }
    }

    /// Files that a commit must not leave behind.
    pub fn must_flush(&self) -> Vec<u64> {
        let owed =
            |(inode, file): (&u64, &FileState)| ((file.journaled || file.ordered) && file.is_dirty()).then_some(*inode);
        self.files.iter().filter_map(owed).collect()
    }

    /// All files with dirty content.
    pub fn dirty_files(&self) -> Vec<u64> {
        self.files.iter().filter(|(_, file)| file.is_dirty()).map(|(inode, _)| *inode).collect()
    }

    /// Begins a snapshot of the state that the next [`Vfs::freeze`] fixes, right after this call.
    pub fn begin_snapshot(&mut self, source: &dyn Source, name: &[u8]) -> Result<u64> {
        if self.zone.snapshot(source, name)?.is_some() {
            return Err(Refusal::Exists.into());
        }
        let number = self.record.next_snapshot;
        self.record.next_snapshot += 1;
        self.record_changed = true;
        Ok(number)
    }

    /// Tells the zone that deaths after this freeze belong to the snapshot.
    pub fn hold_snapshot(&mut self, number: u64, revision: Revision) {
        self.zone.begin_snapshot(number, revision);
    }

    /// Records a snapshot whose root is durable.
    pub fn finish_snapshot(&mut self, source: &dyn Source, name: &[u8], record: &SnapshotRecord) -> Result<()> {
        self.changed = true;
        Ok(self.zone.finish_snapshot(source, name, record)?)
    }

    /// Hides a snapshot that is to be deleted.
    pub fn begin_snapshot_delete(&mut self, source: &dyn Source, name: &[u8]) -> Result<()> {
        self.changed = true;
        if self.zone.begin_delete(source, name)? { Ok(()) } else { Err(Refusal::NotFound.into()) }
    }

    /// One step of deleting a snapshot; true when nothing is left.
    pub fn snapshot_delete_step(&mut self, source: &dyn Source, name: &[u8]) -> Result<bool> {
        self.changed = true;
        Ok(self.zone.delete_step(source, name)?)
    }

    /// Names of snapshots whose deletion began and did not end.
    pub fn deleting_snapshots(&self, source: &dyn Source) -> Result<Vec<Vec<u8>>> {
        let deleting = |(_, record): &(Vec<u8>, SnapshotRecord)| record.state == SnapshotState::Deleting;
        Ok(self.zone.snapshots(source)?.into_iter().filter(deleting).map(|(name, _)| name).collect())
    }

    /// Snapshots that can be read, by name.
    pub fn snapshots(&self, source: &dyn Source) -> Result<Vec<(Vec<u8>, SnapshotRecord)>> {
        let mut all = self.zone.snapshots(source)?;
        all.retain(|(_, record)| record.state == SnapshotState::Ready);
        Ok(all)
    }
}
