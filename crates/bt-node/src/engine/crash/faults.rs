//! Failing calls: every call of a workload fails once, or from then on.

use bt_store::storage::{Fault, FaultPlan, Repeat};
use bt_store::{FaultStorage, MemoryStorage};
use bt_tree::schema::ROOT_INODE;
use bt_vfs::op::Change;

use super::case::{Case, is_long, make_tree, open, with_journal};
use super::model::{Covers, Model};
use super::random::Random;
use super::readback::read_back;
use super::replay::{same, verify};
use super::workload::Driver;
use crate::engine::Engine;
use crate::error::{EngineError, Result};

/// Operations of one workload.
const OPERATIONS: usize = 90;
/// Calls that fail in a short run, for each workload and fault.
const CALLS: usize = 12;
/// The disk of the tests that fill it, in bytes: the tree is made with a journal of 64 MiB and the ballast.
const DISK_BYTES: u64 = 100 << 20;

const FAULTS: [(Fault, Repeat); 5] = [
    (Fault::Eio, Repeat::Once),
    (Fault::Eio, Repeat::Forever),
    (Fault::NoSpace, Repeat::Once),
    (Fault::NoSpace, Repeat::Forever),
    (Fault::ShortWrite, Repeat::Once),
];

/// Works until something fails that leaves the state unknown; returns whether the zone goes on.
fn work(driver: &mut Driver<'_>, operations: usize) -> bool {
    for _ in 0..operations {
        match driver.step() {
            Ok(()) => {}
            Err(_) if driver.halfway || driver.engine.stopped().is_some() => return false,
            // Refused, or a read that failed before anything changed.
            Err(_) => {}
        }
    }
    driver.engine.stopped().is_none() && !driver.halfway
}

/// A zone that stopped refuses changes and acknowledges nothing.
fn refuses(engine: &Engine) {
    if engine.stopped().is_some() {
        let made = engine.make(ROOT_INODE, b"too late", 0o100644, 0, b"", (0, 0, 0));
        assert!(matches!(made, Err(EngineError::Stopped(_))), "a zone that stopped takes a file");
        assert!(engine.sync_file(None).is_err(), "a zone that stopped acknowledges");
        assert!(!engine.read().is_changed() || engine.close().is_err(), "a zone that stopped closes");
    }
}

fn fails(case: Case, fault: (Fault, Repeat), call: usize) {
    let storage = FaultStorage::over(&case.tree());
    let (fault, repeat) = fault;
    let start = Model::new(read_back(&open(&storage).expect("a new tree opens")).expect("a new tree can be read"));
    storage.inject(Some(FaultPlan { on: None, after: call as u64, fault, repeat }));
    let changes = || storage.operation_count();
    let model = match open(&storage) {
        Err(_) => start,
        Ok(engine) => {
            let mut driver = Driver::new(engine.clone(), start, Random(case.seed), &changes);
            let goes_on = work(&mut driver, OPERATIONS);
            storage.inject(None);
            if goes_on {
                engine.commit().expect("the disk is good again");
                driver.model.acknowledge(storage.operation_count(), Covers::All);
                same(&driver.model, &read_back(&engine).expect("the live zone can be read"), "after the fault");
                driver.run(10).expect("the disk is good again");
            } else {
                refuses(&engine);
            }
            driver.model
        }
    };
    storage.inject(None);
    let point = storage.operation_count();
    for disk in 0..2 {
        let case = case.at(call, disk);
        verify(&case, &model, &storage.crash(point, disk), point);
    }
}

#[test]
fn every_failing_call_is_an_error_and_loses_nothing() {
    for case in Case::all("every_failing_call_is_an_error_and_loses_nothing", 3, 60) {
        let storage = FaultStorage::over(&case.tree());
        let engine = open(&storage).expect("a new tree opens");
        let model = Model::new(read_back(&engine).expect("a new tree can be read"));
        drop(engine);
        let before = storage.all_calls();
        let engine = open(&storage).expect("a new tree opens");
        let changes = || storage.operation_count();
        Driver::new(engine, model, Random(case.seed), &changes).run(OPERATIONS).expect("nothing fails on a good disk");
        let calls = (storage.all_calls() - before) as usize;
        for (number, fault) in FAULTS.into_iter().enumerate() {
            let wanted = if is_long() { calls } else { CALLS };
            for call in case.points(calls, wanted) {
                let call = (call + number).min(calls - 1);
                let _watched = case.at(call - number.min(call), 0).watched();
                fails(case, fault, call);
            }
        }
    }
}

/// Random work on a disk without room: some of it is refused, nothing is lost.
#[test]
fn a_full_disk_loses_nothing() {
    for case in Case::all("a_full_disk_loses_nothing", 2, 40) {
        let _watched = case.watched();
        let base = MemoryStorage::with_capacity(DISK_BYTES);
        make_tree(&base);
        let storage = FaultStorage::over(&with_journal(&base, 640 << 10));
        let engine = open(&storage).expect("a new tree opens");
        let mut random = Random(case.seed);
        fill(&engine, &mut random);
        engine.commit().expect("what was reserved can be committed");
        let model = Model::new(read_back(&engine).expect("a full zone can be read"));
        let begun = storage.operation_count();
        let changes = || storage.operation_count() - begun;
        let mut driver = Driver::new(engine.clone(), model, random, &changes);
        let goes_on = work(&mut driver, OPERATIONS);
        assert!(goes_on || driver.halfway, "a full disk stopped the zone: {:?}", engine.stopped());
        for point in case.points(storage.operation_count() - begun, 6) {
            let case = case.at(point, 0);
            let _watched = case.watched();
            verify(&case, &driver.model, &storage.crash_during(begun + point, case.seed), point);
        }
    }
}

/// Fills a disk with files of 1 MiB.
fn fill(engine: &Engine, random: &mut Random) -> Vec<(u64, Vec<u8>, Vec<u8>)> {
    let mut files = Vec::new();
    loop {
        assert!(files.len() < 200, "the disk never fills");
        let name = format!("file {}", files.len()).into_bytes();
        let Ok((inode, _)) = engine.make(ROOT_INODE, &name, 0o100644, 0, b"", (0, 0, 0)) else { return files };
        engine.forget(inode, 1);
        let content = random.bytes(1 << 20);
        match engine.write_file(inode, 0, &content, false) {
            Ok(()) => files.push((inode, name, content)),
            Err(error) => {
                assert!(error.is_no_space(), "a full disk says {error}");
                return files;
            }
        }
        if files.len() % 8 == 0 {
            engine.commit().expect("what was reserved can be committed");
        }
    }
}

fn contents_are(engine: &Engine, files: &[(u64, Vec<u8>, Vec<u8>)]) -> Result<()> {
    for (inode, _, content) in files {
        let mut found = vec![0; content.len() + 1];
        assert_eq!(engine.read_file(*inode, 0, &mut found)?, content.len());
        assert!(found[..content.len()] == content[..], "the content of file {inode}");
    }
    Ok(())
}

#[test]
fn a_full_disk_takes_deletions_and_then_writes_again() {
    let base = MemoryStorage::with_capacity(DISK_BYTES);
    make_tree(&base);
    let storage = FaultStorage::over(&with_journal(&base, 640 << 10));
    let engine = open(&storage).expect("a new tree opens");
    let mut random = Random(1);
    for _ in 0..3 {
        let mut files = fill(&engine, &mut random);
        assert!(files.len() > 10, "only {} files fit", files.len());
        engine.commit().expect("what was reserved can be committed");
        contents_are(&engine, &files).expect("what was written can be read");
        for (_, name, _) in files.drain(..files.len() / 2) {
            engine.unlink(ROOT_INODE, &name, false).expect("deleting works on a full disk");
            engine.sync_file(None).expect("deleting can be acknowledged on a full disk");
        }
        // What a commit no longer needs is dropped when two more heads are published.
        for round in 0..3u8 {
            engine.commit().expect("deleting can be committed on a full disk");
            let chmod =
                |now| Some(Change { atime: Some(now), mode: Some(0o700 + u32::from(round)), ..Default::default() });
            engine.set_attributes(ROOT_INODE, None, chmod, false).expect("attributes take no room");
        }
        let (inode, _) = engine.make(ROOT_INODE, b"again", 0o100644, 0, b"", (0, 0, 0)).expect("there is room again");
        engine.write_file(inode, 0, &random.bytes(4 << 20), false).expect("there is room again");
        engine.sync_file(Some(inode)).expect("there is room again");
        contents_are(&engine, &files).expect("what was written can be read");
        let crashed = FaultStorage::over(&storage.crash(storage.operation_count(), 7));
        contents_are(&open(&crashed).expect("a full disk can be recovered"), &files).expect("nothing is lost");
        for (_, name, _) in files {
            engine.unlink(ROOT_INODE, &name, false).expect("deleting works");
        }
        engine.unlink(ROOT_INODE, b"again", false).expect("deleting works");
        engine.forget(inode, 1);
        for _ in 0..2 {
            engine.commit().expect("deleting can be committed");
        }
    }
    engine.close().expect("the zone closes");
}
