//! What this program does when it is started as one of the processes of this crate.
//!
//! Such a process has its work at standard input, and nothing else: [`run`] takes from it what it does not need before it
//! looks at anything that others made.

mod app;
mod compile;
pub(crate) mod engine;
mod guest;
mod outgoing;
pub(crate) mod trusted;

use std::process::ExitCode;

/// Runs as the process of the role, until its work is done or its parent is gone.
pub fn run(role: &str) -> ExitCode {
    let done = match role {
        "app" => app::run(),
        "compile" => compile::run(false),
        "outgoing" => outgoing::run(),
        "compile-fuel" => compile::run(true),
        _ => Err(format!("there is no process of the role {role:?}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
