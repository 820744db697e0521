//! bt-cli.
