//! Random operations on two directories, which must give the same results and leave the same tree.
//!
//! [`Operation::random`] draws an operation from a small set of names, so that operations meet each other;
//! [`World`] runs it in one directory and says what it saw; [`tree::describe`] writes down all that is there.

mod operation;
pub mod tree;
mod world;

pub use operation::{Name, Operation};
pub use world::World;

use anyhow::{Result, bail};

/// Operations shown before the one that differed.
const SHOWN: usize = 12;

/// Runs `steps` random operations of `random` in both worlds.
///
/// # Errors
/// At the first operation whose observation differs, with the operations before it.
pub fn run_both(random: &mut fastrand::Rng, steps: usize, ext4: &mut World, mount: &mut World) -> Result<()> {
    let mut history: Vec<String> = Vec::new();
    // One of the transports of a mount has no O_TMPFILE.
    let temporary_files = mount.has_temporary_files();
    for step in 0..steps {
        let operation = match Operation::random(random) {
            Operation::TemporaryFile { slot, .. } if !temporary_files => Operation::StatSlot { slot },
            operation => operation,
        };
        let (theirs, ours) = (ext4.run(&operation), mount.run(&operation));
        history.push(format!("{step}: {operation:?} -> {theirs}"));
        if ours != theirs {
            let before = history[history.len().saturating_sub(SHOWN)..].join("\n  ");
            bail!("step {step} differs: {operation:?}\n  ext4:  {theirs}\n  mount: {ours}\nlast steps:\n  {before}");
        }
    }
    Ok(())
}

/// Compares two descriptions of a tree, see [`tree::describe`].
///
/// # Errors
/// With the first entries that differ.
pub fn compare_trees(ext4: &tree::Description, mount: &tree::Description) -> Result<()> {
    let mut differences = Vec::new();
    let paths: std::collections::BTreeSet<_> = ext4.keys().chain(mount.keys()).collect();
    for path in paths {
        let (theirs, ours) = (ext4.get(path), mount.get(path));
        if theirs != ours {
            let shown = |entry: Option<&String>| entry.map_or("(nothing)", String::as_str).to_owned();
            differences.push(format!("{path}\n  ext4:  {}\n  mount: {}", shown(theirs), shown(ours)));
        }
    }
    if !differences.is_empty() {
        let first = &differences[..differences.len().min(SHOWN)];
        bail!("{} entries of the tree differ:\n{}", differences.len(), first.join("\n"));
    }
    Ok(())
}
