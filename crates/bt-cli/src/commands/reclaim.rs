//! `bt reclaim`: gives space back.

use std::path::PathBuf;

use bt_node::control::report::ReclaimReport;
use bt_node::control::{Request, Response};

use crate::Outcome;
use crate::arguments::OutputOption;
use crate::output::show;
use crate::target::{ask, unexpected};
use crate::units::bytes;

/// Give the space of deleted and overwritten data back to the disk.
///
/// A mounted tree does this by itself when it is worth it; this does it now. It can be interrupted at any time.
#[derive(Debug, clap::Args)]
pub struct Reclaim {
    /// The node's directory, or the mount point
    dir: PathBuf,
    /// Every segment with anything to give back, however little
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    output: OutputOption,
}

/// Runs the command.
pub fn run(arguments: &Reclaim) -> Outcome {
    match ask(&arguments.dir, true, Request::Reclaim { all: arguments.all })? {
        Response::Reclaimed(report) => show(arguments.output.output, &report, text),
        other => Err(unexpected(&other).into()),
    }
}

fn text(report: &ReclaimReport) -> String {
    format!(
        "{} given back to the disk: {} of {} segments dropped, {} copied\n",
        bytes(report.freed_bytes),
        report.dropped,
        report.examined,
        bytes(report.moved_bytes)
    )
}
