//! What a disk may hold after the power failed.
//!
//! The model is the weakest that POSIX allows: synced data is there; each write since the last sync of its file is
//! there, or not, or in part (512-byte sectors); each change of a directory since its last sync is there or not,
//! even a creation whose file was synced.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::content::Content;
use super::fault::Operation;
use super::{MemoryStorage, directory_of};
use crate::limits::CHUNK_BYTES;

const SECTOR: u64 = 512;

/// The durable state while a history of operations is replayed, and the changes that are not durable yet.
#[derive(Debug)]
pub(super) struct CrashImage {
    files: HashMap<u64, FileImage>,
    names: BTreeMap<String, u64>,
    directories: BTreeSet<String>,
    pending_names: Vec<PendingName>,
    random: Random,
}

#[derive(Debug, Default)]
struct FileImage {
    durable: Content,
    pending: Vec<Operation>,
}

/// A change of names, and the directories that have not been synced since.
#[derive(Debug)]
struct PendingName {
    operation: Operation,
    unsynced: Vec<String>,
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same on every machine.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

impl CrashImage {
    /// The image of a disk on which all of `base` is durable; `names` numbers its files.
    pub(super) fn new(base: &MemoryStorage, names: &HashMap<String, u64>, seed: u64) -> Self {
        let (directories, contents) = base.parts();
        let numbered = |(name, durable): (String, Content)| {
            let file = names.get(&name).expect("every file of the base has a number");
            (*file, FileImage { durable, pending: Vec::new() })
        };
        Self {
            files: contents.into_iter().map(numbered).collect(),
            names: names.iter().map(|(name, file)| (name.clone(), *file)).collect(),
            directories,
            pending_names: Vec::new(),
            random: Random(seed),
        }
    }

    /// Takes one more operation of the history.
    pub(super) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::CreateDir { name } | Operation::Create { name, .. } | Operation::Remove { name, .. } => {
                self.pend(operation, vec![directory_of(name).to_owned()]);
            }
            Operation::Rename { from, to, .. } => {
                let mut unsynced = vec![directory_of(from).to_owned(), directory_of(to).to_owned()];
                unsynced.dedup();
                self.pend(operation, unsynced);
            }
            Operation::SyncDir { name } => self.sync_dir(name),
            Operation::Write { file, .. }
            | Operation::ZeroFill { file, .. }
            | Operation::Allocate { file, .. }
            | Operation::Punch { file, .. }
            | Operation::SetLen { file, .. } => {
                self.files.entry(*file).or_default().pending.push(operation.clone());
            }
            Operation::Sync { file } => self.files.entry(*file).or_default().sync(),
            Operation::SyncFailed { file } => self.files.entry(*file).or_default().settle(&mut self.random),
        }
    }

    /// Decides everything that is not durable, and returns the result.
    pub(super) fn into_storage(mut self) -> MemoryStorage {
        for pending in std::mem::take(&mut self.pending_names) {
            if self.random.below(2) == 0 {
                self.change_names(&pending.operation);
            }
        }
        let mut numbers: Vec<u64> = self.files.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            let file = self.files.get_mut(&number).expect("the numbers are the keys");
            file.settle(&mut self.random);
        }
        let directories = self.directories.clone();
        let rooted = |directory: &str| {
            let mut at = directory;
            while !at.is_empty() && directories.contains(at) {
                at = directory_of(at);
            }
            at.is_empty()
        };
        let directories: BTreeSet<String> = directories.iter().filter(|name| rooted(name)).cloned().collect();
        let files = self.names.iter().filter(|(name, _)| rooted(directory_of(name)));
        let files: Vec<(String, Content)> = files
            .map(|(name, file)| {
                (name.clone(), self.files.get(file).map(|file| file.durable.clone()).unwrap_or_default())
            })
            .collect();
        MemoryStorage::holding(directories, files)
    }

    fn pend(&mut self, operation: &Operation, unsynced: Vec<String>) {
        self.pending_names.push(PendingName { operation: operation.clone(), unsynced });
    }

    fn sync_dir(&mut self, directory: &str) {
        let mut still_pending = Vec::new();
        for mut pending in std::mem::take(&mut self.pending_names) {
            pending.unsynced.retain(|name| name != directory);
            if pending.unsynced.is_empty() {
                self.change_names(&pending.operation);
            } else {
                still_pending.push(pending);
            }
        }
        self.pending_names = still_pending;
    }

    fn change_names(&mut self, operation: &Operation) {
        match operation {
            Operation::CreateDir { name } => {
                self.directories.insert(name.clone());
            }
            Operation::Create { name, file } => {
                self.names.insert(name.clone(), *file);
            }
            Operation::Rename { from, to, file } => {
                if self.names.get(from) == Some(file) {
                    self.names.remove(from);
                }
                self.names.insert(to.clone(), *file);
            }
            Operation::Remove { name, file } => {
                if self.names.get(name) == Some(file) {
                    self.names.remove(name);
                }
            }
            other => unreachable!("{other:?} changes no name"),
        }
    }
}

impl FileImage {
    fn sync(&mut self) {
        for operation in std::mem::take(&mut self.pending) {
            apply_whole(&mut self.durable, &operation);
        }
    }

    /// Keeps, drops or tears each pending change. Their order stays: a sector that two of them cover ends as either,
    /// or as before, which is every outcome that any order would give.
    fn settle(&mut self, random: &mut Random) {
        for operation in std::mem::take(&mut self.pending) {
            let durable =
                matches!(operation, Operation::Write { durable: true, .. } | Operation::ZeroFill { durable: true, .. });
            match random.below(4) {
                _ if durable => apply_whole(&mut self.durable, &operation),
                0 => {}
                1 => apply_torn(&mut self.durable, &operation, random),
                2 => apply_prefix(&mut self.durable, &operation, random),
                _ => apply_whole(&mut self.durable, &operation),
            }
        }
    }
}

fn apply_whole(content: &mut Content, operation: &Operation) {
    match operation {
        Operation::Write { offset, bytes, .. } => content.write(bytes, *offset),
        Operation::ZeroFill { offset, len, .. } => write_zeros(content, *offset, *len),
        Operation::Allocate { offset, len, .. } => content.allocate(*offset, *len),
        Operation::Punch { offset, len, .. } => content.punch(*offset, *len),
        Operation::SetLen { len, .. } => content.set_len(*len),
        other => unreachable!("{other:?} changes no content"),
    }
}

fn write_zeros(content: &mut Content, offset: u64, len: u64) {
    let zeros = vec![0; CHUNK_BYTES.min(len as usize)];
    let mut at = offset;
    while at < offset + len {
        let part = (offset + len - at).min(zeros.len() as u64);
        content.write(&zeros[..part as usize], at);
        at += part;
    }
}

/// Each sector on its own is kept or not; the length may be kept without the bytes.
fn apply_torn(content: &mut Content, operation: &Operation, random: &mut Random) {
    let Some((offset, len)) = range_of(operation) else { return };
    let mut at = offset;
    while at < offset + len {
        let end = (at - at % SECTOR + SECTOR).min(offset + len);
        if random.below(2) == 0 {
            apply_part(content, operation, at, end);
        }
        at = end;
    }
    let extends = !matches!(operation, Operation::Punch { .. }) && content.len() < offset + len;
    if extends && random.below(2) == 0 {
        content.set_len(offset + len);
    }
}

/// A prefix of whole sectors is kept.
fn apply_prefix(content: &mut Content, operation: &Operation, random: &mut Random) {
    let Some((offset, len)) = range_of(operation) else { return };
    let sectors = random.below(len / SECTOR + 1);
    let end = (offset - offset % SECTOR + sectors * SECTOR).clamp(offset, offset + len);
    apply_part(content, operation, offset, end);
}

fn apply_part(content: &mut Content, operation: &Operation, from: u64, to: u64) {
    match operation {
        Operation::Write { offset, bytes, .. } => {
            content.write(&bytes[(from - offset) as usize..(to - offset) as usize], from);
        }
        Operation::ZeroFill { .. } => write_zeros(content, from, to - from),
        Operation::Punch { .. } => content.punch(from, to - from),
        other => unreachable!("{other:?} has no sectors"),
    }
}

/// The range of an operation that can be torn; an allocation or a new length is lost whole.
fn range_of(operation: &Operation) -> Option<(u64, u64)> {
    match operation {
        Operation::Write { offset, bytes, .. } => Some((*offset, bytes.len() as u64)),
        Operation::ZeroFill { offset, len, .. } | Operation::Punch { offset, len, .. } => Some((*offset, *len)),
        _ => None,
    }
}
