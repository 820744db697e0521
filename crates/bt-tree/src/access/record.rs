//! One record of an access log.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::codec::{DecodeError, encode};
use bt_base::{HeadHash, PrincipalId, RecordHash, Revision, Timestamp, TreeId, ZoneId, label};
use bt_crypto::{Credential, KeyError, KeyStore, VerifyingKey};

use crate::app::AppName;
use crate::envelope::{Envelope, Kind};

const KIND: Kind = Kind { what: "access record", label: label::ACCESS, limit: 2048 };

/// What a principal may do; each right includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize)]
pub enum Rights {
    /// Have the zone's keys, and so read it.
    Read,
    /// Sign heads, journal batches and epochs.
    Write,
    /// Sign access records.
    Admin,
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "administer",
        })
    }
}

/// The last head of a revoked principal that still counts, and with it all heads before that one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct LastHead {
    /// The head's revision.
    pub revision: Revision,
    /// The head.
    pub hash: HeadHash,
}

/// What a record changes; the newest record about a principal, or about an app, replaces all earlier ones.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Action {
    /// Gives rights.
    Grant {
        /// To whom.
        principal: Credential,
        /// Which.
        rights: Rights,
        /// The last time at which they hold; none for no end.
        until: Option<Timestamp>,
    },
    /// Takes all rights away.
    Revoke {
        /// From whom.
        principal: PrincipalId,
        /// The zone's head at that moment, by whomever it was signed; none where the zone had no head.
        last: Option<LastHead>,
    },
    /// From here on the zone obeys the tree's newest root, and no longer the one before.
    Succeed {
        /// The succession, as the tree's list has it.
        succession: RecordHash,
        /// The root from now on, who signs this record.
        root: PrincipalId,
        /// As in a revocation: the last head of the root before that counts.
        last: Option<LastHead>,
    },
    /// Says which installation record of an app counts. Nobody's rights in the zone change with it.
    App {
        /// The app's name in this tree.
        name: AppName,
        /// The record; none where the app is no longer installed.
        record: Option<RecordHash>,
    },
}

impl Action {
    /// Whose rights the action is about; none where it is about an app.
    pub fn principal(&self) -> Option<PrincipalId> {
        match self {
            Self::Grant { principal, .. } => Some(principal.id()),
            Self::Revoke { principal, .. } => Some(*principal),
            Self::Succeed { root, .. } => Some(*root),
            Self::App { .. } => None,
        }
    }
}

/// Where in which log a record stands, and what it says.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Statement {
    /// The tree.
    pub tree: TreeId,
    /// The zone whose log this is.
    pub zone: ZoneId,
    /// The record's place in the log, from 0.
    pub number: u64,
    /// The record before; the zone's id for the first.
    pub previous: RecordHash,
    /// When the record was made, by the signer's clock; never before the record before it.
    pub time: Timestamp,
    /// The root or an admin.
    pub signer: PrincipalId,
    /// What changes.
    pub action: Action,
}

/// A signed record. Only [`super::AccessLog`] says whether it counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessRecord {
    statement: Statement,
    envelope: Envelope,
    hash: RecordHash,
}

impl AccessRecord {
    /// The most bytes of an encoded record.
    pub const LIMIT: usize = KIND.limit;

    /// Signs a statement with the key of its signer.
    pub fn sign(signer: &dyn KeyStore, statement: Statement) -> Result<Self, KeyError> {
        let envelope = Envelope::by_credential(KIND, &statement.tree, signer, encode(&statement))?;
        Ok(Self::new(statement, envelope))
    }

    /// Decodes a record; nothing is verified yet.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let envelope = Envelope::decode(KIND, bytes)?;
        Ok(Self::new(envelope.decode_body(KIND)?, envelope))
    }

    /// Whether `key` signed the record.
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        self.envelope.is_signed_by_credential(KIND, &self.statement.tree, key)
    }

    /// What the record says.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The record's name.
    pub fn hash(&self) -> RecordHash {
        self.hash
    }

    /// The encoded record.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.envelope.to_bytes()
    }

    fn new(statement: Statement, envelope: Envelope) -> Self {
        let hash = RecordHash(envelope.hash(KIND, &statement.tree));
        Self { statement, envelope, hash }
    }
}
