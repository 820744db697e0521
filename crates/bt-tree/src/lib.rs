//! bt-tree.

pub mod block;

pub use block::BlockRef;
