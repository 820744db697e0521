//! What can go wrong in the store: each error names the file, the place in it and what to do next.

use std::io;
use std::sync::Arc;

/// The result of every operation of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A failure of the store. Cheap to clone, so that everyone who waited for one sync gets the same answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Bytes on the disk are not what was written there.
    #[error("{file} is damaged at byte {offset}: {what}; run `bt check`, and restore this part from another copy")]
    Damaged {
        /// What was expected and what was found.
        what: String,
        /// The file, relative to the node's directory.
        file: String,
        /// Where in the file, in bytes.
        offset: u64,
    },
    /// The operating system refused an operation.
    #[error("cannot {op} {file} at byte {offset}: {source}; look for errors of the disk in the system's log")]
    Io {
        /// The operation, as a verb.
        op: &'static str,
        /// The file, relative to the node's directory.
        file: String,
        /// Where in the file, in bytes; 0 where the operation has no place.
        offset: u64,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The disk or its quota is full.
    #[error("cannot {op} {file} at byte {offset}: no space left on the disk; delete files or make room on it")]
    NoSpace {
        /// The operation, as a verb.
        op: &'static str,
        /// The file, relative to the node's directory.
        file: String,
        /// Where in the file, in bytes.
        offset: u64,
    },
    /// The journal's ring holds nothing that may be overwritten.
    #[error("{file} is full: a batch of {needed} bytes was to be added and {free} are free; commit, then try again")]
    Full {
        /// The journal's file, relative to the node's directory.
        file: String,
        /// Bytes that were to be written.
        needed: u64,
        /// Bytes free in one piece.
        free: u64,
    },
    /// A file, segment or block that is asked for does not exist.
    #[error("{what} is not in {file}; if it should be, run `bt check` and restore it from another copy")]
    NotFound {
        /// What is missing.
        what: String,
        /// Where it was looked for, relative to the node's directory.
        file: String,
    },
    /// The operation would break a rule of the store, and nothing was changed.
    #[error("refused to change {file}: {why}")]
    Refused {
        /// The file, relative to the node's directory.
        file: String,
        /// The rule, and what to do instead.
        why: String,
    },
}

impl StoreError {
    /// An error of the system, sorted into its kind.
    pub fn io(op: &'static str, file: &str, offset: u64, source: io::Error) -> Self {
        let file = file.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { op, file, offset },
            io::ErrorKind::NotFound => Self::NotFound { what: file, file: "the node's directory".to_owned() },
            _ => Self::Io { op, file, offset, source: Arc::new(source) },
        }
    }

    /// Damage in `file` at `offset` bytes.
    pub fn damaged(what: impl Into<String>, file: &str, offset: u64) -> Self {
        Self::Damaged { what: what.into(), file: file.to_owned(), offset }
    }

    /// A rule of the store that `file` would have broken.
    pub fn refused(file: &str, why: impl Into<String>) -> Self {
        Self::Refused { file: file.to_owned(), why: why.into() }
    }

    /// Whether the disk is full, or the journal's ring is.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::Full { .. })
    }

    /// Whether what was asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether bytes on the disk are not what was written there.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}
