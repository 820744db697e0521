//! `bt app build`: runs the build command of an app.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bt_node::control::Failure;

use crate::Outcome;
use crate::authoring::project::Project;
use crate::output::print;
use crate::units;

/// Build an app: run the command in its app.toml
///
/// The command runs in the app's folder, with a shell, as the user who calls; cargo puts what it makes into the folder
/// target there. What was built is looked at: it must be a component, or a module for WASI preview 1, that has what the
/// app's entries need.
#[derive(Debug, clap::Args)]
pub struct Build {
    /// The app's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// Runs the command.
pub fn run(arguments: &Build) -> Outcome {
    let project = Project::open(&arguments.folder)?;
    if let Some(command) = project.build_command() {
        execute(command, project.folder())?;
    }
    let component = project.component()?;
    let from = if component.was_module() { ", made from a module" } else { "" };
    print(&format!("built a component of {}{from}\n", units::bytes(component.as_bytes().len() as u64)))
}

/// Runs it with its output going to standard error: the result of this command is another one.
fn execute(command: &str, folder: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io(format_args!("running {command:?} in {}", folder.display()), &error);
    let target = std::path::absolute(folder.join("target")).map_err(failed)?;
    let error_output = io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(folder).env("CARGO_TARGET_DIR", target).stdin(Stdio::null());
    let status = shell.stdout(error_output).status().map_err(failed)?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::problem(
            format!("the build command ended with {status}: {command}"),
            "if a compiler is missing: doc/apps.md says which are needed, and tools/guest-toolchain sets them up",
        )),
    }
}
