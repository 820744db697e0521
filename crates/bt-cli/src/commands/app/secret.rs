//! `bt app secret`: secrets that an app is given.

use std::io::Read;
use std::path::PathBuf;

use bt_node::control::app::SecretValue;
use bt_node::control::{Failure, Request, Response};
use bt_tree::app::PermissionName;
use clap::Subcommand;

use super::Which;
use crate::Outcome;
use crate::output::print;
use crate::target::{ask, unexpected};

/// The most bytes of a secret.
const LIMIT: u64 = 32 << 10;

/// Give apps the secrets that they ask for.
#[derive(Debug, clap::Args)]
pub struct Secret {
    #[command(subcommand)]
    command: SecretCommand,
}

#[derive(Debug, Subcommand)]
enum SecretCommand {
    /// Set a secret: read from standard input, or from a file; one line end at its end is left out
    ///
    /// It is sealed to this node, kept in the tree, and given to the app as an environment variable while the permission
    /// is granted. No listing and no log shows it.
    Set {
        #[command(flatten)]
        which: Which,
        /// The permission that it is for
        permission: PermissionName,
        /// A file with the secret; else it is read from standard input
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// Runs the command.
pub fn run(arguments: &Secret) -> Outcome {
    let SecretCommand::Set { which, permission, file } = &arguments.command;
    let value = SecretValue(read(file.as_ref())?);
    let request = Request::AppSecret { name: which.name.to_string(), permission: permission.to_string(), value };
    match ask(&which.dir, true, request)? {
        Response::Done => print(&format!("the secret {permission} of {} is set\n", which.name)),
        other => Err(unexpected(&other).into()),
    }
}

fn read(file: Option<&PathBuf>) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match file {
        Some(file) => std::fs::File::open(file).and_then(|file| file.take(LIMIT + 1).read_to_string(&mut text)),
        None => std::io::stdin().lock().take(LIMIT + 1).read_to_string(&mut text),
    };
    read.map_err(|error| Failure::io("reading the secret", &error))?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}
