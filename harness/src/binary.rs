//! Where the `bt` command under test lies.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// The `bt` binary: `$BT_BIN`, else the one beside the running test in cargo's target directory.
///
/// # Errors
/// When there is none; the message says how to build it.
pub fn bt_binary() -> Result<PathBuf> {
    let binary = match env::var_os("BT_BIN") {
        Some(named) => PathBuf::from(named),
        None => target_directory()?.join("bt"),
    };
    ensure!(
        binary.is_file(),
        "no bt command at {}: build it with `cargo build -p bt-cli`, or name one in BT_BIN",
        binary.display()
    );
    Ok(binary)
}

/// The directory of cargo's profile that the running test belongs to (`target/debug` of `target/debug/deps/test`).
///
/// # Errors
/// When the running executable's path cannot be read.
pub fn target_directory() -> Result<PathBuf> {
    let executable = env::current_exe().context("the path of the running test cannot be read")?;
    let mut directory = executable.parent().context("the running test has no directory")?;
    if directory.ends_with("deps") {
        directory = directory.parent().context("the deps directory has no parent")?;
    }
    Ok(directory.to_path_buf())
}
