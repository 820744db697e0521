//! Files with the keys of people and of the root, and who a directory's node or such a file is.
//!
//! Passphrases are handed in; nothing here asks for one. A file with keys is never overwritten by making another,
//! is readable for its owner alone, and is on the disk when the function that wrote it returns.

mod file;
mod migrate;
mod root;
mod rotate;
#[cfg(test)]
mod tests;
mod tpm;
mod whoami;

use std::path::Path;

use bt_crypto::{Credential, KeyStore, PassphraseCost, PrincipalFileError, SoftwareKeyStore};

use crate::control::{Failure, FailureKind};
use crate::layout;
use crate::system::SystemEntropy;

pub use migrate::{Migrated, migrate_node_key};
pub use root::{check_root, create_root, export_root, open_root, refuse_other_root, replace_root};
pub use rotate::{Rotation, RotationReport};
pub use tpm::TpmKey;
pub use whoami::{Standing, WhoAmI, whoami};

/// The root file of a node's directory, unless its owner moved it away.
pub const ROOT_FILE: &str = layout::ROOT_KEY;

/// The node key file of a node's directory.
pub const NODE_KEY_FILE: &str = layout::NODE_KEY;

/// Whether a node key file with this beginning names keys in a TPM.
pub fn is_in_tpm(start: &[u8]) -> bool {
    bt_tpm::TpmKeyStore::is_key_file(start)
}

/// Makes a new principal and its credential file, which must not exist.
pub fn create_principal(path: &Path, passphrase: &[u8]) -> Result<Credential, Failure> {
    file::refuse_existing(path)?;
    let store = SoftwareKeyStore::generate(&mut SystemEntropy);
    file::create(path, &store.seal_file(passphrase, PassphraseCost::STANDARD, &mut SystemEntropy))?;
    Ok(*store.credential())
}

/// Refuses a path at which something exists, before a passphrase is asked for.
pub fn refuse_existing(path: &Path) -> Result<(), Failure> {
    file::refuse_existing(path)
}

/// The public half of the principal that a file is about: its credential file, or its public key as text.
pub fn public_of_file(path: &Path) -> Result<Credential, Failure> {
    let bytes = file::read(path)?;
    if Credential::is_file(&bytes) {
        return Credential::of_file(&bytes).map_err(|error| principal_failure(path, error));
    }
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    text.parse().map_err(|_| {
        Failure::usage(
            format!("{} is neither the credential file of a principal nor holds a public key", path.display()),
            "name a file that `bt principal create` made, or one with the text (btp1...) of `bt principal show`",
        )
    })
}

/// The principal of a credential file, ready to sign.
pub fn open_principal(path: &Path, passphrase: &[u8]) -> Result<SoftwareKeyStore, Failure> {
    SoftwareKeyStore::open_file(&file::read(path)?, passphrase).map_err(|error| principal_failure(path, error))
}

/// Refuses a file that is no whole credential file of a principal, before its passphrase is asked for.
pub fn check_principal(path: &Path) -> Result<Credential, Failure> {
    Credential::of_file(&file::read(path)?).map_err(|error| principal_failure(path, error))
}

fn principal_failure(path: &Path, error: PrincipalFileError) -> Failure {
    let kind = match error {
        PrincipalFileError::NotAPrincipalFile => FailureKind::Usage,
        PrincipalFileError::TooNew { .. } | PrincipalFileError::WrongPassphrase => FailureKind::Refused,
        PrincipalFileError::Damaged | PrincipalFileError::Cost(_) | PrincipalFileError::OtherKeys => {
            FailureKind::Problem
        }
    };
    Failure { kind, what: format!("{}: {error}", path.display()), hint: String::new() }
}
