//! The process that compiles: a component comes from standard input, code goes to standard output.

use std::io::{self, Read, Write};

use super::engine;
use crate::limits::COMPONENT_SIZE;
use crate::sandbox;

pub(super) fn run(fuel: bool) -> Result<(), String> {
    sandbox::enter(sandbox::Role::Compile).map_err(|error| format!("the process cannot be confined: {error}"))?;
    let mut component = Vec::new();
    let read = io::stdin().take(COMPONENT_SIZE as u64).read_to_end(&mut component);
    read.map_err(|error| format!("the component cannot be read: {error}"))?;
    let engine = engine::compiling(fuel).map_err(|error| error.to_string())?;
    let code = engine.precompile_component(&component).map_err(|error| format!("{error:#}"))?;
    io::stdout().write_all(&code).map_err(|error| format!("the code cannot be written: {error}"))
}
