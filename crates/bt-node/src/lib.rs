//! bt-node.
