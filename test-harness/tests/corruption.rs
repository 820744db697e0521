//! Damage to the files of a tree: errors that say so, never wrong bytes, never a panic.
//!
//! Each kind of damage is done to a copy of one tree, which is then checked, mounted and read. `CORRUPTION_SEED=N`
//! chooses the same bits again, `CORRUPTION_FLIPS=N` how many in each file.

#[path = "corruption/damage.rs"]
mod damage;
#[path = "corruption/sample.rs"]
mod sample;

use std::env;

use anyhow::{Result, ensure};
use damage::{Damage, Outcome, assess};
use sample::{JournalSample, Sample, files_of};

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

fn random() -> fastrand::Rng {
    let seed = number("CORRUPTION_SEED", fastrand::u64(..1 << 40));
    println!("to run it again: CORRUPTION_SEED={seed} cargo test -p test-harness --test corruption");
    fastrand::Rng::with_seed(seed)
}

/// Applies each kind of damage to a copy of its own; fails with all that went wrong.
fn assess_all(sample: &Sample, damages: &[Damage]) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    let mut failures = Vec::new();
    for damage in damages {
        match assess(sample, damage) {
            Ok(outcome) => {
                println!("{damage:?}: {outcome:?}");
                outcomes.push(outcome);
            }
            Err(error) => failures.push(format!("{damage:?}: {error:#}")),
        }
    }
    ensure!(failures.is_empty(), "{} of {}:\n{}", failures.len(), damages.len(), failures.join("\n"));
    Ok(outcomes)
}

#[test]
fn an_undamaged_copy_is_clean() -> Result<()> {
    let sample = Sample::new("corruption-none")?;
    let outcomes = assess_all(&sample, &[Damage::None])?;
    ensure!(matches!(outcomes[..], [Outcome::Right]), "{outcomes:?}");
    Ok(())
}

#[test]
fn flipped_bits_are_found() -> Result<()> {
    let sample = Sample::new("corruption-flips")?;
    let mut random = random();
    let flips = number("CORRUPTION_FLIPS", 4);
    let mut damages = Vec::new();
    for (file, length) in files_of(sample.tree())? {
        // Most bytes are in containers, so most flips are, too.
        let count = if file.starts_with("containers") { flips * 4 } else { flips };
        let content = std::fs::read(sample.tree().directory().join(&file))?;
        damages.extend((0..count).filter_map(|_| Damage::flip_used(&mut random, &file, &content)));
        damages.extend(Damage::flip(&mut random, &file, length));
    }
    let outcomes = assess_all(&sample, &damages)?;
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::NotMounted)).count();
    ensure!(refused < outcomes.len(), "a flipped bit never kept the tree from being mounted, or always did");
    Ok(())
}

#[test]
fn damaged_content_leaves_the_rest_readable() -> Result<()> {
    let sample = Sample::new("corruption-local")?;
    let mut random = random();
    let containers = files_of(sample.tree())?.into_iter().filter(|(file, _)| file.starts_with("containers"));
    let (largest, length) = containers.max_by_key(|(_, length)| *length).expect("a tree with data has a container");
    let damages: Vec<_> = (0..12).filter_map(|_| Damage::flip(&mut random, &largest, length)).collect();
    let outcomes = assess_all(&sample, &damages)?;
    // The large file is most of the container: a flip there must not reach anything else.
    let local =
        outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Right | Outcome::Unreadable(0..=1))).count();
    ensure!(local * 2 > outcomes.len(), "only {local} of {} flips kept to one file: {outcomes:?}", outcomes.len());
    ensure!(outcomes.iter().any(|outcome| matches!(outcome, Outcome::Unreadable(1))), "no flip met the large file");
    Ok(())
}

#[test]
fn cut_and_missing_files_are_found() -> Result<()> {
    let sample = Sample::new("corruption-cut")?;
    let mut damages = Vec::new();
    for (file, length) in files_of(sample.tree())? {
        damages.push(Damage::Remove(file.clone()));
        damages.push(Damage::Truncate(file.clone(), 0));
        if length > 1 {
            damages.push(Damage::Truncate(file.clone(), length / 2));
            damages.push(Damage::Truncate(file, length - 1));
        }
    }
    assess_all(&sample, &damages).map(drop)
}

#[test]
fn swapped_files_are_found() -> Result<()> {
    let sample = Sample::new("corruption-swapped")?;
    let files: Vec<String> = files_of(sample.tree())?.into_iter().map(|(file, _)| file).collect();
    let mut damages = Vec::new();
    for (position, left) in files.iter().enumerate() {
        for right in &files[position + 1..] {
            // Files of one directory are of related kinds; others are told apart by more.
            if left.rsplit_once('/').map(|parts| parts.0) == right.rsplit_once('/').map(|parts| parts.0) {
                damages.push(Damage::Swap(left.clone(), right.clone()));
            }
        }
    }
    assess_all(&sample, &damages).map(drop)
}

#[test]
fn files_rolled_back_one_by_one_are_found() -> Result<()> {
    let sample = Sample::new("corruption-rollback")?;
    let damages: Vec<Damage> = files_of(sample.older())?.into_iter().map(|(file, _)| Damage::RollBack(file)).collect();
    assess_all(&sample, &damages).map(drop)
}

#[test]
fn files_of_another_tree_are_refused() -> Result<()> {
    let sample = Sample::new("corruption-foreign")?;
    let mut damages = Vec::new();
    for (file, _) in files_of(sample.foreign())? {
        let own = sample.own_name(&file)?;
        damages.extend(own.map(|own| Damage::Foreign { foreign: file, own }));
    }
    assess_all(&sample, &damages).map(drop)
}

#[test]
fn a_damaged_journal_never_loses_the_middle() -> Result<()> {
    let sample = JournalSample::new("corruption-journal")?;
    let mut random = random();
    let used = sample.used_bytes()?;
    let mut failures = Vec::new();
    for _ in 0..number("CORRUPTION_FLIPS", 4) * 6 {
        let damage = Damage::flip(&mut random, &sample.journal()?, used).expect("the journal is not empty");
        match sample.assess(&damage) {
            Ok(what) => println!("{damage:?}: {what}"),
            Err(error) => failures.push(format!("{damage:?}: {error:#}")),
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}
