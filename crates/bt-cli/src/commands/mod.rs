//! The commands, one file each.

pub(crate) mod access;
pub(crate) mod app;
pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod init;
pub(crate) mod inspect;
pub(crate) mod internal;
pub(crate) mod log;
pub(crate) mod man;
pub(crate) mod mount;
pub(crate) mod node;
mod node_run;
pub(crate) mod principal;
pub(crate) mod reclaim;
pub(crate) mod rekey;
pub(crate) mod revoke;
pub(crate) mod root;
pub(crate) mod share;
pub(crate) mod snapshot;
pub(crate) mod status;
pub(crate) mod sync;
pub(crate) mod unmount;
pub(crate) mod whoami;

use crate::Outcome;
use crate::arguments::Command;

/// Runs one command to its end.
pub(crate) fn run(command: Command) -> Outcome {
    match command {
        Command::Init(arguments) => init::run(&arguments),
        Command::Mount(arguments) => mount::run(&arguments),
        Command::Unmount(arguments) => unmount::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Sync(arguments) => sync::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Snapshot(arguments) => snapshot::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Reclaim(arguments) => reclaim::run(&arguments),
        Command::Node(arguments) => node::run(&arguments),
        Command::Share(arguments) => share::run(&arguments),
        Command::Revoke(arguments) => revoke::run(&arguments),
        Command::Access(arguments) => access::run(&arguments),
        Command::Rekey(arguments) => rekey::run(&arguments),
        Command::App(arguments) => app::run(&arguments),
        Command::Log(arguments) => log::run(&arguments),
        Command::Principal(arguments) => principal::run(&arguments),
        Command::Root(arguments) => root::run(&arguments),
        Command::Whoami(arguments) => whoami::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
        Command::Internal(arguments) => internal::run(&arguments),
    }
}
