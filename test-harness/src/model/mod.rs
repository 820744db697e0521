//! Random operations, the same on two directories.
