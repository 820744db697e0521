//! Canonical encoding of what is signed or hashed: borsh, decoded strictly and completely.

use borsh::BorshDeserialize;

/// Bytes that are not one whole value of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than a value of this kind may have.
    #[error("a {what} of {len} bytes is longer than the limit of {limit}")]
    TooLong {
        /// What was being decoded.
        what: &'static str,
        /// Bytes found.
        len: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The bytes do not follow the format.
    #[error("a {what} does not follow its format: {why}")]
    Malformed {
        /// What was being decoded.
        what: &'static str,
        /// Where the format was left.
        why: String,
    },
    /// The format is newer than this program.
    #[error("a {what} has format version {found}, this program knows {known}: use a newer bt")]
    Version {
        /// What was being decoded.
        what: &'static str,
        /// Version found.
        found: u16,
        /// Newest version known here.
        known: u16,
    },
    /// The format is older than this program reads.
    #[error("a {what} has format version {found}, this program reads {known}: use the bt that wrote it to copy it out")]
    Outdated {
        /// What was being decoded.
        what: &'static str,
        /// Version found.
        found: u16,
        /// Oldest version known here.
        known: u16,
    },
}

impl DecodeError {
    /// Bytes that leave the format, with the reason.
    pub fn malformed(what: &'static str, why: impl ToString) -> Self {
        Self::Malformed { what, why: why.to_string() }
    }
}

/// Decodes one value that fills `bytes` exactly; `limit` bounds the bytes, and so what decoding can allocate.
pub fn decode_exact<T: BorshDeserialize>(what: &'static str, bytes: &[u8], limit: usize) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLong { what, len: bytes.len(), limit });
    }
    borsh::from_slice(bytes).map_err(|error| DecodeError::malformed(what, error))
}

/// Encodes a value; encoding into memory cannot fail.
pub fn encode<T: borsh::BorshSerialize>(value: &T) -> Vec<u8> {
    borsh::to_vec(value).expect("encoding into memory does not fail")
}
