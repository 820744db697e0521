//! Every crash point of random workloads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use bt_store::storage::Operation;
use bt_store::{FaultStorage, MemoryStorage};

use super::case::{Case, is_long, open};
use super::model::{Model, State, differences, pairs};
use super::random::Random;
use super::readback::read_back;
use super::workload::Driver;
use crate::engine::Engine;
use crate::engine::testing::check_disk;

/// Operations of one workload.
const OPERATIONS: usize = 160;
/// Crash points of one workload in a short run, and disks tried at each.
const POINTS: usize = 40;
const DISKS: u64 = 2;
/// Operations on a recovered zone.
const OPERATIONS_AFTER: usize = 12;

/// A workload that ran, and everything it did to the disk.
struct Ran {
    storage: FaultStorage,
    model: Model,
}

fn run(case: &Case, company: bool) -> Ran {
    let storage = FaultStorage::over(&case.tree());
    let engine = open(&storage).expect("a new tree opens");
    let model = Model::new(read_back(&engine).expect("a new tree can be read"));
    let company = company.then(|| Companion::start(engine.clone(), case.seed));
    let changes = || storage.operation_count();
    let mut driver = Driver::new(engine.clone(), model, Random(case.seed), &changes);
    driver.run(OPERATIONS).expect("nothing fails on a good disk");
    drop(company);
    let live = read_back(&engine).expect("the live zone can be read");
    same(&driver.model, &live, "the live zone");
    let Driver { mut model, .. } = driver;
    if case.seed.is_multiple_of(2) {
        engine.close().expect("nothing fails on a good disk");
        model.acknowledge(storage.operation_count(), super::model::Covers::All);
    }
    Ran { storage, model }
}

/// A thread that commits, flushes and frees all the time, as the committing thread does at times.
pub(super) struct Companion {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Companion {
    pub(super) fn start(engine: Arc<Engine>, seed: u64) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let told = ended.clone();
        let thread = std::thread::spawn(move || {
            let mut random = Random(!seed);
            while !told.load(Ordering::Relaxed) {
                let worked = match random.below(4) {
                    0 => engine.commit().map(drop),
                    1 => {
                        let mut flushing = engine.flushing();
                        let dirty = engine.read().dirty_files();
                        engine.flush(&mut flushing, &dirty)
                    }
                    2 => engine.free_orphans(),
                    _ => {
                        std::thread::yield_now();
                        Ok(())
                    }
                };
                worked.expect("nothing fails on a good disk");
            }
        });
        Self { ended, thread: Some(thread) }
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("it is taken once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the other thread panicked");
    }
}

/// Compares a whole state with what the model has now; files that are held without a name cannot be read back.
pub(super) fn same(model: &Model, found: &State, what: &str) {
    let mut different = differences(&model.now.names, &found.names);
    let mut wanted = model.now.contents.clone();
    wanted.retain(|inode, _| !model.orphans.contains_key(inode));
    for (inode, wanted, found) in pairs(&wanted, &found.contents).filter(|(_, wanted, found)| wanted != found) {
        let (wanted, found) = (wanted.cloned().unwrap_or_default(), found.cloned().unwrap_or_default());
        let first = wanted.iter().zip(&found).position(|(wanted, found)| wanted != found);
        let last = wanted.iter().zip(&found).rposition(|(wanted, found)| wanted != found);
        let (wanted, found) = (wanted.len(), found.len());
        different.push(format!(
            "file {inode}: wanted {wanted} bytes, found {found}; they differ from {first:?} to {last:?}"
        ));
    }
    assert!(different.is_empty(), "{what}: {}\n{}", different.join("\n"), model.story());
}

/// Checks every byte.
fn check(disk: &FaultStorage) {
    let report = check_disk(Arc::new(disk.clone())).expect("a zone that opens can be checked");
    assert!(report.problems.is_empty(), "checking finds {:#?}", report.problems);
}

/// Opens what a crash left, and reads all of it.
pub(super) fn recover(disk: &FaultStorage) -> Result<(Arc<Engine>, State), String> {
    let engine = open(disk)?;
    engine.free_orphans().map_err(|error| format!("freeing what has no name: {error}"))?;
    let state = read_back(&engine)?;
    let inodes = state.names.inodes.len() as u64;
    if engine.inode_count() != inodes {
        return Err(format!("the zone counts {} inodes, names lead to {inodes}", engine.inode_count()));
    }
    Ok((engine, state))
}

/// What a crash left must be recovered, more than once, and be good to work on.
pub(super) fn verify(case: &Case, model: &Model, image: &MemoryStorage, point: usize) {
    let disk = FaultStorage::over(image);
    let (engine, state) = recover(&disk).unwrap_or_else(|error| panic!("recovery failed: {error}"));
    model.check(point, &state).unwrap_or_else(|why| panic!("the recovered state is wrong: {why}"));
    let rights = engine.identity.rights.now();
    model.check_records(point, &rights.access).unwrap_or_else(|why| panic!("the recovered state is wrong: {why}"));
    check(&disk);
    let mut random = Random(case.disk.unwrap_or(0) ^ point as u64);
    let recovery = disk.operation_count();
    for _ in 0..if is_long() { 3 } else { 1 } {
        let again = random.below(recovery as u64 + 1) as usize;
        let second = FaultStorage::over(&disk.crash_during(again, random.next()));
        let (_, second) = recover(&second)
            .unwrap_or_else(|error| panic!("after a crash at {again} of recovery, the second failed: {error}"));
        assert_eq!(differences(&state.names, &second.names), Vec::<String>::new(), "a crash at {again} of recovery");
        assert_eq!(state.prints(), second.prints(), "a crash at {again} of recovery changed a content");
    }
    let go_on = || go_on(engine, &disk, state, random);
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(go_on)).is_err() {
        panic!("before: {}", model.story());
    }
}

/// Works on a recovered zone, closes it, and opens it again.
fn go_on(engine: Arc<Engine>, disk: &FaultStorage, state: State, random: Random) {
    let changes = || disk.operation_count();
    let mut driver = Driver::new(engine, Model::new(state), random, &changes);
    driver.run(OPERATIONS_AFTER).expect("nothing fails on a recovered zone");
    let live = read_back(&driver.engine).expect("a recovered zone can be read");
    same(&driver.model, &live, "a recovered zone, after more work");
    driver.engine.close().expect("a recovered zone closes");
    let (_, after) = recover(disk).expect("a closed zone opens");
    same(&driver.model, &after, "a recovered zone, after more work and closing");
    check(disk);
}

fn replay(case: Case, company: bool) {
    let _watched = case.watched();
    let ran = run(&case, company);
    let count = ran.storage.operation_count();
    for point in case.points(count + 1, POINTS) {
        let disks = case.disk.map_or(0..DISKS, |disk| disk..disk + 1);
        for seed in disks {
            let case = case.at(point, seed);
            let _watched = case.watched();
            let image = match seed % 2 {
                0 => ran.storage.crash(point, seed),
                _ => ran.storage.crash_during(point, seed),
            };
            verify(&case, &ran.model, &image, point);
        }
    }
}

/// The workloads go where the journal goes: around its end.
#[test]
fn workloads_go_round_the_journal() {
    let rounds = |case: Case| {
        let ran = run(&case, false);
        let operations = ran.storage.operations();
        // Only the journal is written durably.
        let batches = operations.iter().filter_map(|operation| match operation {
            Operation::Write { offset, durable: true, .. } => Some(*offset),
            _ => None,
        });
        let batches: Vec<u64> = batches.collect();
        assert!(batches.len() > 5, "{} batches", batches.len());
        batches.windows(2).filter(|two| two[1] < two[0]).count()
    };
    let rounds: Vec<usize> = (1..=6).map(|seed| rounds(Case::of_seed(seed))).collect();
    assert!(rounds.iter().all(|rounds| *rounds > 0), "rounds of the journals: {rounds:?}");
}

#[test]
fn every_crash_leaves_what_was_acknowledged() {
    for case in Case::all("every_crash_leaves_what_was_acknowledged", 6, 200) {
        replay(case, false);
    }
}

#[test]
fn every_crash_with_a_committing_thread_leaves_what_was_acknowledged() {
    for case in Case::all("every_crash_with_a_committing_thread_leaves_what_was_acknowledged", 3, 100) {
        replay(case, true);
    }
}
