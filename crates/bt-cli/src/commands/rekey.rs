//! `bt rekey`: seals what is under earlier keys of a zone under the newest.

use std::path::PathBuf;

use bt_node::control::report::RekeyReport;
use bt_node::control::{Request, Response};

use crate::Outcome;
use crate::arguments::OutputOption;
use crate::output::show;
use crate::target::{ask, unexpected};
use crate::units::bytes;

/// Seal what is under earlier keys of a zone under the newest key.
///
/// A zone gets a new key whenever somebody is revoked; what was there before stays under the old ones, which a former
/// reader may have kept. A mounted tree seals it anew by itself, snapshots included, little by little; with --now this does
/// it at once. It can be interrupted at any time. What the present and a snapshot share takes its space twice afterwards.
#[derive(Debug, clap::Args)]
pub struct Rekey {
    /// The node's directory, or the mount point
    dir: PathBuf,
    /// Where the zone is entered, from the top of the tree
    #[arg(default_value = "/")]
    path: String,
    /// Do all of it now; without it, only say what is left
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    output: OutputOption,
}

/// Runs the command.
pub fn run(arguments: &Rekey) -> Outcome {
    let request = Request::Rekey { path: arguments.path.clone(), now: arguments.now };
    match ask(&arguments.dir, arguments.now, request)? {
        Response::Rekeyed(report) => show(arguments.output.output, &report, text),
        other => Err(unexpected(&other).into()),
    }
}

fn text(report: &RekeyReport) -> String {
    let done = match report.sealed_bytes {
        0 => String::new(),
        sealed => format!("{} sealed under the newest key (epoch {})\n", bytes(sealed), report.epoch),
    };
    if report.left_segments == 0 {
        return format!("{done}nothing is left under earlier keys\n");
    }
    let left = format!("{} in {} segments are left under earlier keys", bytes(report.left_bytes), report.left_segments);
    let why = match report.sealed_bytes == 0 {
        true => "; `bt rekey --now` seals them anew".to_owned(),
        false => "; they are being read, or changed meanwhile: run it again".to_owned(),
    };
    format!("{done}{left}{why}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_said_plainly() {
        let report = RekeyReport { epoch: 3, sealed_bytes: 2048, left_segments: 0, left_bytes: 0 };
        assert_eq!(
            text(&report),
            "2.0 KiB sealed under the newest key (epoch 3)\nnothing is left under earlier keys\n"
        );
        let report = RekeyReport { left_segments: 2, left_bytes: 1024, ..report };
        assert!(text(&report).contains("1.0 KiB in 2 segments are left under earlier keys; they are being read"));
        let report = RekeyReport { sealed_bytes: 0, ..report };
        assert!(text(&report).ends_with("are left under earlier keys; `bt rekey --now` seals them anew\n"));
    }
}
