//! `bt app`: apps, for their authors and for owners of trees.

use clap::Subcommand;

use crate::Outcome;

mod build;
mod handover;
mod info;
mod new;
mod pack;
mod sign;

/// Make apps.
///
/// An app is a WebAssembly component with a manifest, signed by its author: one file, its package. It does only what its
/// manifest asks for and the owner of a tree grants. doc/apps.md shows the way to a first one.
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
    Info(info::Info),
    Handover(handover::HandoverArguments),
}

/// Runs the command.
pub fn run(arguments: &App) -> Outcome {
    match &arguments.command {
        AppCommand::New(arguments) => new::run(arguments),
        AppCommand::Build(arguments) => build::run(arguments),
        AppCommand::Pack(arguments) => pack::run(arguments),
        AppCommand::Sign(arguments) => sign::run(arguments),
        AppCommand::Info(arguments) => info::run(arguments),
        AppCommand::Handover(arguments) => handover::run(arguments),
    }
}
