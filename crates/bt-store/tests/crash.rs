//! Containers after a crash at any point: what a sync covered is there, and the store can be used again.

mod support;

use std::collections::HashMap;

use bt_store::{FaultStorage, MemoryStorage, Storage};
use proptest::prelude::*;
use support::{id, open_small, put, reads_well, require, segment};

#[derive(Clone, Debug)]
enum Step {
    Put { blocks: u32 },
    Sync,
    Drop { which: usize },
    Compact { which: usize, modulus: u32 },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..12u32).prop_map(|blocks| Step::Put { blocks }),
        3 => Just(Step::Sync),
        2 => any::<usize>().prop_map(|which| Step::Drop { which }),
        2 => (any::<usize>(), 1..4u32).prop_map(|(which, modulus)| Step::Compact { which, modulus }),
        1 => Just(Step::Reopen),
    ]
}

/// What is known of a segment: the counts of changes of the disk between which each thing happened.
#[derive(Clone, Debug, Default)]
struct Known {
    blocks: u32,
    durable_at: Option<usize>,
    dropped_from: Option<usize>,
    /// Compactions: from when, and which blocks were live (multiples of this).
    compacted: Vec<(usize, u32)>,
}

impl Known {
    /// The blocks that must be there when the power fails after `point` changes.
    fn required(&self, point: usize) -> Vec<u32> {
        let durable = self.durable_at.is_some_and(|at| at <= point);
        let dropped = self.dropped_from.is_some_and(|from| from < point);
        if !durable || dropped {
            return Vec::new();
        }
        let live =
            |index: &u32| self.compacted.iter().all(|(from, modulus)| *from >= point || index.is_multiple_of(*modulus));
        (0..self.blocks).filter(live).collect()
    }
}

/// Runs the steps, and returns what is known of each segment.
fn run(storage: &FaultStorage, steps: &[Step]) -> HashMap<u64, Known> {
    let mut containers = open_small(storage);
    let mut known: HashMap<u64, Known> = HashMap::new();
    let mut next = 0;
    let pick = |known: &HashMap<u64, Known>, which: usize| {
        let mut alive: Vec<u64> =
            known.iter().filter(|(_, known)| known.dropped_from.is_none()).map(|(number, _)| *number).collect();
        alive.sort_unstable();
        (!alive.is_empty()).then(|| alive[which % alive.len()])
    };
    for step in steps {
        let before = storage.operation_count();
        match step {
            Step::Put { blocks } => {
                put(&containers, next, *blocks).unwrap();
                known.insert(next, Known { blocks: *blocks, ..Known::default() });
                next += 1;
            }
            Step::Drop { which } => {
                if let Some(number) = pick(&known, *which) {
                    containers.drop_segment(&id(number)).unwrap();
                    known.get_mut(&number).unwrap().dropped_from = Some(before);
                }
            }
            Step::Compact { which, modulus } => {
                if let Some(number) = pick(&known, *which) {
                    containers.compact_segment(&id(number), &|index| index.is_multiple_of(*modulus)).unwrap();
                    known.get_mut(&number).unwrap().compacted.push((before, *modulus));
                }
            }
            Step::Sync => containers.sync().unwrap(),
            Step::Reopen => {
                containers.sync().unwrap();
                containers = open_small(storage);
            }
        }
        if matches!(step, Step::Sync | Step::Reopen) {
            let now = storage.operation_count();
            known.values_mut().for_each(|known| known.durable_at = known.durable_at.or(Some(now)));
        }
    }
    for (number, known) in &known {
        require(&containers, *number, known.required(usize::MAX));
    }
    known
}

/// Opens what a crash left, requires what must be there, uses it, and opens it once more.
fn survives(crashed: &MemoryStorage, known: &HashMap<u64, Known>, point: usize) {
    let containers = open_small(crashed);
    let all = |containers| {
        for (number, known) in known {
            require(containers, *number, known.required(point));
        }
    };
    all(&containers);
    // What a node does at its start: drop what nothing needs; here also compact something, and write.
    for info in containers.segments() {
        let needed = known.iter().any(|(number, known)| id(*number) == info.id && !known.required(point).is_empty());
        if !needed {
            containers.drop_segment(&info.id).unwrap();
        }
    }
    if let Some(number) = known.keys().find(|number| !known[number].required(point).is_empty()) {
        let required = known[number].required(point);
        containers.compact_segment(&id(*number), &|index| required.contains(&index)).unwrap();
    }
    put(&containers, 1_000_000, 5).unwrap();
    containers.sync().unwrap();
    all(&containers);
    let containers = open_small(crashed);
    all(&containers);
    require(&containers, 1_000_000, 0..5);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_was_synced_survives_a_crash_at_any_point(
        steps in prop::collection::vec(step(), 1..25),
        points in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 12),
    ) {
        let storage = FaultStorage::new();
        let known = run(&storage, &steps);
        for (point, seed) in points {
            let point = point.index(storage.operation_count() + 1);
            println!("power fails after {point} changes, seed {seed}");
            survives(&storage.crash(point, seed), &known, point);
        }
    }

    #[test]
    fn a_crash_during_the_recovery_from_a_crash_is_no_worse(
        steps in prop::collection::vec(step(), 1..15),
        point: prop::sample::Index,
        again: prop::sample::Index,
        seed: u64,
    ) {
        let storage = FaultStorage::new();
        let known = run(&storage, &steps);
        let point = point.index(storage.operation_count() + 1);
        let second = FaultStorage::over(&storage.crash(point, seed));
        let containers = open_small(&second);
        put(&containers, 1_000_000, 5).unwrap();
        containers.sync().unwrap();
        if let Some(number) = known.keys().find(|number| !known[number].required(point).is_empty()) {
            containers.compact_segment(&id(*number), &|index| known[number].required(point).contains(&index)).unwrap();
        }
        drop(containers);
        let again = again.index(second.operation_count() + 1);
        println!("power fails after {point} and then {again} changes, seed {seed}");
        let crashed = second.crash(again, seed);
        let containers = open_small(&crashed);
        for (number, known) in &known {
            require(&containers, *number, known.required(point));
        }
        put(&containers, 1_000_001, 5).unwrap();
        require(&containers, 1_000_001, 0..5);
    }
}

#[test]
fn every_point_of_a_compaction_keeps_the_live_blocks() {
    let storage = FaultStorage::new();
    let containers = open_small(&storage);
    (0..3).for_each(|number| put(&containers, number, 12).unwrap());
    containers.sync().unwrap();
    let start = storage.operation_count();
    containers.compact_segment(&id(1), &|index| index % 3 == 0).unwrap();
    containers.compact_segment(&id(1), &|index| index == 6).unwrap();
    containers.sync().unwrap();
    for point in start..=storage.operation_count() {
        for seed in 0..40 {
            let crashed = storage.crash(point, seed);
            // With and without the location map.
            for map in [true, false] {
                if !map {
                    crashed.remove("locations").ok();
                }
                let containers = open_small(&crashed);
                require(&containers, 1, [6]);
                require(&containers, 0, 0..12);
                require(&containers, 2, 0..12);
            }
        }
    }
}

#[test]
fn a_segment_that_was_not_synced_is_whole_or_can_be_told() {
    let storage = FaultStorage::new();
    let containers = open_small(&storage);
    put(&containers, 0, 4).unwrap();
    containers.sync().unwrap();
    put(&containers, 1, 4).unwrap();
    let mut whole = 0;
    for seed in 0..60 {
        let containers = open_small(&storage.crash(storage.operation_count(), seed));
        require(&containers, 0, 0..4);
        // Its blocks are what was written, or an error, or bytes that no hash matches: never a panic.
        whole += u32::from((0..4).all(|index| reads_well(&containers, 1, index)));
        // A retry takes a new id, or the same one if nothing of it is left.
        containers.drop_segment(&id(1)).ok();
        containers.write_segment(segment(1, 0..4).write()).unwrap();
        require(&containers, 1, 0..4);
    }
    assert!((1..60).contains(&whole), "{whole}: the crashes do not differ");
}
