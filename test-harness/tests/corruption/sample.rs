//! Trees to damage, with what they hold.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use harness::{Backing, MountOptions, Scratch, Tree};
use test_harness::sys;

use super::damage::{Damage, check, mount_and};

/// Room for the trees and one damaged copy.
const AREA_MIB: u64 = 2048;

/// A tree with files of all sizes that were written in two sittings, each ended by an unmount.
pub struct Sample {
    tree: Tree,
    older: Tree,
    foreign: Tree,
    files: BTreeMap<String, Vec<u8>>,
    listings: BTreeMap<String, Vec<Vec<u8>>>,
    mountpoint: PathBuf,
    area: Backing,
    _scratch: Scratch,
}

impl Sample {
    /// Makes it, and one more tree of the same content.
    pub fn new(name: &str) -> Result<Self> {
        harness::require_root_and_fuse()?;
        let scratch = Scratch::new(name)?;
        let area = Backing::tmpfs(&scratch, "area", AREA_MIB)?;
        let mountpoint = scratch.directory("mount")?;
        let mut files = BTreeMap::new();
        let (older, tree) = (area.path().join("older"), Tree::init(&scratch, &area.path().join("tree"))?);
        let foreign = Tree::init(&scratch, &area.path().join("foreign"))?;
        fill(&foreign, &mountpoint, 1, &mut BTreeMap::new())?;
        fill(&tree, &mountpoint, 1, &mut files)?;
        let older = tree.copy_to(&older)?;
        fill(&tree, &mountpoint, 2, &mut files)?;
        let mut listings: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for path in files.keys() {
            let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
            listings.entry(directory.to_owned()).or_default().push(name.as_bytes().to_vec());
            if !directory.is_empty() {
                let names = listings.entry(String::new()).or_default();
                if !names.iter().any(|known| known == directory.as_bytes()) {
                    names.push(directory.as_bytes().to_vec());
                }
            }
        }
        listings.values_mut().for_each(|names| names.sort());
        Ok(Self { tree, older, foreign, files, listings, mountpoint, area, _scratch: scratch })
    }

    /// The tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The same tree after its first sitting.
    pub fn older(&self) -> &Tree {
        &self.older
    }

    /// Another tree.
    pub fn foreign(&self) -> &Tree {
        &self.foreign
    }

    /// Paths and contents.
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }

    /// Directories and their sorted names.
    pub fn listings(&self) -> &BTreeMap<String, Vec<Vec<u8>>> {
        &self.listings
    }

    /// Where to mount.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Where to put copies.
    pub fn area(&self) -> &Path {
        self.area.path()
    }

    /// The own file that stands where `foreign` stands in the other tree (their zones have other names).
    pub fn own_name(&self, foreign: &str) -> Result<Option<String>> {
        let last = |path: &str| path.rsplit('/').next().map(str::to_owned);
        let own = files_of(&self.tree)?.into_iter().map(|(file, _)| file);
        Ok(own.into_iter().find(|own| own == foreign || (own.starts_with("zones/") && last(own) == last(foreign))))
    }
}

/// Regular files of a tree and their lengths, by name; not the lock and the socket, which hold nothing.
pub fn files_of(tree: &Tree) -> Result<Vec<(String, u64)>> {
    fn walk(top: &Path, directory: &Path, files: &mut Vec<(String, u64)>) -> Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                walk(top, &entry.path(), files)?;
            } else if kind.is_file() && entry.file_name() != "lock" {
                let name =
                    entry.path().strip_prefix(top)?.to_str().context("a tree's files have plain names")?.to_owned();
                files.push((name, entry.metadata()?.len()));
            }
        }
        Ok(())
    }
    let mut files = Vec::new();
    walk(tree.directory(), tree.directory(), &mut files)?;
    files.sort();
    Ok(files)
}

/// Writes files for one sitting: new ones, and changes of those of the sitting before.
fn fill(tree: &Tree, mountpoint: &Path, sitting: u8, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    let node = tree.mount(mountpoint, &MountOptions::for_tests())?;
    let mut put = |path: String, content: Vec<u8>| -> Result<()> {
        let full = mountpoint.join(&path);
        fs::create_dir_all(full.parent().context("inside the mount")?)?;
        let mut file = File::create(&full)?;
        file.write_all(&content)?;
        file.sync_all()?;
        files.insert(path, content);
        Ok(())
    };
    let mut random = fastrand::Rng::with_seed(u64::from(sitting));
    let mut bytes = |length: usize| -> Vec<u8> { (0..length).map(|_| random.u8(..)).collect() };
    for number in 0..20 {
        put(format!("small{sitting}/{number}"), bytes(100 + number * 150))?;
        put(format!("middle/{number}"), bytes(20_000 + number * 1000))?;
    }
    tree.sync()?;
    if sitting == 1 {
        put("large".into(), bytes(6 << 20))?;
    }
    put("changed".into(), bytes(300_000))?;
    node.unmount()?;
    Ok(())
}

/// A tree whose node was killed, so that its last state is in the journal: `LAST` steps, each a new name and a new
/// content of one file, made durable together.
pub struct JournalSample {
    tree: Tree,
    mountpoint: PathBuf,
    area: Backing,
    _scratch: Scratch,
}

/// Steps in the journal.
const LAST: u8 = 40;
/// Bytes of the file that each step overwrites.
const LENGTH: usize = 10_000;

impl JournalSample {
    /// Makes it.
    pub fn new(name: &str) -> Result<Self> {
        harness::require_root_and_fuse()?;
        let scratch = Scratch::new(name)?;
        let area = Backing::tmpfs(&scratch, "area", AREA_MIB)?;
        let mountpoint = scratch.directory("mount")?;
        let tree = Tree::init(&scratch, &area.path().join("tree"))?;
        let node = tree.mount(&mountpoint, &MountOptions::for_tests())?;
        let file = File::create(mountpoint.join("file"))?;
        for step in 1..=LAST {
            fs::write(mountpoint.join(format!("n{step:02}")), "")?;
            file.write_all_at(&[step; LENGTH], 0)?;
            file.sync_all()?;
        }
        node.kill()?;
        Ok(Self { tree, mountpoint, area, _scratch: scratch })
    }

    /// The journal's name in the tree.
    pub fn journal(&self) -> Result<String> {
        let files = files_of(&self.tree)?;
        let journal = files.into_iter().map(|(file, _)| file).find(|file| file.ends_with("/journal"));
        journal.context("a zone has a journal")
    }

    /// How much of the journal is not zero.
    pub fn used_bytes(&self) -> Result<u64> {
        let bytes = fs::read(self.tree.directory().join(self.journal()?))?;
        let last = bytes.iter().rposition(|byte| *byte != 0).context("the journal was written")?;
        Ok(last as u64 + 1)
    }

    /// Damages a copy: it must be refused, or show the whole last step or the one before it, whole.
    pub fn assess(&self, damage: &Damage) -> Result<String> {
        let directory = self.area.path().join("damaged");
        let copy = self.tree.copy_to(&directory)?;
        damage.apply(&directory, None)?;
        let clean = check(&copy);
        let seen = mount_and(&copy, &self.mountpoint, last_step);
        fs::remove_dir_all(&directory)?;
        match (clean?, seen?) {
            (true, None) => anyhow::bail!("bt check found nothing, but it cannot be mounted"),
            (false, None) => Ok("refused".into()),
            (clean, Some(step)) => {
                ensure!(step + 1 >= LAST, "only {step} of {LAST} acknowledged steps are there (clean: {clean})");
                Ok(format!("step {step}"))
            }
        }
    }
}

/// The step whose state a mounted [`JournalSample`] shows.
fn last_step(mounted: &Path) -> Result<u8> {
    let names = sys::names(mounted.as_os_str().as_encoded_bytes())?;
    let steps = names.iter().filter(|name| name.starts_with(b"n")).count() as u8;
    let content = sys::content(mounted.join("file").as_os_str().as_encoded_bytes())?;
    let whole = content.len() == LENGTH && content.iter().all(|byte| *byte == steps);
    ensure!(whole, "the file does not belong to step {steps}, whose names are there");
    ensure!(names.len() == usize::from(steps) + 1, "names are missing in the middle");
    Ok(steps)
}
