//! Who wrote a package, and how an author hands over to new keys.
//!
//! An author signs that another key follows, and that key accepts. Packages by the new author carry the statements, so
//! an update is known as the same author's by whoever installed an earlier one. An installation remembers the newest
//! author that it has seen, so the key before counts no more there once an update by the new one is installed.

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::codec::{DecodeError, decode_exact, encode};
use bt_base::label::{AUTHOR_SUCCESSION, AUTHOR_SUCCESSION_ACCEPTED};
use bt_base::{PrincipalId, Timestamp};
use bt_crypto::{Credential, KeyError, KeyStore, NO_TREE, Signature};

use super::limits::HANDOVERS;
use crate::envelope::check_version;

const WHAT: &str = "handover of an author";

/// Why a handover does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandoverError {
    /// The bytes are no handover.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The author before did not sign it, or not these bytes.
    #[error("a handover is not signed by the author before, {before}: it is damaged or forged")]
    Signature {
        /// The author before.
        before: PrincipalId,
    },
    /// The author that follows did not accept it, or not these bytes.
    #[error("a handover was not accepted by the author that it names, {next}: it is damaged or forged")]
    NotAccepted {
        /// The author that follows.
        next: PrincipalId,
    },
    /// The handovers do not lead from one to the next and to the package's author.
    #[error("the handovers of a package do not lead to its author, {author}: name them in the order they were made")]
    Chain {
        /// The package's author.
        author: PrincipalId,
    },
    /// More than a package has room for.
    #[error("a package has room for 16 handovers, not for {0}")]
    TooMany(usize),
    /// An author's key did not sign.
    #[error("an author's key could not sign the handover: {0}")]
    Key(#[from] KeyError),
}

#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
struct Statement {
    before: Credential,
    next: Credential,
    time: Timestamp,
}

/// The statement that one author follows another, signed by both. Verified in packages by [`Handover::check_all`].
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Handover {
    version: u16,
    statement: Statement,
    accepted: Signature,
    signed: Signature,
}

impl Handover {
    /// The most bytes of an encoded handover.
    pub const LIMIT: usize = 1024;

    /// Makes `next` the author after `before`.
    pub fn sign(before: &dyn KeyStore, next: &dyn KeyStore, time: Timestamp) -> Result<Self, HandoverError> {
        let statement = Statement { before: *before.credential(), next: *next.credential(), time };
        let body = encode(&statement);
        let accepted = next.sign(AUTHOR_SUCCESSION_ACCEPTED, &NO_TREE, &body)?;
        let signed = before.sign(AUTHOR_SUCCESSION, &NO_TREE, &body)?;
        Ok(Self { version: AUTHOR_SUCCESSION.version, statement, accepted, signed })
    }

    /// The encoded handover, as a file of its own.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes and verifies one.
    pub fn decode(bytes: &[u8]) -> Result<Self, HandoverError> {
        check_version(WHAT, bytes, AUTHOR_SUCCESSION.version)?;
        let handover: Self = decode_exact(WHAT, bytes, Self::LIMIT)?;
        handover.check().map(|()| handover)
    }

    /// The author before.
    pub fn before(&self) -> &Credential {
        &self.statement.before
    }

    /// The author that follows.
    pub fn next(&self) -> &Credential {
        &self.statement.next
    }

    /// When, by the clock of the author before.
    pub fn time(&self) -> Timestamp {
        self.statement.time
    }

    /// Checks that `handovers` lead from one author to the next, and at last to `author`.
    pub fn check_all(handovers: &[Self], author: &Credential) -> Result<(), HandoverError> {
        if handovers.len() > HANDOVERS {
            return Err(HandoverError::TooMany(handovers.len()));
        }
        let next = handovers.iter().skip(1).map(Self::before).chain([author]);
        for (handover, next) in handovers.iter().zip(next) {
            if handover.next() != next || handovers.iter().any(|other| other.before() == author) {
                return Err(HandoverError::Chain { author: author.id() });
            }
            handover.check()?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), HandoverError> {
        if self.version != AUTHOR_SUCCESSION.version {
            let (found, known) = (self.version, AUTHOR_SUCCESSION.version);
            return Err(DecodeError::Version { what: WHAT, found, known }.into());
        }
        let body = encode(&self.statement);
        let holds = |by: &Credential, label, signature| by.verifying_key.verify(label, &NO_TREE, &body, signature);
        holds(self.before(), AUTHOR_SUCCESSION, &self.signed)
            .map_err(|_| HandoverError::Signature { before: self.before().id() })?;
        holds(self.next(), AUTHOR_SUCCESSION_ACCEPTED, &self.accepted)
            .map_err(|_| HandoverError::NotAccepted { next: self.next().id() })
    }
}

/// How the author of a package stands to the author of what is installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Authorship {
    /// The same.
    Same,
    /// One that the installed app's author, or one who followed it, handed over to.
    Successor,
    /// Somebody else: no update.
    Other,
}
