//! `bt node`: this machine's own part in a tree.

use std::path::PathBuf;

use bt_node::credentials;
use bt_node::options::Pcrs;
use clap::Subcommand;

use crate::Outcome;
use crate::output::print;
use crate::passphrase::recovery_passphrase;
use crate::target::{check_dir, node_dir};
use crate::tpm::place;

/// Look after this node's key.
#[derive(Debug, clap::Args)]
pub struct Node {
    #[command(subcommand)]
    command: NodeCommand,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// Look after the key that makes this machine a node of its tree
    #[command(subcommand)]
    Key(KeyCommand),
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Bind the key in the TPM to the PCRs' present values
    ///
    /// For after an update of firmware, boot settings or boot loader. To let the machine start unattended after an
    /// update, bind the key to PCRs that the update does not change before it, and to all again after it.
    Rebind {
        /// The node's directory, or the mount point
        dir: PathBuf,
        /// Bind to these PCRs instead, as in 0,2,7
        #[arg(long, value_name = "LIST")]
        tpm_pcrs: Option<Pcrs>,
        /// A file with the recovery passphrase; else BT_RECOVERY_PASSPHRASE_FILE names one, else it is asked for
        #[arg(long, value_name = "FILE")]
        recovery_passphrase_file: Option<PathBuf>,
    },
}

/// Runs the command.
pub fn run(arguments: &Node) -> Outcome {
    match &arguments.command {
        NodeCommand::Key(KeyCommand::Rebind { dir, tpm_pcrs, recovery_passphrase_file }) => {
            let dir = node_dir(dir)?;
            check_dir(&dir)?;
            let key = credentials::TpmKey::open(&dir)?;
            let passphrase = recovery_passphrase(recovery_passphrase_file.as_deref())?;
            let status = key.rebind(*tpm_pcrs, &passphrase)?;
            print(&format!("this node's key is {}\n", place(&status)))
        }
    }
}
