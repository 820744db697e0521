//! The root file: copied, brought back, given another passphrase; and whether it is the root of a directory's tree.

use std::path::Path;

use bt_crypto::{Credential, PassphraseCost, RootFileError, RootSeed};
use bt_store::FileStorage;
use bt_tree::Genesis;

use super::file;
use crate::control::{Failure, FailureKind};
use crate::identity;
use crate::system::SystemEntropy;

/// Refuses a file that is no whole root file, before its passphrase is asked for.
pub fn check_root(path: &Path) -> Result<(), Failure> {
    RootSeed::check_file(&file::read(path)?).map_err(|error| failure(path, error))
}

/// The root's seed out of a root file.
pub fn open_root(path: &Path, passphrase: &[u8]) -> Result<RootSeed, Failure> {
    RootSeed::open_file(&file::read(path)?, passphrase).map_err(|error| failure(path, error))
}

/// Copies the root file `from` to a file that must not exist. That it opens is for the caller to try.
pub fn export_root(from: &Path, to: &Path) -> Result<(), Failure> {
    file::create(to, &file::read(from)?)
}

/// Seals the root's seed into a file that must not exist.
pub fn create_root(path: &Path, seed: &RootSeed, passphrase: &[u8]) -> Result<(), Failure> {
    file::refuse_existing(path)?;
    file::create(path, &seed.seal_file(passphrase, PassphraseCost::STANDARD, &mut SystemEntropy))
}

/// Seals the root's seed anew in the place of a root file; whatever happens, one of the two is there.
pub fn replace_root(path: &Path, seed: &RootSeed, passphrase: &[u8]) -> Result<(), Failure> {
    file::replace(path, &seed.seal_file(passphrase, PassphraseCost::STANDARD, &mut SystemEntropy))
}

/// Refuses a root credential that is not that of the tree in the node's directory `dir`, or no longer.
pub fn refuse_other_root(dir: &Path, root: &Credential) -> Result<(), Failure> {
    let storage = FileStorage::open(dir).map_err(|error| Failure::problem(error.to_string(), ""))?;
    let genesis = identity::read_genesis(&storage)?;
    if genesis.root() == root { Ok(()) } else { Err(not_the_root(dir, &genesis, root)) }
}

/// Why a credential is not the root of a tree.
pub(super) fn not_the_root(dir: &Path, genesis: &Genesis, root: &Credential) -> Failure {
    let (tree, dir) = (genesis.tree().short(), dir.display());
    let succeeded = |succession: &bt_tree::Succession| succession.statement().successor == *root;
    match genesis.founder() == root || genesis.successions().iter().any(succeeded) {
        true => Failure::refused(
            format!("this was the root of tree {tree} in {dir}, but another succeeded it"),
            format!("use the root file or the words of root {}", genesis.root().id().short()),
        ),
        false => Failure::refused(
            format!("this is the root of another tree, not of {tree} in {dir}"),
            "name the root file of this tree with --root FILE, or its words",
        ),
    }
}

fn failure(path: &Path, error: RootFileError) -> Failure {
    let kind = match error {
        RootFileError::NotARootFile => FailureKind::Usage,
        RootFileError::TooNew { .. } | RootFileError::WrongPassphrase => FailureKind::Refused,
        RootFileError::Damaged | RootFileError::Cost(_) => FailureKind::Problem,
    };
    Failure { kind, what: format!("{}: {error}", path.display()), hint: String::new() }
}
