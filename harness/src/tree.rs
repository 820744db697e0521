//! A tree's directory and the `bt` commands on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::binary::bt_binary;
use crate::command::{Finished, run, run_checked};
use crate::limits::{COMMAND_TIMEOUT, NODE_TIMEOUT};
use crate::node::{MountOptions, Node};
use crate::scratch::Scratch;

/// A tree on disk: the directory that `bt init` filled, and the file with its passphrase.
#[derive(Debug, Clone)]
pub struct Tree {
    directory: PathBuf,
    passphrase_file: PathBuf,
    scratch: PathBuf,
}

impl Tree {
    /// Makes a new tree in `directory` (which must not exist or be empty).
    ///
    /// # Errors
    /// When `bt init` fails; the error carries its output.
    pub fn init(scratch: &Scratch, directory: &Path) -> Result<Self> {
        Self::init_with(scratch, directory, &[])
    }

    /// As [`Tree::init`], with more arguments.
    ///
    /// # Errors
    /// As [`Tree::init`].
    pub fn init_with(scratch: &Scratch, directory: &Path, arguments: &[&str]) -> Result<Self> {
        let passphrase_file = scratch.path().join("passphrase");
        fs::write(&passphrase_file, "correct horse battery staple\n")?;
        let tree = Self { directory: directory.to_path_buf(), passphrase_file, scratch: scratch.path().to_path_buf() };
        let mut init = tree.command(&["init"])?;
        init.arg("--passphrase-file").arg(&tree.passphrase_file).args(arguments);
        run_checked(&mut init, NODE_TIMEOUT)?;
        Ok(tree)
    }

    /// The directory that holds the tree.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file with the passphrase of its root, and of principals made for tests.
    #[must_use]
    pub fn passphrase_file(&self) -> &Path {
        &self.passphrase_file
    }

    /// The same tree found in another directory: a copy to damage or to roll back.
    #[must_use]
    pub fn at(&self, directory: &Path) -> Self {
        Self { directory: directory.to_path_buf(), ..self.clone() }
    }

    /// Copies all its files to `directory`, holes kept, as they are now (a mounted tree as a crash would leave it).
    ///
    /// # Errors
    /// When `cp` fails.
    pub fn copy_to(&self, directory: &Path) -> Result<Self> {
        let mut copy = Command::new("cp");
        copy.args(["-a", "--sparse=always", "--reflink=auto"]).arg(&self.directory).arg(directory);
        run_checked(&mut copy, COMMAND_TIMEOUT)?;
        Ok(self.at(directory))
    }

    /// Mounts the tree at `mountpoint` in a child process and waits until it is up.
    ///
    /// # Errors
    /// When the node ends instead, or is not up in time; the error carries its log.
    pub fn mount(&self, mountpoint: &Path, options: &MountOptions) -> Result<Node> {
        Node::start(self, mountpoint, options)
    }

    /// `bt WORDS DIR`, ready to run or to be given more arguments.
    ///
    /// # Errors
    /// When there is no `bt` command.
    pub fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = Command::new(bt_binary()?);
        command.args(words).arg(&self.directory);
        command.env("BT_PASSPHRASE_FILE", &self.passphrase_file);
        Ok(command)
    }

    /// Runs `bt WORDS DIR ARGUMENTS` and returns how it ended.
    ///
    /// # Errors
    /// When it cannot be started or does not end in time.
    pub fn run(&self, words: &[&str], arguments: &[&str]) -> Result<Finished> {
        run(self.command(words)?.args(arguments), COMMAND_TIMEOUT)
    }

    /// Runs `bt status` and returns what it reports.
    ///
    /// # Errors
    /// When the command fails or does not write JSON.
    pub fn status(&self) -> Result<Value> {
        let finished = run_checked(self.command(&["status"])?.args(["--output", "json"]), COMMAND_TIMEOUT)?;
        serde_json::from_str(&finished.stdout).with_context(|| format!("bt status wrote {:?}", finished.stdout))
    }

    /// Runs `bt check` and returns how it ended: exit code 0 for a clean tree, 1 for one with damage.
    ///
    /// # Errors
    /// When it cannot be started or does not end in time.
    pub fn check(&self) -> Result<Finished> {
        self.run(&["check"], &["--output", "json"])
    }

    /// Runs `bt check`; damage is an error that carries the report.
    ///
    /// # Errors
    /// When the tree is not clean, or cannot be checked.
    pub fn check_clean(&self) -> Result<()> {
        run_checked(self.command(&["check"])?.args(["--output", "json"]), COMMAND_TIMEOUT)?;
        Ok(())
    }

    /// Runs `bt sync`: returns when all that was written before is durable.
    ///
    /// # Errors
    /// When the command fails.
    pub fn sync(&self) -> Result<()> {
        run_checked(&mut self.command(&["sync"])?, COMMAND_TIMEOUT)?;
        Ok(())
    }

    /// Runs `bt snapshot VERB DIR NAME`.
    ///
    /// # Errors
    /// When the command fails.
    pub fn snapshot(&self, verb: &str, arguments: &[&str]) -> Result<Finished> {
        run_checked(self.command(&["snapshot", verb])?.args(arguments), COMMAND_TIMEOUT)
    }

    /// The scratch area that the tree was made in.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }
}
