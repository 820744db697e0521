//! `bt completions`: completions for shells.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::Outcome;
use crate::arguments::Arguments;
use crate::output::print;

/// Print completions for a shell.
///
/// For bash: bt completions bash > ~/.local/share/bash-completion/completions/bt
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub fn run(arguments: &Completions) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "bt", &mut script);
    print(&String::from_utf8(script).expect("completions are text"))
}
