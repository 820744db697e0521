//! An author of apps, who has the compilers that `tools/guest-toolchain` sets up.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::binary::{bt_binary, target_directory};
use crate::command::{Finished, run, run_checked};
use crate::limits::COMMAND_TIMEOUT;
use crate::scratch::Scratch;

/// A principal that signs packages, and the place where it keeps them.
#[derive(Debug)]
pub struct Author {
    directory: PathBuf,
}

impl Author {
    /// Makes a principal in a directory of `scratch`.
    ///
    /// # Errors
    /// When its credential cannot be made.
    pub fn new(scratch: &Scratch) -> Result<Self> {
        let author = Self { directory: scratch.directory("author")? };
        fs::write(author.directory.join("passphrase"), "author of apps\n")?;
        author.bt(&["principal", "create", "author.key"])?;
        Ok(author)
    }

    /// The directory that its commands run in; its credential there is `author.key`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs `bt ARGUMENTS`, which must succeed.
    ///
    /// # Errors
    /// When it fails; with what it said.
    pub fn bt(&self, arguments: &[&str]) -> Result<Finished> {
        run_checked(&mut self.command(arguments)?, COMMAND_TIMEOUT)
    }

    /// Runs `bt ARGUMENTS`, whatever its exit code.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn try_bt(&self, arguments: &[&str]) -> Result<Finished> {
        run(&mut self.command(arguments)?, COMMAND_TIMEOUT)
    }

    /// The signed package of an example: a folder of `test-harness/apps`. It is built in a copy in cargo's target
    /// directory, where the next test finds it built.
    ///
    /// # Errors
    /// When the compilers are not there, or when it cannot be built.
    pub fn example(&self, name: &str) -> Result<PathBuf> {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../test-harness/apps");
        let copies = target_directory()?.join("example-apps");
        fs::create_dir_all(&copies)?;
        let lock = File::create(copies.join(format!("{name}.lock")))?;
        lock.lock()?;
        let mut copy = Command::new("cp");
        copy.args(["--recursive", "--dereference", "--update", "--preserve=timestamps", "--no-target-directory"]);
        run_checked(copy.arg(examples.join(name)).arg(copies.join(name)), COMMAND_TIMEOUT)?;
        let folder = copies.join(name);
        let folder = folder.to_str().context("the target directory has a name in UTF-8")?;
        self.bt(&["app", "build", folder])?;
        let package = self.pack(folder)?;
        let own = self.directory.join(package.file_name().context("a package has a name")?);
        fs::rename(&package, &own).or_else(|_| fs::copy(&package, &own).map(drop))?;
        self.bt(&["app", "sign", own.to_str().context("its name is in UTF-8")?, "--as", "author.key"])?;
        Ok(own)
    }

    /// Packs what was built in a folder; the package is not signed.
    ///
    /// # Errors
    /// When it cannot be packed.
    pub fn pack(&self, folder: &str) -> Result<PathBuf> {
        let packed = self.bt(&["app", "pack", folder, "--author", "author.key", "--output", "json"])?;
        let packed: serde_json::Value = serde_json::from_str(&packed.stdout)?;
        Ok(self.directory.join(packed["package"].as_str().context("it says where the package is")?))
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let compilers = target_directory()?.join("../guest/bin");
        ensure!(
            compilers.join("cargo").is_file(),
            "no compilers for apps at {}: run tools/guest-toolchain",
            compilers.display()
        );
        let others = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([compilers.canonicalize()?].into_iter().chain(std::env::split_paths(&others)))?;
        let mut command = Command::new(bt_binary()?);
        command.args(arguments).current_dir(&self.directory).env("PATH", path);
        command.env("BT_PASSPHRASE_FILE", "passphrase").env("BT_NEW_PASSPHRASE_FILE", "passphrase");
        Ok(command)
    }
}
