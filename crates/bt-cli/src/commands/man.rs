//! `bt man`: the manual pages.

use std::fs;
use std::path::{Path, PathBuf};

use bt_node::control::Failure;
use clap::CommandFactory;

use crate::Outcome;
use crate::arguments::Arguments;
use crate::output::print;

/// Write the manual pages.
///
/// Without DIR the page of `bt` itself goes to standard output.
#[derive(Debug, clap::Args)]
pub struct Man {
    /// An existing directory for one page a command, for instance /usr/local/share/man/man1
    dir: Option<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: &Man) -> Outcome {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    match &arguments.dir {
        Some(dir) => Ok(write_pages(dir, &command)?),
        None => print(&String::from_utf8(page(command)).expect("manual pages are text")),
    }
}

fn page(command: clap::Command) -> Vec<u8> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).expect("writing into memory does not fail");
    page
}

fn write_pages(dir: &Path, command: &clap::Command) -> Result<(), Failure> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let path = dir.join(format!("{name}.1"));
    fs::write(&path, page(command.clone()))
        .map_err(|error| Failure::io(format!("writing {}", path.display()), &error))?;
    command.get_subcommands().filter(|sub| !sub.is_hide_set()).try_for_each(|sub| write_pages(dir, sub))
}
