//! `bt internal`: the processes that a node starts for apps. Nobody calls it by hand.

use std::process::ExitCode;

use crate::{End, Outcome};

/// Run as a process of an app; a node does that.
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub struct Internal {
    /// What the process is for
    role: String,
}

/// Runs until the node ends the process.
pub fn run(arguments: &Internal) -> Outcome {
    match bt_app::internal::run(&arguments.role) {
        code if code == ExitCode::SUCCESS => Ok(()),
        _ => Err(End::Quietly(1)),
    }
}
