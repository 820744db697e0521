//! What happens between two system calls of one operation: a storage that runs something at exactly that moment.

mod support;

use std::sync::{Arc, Mutex};

use bt_store::{Containers, MemoryStorage, Result, Space, Storage, StorageFile, WriteMode};
use support::{id, put, require};

type Action = Box<dyn FnOnce() + Send>;

/// Runs an action once, before the next read or write.
#[derive(Clone, Default)]
struct Hooks {
    before_read: Arc<Mutex<Option<Action>>>,
    before_write: Arc<Mutex<Option<Action>>>,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooks")
    }
}

fn run(hook: &Mutex<Option<Action>>) {
    let action = hook.lock().unwrap().take();
    if let Some(action) = action {
        action();
    }
}

#[derive(Debug, Clone)]
struct HookedStorage(MemoryStorage, Hooks);

#[derive(Debug)]
struct HookedFile(Arc<dyn StorageFile>, Hooks);

impl Storage for HookedStorage {
    fn open_with(&self, name: &str, create: bool, mode: WriteMode) -> Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(HookedFile(self.0.open_with(name, create, mode)?, self.1.clone())))
    }
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> Result<()> {
        self.0.remove(name)
    }
    fn exists(&self, name: &str) -> Result<bool> {
        self.0.exists(name)
    }
    fn list(&self, directory: &str) -> Result<Vec<String>> {
        self.0.list(directory)
    }
    fn sync_dir(&self, directory: &str) -> Result<()> {
        self.0.sync_dir(directory)
    }
    fn create_dir(&self, directory: &str) -> Result<()> {
        self.0.create_dir(directory)
    }
    fn space(&self) -> Result<Space> {
        self.0.space()
    }
}

impl StorageFile for HookedFile {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        run(&self.1.before_read);
        self.0.read_at(buf, offset)
    }
    fn write_vectored_at(&self, parts: &[&[u8]], offset: u64) -> Result<()> {
        run(&self.1.before_write);
        self.0.write_vectored_at(parts, offset)
    }
    fn sync_data(&self) -> Result<()> {
        self.0.sync_data()
    }
    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.0.allocate(offset, len)
    }
    fn zero_fill(&self, offset: u64, len: u64) -> Result<()> {
        self.0.zero_fill(offset, len)
    }
    fn punch(&self, offset: u64, len: u64) -> Result<()> {
        self.0.punch(offset, len)
    }
    fn set_len(&self, len: u64) -> Result<()> {
        self.0.set_len(len)
    }
    fn len(&self) -> Result<u64> {
        self.0.len()
    }
    fn prefetch(&self, offset: u64, len: u64) {
        self.0.prefetch(offset, len);
    }
}

fn hooked() -> (Arc<Containers>, Hooks) {
    let hooks = Hooks::default();
    let storage = HookedStorage(MemoryStorage::new(), hooks.clone());
    (Arc::new(Containers::open_sized(Arc::new(storage), 256 << 10).unwrap()), hooks)
}

fn before_next_read(hooks: &Hooks, action: impl FnOnce() + Send + 'static) {
    *hooks.before_read.lock().unwrap() = Some(Box::new(action));
}

#[test]
fn a_segment_that_moves_before_the_read_of_a_block_is_read_at_its_new_place() {
    let (containers, hooks) = hooked();
    put(&containers, 1, 10).unwrap();
    for cold in [false, true] {
        if !cold {
            require(&containers, 1, [1]);
        }
        let moving = containers.clone();
        before_next_read(&hooks, move || {
            moving.compact_segment(&id(1), &|_| true).unwrap();
        });
        require(&containers, 1, [3]);
        let moving = containers.clone();
        before_next_read(&hooks, move || {
            moving.compact_segment(&id(1), &|_| true).unwrap();
        });
        let (blocks, _) = containers.read_segment(&id(1)).unwrap();
        assert_eq!(blocks.len(), 10);
        // The next round reads the header first: the place is new.
        containers.compact_segment(&id(1), &|_| true).unwrap();
    }
}

#[test]
fn a_block_that_is_dropped_before_its_read_is_not_found() {
    let (containers, hooks) = hooked();
    put(&containers, 1, 10).unwrap();
    put(&containers, 2, 1).unwrap();
    require(&containers, 1, [1]);
    let dropping = containers.clone();
    before_next_read(&hooks, move || dropping.drop_segment(&id(1)).unwrap());
    let error = containers.read_block(&id(1), 3, &mut Vec::new()).unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[test]
fn a_segment_that_is_dropped_while_it_is_compacted_stays_dropped() {
    let (containers, hooks) = hooked();
    (1..3).for_each(|number| put(&containers, number, 10).unwrap());
    let dropping = containers.clone();
    containers.blocks(&id(1)).unwrap();
    before_next_read(&hooks, move || dropping.drop_segment(&id(1)).unwrap());
    assert!(containers.compact_segment(&id(1), &|_| true).is_err());
    assert!(!containers.contains(&id(1)));
    require(&containers, 2, 0..10);
    assert!(containers.check().unwrap().is_empty());
}

#[test]
fn a_container_stays_while_a_segment_is_being_written_to_it() {
    let (containers, hooks) = hooked();
    put(&containers, 1, 3).unwrap();
    let others = containers.clone();
    *hooks.before_write.lock().unwrap() = Some(Box::new(move || {
        // Fill this container so that the next one is used, then drop all that is known to be in it.
        (10..30).for_each(|number| put(&others, number, 10).unwrap());
        others.sync().unwrap();
        others.drop_segment(&id(1)).unwrap();
        (10..29).for_each(|number| others.drop_segment(&id(number)).unwrap());
        others.sync().unwrap();
    }));
    put(&containers, 2, 3).unwrap();
    containers.sync().unwrap();
    require(&containers, 2, 0..3);
    require(&containers, 29, 0..10);
}

#[test]
fn a_search_that_meets_a_segment_being_written_takes_it_as_it_is() {
    let (containers, hooks) = hooked();
    put(&containers, 1, 3).unwrap();
    let others = containers.clone();
    *hooks.before_write.lock().unwrap() = Some(Box::new(move || {
        assert!(others.read_block(&id(9), 0, &mut Vec::new()).unwrap_err().is_not_found());
    }));
    put(&containers, 2, 3).unwrap();
    containers.sync().unwrap();
    require(&containers, 1, 0..3);
    require(&containers, 2, 0..3);
}
