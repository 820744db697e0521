//! `bt check`: verifies a tree.

use std::path::PathBuf;

use bt_node::Node;
use bt_node::control::report::CheckReport;
use bt_node::control::{Client, Failure, Request, Response};

use crate::arguments::OutputOption;
use crate::output::show;
use crate::progress::Bar;
use crate::target::{Target, check_dir, node_dir, unexpected};
use crate::units::{bytes, time};
use crate::{End, Outcome};

/// Verify every signature, hash and account of a tree.
///
/// Walks from the head; reads all stored blocks unless `--quick`. Changes nothing. Ends with exit code 1 when
/// something is damaged, and names what.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The node's directory, or the mount point
    dir: PathBuf,
    /// Do not read file data, only the index
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    output: OutputOption,
}

/// Runs the command.
pub fn run(arguments: &Check) -> Outcome {
    let report = check(arguments)?;
    show(arguments.output.output, &report, text)?;
    if report.problem_count > 0 { Err(End::problems_shown()) } else { Ok(()) }
}

/// Asks the serving process. Without one the directory is checked as it is: it may be too damaged to be opened.
fn check(arguments: &Check) -> Result<CheckReport, Failure> {
    let deep = !arguments.quick;
    let dir = node_dir(&arguments.dir)?;
    check_dir(&dir)?;
    let Some(client) = Client::connect(&dir)? else {
        let mut bar = Bar::new();
        return Node::check(&dir, deep, &mut |step| bar.step(step));
    };
    match Target::Served(client).call(Request::Check { deep })? {
        Response::Checked(report) => Ok(report),
        other => Err(unexpected(&other)),
    }
}

fn text(report: &CheckReport) -> String {
    let mut text = String::new();
    for problem in &report.problems {
        text.push_str(&format!("problem: {}: {}\n  hint: {}\n", problem.what, problem.where_, problem.hint));
    }
    let unlisted = report.problem_count - (report.problems.len() as u64).min(report.problem_count);
    if unlisted > 0 {
        text.push_str(&format!("and {unlisted} problems more\n"));
    }
    for head in &report.refused {
        let why = head.refused.as_deref().unwrap_or("its signer has no right to it any more");
        text.push_str(&format!("refused: the head of revision {} of {}: {why}\n", head.revision, time(head.time)));
    }
    if report.leftovers > 0 {
        let n = report.leftovers;
        text.push_str(&format!("{n} segments are stored that nothing names: mounting or `bt reclaim` drops them\n"));
    }
    let verdict = match report.problem_count {
        0 => "no problems".to_owned(),
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    };
    text.push_str(&format!(
        "revision {}: {verdict} in {} heads, {} journal batches, {} snapshots, {} inodes, {} segments, {} blocks ({}{})\n",
        report.revision,
        report.heads,
        report.journal_batches,
        report.snapshots,
        report.inodes,
        report.segments,
        report.blocks,
        bytes(report.bytes),
        if report.deep { "" } else { ", file data not read" },
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_node::control::report::Problem;

    #[test]
    fn problems_are_named_and_counted() {
        let problem =
            Problem { what: "wrong hash".into(), where_: "zones/ab/heads.a".into(), hint: "restore it".into() };
        let report = CheckReport { problem_count: 3, problems: vec![problem], ..CheckReport::default() };
        let text = text(&report);
        assert!(text.starts_with("problem: wrong hash: zones/ab/heads.a\n  hint: restore it\nand 2 problems more\n"));
        assert!(text.contains("3 problems in 0 heads"), "{text}");
    }
}
