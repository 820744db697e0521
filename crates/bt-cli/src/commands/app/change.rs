//! `bt app start`, `stop`, `remove`, `grant` and `revoke`.

use bt_tree::app::PermissionName;

use super::grants::parse;
use super::{Next, Which, decide};
use crate::Outcome;
use crate::output::print;
use crate::signer::SignerOptions;

/// Let an app answer again.
#[derive(Debug, clap::Args)]
pub struct Start {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    signer: SignerOptions,
}

/// Keep an app from answering; its process ends, its grants and data stay.
#[derive(Debug, clap::Args)]
pub struct Stop {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    signer: SignerOptions,
}

/// Remove an app: what it was granted ends, what it wrote into the tree stays.
#[derive(Debug, clap::Args)]
pub struct Remove {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    signer: SignerOptions,
}

/// Grant an installed app a permission that it asks for, or change what was granted.
#[derive(Debug, clap::Args)]
pub struct Grant {
    #[command(flatten)]
    which: Which,
    /// The permission: as asked for, or with another directory (NAME=PATH) or a value (NAME=VALUE)
    #[arg(value_name = "NAME[=VALUE]")]
    permission: String,
    /// Let it hold whoever calls; else only as far as the caller may, too
    #[arg(long)]
    as_app: bool,
    #[command(flatten)]
    signer: SignerOptions,
}

/// Take a permission from an app; it counts for calls that run, too.
#[derive(Debug, clap::Args)]
pub struct Revoke {
    #[command(flatten)]
    which: Which,
    /// The permission
    permission: PermissionName,
    #[command(flatten)]
    signer: SignerOptions,
}

/// Runs `bt app start`.
pub fn start(arguments: &Start) -> Outcome {
    enable(&arguments.which, &arguments.signer, true)?;
    print(&format!("{} answers\n", arguments.which.name))
}

/// Runs `bt app stop`.
pub fn stop(arguments: &Stop) -> Outcome {
    enable(&arguments.which, &arguments.signer, false)?;
    print(&format!("{} is stopped\n", arguments.which.name))
}

fn enable(which: &Which, signer: &SignerOptions, enabled: bool) -> Outcome {
    decide(&which.dir, &which.name, signer, |terms| {
        Ok(Next::Installed(Box::new(terms.enable(&which.name, enabled)?), None))
    })?;
    Ok(())
}

/// Runs `bt app remove`.
pub fn remove(arguments: &Remove) -> Outcome {
    let Which { dir, name } = &arguments.which;
    decide(dir, name, &arguments.signer, |_| Ok(Next::Removed))?;
    print(&format!("{name} is removed\n"))
}

/// Runs `bt app grant`.
pub fn grant(arguments: &Grant) -> Outcome {
    let Which { dir, name } = &arguments.which;
    let mut words = String::new();
    decide(dir, name, &arguments.signer, |terms| {
        let package = terms.installed(name)?.package;
        let mut grant = parse(&arguments.permission, &terms.manifest(&package)?.permissions)?;
        grant.as_app = arguments.as_app;
        words = grant.in_words();
        Ok(Next::Installed(Box::new(terms.grant(name, grant)?), None))
    })?;
    print(&format!("{name} may {words}\n"))
}

/// Runs `bt app revoke`.
pub fn revoke(arguments: &Revoke) -> Outcome {
    let Which { dir, name } = &arguments.which;
    decide(dir, name, &arguments.signer, |terms| {
        Ok(Next::Installed(Box::new(terms.revoke(name, &arguments.permission)?), None))
    })?;
    print(&format!("{name} has {} no more\n", arguments.permission))
}
