//! The node's side: starts processes, compiles for them, calls them and holds them to the rules.

mod call;
mod child;
mod clock;
mod code;
mod process;
mod running;

pub use code::{Code, CodeCache};
pub use process::{AppProcess, ProcessOptions};
