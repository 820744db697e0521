//! bt-store.
