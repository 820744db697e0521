//! `bt sync`: everything durable and committed.

use std::path::PathBuf;

use bt_node::control::{Request, Response};

use crate::target::{ask, unexpected};
use crate::{Outcome, mounts};

/// Make everything written so far durable and commit it.
#[derive(Debug, clap::Args)]
pub struct Sync {
    /// The node's directory, or the mount point
    dir: PathBuf,
}

/// Runs the command.
pub fn run(arguments: &Sync) -> Outcome {
    mounts::write_out(&arguments.dir)?;
    match ask(&arguments.dir, true, Request::Sync)? {
        Response::Synced { .. } => Ok(()),
        other => Err(unexpected(&other).into()),
    }
}
