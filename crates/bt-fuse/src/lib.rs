//! bt-fuse.
