//! The processes of the crate as a program of its own, for its tests; in the product `bt internal` is it.
//!
//! `rogue KIND app` is the process of an app after a guest broke out of wasmtime: it says on its channels what it likes.
//! `probe` confines itself as the process of an app does, and tries what it cannot do any more.

mod probe;
mod rogue;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["rogue", kind, "app"] => rogue::run(kind),
        ["rogue", _, role] | [role] if role != "probe" => bt_app::internal::run(role),
        _ => probe::run(),
    }
}
