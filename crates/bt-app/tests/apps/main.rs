//! Apps in processes of their own, from outside.

mod broken_out;
mod cache;
mod fixture;
mod guests;
mod hostile;
mod outgoing;
mod serving;
