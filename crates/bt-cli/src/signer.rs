//! Whose credential signs what a command decides: the root's, or that of an admin's file.
//!
//! The passphrase is used here, in the process that the user started; the process that serves a tree never sees it.

use std::path::{Path, PathBuf};

use bt_crypto::{KeyStore, RootSeed, SoftwareKeyStore};
use bt_node::control::Failure;
use bt_node::credentials;

use crate::passphrase::passphrase_of;
use crate::target;

/// The options of every command that signs for the root or an admin.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SignerOptions {
    /// Sign as the principal of this credential file; without it the root signs
    #[arg(long = "as", value_name = "FILE", conflicts_with = "root")]
    pub principal: Option<PathBuf>,
    /// The root file, when it is not DIR/root.key
    #[arg(long, value_name = "FILE")]
    pub root: Option<PathBuf>,
    /// A file with the passphrase of the credential; else BT_PASSPHRASE_FILE names one, else it is asked for
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

impl SignerOptions {
    /// Opens the credential for the tree whose node's directory (or mount point) is `dir`. Asks for its passphrase only
    /// when the file is there and whole; a root that is not this tree's is refused.
    pub fn open(&self, dir: &Path) -> Result<SoftwareKeyStore, Failure> {
        match &self.principal {
            Some(file) => open_principal(file, self.passphrase_file.as_deref()),
            None => {
                let dir = target::node_dir(dir)?;
                let (_, seed) = open_root(&dir, self.root.as_deref(), self.passphrase_file.as_deref())?;
                let root = seed.key_store();
                credentials::refuse_other_root(&dir, root.credential())?;
                Ok(root)
            }
        }
    }
}

/// The options of commands that only the root can be used for.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RootOptions {
    /// The root file, when it is not DIR/root.key
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// A file with its passphrase; else BT_PASSPHRASE_FILE names one, else it is asked for
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl RootOptions {
    /// The root file for the node's directory `dir`, and the seed in it; whose root it is, is not looked at.
    pub fn open(&self, dir: &Path) -> Result<(PathBuf, RootSeed), Failure> {
        open_root(dir, self.root.as_deref(), self.passphrase_file.as_deref())
    }
}

/// Asks for the passphrase only when the file is there and whole.
fn open_root(dir: &Path, named: Option<&Path>, passphrase_file: Option<&Path>) -> Result<(PathBuf, RootSeed), Failure> {
    let file = root_file(dir, named)?;
    credentials::check_root(&file)?;
    let passphrase = passphrase_of(&file, passphrase_file)?;
    let seed = credentials::open_root(&file, &passphrase)?;
    Ok((file, seed))
}

/// Opens the credential file of a principal; asks for its passphrase only when the file is there and whole.
pub fn open_principal(file: &Path, passphrase_file: Option<&Path>) -> Result<SoftwareKeyStore, Failure> {
    credentials::check_principal(file)?;
    credentials::open_principal(file, &passphrase_of(file, passphrase_file)?)
}

/// The root file that the user named, or the one in the node's directory.
fn root_file(dir: &Path, named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(file) = named {
        return Ok(file.to_owned());
    }
    let file = dir.join(credentials::ROOT_FILE);
    match file.exists() {
        true => Ok(file),
        false => Err(Failure::refused(
            format!("the root file is not at {}", file.display()),
            "name it with --root FILE, or bring it back with `bt root restore`",
        )),
    }
}
