//! `bt log`: who wrote when, and by whose word.

use std::path::PathBuf;

use bt_node::control::log::{HeadEntry, LogReport};
use bt_node::control::{Request, Response};

use crate::Outcome;
use crate::arguments::OutputOption;
use crate::output::{show, table};
use crate::rights::in_words;
use crate::target::{ask, unexpected};
use crate::units::{bytes, time};

/// Show the chain of a zone's heads: who wrote when, under which grant.
///
/// A head is the signed record of one state of a zone; each commit makes one. Of older heads some are kept for each
/// hour and day. Heads that were refused, because their signer had lost the right, are listed at the end.
#[derive(Debug, clap::Args)]
pub struct Log {
    /// The node's directory, or the mount point
    dir: PathBuf,
    /// Where the zone is entered, from the top of the tree
    #[arg(default_value = "/")]
    path: String,
    /// So many of the newest heads, at least one
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    last: u32,
    #[command(flatten)]
    output: OutputOption,
}

/// Runs the command.
pub fn run(arguments: &Log) -> Outcome {
    let request = Request::Log { path: arguments.path.clone(), last: arguments.last };
    match ask(&arguments.dir, false, request)? {
        Response::Log(report) => show(arguments.output.output, &report, |report| text(report)),
        other => Err(unexpected(&other).into()),
    }
}

fn text(report: &LogReport) -> String {
    let mut rows = Vec::new();
    for (at, head) in report.heads.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| report.heads[before].revision.0);
        match before.and_then(|before| head.revision.0.checked_sub(before + 1)) {
            None | Some(0) => {}
            Some(missing) => rows.push(vec![format!("+{missing}"), "not kept".to_owned()]),
        }
        rows.push(row(head));
    }
    let right = [true, false, false, false, true, true, false];
    let header = ["revision", "when", "who", "by grant of", "epoch", "added", ""];
    let mut text = String::new();
    if report.earlier > 0 {
        text.push_str(&format!("{} earlier heads are kept; --last shows more\n", report.earlier));
    }
    text.push_str(&table(&header, &right, &rows));
    if !report.refused.is_empty() {
        text.push_str("\nrefused and kept aside:\n");
        text.push_str(&table(&header, &right, &report.refused.iter().map(row).collect::<Vec<_>>()));
    }
    text
}

fn row(head: &HeadEntry) -> Vec<String> {
    let who = if head.is_root { format!("{} (root)", head.signer.short()) } else { head.signer.short() };
    let grant = match (head.right, head.granted_by, head.granted) {
        (Some(right), Some(by), Some(at)) => format!("{} of {}: {}", by.short(), time(at), in_words(right)),
        (Some(right), ..) => in_words(right).to_owned(),
        _ => "-".to_owned(),
    };
    vec![
        head.revision.to_string(),
        time(head.time),
        who,
        grant,
        head.epoch.to_string(),
        bytes(head.added_bytes),
        remark(head),
    ]
}

fn remark(head: &HeadEntry) -> String {
    let apps = head.apps.iter().map(|app| match app.record {
        Some(record) => format!("app {}: record {} by {}", app.name, record.short(), app.by.short()),
        None => format!("app {}: removed by {}", app.name, app.by.short()),
    });
    let refused = head.refused.iter().map(|why| format!("refused: {why}"));
    apps.chain(refused).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use bt_base::{PrincipalId, RecordHash, Revision, Timestamp};
    use bt_node::control::access::Right;
    use bt_node::control::log::AppDecision;

    use super::*;

    #[test]
    fn heads_are_listed_with_gaps_and_refusals() {
        let head = |revision, refused: Option<&str>| HeadEntry {
            revision: Revision(revision),
            hash: Default::default(),
            time: Timestamp::new(revision as i64, 0),
            signer: PrincipalId([2; 32]),
            is_root: false,
            right: Some(Right::Write),
            granted_by: Some(PrincipalId([1; 32])),
            granted: Some(Timestamp::new(0, 0)),
            access: Default::default(),
            apps: vec![],
            epoch: 1,
            added_segments: 1,
            added_bytes: 2048,
            removed_segments: 0,
            refused: refused.map(str::to_owned),
        };
        let decided = |record| AppDecision { name: "notes".into(), record, by: PrincipalId([1; 32]) };
        let apps = vec![decided(Some(RecordHash([9; 32]))), decided(None)];
        let second = HeadEntry { apps, ..head(5, None) };
        let report = LogReport { heads: vec![head(1, None), second], earlier: 7, refused: vec![head(6, Some("late"))] };
        insta::assert_snapshot!(text(&report), @r"
        7 earlier heads are kept; --last shows more
        revision  when                  who       by grant of                                       epoch    added
               1  1970-01-01T00:00:01Z  02020202  01010101 of 1970-01-01T00:00:00Z: read and write      1  2.0 KiB
              +3  not kept
               5  1970-01-01T00:00:05Z  02020202  01010101 of 1970-01-01T00:00:00Z: read and write      1  2.0 KiB  app notes: record 09090909 by 01010101; app notes: removed by 01010101

        refused and kept aside:
        revision  when                  who       by grant of                                       epoch    added
               6  1970-01-01T00:00:06Z  02020202  01010101 of 1970-01-01T00:00:00Z: read and write      1  2.0 KiB  refused: late
        ");
    }
}
