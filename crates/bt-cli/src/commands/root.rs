//! `bt root`: the root credential: copied, brought back, given another passphrase, handed on.

use std::path::{Path, PathBuf};

use bt_base::PrincipalId;
use bt_crypto::{KeyStore, RootSeed};
use bt_node::control::Failure;
use bt_node::credentials::{self, Rotation};
use clap::Subcommand;

use crate::output::print;
use crate::passphrase::{new_passphrase, passphrase_of, replacing_passphrase};
use crate::signer::RootOptions;
use crate::target::{check_dir, node_dir};
use crate::{Outcome, words};

/// Copy, restore, protect and replace the root credential.
///
/// The root may do everything in a tree, and every right comes from it. Mounting, reading and writing never need it: its
/// file can lie elsewhere. Who loses the file (or its passphrase) and the 24 words can never again admit a node, share
/// or revoke as the root, and nobody can restore it.
#[derive(Debug, clap::Args)]
pub struct Root {
    #[command(subcommand)]
    command: RootCommand,
}

#[derive(Debug, Subcommand)]
enum RootCommand {
    /// Copy the root file to another place
    ///
    /// The copy opens with the same passphrase, which is tried first. The one in DIR may be removed then.
    Export {
        /// The node's directory, or the mount point
        dir: PathBuf,
        /// The copy, a new file
        file: PathBuf,
        #[command(flatten)]
        root: RootOptions,
    },
    /// Bring the root file back, from a copy or from the 24 words
    ///
    /// Without --from and --words-file the words are asked for. A file that is there is never overwritten: move it away
    /// when its passphrase is forgotten.
    Restore {
        /// The node's directory, or the mount point
        dir: PathBuf,
        /// A copy of the root file
        #[arg(long, value_name = "FILE", conflicts_with = "words_file")]
        from: Option<PathBuf>,
        /// A file with the 24 words
        #[arg(long, value_name = "FILE")]
        words_file: Option<PathBuf>,
        /// Where to, instead of DIR/root.key
        #[arg(long, value_name = "FILE")]
        root: Option<PathBuf>,
        /// A file with the passphrase (of the copy; else the new one); else BT_PASSPHRASE_FILE names one, else it is
        /// asked for
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Give the root file another passphrase
    ///
    /// Copies of the file keep the old one, and open with it as before.
    ChangePassphrase {
        /// The node's directory, or the mount point
        dir: PathBuf,
        #[command(flatten)]
        root: RootOptions,
        /// A file with the new passphrase; else BT_NEW_PASSPHRASE_FILE names one, else it is asked for
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
    },
    /// Make a new root that succeeds the one there is
    ///
    /// For a root file or words that others may have seen. The tree keeps its name, and every grant stays. The new root
    /// has new words, which are shown once; the old file is put aside under another name, and what it signs from now on
    /// counts nowhere. Every zone in DIR gets a new key that the old root does not have; what is encrypted already it
    /// could read before. DIR must not be mounted. Interrupted, the same command goes on.
    Rotate {
        /// The node's directory
        dir: PathBuf,
        #[command(flatten)]
        root: RootOptions,
        /// A file with the passphrase of the new root file; else BT_NEW_PASSPHRASE_FILE names one, else it is asked for
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
    },
}

/// Runs the command.
pub fn run(arguments: &Root) -> Outcome {
    match &arguments.command {
        RootCommand::Export { dir, file, root } => export(&tree_dir(dir)?, file, root),
        RootCommand::Restore { dir, from, words_file, root, passphrase_file } => {
            let dir = tree_dir(dir)?;
            let to = root.clone().unwrap_or_else(|| dir.join(credentials::ROOT_FILE));
            credentials::refuse_existing(&to)?;
            match from {
                Some(from) => restore_copy(&dir, from, &to, passphrase_file.as_deref()),
                None => restore_words(&dir, words_file.as_deref(), &to, passphrase_file.as_deref()),
            }
        }
        RootCommand::ChangePassphrase { dir, root, new_passphrase_file } => {
            let (file, seed) = root.open(&tree_dir(dir)?)?;
            let passphrase = replacing_passphrase(new_passphrase_file.as_deref())?;
            credentials::replace_root(&file, &seed, &passphrase)?;
            print(&format!("{} has the new passphrase; copies of it keep the old one\n", file.display()))
        }
        RootCommand::Rotate { dir, root, new_passphrase_file } => {
            rotate(&tree_dir(dir)?, root, new_passphrase_file.as_deref())
        }
    }
}

fn tree_dir(dir: &Path) -> Result<PathBuf, Failure> {
    let dir = node_dir(dir)?;
    check_dir(&dir)?;
    Ok(dir)
}

fn principal(seed: &RootSeed) -> PrincipalId {
    seed.key_store().credential().id()
}

fn export(dir: &Path, to: &Path, root: &RootOptions) -> Outcome {
    credentials::refuse_existing(to)?;
    let (file, seed) = root.open(dir)?;
    credentials::refuse_other_root(dir, seed.key_store().credential())?;
    credentials::export_root(&file, to)?;
    let (file, to, root) = (file.display(), to.display(), principal(&seed).short());
    print(&format!("root {root} is in {to} too, under the same passphrase; {file} may be removed now\n"))
}

fn restore_copy(dir: &Path, from: &Path, to: &Path, passphrase_file: Option<&Path>) -> Outcome {
    credentials::check_root(from)?;
    let seed = credentials::open_root(from, &passphrase_of(from, passphrase_file)?)?;
    credentials::refuse_other_root(dir, seed.key_store().credential())?;
    credentials::export_root(from, to)?;
    restored(&seed, to)
}

fn restore_words(dir: &Path, words_file: Option<&Path>, to: &Path, passphrase_file: Option<&Path>) -> Outcome {
    let seed = words_file.map_or_else(words::ask, words::from_file)?;
    credentials::refuse_other_root(dir, seed.key_store().credential())?;
    credentials::create_root(to, &seed, &new_passphrase(passphrase_file)?)?;
    restored(&seed, to)
}

fn restored(seed: &RootSeed, to: &Path) -> Outcome {
    print(&format!("root {} is in {}\n", principal(seed).short(), to.display()))
}

fn rotate(dir: &Path, root: &RootOptions, new_passphrase_file: Option<&Path>) -> Outcome {
    let (file, old) = root.open(dir)?;
    let rotation = Rotation::begin(dir, &file, &old)?;
    let new = match rotation.is_resumed() {
        true => {
            let next = rotation.new_file();
            let passphrase = passphrase_of(&next, new_passphrase_file)?;
            credentials::open_root(&next, &passphrase)?
        }
        false => {
            let seed = rotation.make_root(&replacing_passphrase(new_passphrase_file)?)?;
            // Whoever cannot see the words must not be left with a root that only they restore.
            if let Err(end) = print(&words::to_be_kept(&seed.to_words())) {
                rotation.abandon();
                return Err(end);
            }
            seed
        }
    };
    let report = rotation.finish(&new)?;
    print(&format!(
        "\nthe root is now {} in {}; {} zones obey it\nthe old file is {}: nothing obeys it any more, keep or remove it\n",
        report.root.short(),
        file.display(),
        report.zones,
        report.set_aside.display(),
    ))
}
