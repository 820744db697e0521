//! Random operations on a mounted tree and on ext4, compared at every step and as a whole.
//!
//! `MODEL_SEED=N` runs one seed again, `MODEL_STEPS=N` and `MODEL_SEEDS=N` say how much.

use std::env;
use std::path::Path;

use anyhow::{Context, Result};
use harness::{Backing, MountOptions, Scratch, Tree};
use test_harness::model::{World, compare_trees, run_both, tree};

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

#[test]
fn random_operations_agree_with_ext4() {
    let seeds: Vec<u64> = match env::var_os("MODEL_SEED") {
        Some(_) => vec![number("MODEL_SEED", 0)],
        None => (1..=number("MODEL_SEEDS", 4)).chain([fastrand::u64(..1 << 40)]).collect(),
    };
    let steps = number("MODEL_STEPS", 6000) as usize;
    for seed in seeds {
        if let Err(error) = agree(seed, steps) {
            panic!(
                "seed {seed}: {error:#}\nto run it again: \
                 MODEL_SEED={seed} MODEL_STEPS={steps} cargo test -p test-harness --test model"
            );
        }
    }
}

/// Two halves on one tree, which is mounted afresh between and after them.
fn agree(seed: u64, steps: usize) -> Result<()> {
    harness::require_root_and_fuse()?;
    let scratch = Scratch::new("model")?;
    let reference = Backing::ext4(&scratch, "ext4", 512)?;
    let mut random = fastrand::Rng::with_seed(seed);
    if let Some(other) = env::var_os("BT_TEST_SUBJECT") {
        let directory = Path::new(&other).join(format!("model.{}.{seed}", std::process::id()));
        std::fs::create_dir(&directory)?;
        half(&mut random, steps, &reference, &directory)?;
        return Ok(std::fs::remove_dir_all(&directory)?);
    }
    let tree = Tree::init(&scratch, &scratch.path().join("tree"))?;
    let mountpoint = scratch.directory("mount")?;
    for round in ["first half", "second half"] {
        let node = tree.mount(&mountpoint, &MountOptions::for_tests())?;
        half(&mut random, steps / 2, &reference, &mountpoint).context(round)?;
        node.unmount()?;
        let node = tree.mount(&mountpoint, &MountOptions::for_tests())?;
        compare_trees(&tree::describe(reference.path())?, &tree::describe(&mountpoint)?).context("mounted again")?;
        node.unmount()?;
        tree.check_clean()?;
    }
    Ok(())
}

fn half(random: &mut fastrand::Rng, steps: usize, reference: &Backing, directory: &Path) -> Result<()> {
    let lost_and_found = reference.path().join("lost+found");
    if lost_and_found.exists() {
        std::fs::remove_dir(lost_and_found)?;
    }
    let (mut ext4, mut mount) = (World::new(reference.path()), World::new(directory));
    run_both(random, steps, &mut ext4, &mut mount)?;
    ext4.close_all();
    mount.close_all();
    compare_trees(&tree::describe(reference.path())?, &tree::describe(directory)?)
}
