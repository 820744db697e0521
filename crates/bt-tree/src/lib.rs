//! bt-tree.
