//! Apps: what is installed, what a call of one may do, and how it is called.
//!
//! The access log of the top zone says which installation record of an app counts (`bt_tree::access`). Everything else is
//! files of the tree under `/.apps`, which no grant reaches.
//!
//! # Invariants
//!
//! * A call does nothing that whoever signed the installation may not do at that moment.
//! * A path of a guest never leads out of the directory that it was granted.

mod attributes;
mod authority;
#[cfg(test)]
mod file_tests;
mod files;
pub(crate) mod gateway;
mod limits;
mod log;
mod registry;
mod runner;
mod secrets;
mod service;
mod store;
#[cfg(test)]
pub(crate) mod testing;
mod tokens;
mod walk;

pub(crate) use registry::Apps;
