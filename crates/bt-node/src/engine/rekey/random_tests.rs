//! Passes that begin, stop and go on at any time, among changes of files, snapshots and keys.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bt_tree::Rights;

use super::tests::{Shown, in_small_steps, nothing_stored_is_old, shown};
use crate::engine::testing::{ROOT, TestZone, go_on, noise, principal};

/// Cases of a normal run, from seed 1; `BT_SEED` begins elsewhere, `BT_CASES` asks for more or fewer.
const CASES: u64 = 5;
const STEPS: usize = 70;

/// A zone and what it should hold.
struct Case {
    zone: TestZone,
    random: u64,
    files: Shown,
    snapshots: BTreeMap<String, Shown>,
    made: u8,
}

impl Case {
    fn new(seed: u64) -> Self {
        let zone = in_small_steps(TestZone::new());
        Self { zone, random: seed, files: Shown::new(), snapshots: BTreeMap::new(), made: 0 }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % bound
    }

    fn name(&mut self) -> String {
        format!("file{}", self.below(8))
    }

    fn write(&mut self) {
        let (name, at, len) = (self.name(), self.below(80_000), 1 + self.below(70_000));
        let data = noise(len, self.random);
        let inode = self.zone.file(ROOT, &name, b"");
        self.zone.engine.write_file(inode, at as u64, &data, false).unwrap();
        let content = self.files.entry(name.into_bytes()).or_default();
        content.resize(content.len().max(at + len), 0);
        content[at..at + len].copy_from_slice(&data);
    }

    fn share(&mut self) {
        let (from, to) = (self.name(), self.name());
        let Some(content) = self.files.get(from.as_bytes()).cloned() else { return };
        if from == to || content.is_empty() {
            return;
        }
        let [from, inode] = [&from, &to].map(|name| self.zone.file(ROOT, name, b""));
        self.zone.engine.set_attributes(inode, Some(0), |_| None, false).unwrap();
        self.zone.share(from, inode, content.len() as u64);
        self.files.insert(to.into_bytes(), content);
    }

    fn remove(&mut self) {
        let name = self.name();
        if self.files.remove(name.as_bytes()).is_some() {
            self.zone.remove(ROOT, &name);
        }
    }

    fn take_snapshot(&mut self) {
        self.made += 1;
        let name = format!("snapshot{}", self.made);
        self.zone.engine.create_snapshot(name.as_bytes()).unwrap();
        self.snapshots.insert(name, self.files.clone());
    }

    fn delete_snapshot(&mut self) {
        let at = self.below(4);
        let Some(name) = self.snapshots.keys().nth(at).cloned() else { return };
        self.snapshots.remove(&name);
        if self.below(2) == 0 {
            self.zone.delete_snapshot(name.as_bytes());
        } else {
            self.zone.engine.write().begin_snapshot_delete(&self.zone.engine.source, name.as_bytes()).unwrap();
        }
    }

    fn change_keys(&mut self) {
        self.made += 1;
        self.zone.grant(&principal(self.made), Rights::Read);
    }

    fn rekey_some(&mut self) {
        let mut left = self.below(12);
        let _ = self.zone.engine.rekey(true, &mut |_| match left.checked_sub(1) {
            Some(fewer) => {
                left = fewer;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        });
    }

    fn rekey_all(&self) {
        let report = self.zone.engine.rekey(true, &mut go_on).unwrap();
        assert_eq!((report.left_segments, report.left_bytes), (0, 0));
        nothing_stored_is_old(&self.zone);
    }

    fn verify(&self) {
        for (name, content) in &self.files {
            let (inode, _) = self.zone.engine.lookup(ROOT, name).unwrap().unwrap();
            assert!(self.zone.content(inode) == *content, "{}", String::from_utf8_lossy(name));
        }
        for (name, files) in &self.snapshots {
            assert!(shown(&self.zone, name) == *files, "{name}");
        }
        self.zone.expect_clean();
    }

    fn step(mut self) -> Self {
        match self.below(40) {
            0..14 => self.write(),
            14..18 => self.share(),
            18..21 => self.remove(),
            21..25 => self.take_snapshot(),
            25..27 => self.delete_snapshot(),
            27..30 => self.change_keys(),
            30..34 => self.rekey_some(),
            34..36 => self.rekey_all(),
            36..39 => drop(self.zone.engine.commit().unwrap()),
            _ => {
                self.verify();
                self.zone = in_small_steps(self.zone.reopen());
            }
        }
        self
    }
}

#[test]
fn whatever_happens_between_nothing_changes_but_the_keys() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let first = number("BT_SEED").unwrap_or(1);
    for seed in first..first + number("BT_CASES").unwrap_or(CASES) {
        println!("again: BT_SEED={seed} BT_CASES=1 cargo test -p bt-node --lib rekey::random_tests");
        let mut case = Case::new(seed);
        for _ in 0..STEPS {
            case = case.step();
        }
        case.verify();
        case.rekey_all();
        case.verify();
        for name in case.snapshots.keys() {
            case.zone.delete_snapshot(name.as_bytes());
        }
        case.snapshots.clear();
        case.rekey_all();
        case.verify();
    }
}
