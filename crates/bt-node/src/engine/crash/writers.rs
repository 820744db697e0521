//! Threads that write, rename and sync at the same time: batches of the journal are shared.

use bt_store::FaultStorage;
use bt_tree::schema::ROOT_INODE;
use bt_vfs::RenameFlags;

use super::case::{Case, open};
use super::random::Random;
use super::replay::{Companion, recover};
use crate::engine::Engine;

const THREADS: usize = 4;
/// Records that each thread appends to its file.
const RECORDS: usize = 40;
const POINTS: usize = 60;

/// The file of one thread: its content at the end, and where each record ends.
struct Written {
    content: Vec<u8>,
    ends: Vec<usize>,
    acknowledged: Vec<Acknowledged>,
}

/// A sync that returned after `at` changes of the disk.
struct Acknowledged {
    at: usize,
    len: usize,
    renames: usize,
}

fn name(thread: usize, renames: usize) -> Vec<u8> {
    format!("thread {thread}, name {renames}").into_bytes()
}

/// Appends, renames and syncs one file.
fn write(engine: &Engine, storage: &FaultStorage, thread: usize, mut random: Random) -> Written {
    let mut written = Written { content: Vec::new(), ends: vec![0], acknowledged: Vec::new() };
    let made = engine.make(ROOT_INODE, &name(thread, 0), 0o100644, 0, b"", (0, 0, 0));
    let (inode, _) = made.expect("nothing fails on a good disk");
    let mut renames = 0;
    for _ in 0..RECORDS {
        let most = if random.one_in(20) { 400_000 } else { 6000 };
        let len = 1 + random.below(most) as usize;
        let record = random.bytes(len);
        engine.write_file(inode, written.content.len() as u64, &record, false).expect("nothing fails on a good disk");
        written.content.extend_from_slice(&record);
        written.ends.push(written.content.len());
        if random.one_in(3) {
            let (old, new) = (name(thread, renames), name(thread, renames + 1));
            let renamed = engine.rename((ROOT_INODE, &old), (ROOT_INODE, &new), RenameFlags::NoReplace);
            renamed.expect("nothing fails on a good disk");
            renames += 1;
        }
        if random.one_in(2) {
            engine.sync_file(Some(inode)).expect("nothing fails on a good disk");
            let len = written.content.len();
            written.acknowledged.push(Acknowledged { at: storage.operation_count(), len, renames });
        }
    }
    written
}

/// What a crash after `point` changes left of one thread's file.
fn check(engine: &Engine, thread: usize, written: &Written, point: usize) {
    let valid = written.acknowledged.iter().filter(|synced| synced.at <= point);
    let (len, renames) = valid.map(|synced| (synced.len, synced.renames)).max().unwrap_or((0, 0));
    let find = |renames| engine.lookup(ROOT_INODE, &name(thread, renames)).expect("a name can be looked up");
    let found: Vec<_> = (0..=RECORDS).filter_map(|renames| find(renames).map(|(inode, _)| (renames, inode))).collect();
    let Some((is, inode)) = found.first().copied() else {
        return assert_eq!(len, 0, "the synced file of thread {thread} is gone");
    };
    assert_eq!(found.len(), 1, "the file of thread {thread} has more than one name");
    assert!(is >= renames, "the file of thread {thread} was renamed {renames} times and synced, now {is} are left");
    let mut content = vec![0; written.content.len() + 1];
    let read = engine.read_file(inode, 0, &mut content).expect("the file can be read");
    assert!(read >= len, "thread {thread} synced {len} bytes, {read} are left");
    assert!(written.ends.contains(&read), "{read} bytes are left of thread {thread}, which ends no record");
    assert!(content[..read] == written.content[..read], "the content of thread {thread}");
}

#[test]
fn every_thread_finds_what_it_synced() {
    for case in Case::all("every_thread_finds_what_it_synced", 9, 90) {
        let _watched = case.watched();
        let storage = FaultStorage::over(&case.tree());
        let engine = open(&storage).expect("a new tree opens");
        let company = (!case.seed.is_multiple_of(4)).then(|| Companion::start(engine.clone(), case.seed));
        let random = |thread: usize| Random(case.seed * 1000 + thread as u64);
        let files: Vec<Written> = std::thread::scope(|scope| {
            let (engine, storage) = (&*engine, &storage);
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| scope.spawn(move || write(engine, storage, thread, random(thread))))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no thread panicked")).collect()
        });
        drop(company);
        for point in case.points(storage.operation_count() + 1, POINTS) {
            let case = case.at(point, 0);
            let _watched = case.watched();
            let disk = FaultStorage::over(&storage.crash_during(point, case.seed));
            let (engine, _) = recover(&disk).unwrap_or_else(|error| panic!("recovery failed: {error}"));
            files.iter().enumerate().for_each(|(thread, written)| check(&engine, thread, written, point));
        }
    }
}
