//! What is tested: a mounted tree, or any directory named in `$BT_TEST_SUBJECT`.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Result;
use harness::{Backing, MountOptions, Node, Scratch, Tree};

/// An ext4 reference directory beside the subject directory under test, on one scratch area.
///
/// Dropping it unmounts and removes everything.
#[derive(Debug)]
pub struct Subject {
    node: Option<Node>,
    directory: PathBuf,
    reference: Backing,
    scratch: Scratch,
}

impl Subject {
    /// Makes a fresh ext4 of `size_mib` as the reference, and a tree on another one, mounted.
    ///
    /// With `BT_TEST_SUBJECT=DIR` there is no tree, and a new directory in DIR is tested instead: to try the tests
    /// themselves on another file system.
    ///
    /// # Errors
    /// When the test does not run as root, or something cannot be made.
    pub fn new(name: &str, size_mib: u64) -> Result<Self> {
        harness::require_root_and_fuse()?;
        let scratch = Scratch::new(name)?;
        let reference = Backing::ext4(&scratch, "ext4", size_mib)?;
        if let Some(other) = env::var_os("BT_TEST_SUBJECT") {
            let directory = Path::new(&other).join(format!("{name}.{}", std::process::id()));
            std::fs::create_dir(&directory)?;
            return Ok(Self { node: None, directory, reference, scratch });
        }
        let tree = Tree::init(&scratch, &scratch.path().join("tree"))?;
        let mountpoint = scratch.directory("mount")?;
        let node = tree.mount(&mountpoint, &MountOptions::for_tests())?;
        Ok(Self { node: Some(node), directory: mountpoint, reference, scratch })
    }

    /// The directory under test.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory on ext4.
    #[must_use]
    pub fn reference(&self) -> &Path {
        self.reference.path()
    }

    /// The scratch area.
    #[must_use]
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Unmounts the tree as a user would, and fails when its log tells of a panic.
    ///
    /// # Errors
    /// As [`Node::unmount`].
    pub fn finish(mut self) -> Result<()> {
        match self.node.take() {
            Some(node) => node.unmount().map(drop),
            None => Ok(std::fs::remove_dir_all(&self.directory)?),
        }
    }
}
