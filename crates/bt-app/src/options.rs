//! What an app's process may use.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// How the processes of this crate are started: a program whose `main` calls `bt_app::internal::run`.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// The arguments before the name of the process's role, such as `internal`.
    pub arguments: Vec<OsString>,
}

/// What one installation may use. The manifest asks, the owner's node caps it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// Bytes of memory of one call.
    pub memory: u64,
    /// Elements of tables of one call.
    pub table_elements: u32,
    /// Core instances of one call.
    pub instances: u32,
    /// How long a call may take.
    pub time: Duration,
    /// How long a client may keep a call waiting in all, beside a second for each 16 KiB that it sent or took.
    pub patience: Duration,
    /// Calls at a time.
    pub calls: u32,
    /// Bytes of a response's body.
    pub response: u64,
    /// Bytes that a call may write to its outputs.
    pub output: u64,
    /// Units of fuel of a call, for runs that take the same steps each time; none: only time counts.
    pub fuel: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            table_elements: 100_000,
            instances: 64,
            time: Duration::from_secs(30),
            patience: Duration::from_secs(30),
            calls: 64,
            response: 1 << 30,
            output: 1 << 20,
            fuel: None,
        }
    }
}

/// Which entry the calls of a process go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Entry {
    /// `wasi:http/incoming-handler@0.2`.
    Http,
    /// `wasi:cli/run@0.2`.
    Run,
}
