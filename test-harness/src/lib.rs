//! test-harness.
