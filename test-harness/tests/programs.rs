//! Real programs work on a mounted tree, and find their data again.
//!
//! A program that is not installed fails its test: `tools/packages test` installs those of Debian, and `tools/test`
//! builds fsx (`cargo install fsx`).

#[path = "programs/build.rs"]
mod build;
#[path = "programs/copies.rs"]
mod copies;
#[path = "programs/database.rs"]
mod database;
#[path = "programs/exercisers.rs"]
mod exercisers;
#[path = "programs/git.rs"]
mod git;

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use harness::{Finished, run_checked};

/// A program ends within this time.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs a program in `directory`; a bad exit is an error with its output.
fn program(directory: &Path, name: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Finished> {
    let mut command = Command::new(name);
    command.current_dir(directory).args(arguments);
    run_checked(&mut command, LIMIT)
}

/// Runs a shell script in `directory`, stopping at the first command that fails.
fn script(directory: &Path, text: &str) -> Result<Finished> {
    program(directory, "bash", ["-euo", "pipefail", "-c", text])
}
