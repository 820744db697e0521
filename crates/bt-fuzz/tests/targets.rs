//! Every target on its corpus, on golden vectors, and on random changes of both.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bt_fuzz::{TARGETS, Target};

/// Changed inputs for each target in a normal run; `BT_FUZZ_ROUNDS` asks for more.
const ROUNDS: u64 = 3000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("the file can be read"))).collect()
}

#[test]
fn every_target_stands_its_corpus() {
    for target in TARGETS {
        for (path, bytes) in corpus(target) {
            let run = AssertUnwindSafe(|| (target.run)(&bytes));
            assert!(catch_unwind(run).is_ok(), "target {} fails on {}", target.name, path.display());
        }
    }
}

#[test]
fn every_target_stands_its_seeds() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        seeds.iter().for_each(|seed| (target.run)(seed));
    }
}

#[test]
fn every_folder_of_the_corpus_has_its_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in std::fs::read_dir(folder).expect("the corpus is there") {
        let name = entry.expect("the corpus can be read").file_name();
        assert!(TARGETS.iter().any(|target| *target.name == *name), "{name:?} is the folder of no target");
    }
}

/// One to four changes of an input: a byte, a bit, a number, a part cut, doubled, or taken from another input.
fn change(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        let end = (at + 1 + random.below(40)).min(bytes.len());
        match random.below(8) {
            0 | 1 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            2 | 3 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            4 if !bytes.is_empty() => {
                let number = [0, 1, 0x7f, 0x80, 0xff][random.below(5)];
                let end = (at + [1, 2, 4, 8][random.below(4)]).min(bytes.len());
                bytes[at..end].fill(number);
            }
            5 => bytes.truncate(at),
            6 if at < end => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            _ => {
                let from = random.below(other.len());
                let part = other[from..(from + 40).min(other.len())].iter().copied();
                bytes.splice(at..end.max(at), part);
            }
        }
    }
}

#[test]
fn every_target_stands_random_changes() {
    let variable = |name| std::env::var(name).ok().and_then(|value: String| value.parse().ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the clock is set");
    let seed = variable("BT_FUZZ_SEED").unwrap_or(now.as_nanos() as u64);
    let rounds = variable("BT_FUZZ_ROUNDS").unwrap_or(ROUNDS);
    let only = std::env::var("BT_FUZZ_TARGET").ok();
    for target in TARGETS.iter().filter(|target| only.as_deref().is_none_or(|only| only == target.name)) {
        let mut inputs = (target.seeds)();
        inputs.extend(corpus(target).into_iter().map(|(_, bytes)| bytes));
        let mut random = Random(seed);
        for round in 0..rounds {
            let mut bytes = inputs[random.below(inputs.len())].clone();
            let other = inputs[random.below(inputs.len())].clone();
            change(&mut random, &mut bytes, &other);
            if catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes))).is_err() {
                let file = std::env::temp_dir().join(format!("bt-fuzz-{}-{seed}-{round}", target.name));
                std::fs::write(&file, &bytes).expect("the input can be kept");
                panic!(
                    "target {} fails in round {round}; the input is in {}\nrun it again: BT_FUZZ_SEED={seed} \
                     BT_FUZZ_ROUNDS={rounds} BT_FUZZ_TARGET={} cargo test -p bt-fuzz random_changes",
                    target.name,
                    file.display(),
                    target.name,
                );
            }
        }
    }
}
