//! `bt init`: makes a tree.

use std::path::{Path, PathBuf};
use std::{fs, io};

use bt_node::control::Failure;
use bt_node::control::report::NodeKeyStatus;
use bt_node::options::{Compression, InitOptions, InitReport, NodeKeyOptions};
use clap::ValueEnum;
use zeroize::Zeroizing;

use crate::output::print;
use crate::passphrase::new_passphrase;
use crate::tpm::{self, TpmOptions};
use crate::{Outcome, mounts, words};

/// Make a tree in an empty directory.
///
/// Makes the root credential (protected by a passphrase), the credential of this node and the root zone, and shows
/// once the 24 words that restore the root credential. DIR is created when it does not exist.
#[derive(Debug, clap::Args)]
pub struct Init {
    /// The new node's directory: empty, or not there yet
    dir: PathBuf,
    /// A file with the passphrase; else BT_PASSPHRASE_FILE names one, else it is asked for
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Compress file data before it is encrypted
    #[arg(long, value_enum, default_value_t, value_name = "METHOD")]
    compression: Method,
    #[command(flatten)]
    tpm: TpmOptions,
}

/// How file data is compressed.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Method {
    /// Not at all
    #[default]
    None,
    /// Zstandard: smaller
    Zstd,
    /// LZ4: faster
    Lz4,
}

impl Method {
    fn compression(self) -> Option<Compression> {
        match self {
            Self::None => None,
            Self::Zstd => Some(Compression::Zstd),
            Self::Lz4 => Some(Compression::Lz4),
        }
    }
}

/// Runs the command.
pub fn run(arguments: &Init) -> Outcome {
    let dir = mounts::place(&arguments.dir);
    refuse_full(&dir)?;
    let passphrase = new_passphrase(arguments.passphrase_file.as_deref())?;
    let node_key = arguments.tpm.node_key()?.unwrap_or(NodeKeyOptions::File);
    let options = InitOptions { passphrase, compression: arguments.compression.compression(), node_key };
    let report = bt_node::init(&dir, &options)?;
    print(&text(&dir.display().to_string(), &report))
}

/// Before a passphrase is asked for; making the tree checks again.
fn refuse_full(dir: &Path) -> Result<(), Failure> {
    match fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(Failure::refused(format!("{} is not empty", dir.display()), "choose an empty or a new directory"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(Failure::refused(format!("{} is not a directory", dir.display()), "choose an empty or a new directory"))
        }
        Err(error) => Err(Failure::io(format!("looking at {}", dir.display()), &error)),
    }
}

/// A line about a key in a TPM; nothing about one in the directory, as most are.
fn made_in(key: &NodeKeyStatus) -> String {
    key.tpm.as_ref().map_or_else(String::new, |_| format!("this node's key is {}\n", tpm::place(key)))
}

fn text(dir: &str, report: &InitReport) -> Zeroizing<String> {
    Zeroizing::new(format!(
        "made tree {} in {dir}\n\n{}\n{}next: bt mount {dir} MOUNTPOINT\n",
        report.tree.short(),
        *words::to_be_kept(&report.words),
        made_in(&report.node_key),
    ))
}
