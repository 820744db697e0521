//! Any damage to any file: a check does not panic, and whatever is read afterwards is right or an error.
//!
//! `BT_SEED=n cargo test -p bt-node any_damage` runs one case again, `BT_CASES=n` runs more of them.

use bt_store::{MemoryStorage, Storage};

use crate::control::report::CheckReport;
use crate::engine::testing::{ROOT, TestZone, check, go_on, noise, open};

const CASES: u64 = 120;
/// Where in a file damage is looked for: the rest of a journal is zeros.
const REACH: u64 = 1 << 20;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Files, with what each may read as: what was committed, or what was synced later.
type Expected = Vec<(u64, [Vec<u8>; 2])>;

/// A zone with snapshots, small and large files and a journal; and as it was some commits before.
fn prepare() -> (MemoryStorage, MemoryStorage, Expected) {
    let zone = TestZone::new();
    let mut expected = Expected::new();
    for i in 0..30 {
        let content = noise(i * i * 200, i as u64);
        expected.push((zone.file(ROOT, &format!("{i}"), &content), [content.clone(), content]));
    }
    zone.engine.create_snapshot(b"snapshot").unwrap();
    let early = zone.storage.deep_copy();
    for i in (0..30).step_by(5) {
        let content = noise(i * i * 150 + 10, 100 + i as u64);
        zone.engine.set_attributes(expected[i].0, Some(0), |_| None, false).unwrap();
        zone.file(ROOT, &format!("{i}"), &content);
        expected[i].1[1] = content;
    }
    zone.engine.commit().unwrap();
    for i in (1..30).step_by(7) {
        let content = noise(expected[i].1[1].len(), 200 + i as u64);
        zone.file(ROOT, &format!("{i}"), &content);
        zone.engine.sync_file(Some(expected[i].0)).unwrap();
        expected[i].1[0] = std::mem::replace(&mut expected[i].1[1], content);
    }
    (zone.storage, early, expected)
}

/// What can be damaged; what matters most several times.
fn files(storage: &MemoryStorage) -> Vec<String> {
    let zone = String::from_utf8(crate::identity::read(storage, "zones/root").unwrap()).unwrap();
    let directory = format!("zones/{zone}");
    let mut files: Vec<String> =
        ["genesis", "node.key", "root.key", "format", "zones/root", "locations"].map(str::to_owned).into();
    let records = ["birth", "access", "epochs", "heads.a", "heads.b", "journal"];
    files.extend(records.iter().map(|name| format!("{directory}/{name}")));
    files.extend(std::iter::repeat_n(format!("{directory}/journal"), 3));
    for container in storage.list("containers").unwrap() {
        files.extend(std::iter::repeat_n(container, 12));
    }
    assert!(files.iter().all(|name| storage.open(name, false).is_ok_and(|file| file.len().unwrap() > 0)), "{files:?}");
    files
}

/// Damages one file, and says how.
fn damage(storage: &MemoryStorage, early: &MemoryStorage, random: &mut Random) -> String {
    let names = files(storage);
    let name = &names[random.below(names.len() as u64) as usize];
    let file = storage.open(name, false).unwrap();
    let len = file.len().unwrap();
    let at = random.below(len.min(REACH));
    match random.below(6) {
        0 => {
            file.set_len(at).unwrap();
            format!("{name} is cut at {at}")
        }
        1 if early.exists(name).unwrap() => {
            let old = crate::identity::read(early, name).unwrap();
            file.set_len(old.len() as u64).unwrap();
            file.write_at(&old, 0).unwrap();
            format!("{name} is put back to an earlier one")
        }
        2 => {
            let part = (len - at).min(4096);
            file.write_at(&noise(part as usize, at), at).unwrap();
            format!("{name} has noise at {at}")
        }
        _ => {
            crate::engine::testing::flip(storage, name, at);
            format!("{name} has a flipped bit at {at}")
        }
    }
}

/// Reads everything that can be opened, and expects it to be right or an error.
fn read_all(storage: &MemoryStorage, expected: &Expected, what: &str) {
    let Ok(engine) = open(storage) else { return };
    for (inode, contents) in expected {
        let Ok(found) = engine.inode(*inode) else { continue };
        let mut content = vec![0; found.size as usize];
        if engine.read_file(*inode, 0, &mut content).is_ok() {
            assert!(contents.contains(&content), "{what}: inode {inode} reads wrong bytes");
        }
    }
    let _ = engine.check(true, &mut go_on);
}

fn run(seed: u64, storage: &MemoryStorage, early: &MemoryStorage, expected: &Expected) -> (String, CheckReport) {
    let damaged = storage.deep_copy();
    let what = damage(&damaged, early, &mut Random(seed));
    let report = check(&damaged);
    read_all(&damaged, expected, &what);
    (what, report)
}

#[test]
fn any_damage_is_an_error_and_never_wrong_bytes() {
    let (storage, early, expected) = prepare();
    assert_eq!(check(&storage).problems, []);
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = match number("BT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("BT_CASES").unwrap_or(CASES),
    };
    let mut found = 0;
    for seed in seeds.clone() {
        let run = std::panic::AssertUnwindSafe(|| run(seed, &storage, &early, &expected));
        match std::panic::catch_unwind(run) {
            Ok((what, report)) => {
                found += u64::from(report.problem_count > 0);
                if number("BT_SEED").is_some() {
                    eprintln!("{what}: {:#?}", report.problems);
                }
            }
            Err(panic) => {
                eprintln!("again: BT_SEED={seed} cargo test -p bt-node any_damage");
                std::panic::resume_unwind(panic);
            }
        }
    }
    // The rest hit bytes that nothing needs: dead blocks, padding, zeros of the journal.
    assert!(found * 4 >= seeds.end - seeds.start, "only {found} cases were found");
}
