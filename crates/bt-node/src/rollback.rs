//! Telling an older copy of the node's directory, with the counter in the node's TPM.
//!
//! The file `counter` holds a signed record: the value that the counter has, and the newest head of each zone. Before a
//! step the record is written with the next value, so a crash in between leaves one that is ahead by one. Steps are taken
//! when a directory is opened for writing, when it is closed, and at most hourly while heads are published: counters wear
//! out. What was written since the last step can be put back unnoticed; nothing older can.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use bt_base::ZoneId;
use bt_store::{Heads, Storage};
use bt_tpm::TpmKeyStore;
use bt_tree::counter::Standing;
use bt_tree::{CounterError, CounterRecord, LastHead, SignedHead};

use crate::control::report::{CheckReport, Problem};
use crate::control::{Failure, FailureKind};
use crate::identity::{self, NodeIdentity};
use crate::layout::{self, ZoneLayout};
use crate::node_key::{NodeKey, key_failure, refused};
use crate::system::now;

/// Steps while a directory stays open are at least so far apart.
const STEP_INTERVAL: Duration = Duration::from_secs(3600);

/// What to do with a copy that is not the newest.
const GO_ON: &str = "use the newest copy. To go on from this one all the same, give the node new keys with the root \
                     credential: `bt node key migrate`";

/// The newest heads of a node's zones: those of the record, then those that were published since.
#[derive(Default)]
pub(crate) struct NewestHeads(Mutex<BTreeMap<ZoneId, LastHead>>);

impl NewestHeads {
    /// A head was published.
    pub(crate) fn published(&self, zone: ZoneId, head: LastHead) {
        self.lock().insert(zone, head);
    }

    /// Refuses a zone whose newest stored head is older than what is known, and learns of one that is not.
    /// `after_refusal`: newer heads are stored and do not count, since their signer lost the right.
    pub(crate) fn expect_newest(&self, zone: ZoneId, head: LastHead, after_refusal: bool) -> Result<(), Failure> {
        let known = *self.lock().entry(zone).or_insert(head);
        if !CounterRecord::is_before(head, known) {
            return Ok(());
        }
        if after_refusal && head.revision < known.revision {
            return Ok(());
        }
        let what = format!(
            "zone {} was put back to an earlier state: its newest head is that of revision {}, but the record that the \
             TPM's counter vouches for names another one of revision {}",
            zone.short(),
            head.revision,
            known.revision
        );
        Err(Failure::refused(what, GO_ON))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ZoneId, LastHead>> {
        self.0.lock().expect("no panic under this lock")
    }
}

/// The key store and its counter, where the node has one.
fn counted(node: &NodeIdentity) -> Option<(&TpmKeyStore, [u8; 32])> {
    match &node.key {
        NodeKey::Tpm(store) => store.counter().map(|counter| (&**store, *counter.id())),
        NodeKey::Software(_) => None,
    }
}

/// Compares the directory's record with the counter, and learns the newest heads from it. Nothing without a counter.
pub(crate) fn load(storage: &dyn Storage, node: &NodeIdentity) -> Result<(), Failure> {
    let Some((store, counter)) = counted(node) else { return Ok(()) };
    let bytes = identity::read(storage, layout::COUNTER)?;
    let credential = bt_crypto::KeyStore::credential(store);
    let record = CounterRecord::decode(node.tree(), credential, &counter, &bytes)
        .map_err(|error| Failure::problem(format!("{}: {error}", layout::COUNTER), GO_ON))?;
    let value = store.read_counter().map_err(refused)?.unwrap_or_default();
    let compared = format!("the TPM's counter is at {value}, the record of the directory is of {}", record.value);
    match record.standing(value) {
        Standing::Newest => *node.newest.lock() = record.heads,
        Standing::Older => {
            return Err(Failure::refused(format!("this directory is an older copy: {compared}"), GO_ON));
        }
        Standing::Beyond => {
            return Err(Failure::refused(format!("the counter of this node was exchanged: {compared}"), GO_ON));
        }
    }
    Ok(())
}

/// Writes a record of the newest heads and steps the counter. Nothing without a counter.
pub(crate) fn step(storage: &dyn Storage, node: &NodeIdentity) -> Result<(), Failure> {
    let Some((store, counter)) = counted(node) else { return Ok(()) };
    let value = store.read_counter().map_err(refused)?.unwrap_or_default() + 1;
    let heads = node.newest.lock().clone();
    let credential = bt_crypto::KeyStore::credential(store);
    let record = CounterRecord { tree: *node.tree(), node: credential.id(), counter, value, heads, time: now() };
    let bytes = record.sign(store).map_err(|error| match &error {
        CounterError::Key(key) => key_failure(key, || Failure::problem(error.to_string(), "")),
        _ => Failure::problem(error.to_string(), ""),
    })?;
    identity::write(storage, layout::COUNTER, &bytes)?;
    store.step_counter().map_err(refused)
}

/// Adds to the report of a check what the counter tells about a directory that is not open.
pub(crate) fn examine(storage: &Arc<dyn Storage>, report: &mut CheckReport) -> Result<(), Failure> {
    // What is wrong with the records is in the report already.
    let Ok(node) = NodeIdentity::load(&**storage) else { return Ok(()) };
    let mut add = |failure: Failure, place: String| {
        report.problem_count += 1;
        report.problems.push(Problem { what: failure.what, where_: place, hint: failure.hint });
    };
    match load(&**storage, &node) {
        Ok(()) => {}
        Err(failure) if failure.kind == FailureKind::Io => return Err(failure),
        Err(failure) => {
            add(failure, layout::COUNTER.to_owned());
            return Ok(());
        }
    }
    let zones: Vec<ZoneId> = node.newest.lock().keys().copied().collect();
    for zone in zones {
        let directory = ZoneLayout::new(&zone).directory;
        // Heads that cannot be read are in the report already.
        let Ok(loaded) = Heads::new(storage.clone(), &directory).load() else { continue };
        let heads = loaded.copies.iter().filter_map(|copy| SignedHead::decode(&copy.bytes).ok());
        let newest = heads.max_by_key(|head| head.unverified().revision);
        let Some(newest) = newest else { continue };
        let head = LastHead { revision: newest.unverified().revision, hash: newest.hash() };
        if let Err(failure) = node.newest.expect_newest(zone, head, false) {
            add(failure, directory);
        }
    }
    Ok(())
}

/// Steps the counter of an open directory at most hourly, and once more when it is closed.
pub(crate) struct Stepper {
    /// A word through it asks for the last step; letting it go ends the thread without one.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Stepper {
    /// Steps now, then from time to time. None for a node without a counter.
    pub(crate) fn start(storage: Arc<dyn Storage>, node: Arc<NodeIdentity>) -> Result<Option<Self>, Failure> {
        if counted(&node).is_none() {
            return Ok(None);
        }
        step(&*storage, &node)?;
        let (stop, stopped) = channel();
        let work = move || {
            let mut stepped = node.newest.lock().clone();
            loop {
                let is_last = match stopped.recv_timeout(STEP_INTERVAL) {
                    Ok(()) => true,
                    Err(RecvTimeoutError::Timeout) => false,
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                let newest = node.newest.lock().clone();
                if newest != stepped {
                    match step(&*storage, &node) {
                        Ok(()) => stepped = newest,
                        // What is written counts all the same; it can be put back unnoticed until the next step.
                        Err(failure) => tracing::warn!(%failure, "the counter in the TPM was not stepped"),
                    }
                }
                if is_last {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("bt-counter".into()).spawn(work);
        let thread = thread.map_err(|error| Failure::io("starting the thread that steps the TPM's counter", &error))?;
        Ok(Some(Self { stop: Some(stop), thread: Some(thread) }))
    }

    /// Steps a last time, if heads were published since; when all is committed.
    pub(crate) fn stop(self) {
        if let Some(stop) = &self.stop {
            // The thread is gone only if it panicked, and then there is an error in the log.
            stop.send(()).ok();
        }
    }
}

impl Drop for Stepper {
    /// Waits for the thread: whoever has the directory next must not meet a step that is under way.
    fn drop(&mut self) {
        self.stop = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that steps the TPM's counter panicked");
        }
    }
}
