//! A storage in memory that runs something before a read or write, or lacks what some file systems lack.
#![allow(dead_code, reason = "each test uses a part")]

use std::sync::{Arc, Mutex};

use bt_store::{MemoryStorage, Result, Space, Storage, StorageFile, StoreError, WriteMode};

/// What runs.
pub type Action = Box<dyn FnOnce() + Send>;

/// Each action runs once, before the next read or write.
#[derive(Clone, Default)]
pub struct Hooks {
    pub before_read: Arc<Mutex<Option<Action>>>,
    pub before_write: Arc<Mutex<Option<Action>>>,
    /// There is no way past the page cache.
    pub refuse_direct: bool,
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

/// The storage.
#[derive(Debug, Clone)]
pub struct HookedStorage(pub MemoryStorage, pub Hooks);

#[derive(Debug)]
struct HookedFile(Arc<dyn StorageFile>, Hooks);

impl Storage for HookedStorage {
    fn open_with(&self, name: &str, create: bool, mode: WriteMode) -> Result<Arc<dyn StorageFile>> {
        if mode.is_direct() && self.1.refuse_direct {
            return Err(StoreError::refused(name, "there is no way past the page cache"));
        }
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
    fn remove_dir(&self, directory: &str) -> Result<()> {
        self.0.remove_dir(directory)
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
