//! `bt inspect`: what is stored, for people who look for the cause of something.

use std::path::PathBuf;

use bt_base::SegmentId;
use bt_node::control::report::{BlockReport, HeadReport, SegmentReport};
use bt_node::control::{Request, Response};
use clap::Subcommand;

use crate::Outcome;
use crate::arguments::OutputOption;
use crate::output::{columns, show, table};
use crate::target::{ask, unexpected};
use crate::units::{bytes, time};

/// Look at what is stored.
///
/// Shows structure and never the content of files.
#[derive(Debug, clap::Args)]
pub struct Inspect {
    #[command(subcommand)]
    command: InspectCommand,
}

#[derive(Debug, Subcommand)]
enum InspectCommand {
    /// Show the newest head of the zone at the top, and its stored copies
    Head {
        /// The node's directory, or the mount point
        dir: PathBuf,
        #[command(flatten)]
        output: OutputOption,
    },
    /// Show one segment, or list all of the zones that are open
    Segment {
        /// The node's directory, or the mount point
        dir: PathBuf,
        /// The segment; all when absent
        id: Option<SegmentId>,
        #[command(flatten)]
        output: OutputOption,
    },
    /// Verify and open one block, and show what it holds
    Block {
        /// The node's directory, or the mount point
        dir: PathBuf,
        /// Its segment
        segment: SegmentId,
        /// Its index in the segment
        index: u32,
        #[command(flatten)]
        output: OutputOption,
    },
}

/// Runs the command.
pub fn run(arguments: &Inspect) -> Outcome {
    match &arguments.command {
        InspectCommand::Head { dir, output } => match ask(dir, false, Request::InspectHead)? {
            Response::Head(head) => show(output.output, &*head, head_text),
            other => Err(unexpected(&other).into()),
        },
        InspectCommand::Segment { dir, id, output } => match ask(dir, false, Request::InspectSegment { id: *id })? {
            Response::Segments(segments) => show(output.output, &segments, |segments| segments_text(segments)),
            other => Err(unexpected(&other).into()),
        },
        InspectCommand::Block { dir, segment, index, output } => {
            match ask(dir, false, Request::InspectBlock { segment: *segment, index: *index })? {
                Response::Block(block) => show(output.output, &*block, block_text),
                other => Err(unexpected(&other).into()),
            }
        }
    }
}

fn head_text(head: &HeadReport) -> String {
    let ids = |ids: &[SegmentId]| match ids {
        [] => "none".to_owned(),
        ids => ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    };
    let mut lines = vec![
        ("zone", head.zone.to_string()),
        ("revision", head.revision.to_string()),
        ("hash", head.hash.to_string()),
        ("previous", head.previous.to_string()),
        ("root", format!("segment {} block {}, {} bytes", head.root.segment, head.root.index, head.root.len_bytes)),
        ("root hash", head.root.hash.to_string()),
        ("epoch", head.epoch.to_string()),
        ("access record", head.access.to_string()),
        ("covers", format!("journal records up to {}", head.covers)),
        ("lease token", head.lease_token.to_string()),
        ("added", ids(&head.added)),
        ("removed", ids(&head.removed)),
        ("time", time(head.time)),
        ("signer", format!("session of node {}, until {}", head.signer, time(head.session_expires))),
    ];
    for copy in &head.copies {
        let revision =
            copy.revision.map_or_else(|| "no valid head".to_owned(), |revision| format!("revision {revision}"));
        let problem = copy.problem.as_ref().map_or_else(String::new, |problem| format!(", {problem}"));
        lines.push(("copy", format!("{}: {revision}{problem}", copy.file)));
    }
    columns(&lines)
}

fn segments_text(segments: &[SegmentReport]) -> String {
    let rows: Vec<Vec<String>> = segments
        .iter()
        .map(|segment| {
            vec![
                segment.id.to_string(),
                segment.container.clone(),
                segment.offset_bytes.to_string(),
                segment.len_bytes.to_string(),
                segment.blocks.to_string(),
                segment.live_bytes.map_or_else(|| "?".to_owned(), |live| live.to_string()),
                segment.problem.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let header = ["segment", "container", "offset", "bytes", "blocks", "live", ""];
    table(&header, &[false, false, true, true, true, true, false], &rows)
}

fn block_text(block: &BlockReport) -> String {
    let mut text = columns(&[
        ("segment", block.segment.to_string()),
        ("index", block.index.to_string()),
        ("place", format!("{} at {}", block.container, block.offset_bytes)),
        ("sealed", bytes(u64::from(block.sealed_bytes))),
        ("epoch", block.epoch.to_string()),
        ("hash", block.hash.to_string()),
        ("holds", block.kind.clone()),
    ]);
    for entry in &block.entries {
        text.push_str(&format!("  {entry}\n"));
    }
    text
}
