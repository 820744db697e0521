//! Kinds of damage, and what may be seen after each.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use harness::{MountOptions, Tree};
use test_harness::sys;

use super::sample::Sample;

/// What is done to the files of a tree; names are relative to its directory.
#[derive(Debug, Clone)]
pub enum Damage {
    /// Nothing: the copy itself must be good.
    None,
    /// One bit is the other way.
    Flip { file: String, offset: u64, bit: u8 },
    /// The file ends at this length.
    Truncate(String, u64),
    /// The file is gone.
    Remove(String),
    /// Two files have each other's content.
    Swap(String, String),
    /// The file is as it was earlier.
    RollBack(String),
    /// The file of another tree in the place of the own one.
    Foreign { foreign: String, own: String },
}

/// What was seen of a damaged tree.
#[derive(Debug)]
pub enum Outcome {
    /// Everything reads as it was written.
    Right,
    /// It was mounted, and this many files gave EIO.
    Unreadable(usize),
    /// It was refused with a message.
    NotMounted,
}

impl Damage {
    /// A random bit of the first `length` bytes of `file`; `None` when there is none.
    pub fn flip(random: &mut fastrand::Rng, file: &str, length: u64) -> Option<Self> {
        (length > 0).then(|| Self::Flip { file: file.to_owned(), offset: random.u64(..length), bit: random.u8(..8) })
    }

    /// A random bit of a random byte that is not zero: journals and heads are mostly room for what comes later.
    pub fn flip_used(random: &mut fastrand::Rng, file: &str, content: &[u8]) -> Option<Self> {
        let used: Vec<u64> = (0_u64..).zip(content).filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect();
        let offset = *used.get(random.usize(..used.len().max(1)))?;
        Some(Self::Flip { file: file.to_owned(), offset, bit: random.u8(..8) })
    }

    /// Does it to the tree in `directory`.
    pub fn apply(&self, directory: &Path, sample: Option<&Sample>) -> Result<()> {
        match self {
            Self::None => {}
            Self::Flip { file, offset, bit } => {
                let file = File::options().read(true).write(true).open(directory.join(file))?;
                let mut byte = [0];
                file.read_exact_at(&mut byte, *offset)?;
                file.write_all_at(&[byte[0] ^ 1 << bit], *offset)?;
            }
            Self::Truncate(file, length) => {
                File::options().write(true).open(directory.join(file))?.set_len(*length)?;
            }
            Self::Remove(file) => fs::remove_file(directory.join(file))?,
            Self::Swap(left, right) => {
                let (left, right, aside) = (directory.join(left), directory.join(right), directory.join("aside"));
                fs::rename(&left, &aside)?;
                fs::rename(&right, &left)?;
                fs::rename(&aside, &right)?;
            }
            Self::RollBack(file) => {
                let older = sample.context("only a sample has an older state")?.older();
                fs::copy(older.directory().join(file), directory.join(file))?;
            }
            Self::Foreign { foreign, own } => {
                let other = sample.context("only a sample has a foreign tree")?.foreign();
                fs::copy(other.directory().join(foreign), directory.join(own))?;
            }
        }
        Ok(())
    }
}

/// Damages a copy, checks it, mounts it and reads everything.
///
/// # Errors
/// When something is wrong and not an error, when a panic is in a log, or when `bt check` does not see what a reader
/// sees.
pub fn assess(sample: &Sample, damage: &Damage) -> Result<Outcome> {
    let directory = sample.area().join("damaged");
    let tree = sample.tree().copy_to(&directory)?;
    let outcome = damage.apply(&directory, Some(sample)).and_then(|()| assess_copy(&tree, sample));
    fs::remove_dir_all(&directory)?;
    outcome
}

fn assess_copy(tree: &Tree, sample: &Sample) -> Result<Outcome> {
    let clean = check(tree)?;
    let outcome = match mount_and(tree, sample.mountpoint(), |mounted| read_all(sample, mounted))? {
        Some(unreadable) => match unreadable {
            0 => Outcome::Right,
            count => Outcome::Unreadable(count),
        },
        None => Outcome::NotMounted,
    };
    ensure!(!clean || matches!(outcome, Outcome::Right), "bt check found nothing, but this was seen: {outcome:?}");
    Ok(outcome)
}

/// Runs `bt check`: whether it found the tree clean.
pub fn check(tree: &Tree) -> Result<bool> {
    let finished = tree.check()?;
    ensure!(!finished.stderr.contains("panicked"), "bt check panicked:\n{}", finished.stderr);
    match finished.code() {
        0 => Ok(true),
        1 | 3 | 4 => {
            let said = finished.stdout.len() + finished.stderr.len();
            ensure!(said > 20, "bt check ended with {} and did not say why", finished.status);
            Ok(false)
        }
        _ => bail!("bt check ended with {}:\n{}{}", finished.status, finished.stdout, finished.stderr),
    }
}

/// Mounts, looks, and kills the node; `None` when the tree was refused with a message.
pub fn mount_and<T>(tree: &Tree, mountpoint: &Path, look: impl FnOnce(&Path) -> Result<T>) -> Result<Option<T>> {
    match tree.mount(mountpoint, &MountOptions::for_tests()) {
        Ok(node) => {
            let seen = look(mountpoint);
            node.kill()?;
            seen.map(Some)
        }
        Err(error) => {
            let text = format!("{error:#}");
            ensure!(!text.contains("panicked"), "bt mount panicked: {text}");
            ensure!(text.contains("error"), "bt mount gave no reason: {text}");
            ensure!(!text.contains("in time"), "bt mount hung: {text}");
            Ok(None)
        }
    }
}

/// Reads every file; how many gave EIO. Anything else that is not as it was written is an error.
fn read_all(sample: &Sample, mounted: &Path) -> Result<usize> {
    let mut unreadable = 0;
    for (directory, names) in sample.listings() {
        match sys::names(mounted.join(directory).as_os_str().as_encoded_bytes()) {
            Ok(found) => ensure!(&found == names, "the listing of {directory:?} is wrong"),
            Err(errno) => ensure!(errno.0 == libc::EIO, "listing {directory:?} gave {errno}"),
        }
    }
    for (path, content) in sample.files() {
        match sys::content(mounted.join(path).as_os_str().as_encoded_bytes()) {
            Ok(found) => ensure!(&found == content, "WRONG BYTES in {path}: {} bytes", found.len()),
            Err(errno) => {
                ensure!(errno.0 == libc::EIO, "reading {path} gave {errno}");
                unreadable += 1;
            }
        }
    }
    Ok(unreadable)
}
