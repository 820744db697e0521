//! `bt status`: how a tree and its mount are.

use std::path::PathBuf;

use bt_node::control::report::StatusReport;
use bt_node::control::{Request, Response};

use crate::arguments::OutputOption;
use crate::output::{columns, show};
use crate::target::{ask, unexpected};
use crate::tpm;
use crate::units::{bytes, time};
use crate::{End, Outcome};

/// Show how a tree and its mount are.
///
/// Ends with exit code 1 when the tree takes no more writes because of an error.
#[derive(Debug, clap::Args)]
pub struct Status {
    /// The node's directory, or the mount point
    dir: PathBuf,
    #[command(flatten)]
    output: OutputOption,
}

/// Runs the command.
pub fn run(arguments: &Status) -> Outcome {
    let status = match ask(&arguments.dir, false, Request::Status)? {
        Response::Status(status) => status,
        other => return Err(unexpected(&other).into()),
    };
    show(arguments.output.output, &*status, text)?;
    let failed = status.mount.as_ref().is_some_and(|mount| !mount.read_only) && status.read_only.is_some();
    if failed { Err(End::problems_shown()) } else { Ok(()) }
}

/// How many zones there are below the top, and which of them the figures are of.
fn zones(status: &StatusReport) -> String {
    let (all, open) = (status.zones, status.open_zones);
    match all - open.min(all) {
        0 => all.to_string(),
        closed => format!("{all}, {open} of them open; what is in the other {closed} is not counted here"),
    }
}

fn text(status: &StatusReport) -> String {
    let space = &status.space;
    let mount = match &status.mount {
        Some(mount) => format!(
            "at {} since {}, {}, transport {}{}, process {}",
            mount.mountpoint,
            time(mount.since),
            if mount.read_only { "read-only" } else { "read-write" },
            mount.transport,
            if mount.allow_other { ", other users allowed" } else { "" },
            status.pid
        ),
        None => "no".to_owned(),
    };
    let mut lines = vec![
        ("tree", status.tree.to_string()),
        ("zone", status.zone.to_string()),
        ("node", status.node.to_string()),
        ("node key", tpm::place(&status.node_key)),
        ("directory", status.dir.clone()),
        ("mounted", mount),
        ("revision", format!("{}, committed {}, epoch {}", status.revision, time(status.committed), status.epoch)),
        ("inodes", status.inodes.to_string()),
        ("zones below", zones(status)),
        ("snapshots", status.snapshots.to_string()),
        ("space", format!("{} available of {}", bytes(space.available_bytes), bytes(space.capacity_bytes))),
        (
            "stored",
            format!(
                "{} live, {} to be reclaimed, in {} segments and {} containers",
                bytes(space.live_bytes),
                bytes(space.dead_bytes),
                space.segments,
                space.containers
            ),
        ),
        ("not committed", bytes(status.dirty_bytes)),
        ("journal", format!("{} of {} used", bytes(status.journal_bytes), bytes(status.journal_capacity_bytes))),
    ];
    if let Some(why) = &status.read_only {
        lines.push(("read-only", why.clone()));
    }
    columns(&lines)
}
