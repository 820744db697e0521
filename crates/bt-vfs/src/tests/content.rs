//! The content of files: against plain bytes, across flushes, commits and crashes.

use std::collections::BTreeMap;

use bt_base::Timestamp;
use bt_base::limits::{BLOCK_SIZE, PAGE_SIZE};
use bt_tree::schema::{Content, ROOT_INODE};

use super::bed::{Bed, Committing};
use super::{EventLog, Random, with_seeds};
use crate::view::{self, REGULAR};
use crate::{Allocate, Creator, FlushPlan, Refusal, RenameFlags, Seek, ShareRange, VfsError};

/// The largest file of a random run.
const LARGEST: u64 = 20 * BLOCK_SIZE as u64;
/// Sizes and offsets where something changes.
const EDGES: [u64; 10] = [0, 1, 100, 4095, 4096, 4097, 8192, 16384, 3 * 16384, 17 * 16384];

/// A file: what it was after each change since it was last durable, the newest last.
struct File {
    versions: Vec<Vec<u8>>,
    /// When this record is durable, the content is not older than this version.
    floors: Vec<(u64, usize)>,
    /// When it last changed.
    mtime: Timestamp,
    /// Nothing changed since an fsync with this time of the last change.
    synced: Option<Timestamp>,
}

impl File {
    fn now(&self) -> &Vec<u8> {
        self.versions.last().expect("a file has a content")
    }

    fn change(&mut self, now: Timestamp, edit: impl FnOnce(&mut Vec<u8>)) {
        (self.mtime, self.synced) = (now, None);
        let mut next = self.now().clone();
        edit(&mut next);
        if next != *self.now() {
            self.versions.push(next);
        }
    }

    /// From now on at least as new as this when `record` is durable.
    fn floor(&mut self, record: u64) {
        self.floors.push((record, self.versions.len() - 1));
    }

    /// The oldest content allowed when all records up to `last` are durable.
    fn oldest(&self, last: u64) -> usize {
        self.floors.iter().filter(|(record, _)| *record <= last).map(|(_, version)| *version).max().unwrap_or(0)
    }

    /// Forgets what it was.
    fn settle(&mut self, version: usize) {
        self.versions = vec![self.versions.swap_remove(version)];
        self.floors.clear();
    }
}

/// A run: the real thing, what it should be, and what is under way.
struct Run<'a> {
    bed: Bed,
    random: Random,
    log: &'a mut EventLog,
    files: BTreeMap<u64, File>,
    /// Names in the root directory.
    names: BTreeMap<Vec<u8>, u64>,
    flush: Option<FlushPlan>,
    commit: Option<Committing>,
}

impl<'a> Run<'a> {
    fn new(random: Random, log: &'a mut EventLog) -> Self {
        let (files, names) = (BTreeMap::new(), BTreeMap::new());
        let mut run = Self { bed: Bed::new(), random, log, files, names, flush: None, commit: None };
        for name in [b"a", b"b", b"c"] {
            run.make(name);
        }
        run.bed.commit();
        run
    }

    fn make(&mut self, name: &[u8]) -> u64 {
        let creator = Creator { uid: 0, gid: 0, umask: 0, now: self.bed.now() };
        let mtime = creator.now;
        let made = self.bed.vfs.make(&self.bed.memory, ROOT_INODE, name, REGULAR | 0o644, 0, b"", &creator);
        let (inode, _) = made.expect("the name is free");
        self.files.insert(inode, File { versions: vec![Vec::new()], floors: Vec::new(), mtime, synced: None });
        self.names.insert(name.to_vec(), inode);
        inode
    }

    fn any_file(&mut self) -> u64 {
        let inodes: Vec<u64> = self.names.values().copied().collect();
        self.random.pick(&inodes)
    }

    fn any_offset(&mut self) -> u64 {
        match self.random.below(4) {
            0 => self.random.below(LARGEST),
            1 => self.random.below(2 * PAGE_SIZE as u64),
            _ => self.random.pick(&EDGES).saturating_add_signed(self.random.pick(&[-1, 0, 0, 1])),
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..25 => self.write(),
            25..35 => self.truncate(),
            35..50 => self.allocate(),
            50..58 => self.share(),
            58..64 => self.replace(),
            64..70 => self.begin_or_finish_flush(),
            70..76 => self.flush_all(),
            76..86 => self.sync(),
            86..89 => self.set_time(),
            89..95 => self.begin_or_finish_commit(),
            95..98 => self.crash(),
            _ => self.reread(),
        }
        let inode = self.any_file();
        self.compare(inode);
    }

    fn write(&mut self) {
        let (inode, offset) = (self.any_file(), self.any_offset());
        let longest = self.random.pick(&[10, 5000, 40000]);
        let len = 1 + self.random.below(longest);
        let len = len.min(LARGEST - offset.min(LARGEST - 1));
        let data: Vec<u8> = (0..len).map(|_| self.random.next() as u8 | 1).collect();
        self.log.push(format!("write {len} bytes at {offset} of {inode}"));
        self.write_at(inode, offset, &data);
    }

    fn write_at(&mut self, inode: u64, offset: u64, data: &[u8]) {
        let now = self.bed.now();
        self.bed.vfs.write(&self.bed.memory, inode, offset, data, false, now).expect("the write fits");
        self.files.get_mut(&inode).expect("it exists").change(now, |bytes| {
            let (start, end) = (offset as usize, offset as usize + data.len());
            bytes.resize(bytes.len().max(end), 0);
            bytes[start..end].copy_from_slice(data);
        });
    }

    fn truncate(&mut self) {
        let (inode, size) = (self.any_file(), self.any_offset());
        self.log.push(format!("truncate {inode} to {size}"));
        let now = self.bed.now();
        self.bed.vfs.truncate(&self.bed.memory, inode, size, false, now).expect("the size fits");
        self.files.get_mut(&inode).expect("it exists").change(now, |bytes| bytes.resize(size as usize, 0));
    }

    fn allocate(&mut self) {
        let (inode, offset, len) = (self.any_file(), self.any_offset(), 1 + self.any_offset());
        let keep_size = self.random.below(2) == 0;
        let how = match self.random.below(4) {
            0 => Allocate::Reserve { keep_size },
            1 => Allocate::ZeroRange { keep_size },
            _ => Allocate::PunchHole,
        };
        self.log.push(format!("{how:?} {len} bytes at {offset} of {inode}"));
        let now = self.bed.now();
        self.bed.vfs.allocate(&self.bed.memory, inode, offset, len, how, true, now).expect("the range fits");
        let end = (offset + len) as usize;
        self.files.get_mut(&inode).expect("it exists").change(now, |bytes| {
            if !matches!(how, Allocate::Reserve { .. }) {
                let within = (offset as usize).min(bytes.len())..end.min(bytes.len());
                bytes[within].fill(0);
            }
            if how != Allocate::PunchHole && !keep_size {
                bytes.resize(bytes.len().max(end), 0);
            }
        });
    }

    fn share(&mut self) {
        let (from, to) = (self.any_file(), self.any_file());
        let block = BLOCK_SIZE as u64;
        let (from_offset, to_offset) = (self.random.below(3) * block, self.random.below(3) * block);
        let len = self.random.pick(&[block, 2 * block, 5000, LARGEST]);
        let range = ShareRange { from, from_offset, to, to_offset, len };
        let now = self.bed.now();
        let shared = self.bed.vfs.share(&self.bed.memory, range, now).expect("the range fits");
        self.log.push(format!("{range:?}: {shared} bytes"));
        if shared > 0 {
            let (start, end) = (to_offset as usize, (to_offset + shared) as usize);
            let bytes = self.files[&from].now()[from_offset as usize..(from_offset + shared) as usize].to_vec();
            self.files.get_mut(&to).expect("it exists").change(now, |target| {
                target.resize(target.len().max(end), 0);
                target[start..end].copy_from_slice(&bytes);
            });
        }
    }

    /// What editors do: write a new file, rename it over the old one, without fsync.
    fn replace(&mut self) {
        let names: Vec<Vec<u8>> = self.names.keys().cloned().collect();
        let target = names[self.random.below(names.len() as u64) as usize].clone();
        let inode = self.make(b"new");
        let (size, edge) = (1 + self.random.below(40000), self.random.pick(&EDGES));
        let data: Vec<u8> = (0..size.min(edge + 1)).map(|_| self.random.next() as u8 | 1).collect();
        self.log.push(format!("replace {:?} by {inode} of {} bytes", target.escape_ascii().to_string(), data.len()));
        self.write_at(inode, 0, &data);
        if self.random.below(3) == 0 && self.flush.is_none() {
            self.bed.flush(&[inode]);
        }
        let now = self.bed.now();
        let flags = RenameFlags::Replace;
        let lost = self.bed.vfs.rename(&self.bed.memory, ROOT_INODE, b"new", ROOT_INODE, &target, flags, now);
        let lost = lost.expect("both names are files");
        self.names.remove(&b"new"[..]);
        assert_eq!(lost, self.names.insert(target, inode));
        let record = self.bed.vfs.last_record();
        self.files.get_mut(&inode).expect("just made").floor(record);
        let lost = lost.expect("the name existed");
        while !self.bed.vfs.free(&self.bed.memory, lost).expect("the index is whole").done {}
    }

    fn begin_or_finish_flush(&mut self) {
        if let Some(plan) = self.flush.take() {
            if self.random.below(5) == 0 {
                return self.log.push("a flush fails".to_string());
            }
            self.log.push("finish a flush".to_string());
            return self.bed.finish_flush(plan);
        }
        let inodes = match self.random.below(2) {
            0 => vec![self.any_file()],
            _ => self.bed.vfs.dirty_files(),
        };
        self.log.push(format!("begin to flush {inodes:?}"));
        self.flush = Some(self.bed.begin_flush(&inodes));
    }

    fn finish_flush(&mut self) {
        if self.flush.is_some() {
            self.begin_or_finish_flush();
        }
    }

    fn flush_all(&mut self) {
        self.finish_flush();
        let inodes = self.bed.vfs.dirty_files();
        self.log.push(format!("flush {inodes:?}"));
        self.bed.flush(&inodes);
    }

    fn sync(&mut self) {
        let inode = self.any_file();
        self.log.push(format!("sync {inode}"));
        self.bed.begin_sync(Some(inode));
        let version = self.files[&inode].versions.len() - 1;
        let file = self.files.get_mut(&inode).expect("it exists");
        file.synced = Some(file.mtime);
        // Other threads go on before the journal is written.
        for _ in 0..self.random.below(3) {
            match self.random.below(3) {
                0 => self.write(),
                1 => self.truncate(),
                _ => self.replace(),
            }
        }
        self.bed.write_journal();
        if let Some(file) = self.files.get_mut(&inode) {
            file.floors.push((0, version));
        }
    }

    fn set_time(&mut self) {
        let inode = self.any_file();
        self.log.push(format!("set the time of {inode}"));
        let now = self.bed.now();
        let change = crate::op::Change { mtime: Some(now), ..Default::default() };
        self.bed.vfs.change(&self.bed.memory, inode, &change, now).expect("it exists");
        let file = self.files.get_mut(&inode).expect("it exists");
        (file.mtime, file.synced) = (now, None);
    }

    fn begin_or_finish_commit(&mut self) {
        if let Some(committing) = self.commit.take() {
            self.log.push("finish a commit".to_string());
            return self.bed.finish_commit(committing);
        }
        self.finish_flush();
        if self.random.below(2) == 0 {
            self.flush_all();
        }
        self.log.push("begin a commit".to_string());
        self.commit = Some(self.bed.begin_commit());
    }

    fn crash(&mut self) {
        self.log.push("crash".to_string());
        (self.flush, self.commit) = (None, None);
        self.bed.crash();
        let last = self.bed.vfs.last_record();
        self.names.clear();
        let mut found = Vec::new();
        view::list(self.bed.vfs.zone().tree(), &self.bed.memory, ROOT_INODE, 0, &mut |entry| {
            found.push((entry.name.to_vec(), entry.inode));
            std::ops::ControlFlow::Continue(())
        })
        .expect("the index is whole");
        for (name, inode) in found {
            let record = self.bed.vfs.inode(&self.bed.memory, inode).expect("a name has an inode");
            let size = record.size;
            let content = self.bed.read(inode, 0, size as usize);
            let file = self.files.get_mut(&inode).expect("only files that were made are found");
            let oldest = file.oldest(last);
            let version = file.versions[oldest..].iter().rposition(|version| *version == content);
            let version = version.unwrap_or_else(|| {
                panic!(
                    "after the crash {inode} has {size} bytes that it had never, or not since its version {oldest} \
                     of {} was durable; {}",
                    file.versions.len(),
                    difference(&content, &file.versions[oldest])
                )
            });
            self.log.push(format!("{inode} has {size} bytes"));
            file.settle(oldest + version);
            assert!(file.synced.is_none_or(|time| time == record.mtime), "the time of {inode} was durable");
            (file.mtime, file.synced) = (record.mtime, None);
            if name != b"new" {
                self.names.insert(name, inode);
            } else {
                let now = self.bed.now();
                let lost = self.bed.vfs.unlink(&self.bed.memory, ROOT_INODE, b"new", false, now);
                let lost = lost.expect("it was listed").expect("it had one name");
                while !self.bed.vfs.free(&self.bed.memory, lost).expect("the index is whole").done {}
            }
        }
        assert_eq!(self.names.len(), 3, "the names are those that there always were");
        let left: Vec<u64> = self.names.values().copied().collect();
        self.files.retain(|inode, _| left.contains(inode));
    }

    fn reread(&mut self) {
        let (inode, offset, len) = (self.any_file(), self.any_offset(), self.any_offset());
        let bytes = self.files[&inode].now();
        let within = (offset as usize).min(bytes.len())..((offset + len) as usize).min(bytes.len());
        assert_eq!(self.bed.read(inode, offset, len as usize), bytes[within], "{len} bytes at {offset} of {inode}");
    }

    fn compare(&self, inode: u64) {
        let expected = self.files[&inode].now();
        let record = self.bed.vfs.inode(&self.bed.memory, inode).expect("it exists");
        assert_eq!(record.size, expected.len() as u64, "the size of {inode}");
        assert_eq!(record.mtime, self.files[&inode].mtime, "when {inode} changed");
        let found = self.bed.read(inode, 0, expected.len() + 1);
        assert!(found == *expected, "the content of {inode} is wrong: {}", difference(&found, expected));
        self.compare_holes(inode, expected);
    }

    /// What SEEK_HOLE calls a hole reads as zero, and both kinds follow each other to the end.
    fn compare_holes(&self, inode: u64, expected: &[u8]) {
        let seek = |at, what| self.bed.vfs.seek(&self.bed.memory, inode, at, what);
        let size = expected.len() as u64;
        let mut at = 0;
        while at < size {
            let data = match seek(at, Seek::Data) {
                Ok(data) => data,
                Err(VfsError::Refused(Refusal::NoSuchOffset)) => size,
                Err(error) => panic!("seeking data at {at} of {inode}: {error}"),
            };
            let hole = &expected[at as usize..data as usize];
            assert!(hole.iter().all(|byte| *byte == 0), "{inode} has data in the hole of {} at {at}", hole.len());
            if data == size {
                break;
            }
            let end = seek(data, Seek::Hole).expect("a file ends with a hole");
            assert!(end > data && end <= size, "data at {data} of {inode} ends at {end}");
            at = end;
        }
        assert!(matches!(seek(size, Seek::Hole), Err(VfsError::Refused(Refusal::NoSuchOffset))));
    }
}

fn difference(found: &[u8], expected: &[u8]) -> String {
    let at = found.iter().zip(expected).position(|(a, b)| a != b);
    match at {
        Some(at) => format!("byte {at} is {} and not {}", found[at], expected[at]),
        None => format!("{} bytes and not {}", found.len(), expected.len()),
    }
}

#[test]
fn random_changes_of_content() {
    with_seeds("random_changes_of_content", 60, |random, log| {
        let mut run = Run::new(random, log);
        for _ in 0..150 {
            run.step();
        }
        run.finish_flush();
        if run.commit.is_some() {
            run.begin_or_finish_commit();
        }
        run.bed.commit();
    });
}

/// A new empty file.
pub(super) fn make_file(bed: &mut Bed, name: &[u8]) -> u64 {
    let creator = Creator { uid: 0, gid: 0, umask: 0, now: bed.now() };
    let made = bed.vfs.make(&bed.memory, ROOT_INODE, name, REGULAR | 0o644, 0, b"", &creator);
    made.expect("the name is free").0
}

/// A file of `size` bytes that are not zero.
pub(super) fn bed_with_file(size: usize) -> (Bed, u64) {
    let mut bed = Bed::new();
    let inode = make_file(&mut bed, b"file");
    let now = bed.now();
    bed.vfs.write(&bed.memory, inode, 0, &vec![7; size], false, now).expect("it fits");
    (bed, inode)
}

fn content_of(bed: &Bed, inode: u64) -> Content {
    view::inode(bed.vfs.zone().tree(), &bed.memory, inode).expect("it exists").content
}

#[test]
fn small_content_lies_in_the_index_and_larger_content_in_blocks() {
    for (size, content) in [(0, Content::None), (1, Content::Inline), (4096, Content::Inline), (4097, Content::Extents)]
    {
        let (mut bed, inode) = bed_with_file(size);
        bed.flush(&[inode]);
        assert_eq!(content_of(&bed, inode), content, "{size} bytes");
        assert_eq!(bed.read(inode, 0, 10_000), vec![7; size]);
    }
}

#[test]
fn content_moves_between_the_index_and_blocks() {
    let (mut bed, inode) = bed_with_file(4096);
    bed.flush(&[inode]);
    let now = bed.now();
    bed.vfs.write(&bed.memory, inode, 20_000, b"end", false, now).expect("it fits");
    bed.commit();
    bed.flush(&[inode]);
    assert_eq!(content_of(&bed, inode), Content::Extents);
    assert_eq!(bed.read(inode, 4095, 3), [7, 0, 0]);
    assert_eq!(bed.read(inode, 19_999, 10), *b"\0end");
    let now = bed.now();
    bed.vfs.truncate(&bed.memory, inode, 5, false, now).expect("it fits");
    bed.flush(&[inode]);
    assert_eq!(content_of(&bed, inode), Content::Inline);
    let now = bed.now();
    bed.vfs.truncate(&bed.memory, inode, 0, false, now).expect("it fits");
    bed.flush(&[inode]);
    assert_eq!(content_of(&bed, inode), Content::None);
    bed.commit();
}

#[test]
fn what_was_punched_is_a_hole_before_and_after_it_is_written() {
    let (mut bed, inode) = bed_with_file(5 * BLOCK_SIZE);
    bed.flush(&[inode]);
    let block = BLOCK_SIZE as u64;
    let now = bed.now();
    bed.vfs.allocate(&bed.memory, inode, block, 2 * block, Allocate::PunchHole, true, now).expect("it fits");
    for _ in 0..2 {
        let seek = |at, what| bed.vfs.seek(&bed.memory, inode, at, what).expect("it is within the file");
        assert_eq!(seek(0, Seek::Hole), block);
        assert_eq!(seek(block + 1, Seek::Hole), block + 1);
        assert_eq!(seek(block, Seek::Data), 3 * block);
        assert_eq!(seek(4 * block, Seek::Hole), 5 * block);
        bed.flush(&[inode]);
    }
    assert_eq!(view::inode(bed.vfs.zone().tree(), &bed.memory, inode).expect("it exists").stored, 3 * block);
    bed.commit();
}

#[test]
fn shared_blocks_are_stored_once() {
    let (mut bed, from) = bed_with_file(3 * BLOCK_SIZE);
    bed.commit();
    bed.flush(&[from]);
    bed.commit();
    let before = bed.live_data_bytes();
    let to = make_file(&mut bed, b"copy");
    let range = ShareRange { from, from_offset: 0, to, to_offset: 0, len: u64::MAX };
    let now = bed.now();
    assert_eq!(bed.vfs.share(&bed.memory, range, now).expect("it fits"), 3 * BLOCK_SIZE as u64);
    bed.sync(Some(to));
    bed.crash();
    assert_eq!(bed.read(to, 0, 4 * BLOCK_SIZE), vec![7; 3 * BLOCK_SIZE]);
    assert_eq!(bed.live_data_bytes(), before);
    let now = bed.now();
    let lost = bed.vfs.unlink(&bed.memory, ROOT_INODE, b"file", false, now).expect("it exists");
    assert!(bed.vfs.free(&bed.memory, lost.expect("it had one name")).expect("the index is whole").done);
    bed.commit();
    assert_eq!(bed.live_data_bytes(), before, "the copy still needs them");
    assert_eq!(bed.read(to, 0, 4 * BLOCK_SIZE), vec![7; 3 * BLOCK_SIZE]);
}
