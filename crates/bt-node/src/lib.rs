//! A node: the process that stores and serves a tree.

pub mod control;
pub mod options;
