//! Why the engine could not do something.

use bt_base::PrincipalId;
use bt_store::StoreError;
use bt_tree::index::IndexError;
use bt_tree::zone::ZoneError;
use bt_tree::{AccessError, BatchError, EpochError, HeadError, SessionError};
use bt_vfs::{Refusal, VfsError};

use crate::control::Failure;

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The operation is not possible; nothing is wrong.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The index or a block is damaged or cannot be read.
    #[error(transparent)]
    Zone(#[from] ZoneError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A head could not be made or verified.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// A session key could not be certified.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A journal batch could not be made or verified.
    #[error("the journal: {0}")]
    Batch(#[from] BatchError),
    /// An access record does not count, or a right is missing.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The next epoch could not be made.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// A revocation names another head than the one after which it counts.
    #[error("the revocation names a head after which others were published: sign it again")]
    OutdatedHead,
    /// An access record was made by a clock that is far ahead; the times of all later ones would follow it.
    #[error("the access record's time is {days} days ahead of this machine's clock: one of the two clocks is wrong")]
    ClockAhead {
        /// How far, in whole days.
        days: i64,
    },
    /// The principal that this process acts for lost the right to write.
    #[error("{0}, whom this process acts for, may not write the zone any more")]
    RightsEnded(PrincipalId),
    /// An access record is signed by one whose right to sign it ended before it came.
    #[error("{0} signed an access record, but its time as an admin of the zone is over")]
    AdminEnded(PrincipalId),
    /// A file of the zone's records would be longer than one that is read.
    #[error("the zone's file {file} would have {bytes} bytes with this, and may have {limit}")]
    RecordsFull {
        /// Its name.
        file: &'static str,
        /// The bytes that it would have.
        bytes: u64,
        /// The most that it may have for such a change.
        limit: u64,
    },
    /// Something before failed in a way that leaves the disk's content unknown.
    #[error("the zone takes no more changes, since {0}")]
    Stopped(String),
}

impl From<VfsError> for EngineError {
    fn from(error: VfsError) -> Self {
        match error {
            VfsError::Refused(refusal) => Self::Refused(refusal),
            VfsError::Zone(error) => Self::Zone(error),
        }
    }
}

impl From<IndexError> for EngineError {
    fn from(error: IndexError) -> Self {
        Self::Zone(error.into())
    }
}

impl EngineError {
    /// Whether the disk is full.
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Refused(Refusal::NoSpace) => true,
            Self::Store(error) => is_no_space(error),
            Self::Zone(ZoneError::Index(IndexError::Sink(source))) => {
                source.downcast_ref::<StoreError>().is_some_and(is_no_space)
            }
            _ => false,
        }
    }

    /// The failure to show to a user who asked for `what`.
    pub fn into_failure(self, what: &str) -> Failure {
        let text = format!("{what}: {self}");
        match &self {
            Self::Refused(_) => Failure::refused(text, ""),
            Self::ClockAhead { .. } => {
                Failure::refused(text, "set the clock that is wrong, then run the command again")
            }
            Self::Access(_) | Self::AdminEnded(_) | Self::Epoch(_) => {
                Failure::refused(text, "`bt access list` shows who may do what")
            }
            Self::RecordsFull { .. } => {
                let hint = "share the directories in it instead: each becomes a zone that begins with files of its own";
                Failure::refused(text, hint)
            }
            Self::OutdatedHead => Failure::refused(text, "run the command again; unmount first where it goes on"),
            Self::RightsEnded(_) => Failure::refused(text, "have an admin grant it, then mount again"),
            Self::Stopped(_) => Failure::refused(text, "unmount and mount again; then run `bt check`"),
            Self::Zone(_) | Self::Head(_) | Self::Batch(_) => {
                Failure::problem(text, "run `bt check` to see all that is damaged")
            }
            Self::Store(StoreError::Damaged { .. } | StoreError::NotFound { .. }) => Failure::problem(text, ""),
            Self::Store(StoreError::Refused { .. }) => Failure::refused(text, ""),
            _ => Failure { kind: crate::control::FailureKind::Io, what: text, hint: String::new() },
        }
    }
}

fn is_no_space(error: &StoreError) -> bool {
    matches!(error, StoreError::NoSpace { .. })
}

/// The result of the engine's operations.
pub type Result<T> = std::result::Result<T, EngineError>;
