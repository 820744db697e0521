//! Apps in processes of their own, from outside.

mod broken_out;
mod cache;
mod files;
mod fixture;
mod guests;
mod hostile;
mod outgoing;
mod serving;
