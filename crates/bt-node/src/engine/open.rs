//! Opening a zone: verify, find the newest head, recover the journal.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, RwLock};

use bt_base::limits::{PAGE_SIZE, SESSION_SECONDS, TAG_SIZE};
use bt_base::{HeadHash, Revision, Timestamp};
use bt_crypto::JournalCipher;
use bt_store::{Ballast, Containers, Heads, JournalFile, Storage, StoreError};
use bt_tree::index::IndexError;
use bt_tree::schema::Compression;
use bt_tree::zone::{Zone, ZoneError};
use bt_tree::{BatchFrame, BatchReader, Head, JournalPosition, LastHead, SegmentSummary, SessionKey, SignedHead};
use bt_vfs::op::decode_records;
use bt_vfs::{LookupCounts, Replay, Vfs};

use super::entrances::Gate;
use super::history::History;
use super::limits::Limits;
use super::newest::{Newest, newest_head};
use super::sealer::SegmentIds;
use super::space::SpaceGauge;
use super::{BlockSource, Engine, Flushing, Progress};
use crate::control::Failure;
use crate::error::{EngineError, Result};
use crate::identity::ZoneIdentity;
use crate::layout;
use crate::options::OpenOptions;
use crate::system::{SystemEntropy, file_time, now};

/// Where a zone begins.
struct Start {
    head: Option<SignedHead>,
    /// Stored heads that count, oldest first.
    stored: Vec<Vec<u8>>,
    vfs: Vfs,
    position: JournalPosition,
    /// Segments that journal records above the head brought; none when there were no such records.
    recovered: Option<Vec<SegmentSummary>>,
}

impl Engine {
    /// Makes the zone's first head: an empty root directory.
    pub(crate) fn create(
        storage: Arc<dyn Storage>,
        identity: ZoneIdentity,
        options: &OpenOptions,
        compression: Compression,
    ) -> std::result::Result<Arc<Self>, Failure> {
        let failed = |error: EngineError| error.into_failure("making the zone");
        let journal = open_journal(&*storage, &identity).map_err(failed)?;
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let source = open_source(&storage, &identity, options).map_err(failed)?;
        let vfs = Vfs::create(&source, owner, compression, file_time()).map_err(|error| failed(error.into()))?;
        let start =
            Start { head: None, stored: Vec::new(), vfs, position: no_journal(0, 0), recovered: Some(Vec::new()) };
        Self::assemble(storage, identity, options, source, journal, start).map_err(failed)
    }

    /// Opens the zone at its newest head and applies what the journal holds above it.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        identity: ZoneIdentity,
        options: &OpenOptions,
    ) -> std::result::Result<Arc<Self>, Failure> {
        let newest = newest_head(&storage, &identity, options.read_only || !identity.rights.now().may_write(now()))?;
        let head = LastHead { revision: newest.head.unverified().revision, hash: newest.head.hash() };
        identity.node.newest.expect_newest(identity.zone(), head, newest.after_refusal)?;
        let failed = |error: EngineError| error.into_failure("opening the zone");
        let source = open_source(&storage, &identity, options).map_err(failed)?;
        let journal = open_journal(&*storage, &identity).map_err(failed)?;
        let start = recover(&source, &identity, newest, &journal).map_err(failed)?;
        Self::assemble(storage, identity, options, source, journal, start).map_err(failed)
    }

    fn assemble(
        storage: Arc<dyn Storage>,
        identity: ZoneIdentity,
        options: &OpenOptions,
        source: BlockSource,
        journal: JournalFile,
        start: Start,
    ) -> Result<Arc<Self>> {
        let tree = *identity.tree();
        let read_only = options.read_only || !identity.rights.now().may_write(now());
        let Start { head, stored, vfs, position, recovered } = start;
        let flushing = match &head {
            None => Flushing {
                revision: Revision(0),
                head: HeadHash::default(),
                committed: Timestamp::default(),
                lease_token: 0,
                recent: VecDeque::new(),
                memory: Vec::new(),
                root: None,
                previous_root: None,
                added: Vec::new(),
                removed: VecDeque::new(),
                dropping: Vec::new(),
                pins: 0,
                deferred: Vec::new(),
            },
            Some(signed) => Flushing::after(signed),
        };
        let session = SessionKey::issue(&*identity.node.who, &tree, now(), SESSION_SECONDS, &mut SystemEntropy)?;
        let ballast = Ballast::open(storage.clone(), layout::BALLAST, bt_store::limits::BALLAST_BYTES)?;
        let engine = Self {
            containers: source.containers.clone(),
            source,
            ids: SegmentIds::new(tree, identity.node.principal()),
            heads: Heads::new(storage.clone(), &identity.layout.directory),
            history: History::new(&storage, &identity.layout),
            ballast: Mutex::new(ballast),
            limits: Limits::within(options.memory_bytes),
            read_only,
            storage_read_only: options.read_only,
            compression: vfs.record().compression,
            journal: Mutex::default(),
            journal_file: (!read_only).then_some(journal),
            flushing: Mutex::new(flushing),
            durable: AtomicU64::new(vfs.last_record()),
            dirty_bytes: AtomicUsize::new(vfs.dirty_bytes()),
            dirty_nodes: AtomicUsize::new(vfs.dirty_nodes()),
            vfs: RwLock::new(vfs),
            position: Mutex::new(position),
            lookups: Mutex::new(LookupCounts::default()),
            unused: Mutex::default(),
            session: RwLock::new(Arc::new(session)),
            around: quick_cache::sync::Cache::new(super::limits::AROUND_PARTS),
            space: SpaceGauge::default(),
            gate: Gate::default(),
            stopped: OnceLock::new(),
            rekeying: Mutex::default(),
            unkept: Mutex::default(),
            progress: Mutex::new(Progress::default()),
            wake: Condvar::new(),
            settled: Condvar::new(),
            identity,
            storage,
        };
        engine.space.refresh(&*engine.storage);
        if !engine.storage_read_only {
            crate::identity::remove_unfinished(&*engine.storage, &engine.identity.layout.directory)?;
        }
        if !engine.read_only {
            engine.history.settle(&stored)?;
        }
        if let Some(segments) = recovered
            && !engine.read_only
        {
            engine.flushing().added.extend(segments);
            engine.commit()?;
        }
        engine.find_orphans()?;
        Ok(Arc::new(engine))
    }

    /// Orphans of an earlier mount wait for the committer.
    fn find_orphans(&self) -> Result<()> {
        if !self.read_only {
            let found = self.write().adopt_orphans(&self.source)?;
            self.unused.lock().expect("no panic under this lock").extend(found);
        }
        Ok(())
    }

    /// Commits everything and marks the journal as not needed.
    pub(crate) fn close(&self) -> std::result::Result<(), Failure> {
        let closed = self.close_in_order();
        self.tell_unkept();
        closed
    }

    fn close_in_order(&self) -> std::result::Result<(), Failure> {
        if self.read_only {
            return Ok(());
        }
        let closing = |error: EngineError| error.into_failure("committing the last changes");
        self.commit().map_err(closing)?;
        if self.has_ended() {
            return Ok(());
        }
        let mut flushing = self.flushing();
        let position = *self.position.lock().expect("no panic under this lock");
        if position.id != Default::default() {
            let covered = self.durable.load(Ordering::Acquire);
            self.republish(&mut flushing, no_journal(covered, position.offset)).map_err(closing)?;
        }
        // So that the location map knows of the segments that the last head dropped.
        self.containers.sync().map_err(|error| closing(error.into()))
    }
}

impl Flushing {
    fn after(signed: &SignedHead) -> Self {
        let head = signed.unverified();
        Self {
            revision: head.revision,
            head: signed.hash(),
            committed: head.time,
            lease_token: head.lease_token,
            recent: VecDeque::from([LastHead { revision: head.revision, hash: signed.hash() }]),
            memory: Vec::new(),
            root: head.root.map(|root| (root, head.root_level)),
            previous_root: None,
            added: Vec::new(),
            removed: VecDeque::new(),
            dropping: head.removed.clone(),
            pins: 0,
            deferred: Vec::new(),
        }
    }
}

/// The position of a zone whose journal nobody needs.
pub(super) fn no_journal(covered: u64, offset: u64) -> JournalPosition {
    JournalPosition { id: Default::default(), covered, next_batch: 0, previous_batch_hash: [0; 32], offset }
}

fn open_journal(storage: &dyn Storage, identity: &ZoneIdentity) -> Result<JournalFile> {
    Ok(JournalFile::open(storage, &identity.layout.journal())?)
}

fn open_source(storage: &Arc<dyn Storage>, identity: &ZoneIdentity, options: &OpenOptions) -> Result<BlockSource> {
    let containers = Arc::new(Containers::open_in(storage.clone(), &identity.layout.home)?);
    for finding in containers.findings() {
        tracing::info!(%finding, "the location map was behind the containers, as after a crash, and was set right");
    }
    let limits = Limits::within(options.memory_bytes);
    Ok(BlockSource::new(
        *identity.tree(),
        identity.zone(),
        identity.rights.clone(),
        containers,
        limits.node_cache_bytes,
        limits.block_cache_bytes,
    ))
}

/// The state at a head and all journal records above it.
fn recover(source: &BlockSource, identity: &ZoneIdentity, newest: Newest, journal: &JournalFile) -> Result<Start> {
    let Newest { head: signed, stored, after_refusal } = newest;
    let head = signed.unverified().clone();
    let root = head.root.ok_or_else(|| missing("the root of the index"))?;
    let unaccounted: Vec<SegmentSummary> = head.added.iter().filter(|added| added.index_blocks).cloned().collect();
    let zone = Zone::open(source, (root, head.root_level), head.revision, unaccounted)?;
    let mut vfs = Vfs::open(source, zone, head.journal.covered)?;
    let recovered = match head.journal.id == Default::default() {
        true => None,
        false if after_refusal => None,
        false => replay_journal(source, identity, &head, journal, &mut vfs)?,
    };
    let position = no_journal(0, head.journal.offset);
    Ok(Start { head: Some(signed), stored, vfs, position, recovered })
}

/// Applies the batches of a head's journal; gives the segments that they brought, or none without records above the
/// head.
fn replay_journal(
    source: &BlockSource,
    identity: &ZoneIdentity,
    head: &Head,
    journal: &JournalFile,
    vfs: &mut Vfs,
) -> Result<Option<Vec<SegmentSummary>>> {
    let position = &head.journal;
    let rights = identity.rights.now();
    let key = rights.keys.key(head.epoch).ok_or_else(|| missing("the key of the head's epoch"))?;
    let cipher = JournalCipher::new(key, &head.tree, &head.zone, &position.id);
    let mut reader = BatchReader::new(cipher, &rights.access, head.access, position);
    let mut replay = Replay::default();
    let (mut applied, mut refused) = (false, false);
    let mut at = position.offset;
    'batches: loop {
        for place in [at % journal.size(), 0] {
            let Some(bytes) = batch_at(journal, place)? else { continue };
            let batch = match reader.open(&bytes) {
                Ok(batch) => batch,
                Err(error) if error.may_be_the_end() => continue,
                Err(error) if error.is_refusal() => {
                    tracing::warn!(%error, "what a revoked principal wrote to the journal is refused");
                    refused = true;
                    break 'batches;
                }
                Err(error) => return Err(error.into()),
            };
            at = place + batch.len as u64;
            for (number, op) in (batch.first_record..).zip(decode_records(&batch.payload).map_err(ZoneError::from)?) {
                if number > position.covered {
                    applied = true;
                    vfs.replay(source, &mut replay, number, op)?;
                }
            }
            continue 'batches;
        }
        break;
    }
    // What follows a refused batch is not missed: it does not count either.
    if !refused {
        find_later_batch(journal, &mut reader, at)?;
    }
    let recovered = vfs.finish_replay(source, replay, &|segment| blocks_of(source, segment))?;
    if applied {
        tracing::info!(records = vfs.last_record() - position.covered, "recovered from the journal");
    }
    Ok(applied.then_some(recovered))
}

/// The bytes of what may be a batch at a place of the journal.
pub(super) fn batch_at(journal: &JournalFile, place: u64) -> Result<Option<Vec<u8>>> {
    let page = journal.read_at(place, PAGE_SIZE)?;
    match BatchFrame::peek(&page) {
        Ok(Some(frame)) if place + frame.total_len() as u64 <= journal.size() => {
            Ok(Some(journal.read_at(place, frame.total_len())?))
        }
        Ok(_) => Ok(None),
        Err(error) => Err(ZoneError::from(error).into()),
    }
}

/// A good batch behind the end means that what lies between was written and is damaged.
pub(super) fn find_later_batch(journal: &JournalFile, reader: &mut BatchReader<'_>, end: u64) -> Result<()> {
    for page in journal.scan_from(end % journal.size())? {
        let page = page?;
        if !matches!(BatchFrame::peek(&page.bytes), Ok(Some(_))) {
            continue;
        }
        if let Some(bytes) = batch_at(journal, page.offset)?
            && reader.is_good_later_batch(&bytes)
        {
            let what = format!("batch {} of the journal is damaged, a later one is whole", reader.next_number());
            return Err(StoreError::damaged(what, "journal", end).into());
        }
    }
    Ok(())
}

fn blocks_of(source: &BlockSource, segment: &bt_base::SegmentId) -> std::result::Result<Vec<(u32, u32)>, ZoneError> {
    let blocks =
        source.containers.blocks(segment).map_err(|error| ZoneError::Index(IndexError::Sink(Box::new(error))))?;
    Ok(blocks.iter().map(|block| (block.index, block.len.saturating_sub(TAG_SIZE as u32))).collect())
}

fn missing(what: &str) -> EngineError {
    ZoneError::Missing { what: what.to_owned() }.into()
}
