//! Random work with reflinks, snapshots, reclaiming and crashes: each check of it is clean, and files read as written.
//!
//! `BT_SEED=n cargo test -p bt-node random_work` runs one case again, `BT_CASES=n` runs more of them.

use std::collections::BTreeMap;

use crate::engine::testing::{ROOT, TestZone, check, go_on, noise};
use crate::options::Compression;

const CASES: u64 = 24;
const STEPS: usize = 60;
const BLOCK: u64 = bt_base::limits::BLOCK_SIZE as u64;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// As often small as large, below two to the power of `bits`.
    fn size(&mut self, bits: u64) -> u64 {
        let bound = 1 << (1 + self.below(bits));
        self.below(bound)
    }
}

/// What files and snapshots hold, by name.
type Files = BTreeMap<String, Vec<u8>>;

struct Work {
    zone: TestZone,
    random: Random,
    files: Files,
    snapshots: BTreeMap<String, Files>,
}

impl Work {
    fn new(seed: u64) -> Self {
        let compression = [None, Some(Compression::Lz4), Some(Compression::Zstd)][seed as usize % 3];
        let zone = TestZone::with(compression);
        Self { zone, random: Random(seed), files: Files::new(), snapshots: BTreeMap::new() }
    }

    fn inode(&self, name: &str) -> u64 {
        let (inode, _) = self.zone.engine.lookup(ROOT, name.as_bytes()).unwrap().unwrap();
        self.zone.engine.forget(inode, 1);
        inode
    }

    fn any(&mut self) -> Option<String> {
        let at = self.random.below(self.files.len().max(1) as u64) as usize;
        self.files.keys().nth(at).cloned()
    }

    fn step(mut self) -> Self {
        let engine = self.zone.engine.clone();
        match self.random.below(24) {
            0..6 => self.write(),
            6 | 7 => self.truncate(),
            8 | 9 => self.remove(),
            10 | 11 => self.share(),
            12 => self.rename(),
            13 => self.punch(),
            14 | 15 => drop(engine.commit().unwrap()),
            16 => {
                if let Some(name) = self.any() {
                    engine.sync_file(Some(self.inode(&name))).unwrap();
                }
            }
            17 => {
                let mut flushing = engine.flushing();
                let dirty = engine.read().dirty_files();
                engine.flush(&mut flushing, &dirty).unwrap();
            }
            18 => self.snapshot(),
            19 => self.delete_snapshot(),
            20 => drop(engine.reclaim(self.random.below(2) == 0, &mut go_on).unwrap()),
            21 => engine.free_orphans().unwrap(),
            22 => {
                drop(engine);
                self.zone = self.zone.reopen();
            }
            _ => {
                drop(engine);
                self.zone.engine.sync_file(None).unwrap();
                self.zone = self.zone.crash();
                self.read_again();
            }
        }
        self
    }

    fn write(&mut self) {
        let name = format!("file {}", self.random.below(10));
        let offset = self.random.below(40) * [1, 4096, 5000][self.random.below(3) as usize];
        let len = 1 + self.random.size(18);
        let content = match self.random.below(3) {
            0 => vec![7; len as usize],
            _ => noise(len as usize, self.random.below(1 << 40)),
        };
        let inode = match self.files.contains_key(&name) {
            true => self.inode(&name),
            false => self.zone.file(ROOT, &name, b""),
        };
        self.zone.engine.write_file(inode, offset, &content, false).unwrap();
        let file = self.files.entry(name).or_default();
        let end = (offset + len) as usize;
        file.resize(file.len().max(end), 0);
        file[offset as usize..end].copy_from_slice(&content);
    }

    fn truncate(&mut self) {
        let Some(name) = self.any() else { return };
        let size = self.random.size(19);
        self.zone.engine.set_attributes(self.inode(&name), Some(size), |_| None, false).unwrap();
        self.files.get_mut(&name).unwrap().resize(size as usize, 0);
    }

    fn remove(&mut self) {
        let Some(name) = self.any() else { return };
        self.zone.remove(ROOT, &name);
        self.files.remove(&name);
    }

    fn share(&mut self) {
        let (Some(from), to) = (self.any(), format!("file {}", self.random.below(10))) else { return };
        if from == to {
            return;
        }
        if !self.files.contains_key(&to) {
            self.zone.file(ROOT, &to, b"");
        }
        let source = self.files[&from].clone();
        let offset = self.random.below(8) * BLOCK;
        let target = self.random.below(8) * BLOCK;
        let len = self.random.below(16 * BLOCK).min((source.len() as u64).saturating_sub(offset));
        let range = bt_vfs::ShareRange {
            from: self.inode(&from),
            from_offset: offset,
            to: self.inode(&to),
            to_offset: target,
            len,
        };
        assert_eq!(self.zone.engine.copy_range(range, true).unwrap(), len);
        let file = self.files.entry(to).or_default();
        if len > 0 {
            let end = (target + len) as usize;
            file.resize(file.len().max(end), 0);
            file[target as usize..end].copy_from_slice(&source[offset as usize..(offset + len) as usize]);
        }
    }

    fn rename(&mut self) {
        let (Some(from), to) = (self.any(), format!("file {}", self.random.below(10))) else { return };
        if from == to {
            return;
        }
        let replaced = self.files.contains_key(&to).then(|| self.inode(&to));
        let flags = bt_vfs::RenameFlags::Replace;
        self.zone.engine.rename((ROOT, from.as_bytes()), (ROOT, to.as_bytes()), flags).unwrap();
        if let Some(inode) = replaced {
            self.zone.engine.forget(inode, u64::MAX);
        }
        let content = self.files.remove(&from).unwrap();
        self.files.insert(to, content);
    }

    fn punch(&mut self) {
        let Some(name) = self.any() else { return };
        let (offset, len) = (self.random.below(100_000), 1 + self.random.below(100_000));
        let how = bt_vfs::Allocate::PunchHole;
        self.zone.engine.allocate(self.inode(&name), offset, len, how, true).unwrap();
        let file = self.files.get_mut(&name).unwrap();
        let end = file.len().min((offset + len) as usize);
        let start = end.min(offset as usize);
        file[start..end].fill(0);
    }

    fn snapshot(&mut self) {
        let name = format!("snapshot {}", self.random.below(5));
        if !self.snapshots.contains_key(&name) {
            self.zone.engine.create_snapshot(name.as_bytes()).unwrap();
            self.snapshots.insert(name, self.files.clone());
        }
    }

    fn delete_snapshot(&mut self) {
        let at = self.random.below(self.snapshots.len().max(1) as u64) as usize;
        let Some(name) = self.snapshots.keys().nth(at).cloned() else { return };
        self.zone.delete_snapshot(name.as_bytes());
        self.snapshots.remove(&name);
    }

    /// A crash may take content that no fsync covered, and no names after a sync.
    fn read_again(&mut self) {
        let names: Vec<String> = self.files.keys().cloned().collect();
        for name in names {
            let content = self.zone.content(self.inode(&name));
            self.files.insert(name, content);
        }
    }

    fn expect_all(&self) {
        for (name, content) in &self.files {
            assert!(self.zone.content(self.inode(name)) == *content, "{name} has other content");
        }
        for (name, record) in self.zone.engine.snapshot_records().unwrap() {
            let files = &self.snapshots[std::str::from_utf8(&name).unwrap()];
            let source = &self.zone.engine.source;
            for (file, content) in files {
                let found = bt_vfs::view::name(&record.tree(), source, ROOT, file.as_bytes()).unwrap().unwrap();
                let mut read = vec![0; content.len()];
                self.zone.engine.read_frozen(&record.tree(), found.inode, 0, &mut read).unwrap();
                assert!(read == *content, "{file} of {name:?} has other content");
            }
        }
        assert_eq!(self.zone.engine.snapshot_records().unwrap().len(), self.snapshots.len());
    }
}

fn run(seed: u64) {
    let mut work = Work::new(seed);
    for step in 0..STEPS {
        work = work.step();
        if step % 4 == 0 {
            work.zone.expect_clean();
        }
        work.expect_all();
    }
    work.zone.engine.free_orphans().unwrap();
    work.zone.engine.reclaim(true, &mut go_on).unwrap();
    let report = work.zone.expect_clean();
    assert_eq!(report.leftovers, 0);
    work.expect_all();
    work.zone.engine.close().unwrap();
    assert_eq!(check(&work.zone.storage).problems, []);
}

#[test]
fn random_work_leaves_every_account_right() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = match number("BT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("BT_CASES").unwrap_or(CASES),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("again: BT_SEED={seed} cargo test -p bt-node random_work");
            std::panic::resume_unwind(panic);
        }
    }
}
