//! Why a command did not succeed, in the words a user needs.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

/// What kind of failure it is; the exit code follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureKind {
    /// Something is damaged, missing or not as it should be.
    Problem,
    /// The command was called in a way it cannot serve.
    Usage,
    /// The command is not allowed, or not in this state.
    Refused,
    /// Reading or writing failed.
    Io,
}

impl FailureKind {
    /// The exit code of a command that fails like this.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Problem => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Io => 4,
        }
    }
}

/// What happened, to what, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The kind.
    pub kind: FailureKind,
    /// What happened and to what, without a full stop.
    pub what: String,
    /// What to do next; empty when nothing useful can be said.
    pub hint: String,
}

impl Failure {
    /// Something is damaged or missing.
    pub fn problem(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind: FailureKind::Problem, what: what.into(), hint: hint.into() }
    }

    /// A call that cannot be served.
    pub fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind: FailureKind::Usage, what: what.into(), hint: hint.into() }
    }

    /// Not allowed, or not now.
    pub fn refused(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind: FailureKind::Refused, what: what.into(), hint: hint.into() }
    }

    /// Input or output failed while doing `what` (for instance "reading /srv/tree/genesis").
    pub fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        Self { kind: FailureKind::Io, what: format!("{what}: {error}"), hint: io_hint(error).to_owned() }
    }

    /// The user or a hung-up client stopped the work.
    pub fn interrupted() -> Self {
        Self::problem("interrupted before the end", "what was done until then is whole; run the command again")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.hint.is_empty() {
            write!(f, "\n  hint: {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

fn io_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "run the command as the user who owns the directory, or as root",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on the disk, then try again",
        io::ErrorKind::ReadOnlyFilesystem => "the disk is mounted read-only: mount it writable",
        _ => "look at the kernel's log (dmesg) for errors of the disk",
    }
}
