//! Random work in one directory, written down in a history before and after each operation.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use fastrand::Rng;

use super::data::Change;
use super::history::{History, Mark};
use super::names::{FileId, NameOperation, Node, below};
use crate::sys::{self, Sys};

/// Paths that one worker uses at most.
const LARGEST_TREE: usize = 60;
/// Files end below this size, in bytes.
const LARGEST_FILE: usize = 400_000;

/// Gives the worker the marks of all histories now, and acknowledges them after a sync that returned well.
pub trait Acknowledge {
    /// Marks everybody's names; of worker `own` also the data of `file`.
    fn mark_names(&self, own: usize, file: FileId) -> Vec<Mark>;
    /// The sync `what` that began at these marks has returned well.
    fn acknowledge(&self, marks: &[Mark], what: &'static str);
}

/// One worker: its directory, its history, its randomness.
#[derive(Debug)]
pub struct Worker<'a> {
    number: usize,
    directory: PathBuf,
    history: &'a Mutex<History>,
    random: Rng,
}

impl<'a> Worker<'a> {
    /// Worker `number` in `directory`, which exists and is empty.
    #[must_use]
    pub fn new(number: usize, directory: &Path, history: &'a Mutex<History>, seed: u64) -> Self {
        Self { number, directory: directory.to_path_buf(), history, random: Rng::with_seed(seed) }
    }

    /// Does one random thing.
    ///
    /// # Errors
    /// The error of the file system, which is none as long as it lives.
    pub fn step(&mut self, all: &impl Acknowledge) -> Sys<()> {
        match self.random.u32(0..100) {
            0..12 => self.create(),
            12..18 => self.make_directory(),
            18..20 => self.make_link(),
            20..24 => self.hard_link(),
            24..32 => self.remove(),
            32..40 => self.rename(),
            40..43 => self.exchange(),
            43..55 => self.replace(all),
            55..78 => self.change(),
            78..82 => self.write_synchronously(all),
            82..97 => self.sync_file(all),
            _ => self.sync_directory(all),
        }
    }

    fn history(&self) -> MutexGuard<'a, History> {
        self.history.lock().expect("no worker panics while it holds its history")
    }

    fn full(&self, path: &str) -> Vec<u8> {
        self.directory.join(path).into_os_string().into_encoded_bytes()
    }

    /// Makes an operation on names, between its two lines in the history.
    fn name(&self, operation: NameOperation, make: impl FnOnce() -> Sys<()>) -> Sys<()> {
        self.history().begin_name(operation);
        make()?;
        self.history().complete_name();
        Ok(())
    }

    /// A path that does not exist, in a directory that does; `None` when there are enough.
    fn new_path(&mut self) -> Option<String> {
        let history = self.history();
        if history.names.0.len() >= LARGEST_TREE {
            return None;
        }
        let mut directories: Vec<String> =
            history.names.paths(|node| *node == Node::Directory).into_iter().map(|path| format!("{path}/")).collect();
        directories.push(String::new());
        let directory = directories.swap_remove(self.random.usize(..directories.len()));
        let path = format!("{directory}n{}", self.random.u32(0..200));
        (!history.names.0.contains_key(&path)).then_some(path)
    }

    fn any(&mut self, wanted: impl Fn(&Node) -> bool) -> Option<String> {
        let history = self.history();
        let paths = history.names.paths(wanted);
        if paths.is_empty() { None } else { Some(paths[self.random.usize(..paths.len())].clone()) }
    }

    fn any_file(&mut self) -> Option<(String, FileId)> {
        let path = self.any(|node| matches!(node, Node::File(_)))?;
        let Some(Node::File(file)) = self.history().names.0.get(&path).cloned() else { return None };
        Some((path, file))
    }

    fn create(&mut self) -> Sys<()> {
        let Some(path) = self.new_path() else { return Ok(()) };
        self.create_at(&path).map(drop)
    }

    fn create_at(&mut self, path: &str) -> Sys<FileId> {
        let file = self.history().file_count();
        let full = self.full(path);
        self.name(NameOperation::Create(path.to_owned(), file), || {
            sys::open(full, sys::O_WRONLY | sys::O_CREAT | sys::O_EXCL, 0o644).and_then(sys::Fd::close)
        })?;
        Ok(file)
    }

    fn make_directory(&mut self) -> Sys<()> {
        let Some(path) = self.new_path() else { return Ok(()) };
        let full = self.full(&path);
        self.name(NameOperation::Mkdir(path), || sys::mkdir(full, 0o755))
    }

    fn make_link(&mut self) -> Sys<()> {
        let Some(path) = self.new_path() else { return Ok(()) };
        let (full, target) = (self.full(&path), format!("target {}", self.random.u32(..)));
        self.name(NameOperation::Symlink(target.clone(), path), || sys::symlink(target, full))
    }

    fn hard_link(&mut self) -> Sys<()> {
        let (Some((from, _)), Some(to)) = (self.any_file(), self.new_path()) else { return Ok(()) };
        let full = (self.full(&from), self.full(&to));
        self.name(NameOperation::Link(from, to), || sys::link(full.0, full.1))
    }

    fn remove(&mut self) -> Sys<()> {
        let Some(path) = self.any(|_| true) else { return Ok(()) };
        let full = self.full(&path);
        let (node, empty) = {
            let history = self.history();
            (history.names.0.get(&path).cloned(), history.names.is_empty_directory(&path))
        };
        match node {
            Some(Node::Directory) if empty => self.name(NameOperation::Rmdir(path), || sys::rmdir(full)),
            Some(Node::Directory) | None => Ok(()),
            Some(_) => self.name(NameOperation::Unlink(path), || sys::unlink(full)),
        }
    }

    /// Moves anything to a new name.
    fn rename(&mut self) -> Sys<()> {
        let (Some(from), Some(to)) = (self.any(|_| true), self.new_path()) else { return Ok(()) };
        if below(&to, &from) {
            return Ok(());
        }
        let full = (self.full(&from), self.full(&to));
        self.name(NameOperation::Rename(from, to), || sys::rename(full.0, full.1))
    }

    fn exchange(&mut self) -> Sys<()> {
        let (Some(left), Some(right)) = (self.any(|_| true), self.any(|_| true)) else { return Ok(()) };
        if below(&left, &right) || below(&right, &left) {
            return Ok(());
        }
        let full = (self.full(&left), self.full(&right));
        let flags = sys::RENAME_EXCHANGE;
        self.name(NameOperation::Exchange(left, right), || sys::rename2(full.0, full.1, flags))
    }

    /// What editors and package managers do: a new file, its data, sometimes fsync, then rename over the old one.
    fn replace(&mut self, all: &impl Acknowledge) -> Sys<()> {
        let (Some(from), Some((to, old))) = (self.new_path(), self.any_file()) else { return Ok(()) };
        let file = self.create_at(&from)?;
        debug_assert_ne!(file, old);
        let full = self.full(&from);
        let fd = sys::open(&full, sys::O_RDWR, 0)?;
        for _ in 0..self.random.usize(1..4) {
            self.write(&fd, file)?;
        }
        if self.random.u32(0..4) == 0 {
            self.acknowledged(all, file, "fsync", || sys::fsync(&fd))?;
        }
        fd.close()?;
        let to_full = self.full(&to);
        self.name(NameOperation::Rename(from, to), || sys::rename(full, to_full))
    }

    /// Some changes of the data of one file.
    fn change(&mut self) -> Sys<()> {
        let Some((path, file)) = self.any_file() else { return Ok(()) };
        let fd = sys::open(self.full(&path), sys::O_RDWR, 0)?;
        for _ in 0..self.random.usize(1..5) {
            if self.random.u32(0..5) > 0 {
                self.write(&fd, file)?;
            } else {
                let size = self.random.usize(0..LARGEST_FILE / 4);
                self.history().begin_change(file, Change::Truncate(size));
                sys::ftruncate(&fd, size as i64)?;
                self.history().complete_change(file);
            }
        }
        fd.close()
    }

    fn write(&mut self, fd: &sys::Fd, file: FileId) -> Sys<()> {
        let offset = match self.random.u32(0..3) {
            0 => 0,
            1 => self.random.usize(0..12) * 4096,
            _ => self.random.usize(0..LARGEST_FILE / 2),
        };
        let length = match self.random.u32(0..4) {
            0 | 1 => self.random.usize(1..5000),
            2 => self.random.usize(1..8) * 4096,
            _ => self.random.usize(1..LARGEST_FILE / 2),
        };
        let fill = self.random.u8(1..);
        self.history().begin_change(file, Change::Write { offset, length, fill });
        let bytes = vec![fill; length];
        let mut done = 0;
        while done < length {
            done += sys::pwrite(fd, &bytes[done..], (offset + done) as i64)? as usize;
        }
        self.history().complete_change(file);
        Ok(())
    }

    /// A write through O_SYNC: covered when it returns. The file's earlier data is made durable first, since O_SYNC
    /// speaks of what is written through it only.
    fn write_synchronously(&mut self, all: &impl Acknowledge) -> Sys<()> {
        let Some((path, file)) = self.any_file() else { return Ok(()) };
        let flag = if self.random.bool() { sys::O_SYNC } else { sys::O_DSYNC };
        let fd = sys::open(self.full(&path), sys::O_RDWR | flag, 0)?;
        self.acknowledged(all, file, "fsync", || sys::fsync(&fd))?;
        let names = all.mark_names(self.number, file);
        self.write(&fd, file)?;
        let data = self.history().mark(Some(file));
        all.acknowledge(&names, "O_SYNC");
        // The names that the write covers are those before it began.
        self.history().acknowledge(&data.without_names(), "O_SYNC");
        fd.close()
    }

    fn sync_file(&mut self, all: &impl Acknowledge) -> Sys<()> {
        let Some((path, file)) = self.any_file() else { return Ok(()) };
        let fd = sys::open(self.full(&path), sys::O_RDWR, 0)?;
        if self.random.bool() {
            self.write(&fd, file)?;
        }
        if self.random.u32(0..3) == 0 {
            self.acknowledged(all, file, "fdatasync", || sys::fdatasync(&fd))?;
        } else {
            self.acknowledged(all, file, "fsync", || sys::fsync(&fd))?;
        }
        fd.close()
    }

    fn sync_directory(&mut self, all: &impl Acknowledge) -> Sys<()> {
        let path = self.any(|node| *node == Node::Directory).unwrap_or_default();
        let fd = sys::open(self.full(&path), sys::O_RDONLY | sys::O_DIRECTORY, 0)?;
        let marks = all.mark_names(self.number, FileId::MAX);
        sys::fsync(&fd)?;
        all.acknowledge(&marks, "fsync of a directory");
        fd.close()
    }

    fn acknowledged(
        &self,
        all: &impl Acknowledge,
        file: FileId,
        what: &'static str,
        sync: impl FnOnce() -> Sys<()>,
    ) -> Sys<()> {
        let marks = all.mark_names(self.number, file);
        sync()?;
        all.acknowledge(&marks, what);
        Ok(())
    }
}
