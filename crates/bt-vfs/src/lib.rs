//! bt-vfs.
