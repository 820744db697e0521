//! `bt snapshot`: makes, lists, deletes and compares snapshots.

use std::path::{Path, PathBuf};

use bt_node::control::report::{Change, DiffReport, SnapshotInfo};
use bt_node::control::{Failure, Request, Response};
use clap::Subcommand;

use crate::arguments::OutputOption;
use crate::output::{note, show, table};
use crate::target::{Target, ask, unexpected};
use crate::units::{bytes, time};
use crate::{Outcome, mounts};

/// Make, list, delete and compare snapshots.
///
/// The content of a snapshot is readable on the mount in the directory `.snapshots/NAME`.
#[derive(Debug, clap::Args)]
pub struct Snapshot {
    #[command(subcommand)]
    command: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
enum SnapshotCommand {
    /// Keep the zone at the top as it is now under a name
    Create {
        /// The node's directory, or the mount point
        dir: PathBuf,
        /// A new name
        name: String,
        #[command(flatten)]
        output: OutputOption,
    },
    /// List all snapshots, oldest first
    List {
        /// The node's directory, or the mount point
        dir: PathBuf,
        #[command(flatten)]
        output: OutputOption,
    },
    /// Forget a snapshot and give its space back
    Delete {
        /// The node's directory, or the mount point
        dir: PathBuf,
        /// The name
        name: String,
    },
    /// List what differs between a snapshot and a later one, or the present
    Diff {
        /// The node's directory, or the mount point
        dir: PathBuf,
        /// The older snapshot
        from: String,
        /// The newer snapshot; the present when absent
        to: Option<String>,
        #[command(flatten)]
        output: OutputOption,
    },
}

/// Runs the command.
pub fn run(arguments: &Snapshot) -> Outcome {
    match &arguments.command {
        SnapshotCommand::Create { dir, name, output } => {
            mounts::write_out(dir)?;
            let (answer, zones) = ask_with_zones(dir, true, Request::SnapshotCreate { name: name.clone() })?;
            match answer {
                Response::SnapshotCreated(info) => show(output.output, &info, |info| list(std::slice::from_ref(info)))?,
                other => return Err(unexpected(&other).into()),
            }
            note_zones(zones);
            Ok(())
        }
        SnapshotCommand::List { dir, output } => {
            let (answer, zones) = ask_with_zones(dir, false, Request::SnapshotList)?;
            match answer {
                Response::Snapshots(snapshots) => show(output.output, &snapshots, |snapshots| list(snapshots))?,
                other => return Err(unexpected(&other).into()),
            }
            note_zones(zones);
            Ok(())
        }
        SnapshotCommand::Delete { dir, name } => {
            match ask(dir, true, Request::SnapshotDelete { name: name.clone() })? {
                Response::Done => Ok(()),
                other => Err(unexpected(&other).into()),
            }
        }
        SnapshotCommand::Diff { dir, from, to, output } => {
            match ask(dir, false, Request::SnapshotDiff { from: from.clone(), to: to.clone() })? {
                Response::Diff(diff) => {
                    show(output.output, &diff, differences)?;
                    if diff.truncated {
                        note("note: there are more differences than one answer holds; the list is cut");
                    }
                    Ok(())
                }
                other => Err(unexpected(&other).into()),
            }
        }
    }
}

/// The answer to a request, and how many zones there are below the top.
fn ask_with_zones(dir: &Path, write: bool, request: Request) -> Result<(Response, u64), Failure> {
    let mut target = Target::find(dir, write)?;
    let answer = target.call(request);
    let status = target.call(Request::Status);
    let closed = target.close();
    let zones = match status {
        Ok(Response::Status(status)) => status.zones,
        _ => 0,
    };
    let answer = answer?;
    closed.map(|()| (answer, zones))
}

fn note_zones(zones: u64) {
    if zones > 0 {
        note(&format!("note: snapshots are of the zone at the top; the zones below it ({zones}) are not part of them"));
    }
}

fn list(snapshots: &[SnapshotInfo]) -> String {
    let rows: Vec<Vec<String>> = snapshots
        .iter()
        .map(|snapshot| {
            vec![
                snapshot.name.clone(),
                snapshot.revision.to_string(),
                time(snapshot.created),
                snapshot.inodes.to_string(),
                bytes(snapshot.held_bytes),
            ]
        })
        .collect();
    table(&["name", "revision", "created", "inodes", "held"], &[false, true, false, true, true], &rows)
}

/// One line a path: `+` added, `-` removed, `M` content, `a` attributes only, `T` another kind of file.
fn differences(diff: &DiffReport) -> String {
    let line = |entry: &bt_node::control::report::DiffEntry| {
        let sign = match entry.change {
            Change::Added => '+',
            Change::Removed => '-',
            Change::Content => 'M',
            Change::Attributes => 'a',
            Change::Kind => 'T',
        };
        format!("{sign} {}\n", entry.path)
    };
    diff.entries.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_node::control::report::DiffEntry;

    #[test]
    fn each_change_has_its_sign() {
        let entry = |change, path: &str| DiffEntry { path: path.into(), change, old_size: None, new_size: None };
        let entries = vec![entry(Change::Added, "/a"), entry(Change::Removed, "/b"), entry(Change::Content, "/c")];
        assert_eq!(differences(&DiffReport { entries, truncated: false }), "+ /a\n- /b\nM /c\n");
    }
}
