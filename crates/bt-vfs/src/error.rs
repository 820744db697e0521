//! What an operation can answer instead of succeeding.

use bt_base::codec::DecodeError;
use bt_tree::index::IndexError;
use bt_tree::zone::ZoneError;

/// Why an operation was refused, in the words of POSIX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// ENOENT.
    #[error("no such file or directory")]
    NotFound,
    /// EEXIST.
    #[error("the name exists")]
    Exists,
    /// ENOTDIR.
    #[error("not a directory")]
    NotDirectory,
    /// EISDIR.
    #[error("a directory")]
    IsDirectory,
    /// ENOTEMPTY.
    #[error("the directory is not empty")]
    NotEmpty,
    /// ENAMETOOLONG.
    #[error("the name is too long")]
    NameTooLong,
    /// EINVAL.
    #[error("invalid argument")]
    Invalid,
    /// EFBIG.
    #[error("the file would be too large")]
    TooLarge,
    /// ENODATA.
    #[error("no such attribute")]
    NoAttribute,
    /// ENOSPC.
    #[error("no space left")]
    NoSpace,
    /// EROFS.
    #[error("read-only")]
    ReadOnly,
    /// EOPNOTSUPP.
    #[error("not supported")]
    Unsupported,
    /// EPERM.
    #[error("not permitted")]
    NotPermitted,
    /// EMLINK.
    #[error("too many links")]
    TooManyLinks,
    /// ENXIO.
    #[error("no data beyond this offset")]
    NoSuchOffset,
    /// EBUSY.
    #[error("another zone is entered there")]
    Busy,
    /// EACCES.
    #[error("the zone that is entered there cannot be read")]
    Closed,
    /// ESTALE.
    #[error("the file is gone")]
    Stale,
}

/// Why an operation did not happen. The state is as before.
#[derive(Debug, thiserror::Error)]
pub enum VfsError {
    /// The operation is not possible; nothing is wrong.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Stored data is damaged or could not be read.
    #[error(transparent)]
    Zone(#[from] ZoneError),
}

impl From<IndexError> for VfsError {
    fn from(error: IndexError) -> Self {
        Self::Zone(error.into())
    }
}

impl From<DecodeError> for VfsError {
    fn from(error: DecodeError) -> Self {
        Self::Zone(error.into())
    }
}

/// The result of an operation.
pub type Result<T> = std::result::Result<T, VfsError>;
