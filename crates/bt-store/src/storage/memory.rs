//! A storage in memory, for tests and for nodes that keep nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use super::content::Content;
use super::{Space, Storage, StorageFile, WriteMode, check_directory, check_name, directory_of, range_end};
use crate::error::{Result, StoreError};
use crate::limits::CHUNK_BYTES;

/// Files in memory. Clones share them.
#[derive(Clone, Debug)]
pub struct MemoryStorage {
    names: Arc<RwLock<Names>>,
    disk: Arc<Disk>,
}

#[derive(Debug, Default)]
struct Names {
    files: BTreeMap<String, Arc<RwLock<Content>>>,
    directories: BTreeSet<String>,
}

/// The room that all files share. Space of a removed file comes back at once, even while it is open.
#[derive(Debug)]
struct Disk {
    total: u64,
    used: AtomicU64,
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStorage {
    /// An empty storage without a bound of its own.
    pub fn new() -> Self {
        Self::with_capacity(1 << 40)
    }

    /// An empty storage that is full after `bytes` bytes of pages.
    pub fn with_capacity(bytes: u64) -> Self {
        Self { names: Arc::default(), disk: Arc::new(Disk { total: bytes, used: AtomicU64::new(0) }) }
    }

    /// A storage that holds exactly these directories and files.
    pub(super) fn holding(directories: BTreeSet<String>, files: impl IntoIterator<Item = (String, Content)>) -> Self {
        let storage = Self::new();
        let mut names = storage.names.write().expect("no panic under this lock");
        names.directories = directories;
        for (name, content) in files {
            storage.disk.used.fetch_add(content.allocated(), Ordering::Relaxed);
            names.files.insert(name, Arc::new(RwLock::new(content)));
        }
        drop(names);
        storage
    }

    /// A copy that shares nothing with this one.
    pub fn deep_copy(&self) -> Self {
        let (directories, files) = self.parts();
        let mut copy = Self::holding(directories, files);
        let used = AtomicU64::new(copy.disk.used.load(Ordering::Relaxed));
        copy.disk = Arc::new(Disk { total: self.disk.total, used });
        copy
    }

    /// All directories and a copy of all files.
    pub(super) fn parts(&self) -> (BTreeSet<String>, Vec<(String, Content)>) {
        let names = self.names.read().expect("no panic under this lock");
        let copy = |content: &Arc<RwLock<Content>>| content.read().expect("no panic under this lock").clone();
        (names.directories.clone(), names.files.iter().map(|(name, content)| (name.clone(), copy(content))).collect())
    }

    fn check_directory_exists(&self, names: &Names, directory: &str) -> Result<()> {
        if directory.is_empty() || names.directories.contains(directory) {
            return Ok(());
        }
        Err(StoreError::io("open directory", directory, 0, io::ErrorKind::NotFound.into()))
    }
}

impl Storage for MemoryStorage {
    fn open_with(&self, name: &str, create: bool, _mode: WriteMode) -> Result<Arc<dyn StorageFile>> {
        check_name(name)?;
        let mut names = self.names.write().expect("no panic under this lock");
        if !names.files.contains_key(name) {
            if !create {
                return Err(StoreError::io("open", name, 0, io::ErrorKind::NotFound.into()));
            }
            self.check_directory_exists(&names, directory_of(name))?;
        }
        let content = names.files.entry(name.to_owned()).or_default().clone();
        Ok(Arc::new(MemoryFile { name: name.to_owned(), content, disk: self.disk.clone() }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        check_name(from)?;
        check_name(to)?;
        let mut names = self.names.write().expect("no panic under this lock");
        self.check_directory_exists(&names, directory_of(to))?;
        let missing = || StoreError::io("rename", from, 0, io::ErrorKind::NotFound.into());
        let content = names.files.remove(from).ok_or_else(missing)?;
        if let Some(replaced) = names.files.insert(to.to_owned(), content) {
            self.disk.give_back(replaced.read().expect("no panic under this lock").allocated());
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        check_name(name)?;
        let removed = self.names.write().expect("no panic under this lock").files.remove(name);
        let missing = || StoreError::io("remove", name, 0, io::ErrorKind::NotFound.into());
        let content = removed.ok_or_else(missing)?;
        self.disk.give_back(content.read().expect("no panic under this lock").allocated());
        Ok(())
    }

    fn exists(&self, name: &str) -> Result<bool> {
        check_directory(name)?;
        let names = self.names.read().expect("no panic under this lock");
        Ok(name.is_empty() || names.files.contains_key(name) || names.directories.contains(name))
    }

    fn list(&self, directory: &str) -> Result<Vec<String>> {
        check_directory(directory)?;
        let names = self.names.read().expect("no panic under this lock");
        Ok(names.files.keys().filter(|name| directory_of(name) == directory).cloned().collect())
    }

    fn sync_dir(&self, directory: &str) -> Result<()> {
        check_directory(directory)?;
        self.check_directory_exists(&self.names.read().expect("no panic under this lock"), directory)
    }

    fn create_dir(&self, directory: &str) -> Result<()> {
        check_directory(directory)?;
        let mut names = self.names.write().expect("no panic under this lock");
        let mut directory = directory;
        while !directory.is_empty() {
            names.directories.insert(directory.to_owned());
            directory = directory_of(directory);
        }
        Ok(())
    }

    fn remove_dir(&self, directory: &str) -> Result<()> {
        check_name(directory)?;
        let mut names = self.names.write().expect("no panic under this lock");
        let is_below = |name: &String| name.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
        if names.files.keys().chain(&names.directories).any(is_below) {
            return Err(StoreError::io("remove directory", directory, 0, io::ErrorKind::DirectoryNotEmpty.into()));
        }
        names.directories.remove(directory);
        Ok(())
    }

    fn space(&self) -> Result<Space> {
        let used = self.disk.used.load(Ordering::Relaxed);
        Ok(Space { total: self.disk.total, free: self.disk.total.saturating_sub(used) })
    }
}

impl Disk {
    fn take(&self, bytes: u64) -> bool {
        let take = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.total);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        let give = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, give);
    }
}

#[derive(Debug)]
struct MemoryFile {
    name: String,
    content: Arc<RwLock<Content>>,
    disk: Arc<Disk>,
}

impl MemoryFile {
    fn change<T>(&self, change: impl FnOnce(&mut Content) -> T) -> T {
        let mut content = self.content.write().expect("no panic under this lock");
        let before = content.allocated();
        let result = change(&mut content);
        self.disk.give_back(before.saturating_sub(content.allocated()));
        result
    }

    /// Changes a range after its pages are paid for.
    fn grow(&self, op: &'static str, offset: u64, len: u64, change: impl FnOnce(&mut Content)) -> Result<()> {
        range_end(&self.name, offset, len)?;
        self.change(|content| {
            if !self.disk.take(content.missing(offset, len)) {
                return Err(StoreError::NoSpace { op, file: self.name.clone(), offset });
            }
            change(content);
            Ok(())
        })
    }
}

impl StorageFile for MemoryFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        range_end(&self.name, offset, buf.len() as u64)?;
        Ok(self.content.read().expect("no panic under this lock").read(buf, offset))
    }

    fn write_vectored_at(&self, parts: &[&[u8]], offset: u64) -> Result<()> {
        let len = parts.iter().map(|part| part.len() as u64).sum();
        self.grow("write", offset, len, |content| {
            let mut at = offset;
            for part in parts {
                content.write(part, at);
                at += part.len() as u64;
            }
        })
    }

    fn sync_data(&self) -> Result<()> {
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.grow("allocate", offset, len, |content| content.allocate(offset, len))
    }

    fn zero_fill(&self, offset: u64, len: u64) -> Result<()> {
        let end = range_end(&self.name, offset, len)?;
        let zeros = vec![0; CHUNK_BYTES.min(len as usize)];
        let mut at = offset;
        while at < end {
            let part = (end - at).min(zeros.len() as u64);
            self.write_at(&zeros[..part as usize], at)?;
            at += part;
        }
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> Result<()> {
        range_end(&self.name, offset, len)?;
        self.change(|content| content.punch(offset, len));
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        range_end(&self.name, len, 0)?;
        self.change(|content| content.set_len(len));
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        Ok(self.content.read().expect("no panic under this lock").len())
    }

    fn prefetch(&self, _offset: u64, _len: u64) {}
}
