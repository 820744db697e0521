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

/// A mounted tree of its own for one test, or a directory in `$BT_TEST_SUBJECT`.
#[derive(Debug)]
pub struct Mounted {
    /// `None` for a foreign directory, or while it is not mounted.
    node: Option<Node>,
    tree: Option<Tree>,
    directory: PathBuf,
    scratch: Scratch,
}

impl Mounted {
    /// Makes a tree and mounts it.
    ///
    /// # Errors
    /// When the test does not run as root, or the tree cannot be made or mounted.
    pub fn new(name: &str) -> Result<Self> {
        harness::require_root_and_fuse()?;
        let scratch = Scratch::new(name)?;
        if let Some(other) = env::var_os("BT_TEST_SUBJECT") {
            let directory = Path::new(&other).join(format!("{name}.{}", std::process::id()));
            std::fs::create_dir(&directory)?;
            return Ok(Self { node: None, tree: None, directory, scratch });
        }
        let tree = Tree::init(&scratch, &scratch.path().join("tree"))?;
        let directory = scratch.directory("mount")?;
        let node = tree.mount(&directory, &MountOptions::for_tests())?;
        Ok(Self { node: Some(node), tree: Some(tree), directory, scratch })
    }

    /// The directory to work in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The scratch area, on an ordinary file system.
    #[must_use]
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Runs `bt sync`.
    ///
    /// # Errors
    /// When the command fails.
    pub fn sync(&self) -> Result<()> {
        self.tree.as_ref().map_or(Ok(()), Tree::sync)
    }

    /// Sends SIGKILL to the node and returns at once.
    pub fn kill_now(&self) {
        if let Some(node) = &self.node {
            node.kill_now();
        }
    }

    /// Waits for the end of a killed node, checks the tree and mounts it again.
    ///
    /// # Errors
    /// When the check finds damage, or the tree cannot be mounted.
    pub fn mount_after_kill(&mut self) -> Result<()> {
        if let Some(node) = self.node.take() {
            node.kill()?;
        }
        self.mount_again()
    }

    /// Unmounts, checks and mounts again: what is read afterwards comes from the disk.
    ///
    /// # Errors
    /// When the node did not end well, the check finds damage, or the tree cannot be mounted.
    pub fn remount(&mut self) -> Result<()> {
        if let Some(node) = self.node.take() {
            node.unmount()?;
        }
        self.mount_again()
    }

    fn mount_again(&mut self) -> Result<()> {
        if let Some(tree) = &self.tree {
            tree.check_clean()?;
            self.node = Some(tree.mount(&self.directory, &MountOptions::for_tests())?);
        }
        Ok(())
    }

    /// Unmounts and checks.
    ///
    /// # Errors
    /// When the node did not end well, or the check finds damage.
    pub fn finish(mut self) -> Result<()> {
        match (self.node.take(), &self.tree) {
            (Some(node), Some(tree)) => {
                node.unmount()?;
                tree.check_clean()
            }
            _ => Ok(std::fs::remove_dir_all(&self.directory)?),
        }
    }
}
