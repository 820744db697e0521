//! `bt app`: apps, for their authors and for owners of trees.

mod build;
mod change;
mod grants;
mod handover;
mod info;
mod install;
mod new;
mod pack;
mod secret;
mod show;
mod sign;
mod token;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bt_crypto::KeyStore;
use bt_node::control::app::AppTerms;
use bt_node::control::{Failure, Request, Response};
use bt_tree::app::{AppName, Installation, Package};
use clap::Subcommand;

use crate::Outcome;
use crate::rights::change_in;
use crate::signer::SignerOptions;
use crate::target::{Target, unexpected};

/// Make apps, install them in a tree, and say what they may do.
///
/// An app is a WebAssembly component with a manifest, signed by its author: one file, its package. It runs while an
/// installation in a tree allows it, and does only what its manifest asks for and the owner granted; `bt node run` serves
/// it over HTTP. doc/apps.md shows the way to a first one.
#[derive(Debug, clap::Args)]
pub struct App {
    #[command(subcommand)]
    command: AppCommand,
}

#[derive(Debug, Subcommand)]
enum AppCommand {
    New(new::New),
    Build(build::Build),
    Pack(pack::Pack),
    Sign(sign::Sign),
    Handover(handover::HandoverArguments),
    Install(install::Install),
    Upgrade(install::Upgrade),
    Rollback(install::Rollback),
    List(show::List),
    Info(info::Info),
    Logs(show::Logs),
    Start(change::Start),
    Stop(change::Stop),
    Remove(change::Remove),
    Grant(change::Grant),
    Revoke(change::Revoke),
    Secret(secret::Secret),
    Token(token::Token),
}

/// Runs the command.
pub fn run(arguments: &App) -> Outcome {
    match &arguments.command {
        AppCommand::New(arguments) => new::run(arguments),
        AppCommand::Build(arguments) => build::run(arguments),
        AppCommand::Pack(arguments) => pack::run(arguments),
        AppCommand::Sign(arguments) => sign::run(arguments),
        AppCommand::Handover(arguments) => handover::run(arguments),
        AppCommand::Install(arguments) => install::install(arguments),
        AppCommand::Upgrade(arguments) => install::upgrade(arguments),
        AppCommand::Rollback(arguments) => install::rollback(arguments),
        AppCommand::List(arguments) => show::list(arguments),
        AppCommand::Info(arguments) => info::run(arguments),
        AppCommand::Logs(arguments) => show::logs(arguments),
        AppCommand::Start(arguments) => change::start(arguments),
        AppCommand::Stop(arguments) => change::stop(arguments),
        AppCommand::Remove(arguments) => change::remove(arguments),
        AppCommand::Grant(arguments) => change::grant(arguments),
        AppCommand::Revoke(arguments) => change::revoke(arguments),
        AppCommand::Secret(arguments) => secret::run(arguments),
        AppCommand::Token(arguments) => token::run(arguments),
    }
}

/// Which app of which tree.
#[derive(Debug, clap::Args)]
struct Which {
    /// The node's directory, or the mount point
    dir: PathBuf,
    /// The app
    name: AppName,
}

/// What is to be installed next.
enum Next {
    /// This, with its package where that is not in the tree yet.
    Installed(Box<Installation>, Option<Box<Package>>),
    /// Nothing any more.
    Removed,
}

/// Decides what is installed under a name, keeps it in the tree, and signs that it counts.
fn decide(
    dir: &Path,
    name: &AppName,
    signer: &SignerOptions,
    next: impl FnOnce(&AppTerms) -> Result<Next, Failure>,
) -> Result<Option<Installation>, Failure> {
    let signer: Arc<dyn KeyStore> = Arc::new(signer.open(dir)?);
    let mut target = Target::find_for(dir, signer.clone())?;
    let decided = decide_in(&mut target, name, &*signer, next);
    let closed = target.close();
    let decided = decided?;
    closed.map(|()| decided)
}

fn decide_in(
    target: &mut Target,
    name: &AppName,
    signer: &dyn KeyStore,
    next: impl FnOnce(&AppTerms) -> Result<Next, Failure>,
) -> Result<Option<Installation>, Failure> {
    let terms = match target.call(Request::AppTerms { name: name.to_string() })? {
        Response::AppTerms(terms) => terms,
        other => return Err(unexpected(&other)),
    };
    let (record, installation) = match next(&terms)? {
        Next::Removed => {
            terms.installed(name)?;
            (None, None)
        }
        Next::Installed(installation, package) => {
            let bytes = installation
                .to_bytes()
                .map_err(|error| Failure::refused(error.to_string(), "grant or keep less of it"))?;
            let package = package.map(|package| package.as_bytes().to_vec());
            match target.call(Request::AppPut { package, record: bytes })? {
                Response::AppRecord { record } => (Some(record), Some(*installation)),
                other => return Err(unexpected(&other)),
            }
        }
    };
    change_in(target, "/", signer, &|next, _| next.app(name, record))?;
    Ok(installation)
}
