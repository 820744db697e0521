//! bt-crypto.
