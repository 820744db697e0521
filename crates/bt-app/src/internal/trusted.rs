//! The only unsafe code of this crate. What it relies on stands beside it.
#![allow(unsafe_code)]

use wasmtime::Engine;
use wasmtime::component::Component;

/// Makes a component of code that the node sent.
pub(super) fn component(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the code must be what wasmtime itself serialised, unchanged. The node hands over only what its own compile
    // process wrote, held in sealed memory or verified under the node's key (`node/code.rs`), and the control socket that
    // it comes through is connected to the node and to nothing else.
    unsafe { Component::deserialize(engine, code) }
}

/// Closes all files but standard input, output and error.
pub(crate) fn close_files() -> std::io::Result<()> {
    // SAFETY: called first in a process that was just started, on its only thread: nothing owns a file yet, so nothing is
    // left that believes to have one.
    match unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
