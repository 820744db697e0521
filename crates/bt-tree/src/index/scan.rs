//! Reading in order: ranges up and down, and all nodes for checking.

use std::ops::ControlFlow;

use super::node::{LEVELS, Node};
use super::path::{Above, load};
use super::tree::{Root, Tree};
use super::{IndexError, NodeSource, VisitRecord};
use crate::block::BlockRef;

/// A node, or why it could not be had, on a walk over all nodes.
#[derive(Debug)]
pub struct NodeVisit<'a> {
    /// The node's block; none while it is dirty.
    pub block: Option<&'a BlockRef>,
    /// Levels below the node: 0 for a leaf.
    pub level: u8,
    /// Branches above the node: 0 for the root.
    pub depth: u8,
    /// No key below the node is less.
    pub lower: &'a [u8],
    /// All keys below the node are less, if there is any node to its right.
    pub upper: Option<&'a [u8]>,
    /// The node, or what is wrong with it.
    pub node: Result<&'a Node, &'a IndexError>,
}

/// How a walk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// With the node's children, if it has any.
    Into,
    /// With what comes after the node and all below it.
    Over,
    /// Not at all.
    Stop,
}

impl Tree {
    /// Visits records in rising order from the first key that is not below `from`, until told to stop.
    pub fn scan(&self, source: &dyn NodeSource, from: &[u8], visit: &mut VisitRecord<'_>) -> Result<(), IndexError> {
        let Some(root) = &self.root else { return Ok(()) };
        let _ = scan_up(root.load(source, self.level)?, source, from, None, visit)?;
        Ok(())
    }

    /// Visits records in falling order from the last key below `bound`, or the last of all, until told to stop.
    pub fn scan_back(
        &self,
        source: &dyn NodeSource,
        bound: Option<&[u8]>,
        visit: &mut VisitRecord<'_>,
    ) -> Result<(), IndexError> {
        let Some(root) = &self.root else { return Ok(()) };
        let _ = scan_down(root.load(source, self.level)?, source, bound, None, visit)?;
        Ok(())
    }

    /// Visits every node, parents before children, in key order; a node that cannot be had or is not what its
    /// parent says is visited with the error, and the walk goes on after it unless told to stop.
    pub fn walk_nodes(&self, source: &dyn NodeSource, visit: &mut dyn FnMut(NodeVisit<'_>) -> Walk) {
        let mut walker = Walker { source, top: self.level, visit };
        let _ = match &self.root {
            None => ControlFlow::Continue(()),
            Some(Root::Memory(node)) => walker.visit_node(node.sealed_as(), node, None),
            Some(Root::Disk(block, _)) => {
                let loaded = match self.level as usize {
                    0..LEVELS => load(block, self.level, source),
                    _ => Err(IndexError::TooHigh { level: self.level }),
                };
                match loaded {
                    Ok(node) => walker.visit_node(Some(block), &node, None),
                    Err(error) => walker.visit_damaged(block, self.level, &error, None),
                }
            }
        };
    }
}

fn scan_up(
    node: &Node,
    source: &dyn NodeSource,
    from: &[u8],
    above: Option<&Above<'_>>,
    visit: &mut VisitRecord<'_>,
) -> Result<ControlFlow<()>, IndexError> {
    if node.level == 0 {
        let first = node.page.search(from).unwrap_or_else(|at| at);
        let stops = |at: usize| visit(node.page.key(at), node.page.value(at)).is_break();
        return Ok(stop_if((first..node.len()).any(stops)));
    }
    for index in node.child_for(from)..node.len() {
        let here = Above { node, index, above };
        let flow = match &node.children[index] {
            Some(child) => scan_up(child, source, from, Some(&here), visit)?,
            None => scan_up(&*here.load(source)?, source, from, Some(&here), visit)?,
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn scan_down(
    node: &Node,
    source: &dyn NodeSource,
    bound: Option<&[u8]>,
    above: Option<&Above<'_>>,
    visit: &mut VisitRecord<'_>,
) -> Result<ControlFlow<()>, IndexError> {
    if node.level == 0 {
        let end = bound.map_or(node.len(), |bound| node.page.search(bound).unwrap_or_else(|at| at));
        let stops = |at: usize| visit(node.page.key(at), node.page.value(at)).is_break();
        return Ok(stop_if((0..end).rev().any(stops)));
    }
    let last = bound.map_or(node.len() - 1, |bound| node.child_for(bound));
    for index in (0..=last).rev() {
        let here = Above { node, index, above };
        let flow = match &node.children[index] {
            Some(child) => scan_down(child, source, bound, Some(&here), visit)?,
            None => scan_down(&*here.load(source)?, source, bound, Some(&here), visit)?,
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn stop_if(stop: bool) -> ControlFlow<()> {
    if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// The bounds of the keys below a node.
fn bounds<'a>(above: Option<&Above<'a>>) -> (&'a [u8], Option<&'a [u8]>) {
    above.map_or((&[], None), |above| (above.lower(), above.upper()))
}

struct Walker<'a> {
    source: &'a dyn NodeSource,
    top: u8,
    visit: &'a mut dyn FnMut(NodeVisit<'_>) -> Walk,
}

impl Walker<'_> {
    fn visit_node(&mut self, block: Option<&BlockRef>, node: &Node, above: Option<&Above<'_>>) -> ControlFlow<()> {
        let (lower, upper) = bounds(above);
        let visit = NodeVisit { block, level: node.level, depth: self.top - node.level, lower, upper, node: Ok(node) };
        match (self.visit)(visit) {
            Walk::Into => self.visit_children(node, above),
            Walk::Over => ControlFlow::Continue(()),
            Walk::Stop => ControlFlow::Break(()),
        }
    }

    fn visit_damaged(
        &mut self,
        block: &BlockRef,
        level: u8,
        error: &IndexError,
        above: Option<&Above<'_>>,
    ) -> ControlFlow<()> {
        let (depth, (lower, upper)) = (self.top - level, bounds(above));
        stop_if(
            (self.visit)(NodeVisit { block: Some(block), level, depth, lower, upper, node: Err(error) }) == Walk::Stop,
        )
    }

    fn visit_children(&mut self, node: &Node, above: Option<&Above<'_>>) -> ControlFlow<()> {
        for index in 0..node.children.len() {
            let here = Above { node, index, above };
            match &node.children[index] {
                Some(child) => self.visit_node(child.sealed_as(), child, Some(&here))?,
                None => match here.load(self.source) {
                    Ok(child) => self.visit_node(Some(&here.reference()), &child, Some(&here))?,
                    Err(error) => self.visit_damaged(&here.reference(), node.level - 1, &error, Some(&here))?,
                },
            }
        }
        ControlFlow::Continue(())
    }
}
