//! A storage that records everything, fails on command, and tells what any crash would have left.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::crash::CrashImage;
use super::{MemoryStorage, Space, Storage, StorageFile, WriteMode, directory_of};
use crate::error::{Result, StoreError};

/// A change of the disk, in the order of the calls. Files are numbered, since their names change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the arguments of the call of the same name")]
pub enum Operation {
    CreateDir {
        name: String,
    },
    Create {
        name: String,
        file: u64,
    },
    Rename {
        from: String,
        to: String,
        file: u64,
    },
    Remove {
        name: String,
        file: u64,
    },
    SyncDir {
        name: String,
    },
    Write {
        file: u64,
        offset: u64,
        bytes: Arc<[u8]>,
        durable: bool,
    },
    ZeroFill {
        file: u64,
        offset: u64,
        len: u64,
        durable: bool,
    },
    Allocate {
        file: u64,
        offset: u64,
        len: u64,
    },
    Punch {
        file: u64,
        offset: u64,
        len: u64,
    },
    SetLen {
        file: u64,
        len: u64,
    },
    Sync {
        file: u64,
    },
    /// The sync failed: what was written since the last one is each kept or lost, and no later sync covers it.
    SyncFailed {
        file: u64,
    },
}

impl Operation {
    /// The operation before it returned: a write is not durable yet, and a sync made nothing durable.
    fn in_flight(mut self) -> Option<Self> {
        match &mut self {
            Self::Sync { .. } | Self::SyncDir { .. } | Self::SyncFailed { .. } => return None,
            Self::Write { durable, .. } | Self::ZeroFill { durable, .. } => *durable = false,
            _ => {}
        }
        Some(self)
    }
}

/// The kinds of calls, to aim a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the call of the same name; Write includes zero_fill")]
pub enum Call {
    Open,
    Read,
    Write,
    Sync,
    Allocate,
    Punch,
    SetLen,
    Rename,
    Remove,
    List,
    SyncDir,
    CreateDir,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call fails with EIO and does nothing.
    Eio,
    /// The call fails with ENOSPC and does nothing.
    NoSpace,
    /// A write puts down its first half, then fails with ENOSPC; another call fails with EIO.
    ShortWrite,
    /// A write is made whole, not known to be durable, and fails with EIO; another call fails with EIO.
    LateEio,
}

/// How long it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// One call fails.
    Once,
    /// That call and all later ones fail.
    Forever,
}

/// Which call fails, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// Only calls of this kind count; `None`: every call.
    pub on: Option<Call>,
    /// How many of those calls still go well.
    pub after: u64,
    /// What goes wrong then.
    pub fault: Fault,
    /// Whether it stays wrong.
    pub repeat: Repeat,
}

/// A storage in memory that keeps the history of its changes. Clones share it.
#[derive(Clone, Debug)]
pub struct FaultStorage {
    live: MemoryStorage,
    history: Arc<Mutex<History>>,
}

#[derive(Debug)]
struct History {
    base: MemoryStorage,
    operations: Vec<Operation>,
    names: HashMap<String, u64>,
    base_names: HashMap<String, u64>,
    next_file: u64,
    calls: HashMap<Call, u64>,
    plan: Option<FaultPlan>,
}

impl Default for FaultStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl FaultStorage {
    /// An empty disk.
    pub fn new() -> Self {
        Self::over(&MemoryStorage::new())
    }

    /// A disk on which a copy of `base` is durable.
    pub fn over(base: &MemoryStorage) -> Self {
        let base = base.deep_copy();
        let (_, files) = base.parts();
        let names: HashMap<String, u64> = files.into_iter().map(|(name, _)| name).zip(0..).collect();
        let history = History {
            operations: Vec::new(),
            next_file: names.len() as u64,
            base_names: names.clone(),
            names,
            calls: HashMap::new(),
            plan: None,
            base,
        };
        Self { live: history.base.deep_copy(), history: Arc::new(Mutex::new(history)) }
    }

    /// Sets or clears what goes wrong; counting begins now.
    pub fn inject(&self, plan: Option<FaultPlan>) {
        self.history().plan = plan;
    }

    /// How many calls of this kind there were.
    pub fn calls(&self, kind: Call) -> u64 {
        self.history().calls.get(&kind).copied().unwrap_or(0)
    }

    /// How many calls of any kind there were.
    pub fn all_calls(&self) -> u64 {
        self.history().calls.values().sum()
    }

    /// How many changes there were: the points at which [`FaultStorage::crash`] can cut are 0 to this.
    pub fn operation_count(&self) -> usize {
        self.history().operations.len()
    }

    /// The changes so far.
    pub fn operations(&self) -> Vec<Operation> {
        self.history().operations.clone()
    }

    /// What the disk may hold if the power fails after the first `point` changes; `seed` chooses among the outcomes.
    pub fn crash(&self, point: usize, seed: u64) -> MemoryStorage {
        let history = self.history();
        let mut image = CrashImage::new(&history.base, &history.base_names, seed);
        history.operations[..point].iter().for_each(|operation| image.apply(operation));
        image.into_storage()
    }

    /// As [`FaultStorage::crash`], while the change after the first `point` is being made: it is kept, lost or torn
    /// even if it is a write that is durable once it returned.
    pub fn crash_during(&self, point: usize, seed: u64) -> MemoryStorage {
        let history = self.history();
        let mut image = CrashImage::new(&history.base, &history.base_names, seed);
        history.operations[..point].iter().for_each(|operation| image.apply(operation));
        if let Some(operation) = history.operations.get(point).cloned().and_then(Operation::in_flight) {
            image.apply(&operation);
        }
        image.into_storage()
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().expect("no panic under this lock")
    }

    fn call(&self, kind: Call, op: &'static str, name: &str, offset: u64) -> Result<MutexGuard<'_, History>> {
        let mut history = self.history();
        match history.count(kind) {
            None => Ok(history),
            Some(fault) => Err(fault.error(op, name, offset)),
        }
    }
}

impl Fault {
    fn error(self, op: &'static str, name: &str, offset: u64) -> StoreError {
        match self {
            Self::Eio | Self::ShortWrite | Self::LateEio => {
                StoreError::io(op, name, offset, io::Error::from_raw_os_error(5))
            }
            Self::NoSpace => StoreError::io(op, name, offset, io::ErrorKind::StorageFull.into()),
        }
    }
}

impl History {
    /// Counts a call, and returns the fault that is due.
    fn count(&mut self, kind: Call) -> Option<Fault> {
        *self.calls.entry(kind).or_default() += 1;
        let plan = self.plan.as_mut().filter(|plan| plan.on.is_none_or(|on| on == kind))?;
        if plan.after > 0 {
            plan.after -= 1;
            return None;
        }
        let fault = plan.fault;
        if plan.repeat == Repeat::Once {
            self.plan = None;
        }
        Some(fault)
    }
}

impl Storage for FaultStorage {
    fn open_with(&self, name: &str, create: bool, mode: WriteMode) -> Result<Arc<dyn StorageFile>> {
        let mut history = self.call(Call::Open, "open", name, 0)?;
        let inner = self.live.open_with(name, create, mode)?;
        let file = match history.names.get(name) {
            Some(file) => *file,
            None => {
                let file = history.next_file;
                history.next_file += 1;
                history.names.insert(name.to_owned(), file);
                history.operations.push(Operation::Create { name: name.to_owned(), file });
                file
            }
        };
        Ok(Arc::new(FaultFile { storage: self.clone(), inner, file, mode }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut history = self.call(Call::Rename, "rename", from, 0)?;
        self.live.rename(from, to)?;
        let file = history.names.remove(from).expect("every file of the live storage has a number");
        history.names.insert(to.to_owned(), file);
        history.operations.push(Operation::Rename { from: from.to_owned(), to: to.to_owned(), file });
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut history = self.call(Call::Remove, "remove", name, 0)?;
        self.live.remove(name)?;
        let file = history.names.remove(name).expect("every file of the live storage has a number");
        history.operations.push(Operation::Remove { name: name.to_owned(), file });
        Ok(())
    }

    fn exists(&self, name: &str) -> Result<bool> {
        self.live.exists(name)
    }

    fn list(&self, directory: &str) -> Result<Vec<String>> {
        let _history = self.call(Call::List, "list", directory, 0)?;
        self.live.list(directory)
    }

    fn sync_dir(&self, directory: &str) -> Result<()> {
        let mut history = self.call(Call::SyncDir, "sync directory", directory, 0)?;
        self.live.sync_dir(directory)?;
        history.operations.push(Operation::SyncDir { name: directory.to_owned() });
        Ok(())
    }

    fn create_dir(&self, directory: &str) -> Result<()> {
        let mut history = self.call(Call::CreateDir, "create directory", directory, 0)?;
        let mut new = Vec::new();
        let mut at = directory;
        while !at.is_empty() && !self.live.exists(at)? {
            new.push(at.to_owned());
            at = directory_of(at);
        }
        self.live.create_dir(directory)?;
        history.operations.extend(new.into_iter().rev().map(|name| Operation::CreateDir { name }));
        Ok(())
    }

    fn remove_dir(&self, directory: &str) -> Result<()> {
        let _history = self.call(Call::Remove, "remove directory", directory, 0)?;
        self.live.remove_dir(directory)
    }

    fn space(&self) -> Result<Space> {
        self.live.space()
    }
}

#[derive(Debug)]
struct FaultFile {
    storage: FaultStorage,
    inner: Arc<dyn StorageFile>,
    file: u64,
    mode: WriteMode,
}

impl FaultFile {
    fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let mut history = self.storage.history();
        let fault = history.count(Call::Write);
        let written = match fault {
            None | Some(Fault::LateEio) => bytes,
            Some(Fault::ShortWrite) => &bytes[..bytes.len() / 2],
            Some(_) => &[],
        };
        if fault.is_none() || !written.is_empty() {
            self.inner.write_at(written, offset)?;
            let durable = self.mode.is_durable() && fault.is_none();
            history.operations.push(Operation::Write { file: self.file, offset, bytes: written.into(), durable });
        }
        match fault {
            None => Ok(()),
            Some(Fault::ShortWrite) => Err(Fault::NoSpace.error("write", self.name(), offset)),
            Some(fault) => Err(fault.error("write", self.name(), offset)),
        }
    }

    fn change(
        &self,
        call: Call,
        op: &'static str,
        offset: u64,
        change: impl FnOnce(&dyn StorageFile) -> Result<()>,
        operation: Operation,
    ) -> Result<()> {
        let mut history = self.storage.call(call, op, self.name(), offset)?;
        change(&*self.inner)?;
        history.operations.push(operation);
        Ok(())
    }
}

impl StorageFile for FaultFile {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn mode(&self) -> WriteMode {
        self.mode
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let _history = self.storage.call(Call::Read, "read", self.name(), offset)?;
        self.inner.read_at(buf, offset)
    }

    fn write_vectored_at(&self, parts: &[&[u8]], offset: u64) -> Result<()> {
        match parts {
            [bytes] => self.write(bytes, offset),
            parts => self.write(&parts.concat(), offset),
        }
    }

    fn sync_data(&self) -> Result<()> {
        let mut history = self.storage.history();
        let fault = history.count(Call::Sync);
        let file = self.file;
        history.operations.push(match fault {
            None => Operation::Sync { file },
            Some(_) => Operation::SyncFailed { file },
        });
        fault.map_or(Ok(()), |fault| Err(fault.error("sync", self.name(), 0)))
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        let operation = Operation::Allocate { file: self.file, offset, len };
        self.change(Call::Allocate, "allocate", offset, |inner| inner.allocate(offset, len), operation)
    }

    fn zero_fill(&self, offset: u64, len: u64) -> Result<()> {
        let operation = Operation::ZeroFill { file: self.file, offset, len, durable: self.mode.is_durable() };
        self.change(Call::Write, "write", offset, |inner| inner.zero_fill(offset, len), operation)
    }

    fn punch(&self, offset: u64, len: u64) -> Result<()> {
        let operation = Operation::Punch { file: self.file, offset, len };
        self.change(Call::Punch, "punch", offset, |inner| inner.punch(offset, len), operation)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let operation = Operation::SetLen { file: self.file, len };
        self.change(Call::SetLen, "resize", len, |inner| inner.set_len(len), operation)
    }

    fn len(&self) -> Result<u64> {
        self.inner.len()
    }

    fn prefetch(&self, _offset: u64, _len: u64) {}
}
