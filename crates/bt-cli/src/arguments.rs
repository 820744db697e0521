//! The command line as a type.

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand, ValueEnum};

use crate::commands::{
    access, app, bench, check, completions, init, inspect, internal, log, man, mount, node, principal, reclaim, rekey,
    revoke, root, share, snapshot, status, sync, unmount, whoami,
};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold());

/// An encrypted, signed, snapshotted file system.
///
/// A tree lives in a directory (DIR) and is used through a mount point. Commands on a DIR that is mounted are
/// answered by the process that serves it.
#[derive(Debug, Parser)]
#[command(name = "bt", version, styles = STYLES, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 fine, 1 found a problem, 2 usage, 3 refused, 4 input/output.";

/// All commands; their help stands at their arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(init::Init),
    Mount(mount::Mount),
    Unmount(unmount::Unmount),
    Status(status::Status),
    Sync(sync::Sync),
    Check(check::Check),
    Snapshot(snapshot::Snapshot),
    Inspect(inspect::Inspect),
    Reclaim(reclaim::Reclaim),
    Node(node::Node),
    Share(share::Share),
    Revoke(revoke::Revoke),
    Access(access::Access),
    Rekey(rekey::Rekey),
    App(app::App),
    Log(log::Log),
    Principal(principal::Principal),
    Root(root::Root),
    Whoami(whoami::Whoami),
    Bench(bench::Bench),
    Completions(completions::Completions),
    Man(man::Man),
    Internal(internal::Internal),
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON value.
    Json,
}

/// The option of every command that reads.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct OutputOption {
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Output,
}
