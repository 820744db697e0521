//! The `bt` command: makes, mounts, checks and looks at trees.
//!
//! One file in `commands` is one command. A command gets its parsed arguments, asks a node through a
//! `target::Target` (the process that serves the directory when there is one, else the directory itself under
//! its lock) and prints what it learned. It never touches a node's files itself. Passphrases are asked for here, and used
//! in this process only; `signer` opens the credential that signs what a command decides.
//!
//! Invariants: results go to standard output, all else to standard error; every failure is a [`Failure`] whose
//! kind is the exit code (1 problem, 2 usage, 3 refused, 4 input/output); nothing waits for a terminal that is
//! not there; no core dump ever holds a key.

pub mod arguments;
pub mod authoring;
mod background;
mod commands;
mod detach;
mod hardening;
mod log;
mod mounts;
mod output;
mod passphrase;
pub mod principal;
mod progress;
mod quiet;
mod rights;
mod running;
mod serving;
pub mod signer;
mod target;
mod tpm;
mod units;
mod words;

use std::io::Write;
use std::process::ExitCode;

use bt_node::control::{Failure, FailureKind};
use clap::Parser;

use crate::arguments::Arguments;

/// Parses the command line, runs the command and prints its failure.
pub fn run() -> ExitCode {
    quiet::silence_tpm_library();
    hardening::forbid_core_dumps();
    match commands::run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(End::Quietly(code)) => ExitCode::from(code),
        Err(End::Failure(failure)) => {
            // When standard error is gone there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "error: {failure}");
            ExitCode::from(failure.kind.exit_code())
        }
    }
}

/// Why a command ended without success.
#[derive(Debug)]
pub enum End {
    /// Everything is said already; this is the exit code.
    Quietly(u8),
    /// To be printed.
    Failure(Failure),
}

impl End {
    /// What was looked at has problems, and the output names them.
    pub fn problems_shown() -> Self {
        Self::Quietly(FailureKind::Problem.exit_code())
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// What every command gives back.
pub type Outcome = Result<(), End>;
