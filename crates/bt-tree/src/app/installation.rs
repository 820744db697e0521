//! What is installed in a tree, and what it may do.

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::codec::{DecodeError, decode_exact, encode};
use bt_base::{PackageId, PrincipalId, RecordHash, TreeId, label};
use bt_crypto::labelled_hash;

use super::limits::{INSTALLATION_BYTES, KEPT, PERMISSIONS};
use super::permission::{Grant, GrantError};
use super::words::{AppName, Version};
use crate::envelope::check_version;

const WHAT: &str = "installation";

/// Why a record of an installation does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstallationError {
    /// The bytes are no such record.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It is not the record that the access log names.
    #[error(
        "the record of app {name} is not the one that the tree's access log names: it was exchanged or damaged, install \
         the app again"
    )]
    OtherRecord {
        /// The app.
        name: AppName,
    },
    /// A list is longer than it may be.
    #[error("an installation has {found} {what}, at most {limit} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The grants contradict each other or the package.
    #[error(transparent)]
    Grant(#[from] GrantError),
}

/// An earlier package of an installed app, which can be gone back to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Kept {
    /// The package.
    pub package: PackageId,
    /// Its version.
    pub version: Version,
    /// Whether requests by its id are still answered.
    pub answers: bool,
}

/// What is installed under a name, and what it may do. The record counts while the access log of the tree's top zone
/// names its hash.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Installation {
    /// The name that it is called by.
    pub name: AppName,
    /// What runs.
    pub package: PackageId,
    /// Its version.
    pub version: Version,
    /// The newest author that was installed: an update is by this one, or by one that it handed over to.
    pub author: PrincipalId,
    /// What the owner gave it.
    pub grants: Vec<Grant>,
    /// Whether it answers at all.
    pub enabled: bool,
    /// Packages before this one, oldest first.
    pub kept: Vec<Kept>,
    /// One more with each change, from 1.
    pub generation: u64,
}

impl Installation {
    /// The encoded record; with [`Self::hash_of`] it has its name.
    pub fn to_bytes(&self) -> Result<Vec<u8>, InstallationError> {
        self.check()?;
        Ok([&label::INSTALLATION.version.to_le_bytes()[..], &encode(self)].concat())
    }

    /// The name of an encoded record in its tree.
    pub fn hash_of(tree: &TreeId, bytes: &[u8]) -> RecordHash {
        RecordHash(labelled_hash(label::INSTALLATION, tree, &[bytes]))
    }

    /// Decodes the record of app `name` that the tree's access log calls `expected`.
    pub fn decode(
        tree: &TreeId,
        name: &AppName,
        expected: &RecordHash,
        bytes: &[u8],
    ) -> Result<Self, InstallationError> {
        let other = || InstallationError::OtherRecord { name: name.clone() };
        if Self::hash_of(tree, bytes) != *expected {
            return Err(other());
        }
        let found = Self::decode_unnamed(bytes)?;
        if found.name == *name { Ok(found) } else { Err(other()) }
    }

    /// Decodes a record whatever its name is.
    pub fn decode_unnamed(bytes: &[u8]) -> Result<Self, InstallationError> {
        check_version(WHAT, bytes, label::INSTALLATION.version)?;
        let found: Self = decode_exact(WHAT, &bytes[2..], INSTALLATION_BYTES)?;
        found.check().map(|()| found)
    }

    /// The grant for a permission.
    pub fn grant(&self, permission: &str) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.permission.as_str() == permission)
    }

    /// Whether requests for `package` by its id are answered.
    pub fn answers(&self, package: &PackageId) -> bool {
        let kept = || self.kept.iter().any(|kept| kept.package == *package && kept.answers);
        self.enabled && (self.package == *package || kept())
    }

    fn check(&self) -> Result<(), InstallationError> {
        let bounds = [("grants", self.grants.len(), PERMISSIONS), ("earlier packages", self.kept.len(), KEPT)];
        if let Some((what, found, limit)) = bounds.into_iter().find(|(_, found, limit)| found > limit) {
            return Err(InstallationError::TooMany { what, found, limit });
        }
        Ok(Grant::check_alone(&self.grants)?)
    }
}
