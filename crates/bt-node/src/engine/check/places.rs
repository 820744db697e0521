//! Where problems are, in words: files by their paths, blocks by their place in a container.

use std::collections::HashMap;

use bt_base::SegmentId;
use bt_store::Containers;
use bt_tree::check::{Held, Place};
use bt_tree::index::Tree;

use super::BlockSource;
use super::report::{Findings, Located, shown};
use crate::engine::paths::{Names, Paths};

/// Puts the places of all flaws into words. `states` has the newest state and all snapshots.
pub(super) fn resolve(
    source: &BlockSource,
    states: &[(Option<Vec<u8>>, Tree)],
    containers: &Containers,
    findings: &mut Findings,
) {
    for (snapshot, tree) in states {
        let mut wanted: Names = HashMap::new();
        for (_, located) in findings.located().filter(|(_, located)| located.snapshot == *snapshot) {
            wanted.extend(inode_of(&located.place).map(|inode| (inode, (0, Vec::new()))));
        }
        let mut paths = Paths::new(source, tree, wanted);
        for (problem, located) in findings.located().filter(|(_, located)| located.snapshot == *snapshot) {
            problem.where_ = describe(located, &mut paths, containers);
        }
    }
}

fn inode_of(place: &Place) -> Option<u64> {
    match place {
        Place::Inode(inode) => Some(*inode),
        Place::Node { held, .. } => held.inodes().map(|(_, first, _)| first),
        _ => None,
    }
}

fn describe(located: &Located, paths: &mut Paths<'_>, containers: &Containers) -> String {
    let prefix = located.snapshot.as_ref().map_or_else(String::new, |name| format!("/.snapshots/{}", shown(name)));
    match &located.place {
        Place::Inode(inode) => format!("{prefix}{} (inode {inode})", shown(&paths.path(*inode))),
        Place::Name { directory, name } => {
            let directory = paths.path(*directory);
            let separator = if directory.len() > 1 { "/" } else { "" };
            format!("{prefix}{}{separator}{}", shown(&directory), shown(name))
        }
        Place::Node { block, held } => {
            let place = block_place(&block.segment, block.index, containers);
            format!("{place}{}", describe_held(held, &prefix, paths))
        }
        Place::Block { segment, index } => block_place(segment, *index, containers),
        Place::Segment(segment) => segment_place(segment, containers),
        Place::Snapshot(name) => format!("the snapshot {}", shown(name)),
        Place::Zone => format!("{prefix}/"),
    }
}

fn describe_held(held: &Held, prefix: &str, paths: &mut Paths<'_>) -> String {
    match held.inodes() {
        None => String::new(),
        Some((kind, first, last)) => {
            let path = shown(&paths.path(first));
            format!("; it held {kind} {first} to {last}, from {prefix}{path} on")
        }
    }
}

fn segment_place(segment: &SegmentId, containers: &Containers) -> String {
    match containers.segment(segment) {
        Some(info) => format!("segment {segment} in {} at byte {}", containers.file_of(&info), info.offset),
        None => format!("segment {segment}, which is not stored"),
    }
}

pub(super) fn block_place(segment: &SegmentId, index: u32, containers: &Containers) -> String {
    let place = containers.blocks(segment).ok().and_then(|places| places.into_iter().find(|at| at.index == index));
    match (containers.segment(segment), place) {
        (Some(info), Some(place)) => {
            let at = info.offset + u64::from(place.offset);
            format!("block {index} of segment {segment} in {} at byte {at}", containers.file_of(&info))
        }
        _ => format!("block {index} of {}", segment_place(segment, containers)),
    }
}
