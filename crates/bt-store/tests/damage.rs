//! Whatever the files hold: what is undamaged is read, what is damaged is named, and nothing panics.

mod support;

use bt_store::{Containers, MemoryStorage, Storage, StoreError, Sweep};
use proptest::prelude::*;
use support::{block, id, open_small, put, reads_well, require};

const SEGMENTS: u64 = 12;
const BLOCKS: u32 = 8;

/// A store of a few containers, with a dropped segment and a compacted one; and its state half way.
fn filled() -> (MemoryStorage, MemoryStorage) {
    let storage = MemoryStorage::new();
    let containers = open_small(&storage);
    (0..SEGMENTS / 2).for_each(|number| put(&containers, number, BLOCKS).unwrap());
    put(&containers, 1000, BLOCKS).unwrap();
    containers.sync().unwrap();
    let older = storage.deep_copy();
    (SEGMENTS / 2..SEGMENTS).for_each(|number| put(&containers, number, BLOCKS).unwrap());
    containers.compact_segment(&id(2), &|_| true).unwrap();
    containers.drop_segment(&id(1000)).unwrap();
    containers.sync().unwrap();
    assert!(storage.list("containers").unwrap().len() >= 3);
    (storage, older)
}

fn flip(storage: &MemoryStorage, name: &str, at: u64, bit: u32) {
    let file = storage.open(name, false).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_at(&[byte[0] ^ 1 << bit], at).unwrap();
}

fn replace(storage: &MemoryStorage, name: &str, with: &[u8]) {
    let file = storage.open(name, true).unwrap();
    file.set_len(0).unwrap();
    file.write_at(with, 0).unwrap();
}

fn content(storage: &MemoryStorage, name: &str) -> Vec<u8> {
    let file = storage.open(name, false).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn require_all(containers: &Containers) {
    (0..SEGMENTS).for_each(|number| require(containers, number, 0..BLOCKS));
}

/// The store is complete, takes new segments without harm to old ones, and is still complete when opened again.
fn require_usable(storage: &MemoryStorage) {
    let containers = open_small(storage);
    require_all(&containers);
    (2000..2004).for_each(|number| put(&containers, number, BLOCKS).unwrap());
    containers.sync().unwrap();
    require_all(&containers);
    let containers = open_small(storage);
    require_all(&containers);
    (2000..2004).for_each(|number| require(&containers, number, 0..BLOCKS));
}

/// Reads everything; what does not read well must be an error that names the segment or a file, or other bytes.
fn damaged_blocks(containers: &Containers) -> Vec<(u64, u32)> {
    let mut damaged = Vec::new();
    for number in 0..SEGMENTS {
        for index in 0..BLOCKS {
            let mut out = Vec::new();
            match containers.read_block(&id(number), index, &mut out) {
                Ok(()) if out == block(number, index) => {}
                Ok(()) => damaged.push((number, index)),
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains("containers/") || text.contains(&id(number).to_string()), "{text}");
                    damaged.push((number, index));
                }
            }
        }
    }
    damaged
}

#[test]
fn a_lost_location_map_loses_nothing() {
    let (storage, _) = filled();
    storage.remove("locations").unwrap();
    require_usable(&storage);
}

#[test]
fn a_location_map_of_another_time_loses_nothing() {
    let (storage, older) = filled();
    replace(&storage, "locations", &content(&older, "locations"));
    require_usable(&storage);
}

#[test]
fn containers_that_changed_places_are_found() {
    let (storage, _) = filled();
    let names = storage.list("containers").unwrap();
    storage.rename(&names[0], "containers/x").unwrap();
    storage.rename(&names[1], &names[0]).unwrap();
    storage.rename("containers/x", &names[1]).unwrap();
    require_usable(&storage);
}

#[test]
fn foreign_files_among_the_containers_are_left_alone() {
    let (storage, _) = filled();
    for name in ["containers/notes", "containers/1", "containers/000000001", "containers/-0000001"] {
        replace(&storage, name, b"not ours");
    }
    require_usable(&storage);
    assert_eq!(content(&storage, "containers/1"), b"not ours");
}

#[test]
fn a_removed_container_takes_only_its_segments() {
    let (storage, _) = filled();
    let gone = open_small(&storage).segments().into_iter().filter(|info| info.container == 2).count();
    storage.remove("containers/00000002").unwrap();
    let containers = open_small(&storage);
    assert_eq!(damaged_blocks(&containers).len(), gone * BLOCKS as usize);
    assert!(containers.findings().iter().any(StoreError::is_damage));
    put(&containers, 2000, BLOCKS).unwrap();
    containers.sync().unwrap();
    require(&open_small(&storage), 2000, 0..BLOCKS);
}

#[test]
fn check_names_every_damaged_header_and_short_file() {
    let (storage, _) = filled();
    let containers = open_small(&storage);
    assert!(containers.check().unwrap().is_empty());
    let info = containers.segments().into_iter().find(|info| info.id == id(4)).unwrap();
    let name = format!("containers/{:08}", info.container);
    let bytes = content(&storage, &name);
    let at = bytes.windows(32).position(|window| window == id(4).0).unwrap() as u64;
    flip(&storage, &name, at + 40, 3);
    let names = storage.list("containers").unwrap();
    let last = storage.open(names.last().unwrap(), false).unwrap();
    let end = last.len().unwrap();
    last.set_len(end - 4096).unwrap();
    let errors = open_small(&storage).check().unwrap();
    assert!(
        errors.iter().any(|error| matches!(error, StoreError::Damaged { file, .. } if *file == name)),
        "{errors:?}"
    );
    let short =
        |error: &StoreError| matches!(error, StoreError::Damaged { file, .. } if *file == names[names.len() - 1]);
    assert!(errors.iter().any(short), "{errors:?}");
}

#[test]
fn a_container_with_a_damaged_header_is_not_removed() {
    let (storage, _) = filled();
    storage.remove("locations").unwrap();
    flip(&storage, "containers/00000001", 20, 0);
    let containers = open_small(&storage);
    for info in containers.segments() {
        containers.drop_segment(&info.id).unwrap();
    }
    containers.sync().unwrap();
    assert!(storage.exists("containers/00000001").unwrap());
    assert!(!storage.exists("containers/00000002").unwrap());
}

#[test]
fn a_sweep_finds_what_a_crash_left_behind() {
    let storage = MemoryStorage::new();
    let containers = open_small(&storage);
    (0..SEGMENTS).for_each(|number| put(&containers, number, BLOCKS).unwrap());
    containers.sync().unwrap();
    let first = content(&storage, "containers/00000001");
    assert_eq!(containers.segments().iter().filter(|info| info.container == 1).count() as u64, 3);
    containers.compact_segment(&id(0), &|_| true).unwrap();
    containers.drop_segment(&id(1)).unwrap();
    containers.sync().unwrap();
    assert_eq!(containers.sweep().unwrap(), Sweep::default());
    // The power failed before the old places were given up.
    storage.open("containers/00000001", false).unwrap().write_at(&first, 0).unwrap();
    let containers = open_small(&storage);
    assert!(!containers.contains(&id(1)));
    let free = storage.space().unwrap().free;
    let sweep = containers.sweep().unwrap();
    assert!(sweep.adopted == 1 && sweep.freed_bytes > 0, "{sweep:?}");
    assert!(storage.space().unwrap().free > free);
    require_all(&containers);
    assert_eq!(containers.sweep().unwrap(), Sweep::default());
    containers.drop_segment(&id(1)).unwrap();
    containers.sync().unwrap();
    let containers = open_small(&storage);
    (0..SEGMENTS).filter(|number| *number != 1).for_each(|number| require(&containers, number, 0..BLOCKS));
    assert!(containers.check().unwrap().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_damage_to_the_location_map_loses_nothing(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u32), 0..5),
        cut in prop::option::of(any::<prop::sample::Index>()),
        tail in prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(any::<u8>(), 0..300)],
    ) {
        let (storage, _) = filled();
        let len = storage.open("locations", false).unwrap().len().unwrap();
        for (at, bit) in flips {
            flip(&storage, "locations", at.index(len as usize) as u64, bit);
        }
        let len = cut.map_or(len, |cut| cut.index(len as usize) as u64);
        let file = storage.open("locations", false).unwrap();
        file.set_len(len).unwrap();
        file.write_at(&tail, len).unwrap();
        let mut known: Vec<_> = open_small(&storage).segments().iter().map(|info| info.id).collect();
        known.sort_unstable();
        let mut all: Vec<_> = (0..SEGMENTS).map(id).collect();
        all.sort_unstable();
        // The dropped one may come back.
        known.retain(|known| *known != id(1000));
        prop_assert_eq!(known, all);
        require_usable(&storage);
    }

    #[test]
    fn a_flipped_bit_in_a_container_costs_at_most_its_segment(
        container in 0..3usize,
        at: prop::sample::Index,
        header: bool,
        bit in 0..8u32,
        map: bool,
    ) {
        let (storage, _) = filled();
        let name = storage.list("containers").unwrap()[container].clone();
        let mut at = at.index(storage.open(&name, false).unwrap().len().unwrap() as usize) as u64;
        if header {
            at = at / 4096 * 4096 + at % 256;
        }
        flip(&storage, &name, at, bit);
        if !map {
            storage.remove("locations").unwrap();
        }
        let containers = open_small(&storage);
        let damaged = damaged_blocks(&containers);
        prop_assert!(damaged.windows(2).all(|pair| pair[0].0 == pair[1].0), "{:?}", damaged);
        containers.check().unwrap();
        put(&containers, 2000, BLOCKS).unwrap();
        containers.sync().unwrap();
        prop_assert_eq!(damaged_blocks(&open_small(&storage)), damaged);
        prop_assert!(reads_well(&containers, 2000, 1));
    }

    #[test]
    fn a_cut_container_keeps_what_is_before_the_cut(container in 0..3usize, cut: prop::sample::Index, map: bool) {
        let (storage, _) = filled();
        let name = storage.list("containers").unwrap()[container].clone();
        let before = content(&storage, &name);
        let cut = cut.index(before.len());
        // A block is before the cut if its bytes are; its segment's header always is then.
        let is_before = |number: u64, index: u32| {
            let bytes = block(number, index);
            !before.windows(bytes.len()).enumerate().any(|(at, window)| at + bytes.len() > cut && window == bytes)
        };
        storage.open(&name, false).unwrap().set_len(cut as u64).unwrap();
        if !map {
            storage.remove("locations").unwrap();
        }
        let containers = open_small(&storage);
        for (number, index) in damaged_blocks(&containers) {
            prop_assert!(!is_before(number, index), "block {} of segment {} was before the cut", index, number);
        }
        put(&containers, 2000, BLOCKS).unwrap();
        containers.sync().unwrap();
        require(&open_small(&storage), 2000, 0..BLOCKS);
    }

    #[test]
    fn files_of_another_time_or_of_noise_never_panic(
        which in 0..4usize,
        noise in prop::option::of(prop::collection::vec(any::<u8>(), 0..9000)),
        map: bool,
    ) {
        let (storage, older) = filled();
        let mut names = storage.list("containers").unwrap();
        names.push("locations".to_owned());
        let name = &names[which % names.len()];
        let bytes = match noise {
            Some(noise) => noise,
            None if older.exists(name).unwrap() => content(&older, name),
            None => Vec::new(),
        };
        replace(&storage, name, &bytes);
        if !map {
            storage.remove("locations").ok();
        }
        let containers = open_small(&storage);
        let elsewhere = |number: &u64| containers.segments().iter().any(|info| {
            info.id == id(*number) && format!("containers/{:08}", info.container) != *name
        });
        let damaged = damaged_blocks(&containers);
        let kept: Vec<_> = damaged.iter().map(|(number, _)| *number).filter(elsewhere).collect();
        prop_assert!(kept.is_empty(), "{:?} are in other files", kept);
        put(&containers, 2000, BLOCKS).unwrap();
        containers.sync().unwrap();
        require(&open_small(&storage), 2000, 0..BLOCKS);
    }
}
