//! `bt node`: this machine's own part in a tree.

use std::path::PathBuf;
use std::sync::Arc;

use bt_node::credentials::{self, Migrated};
use bt_node::options::{NodeKeyOptions, Pcrs};
use clap::Subcommand;

use super::node_run::{Run, run as node_run};
use crate::Outcome;
use crate::output::print;
use crate::passphrase::recovery_passphrase;
use crate::signer::SignerOptions;
use crate::target::{check_dir, node_dir};
use crate::tpm::{TpmOptions, place};

/// Look after this machine's part in a tree.
#[derive(Debug, clap::Args)]
pub struct Node {
    #[command(subcommand)]
    command: NodeCommand,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    Run(Run),
    /// Look after the key that makes this machine a node of its tree
    #[command(subcommand)]
    Key(KeyCommand),
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Give this node a new key: in the TPM, in another TPM, or in a file
    ///
    /// Also when the old key is gone, since its TPM died or was cleared. The root (or an admin of all the node's zones)
    /// admits the new key and revokes the old one; the zones get new keys. The tree must not be mounted. What was
    /// durable stays; what only a mount held is lost with it, as in a crash.
    Migrate {
        /// The node's directory
        dir: PathBuf,
        /// Keep the new key in the file DIR/node.key, without a TPM
        #[arg(long, conflicts_with = "tpm", required_unless_present = "tpm")]
        file: bool,
        #[command(flatten)]
        tpm: TpmOptions,
        #[command(flatten)]
        signer: SignerOptions,
    },
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
        NodeCommand::Run(arguments) => node_run(arguments),
        NodeCommand::Key(KeyCommand::Migrate { dir, file: _, tpm, signer }) => {
            let dir = node_dir(dir)?;
            check_dir(&dir)?;
            let options = tpm.node_key()?.unwrap_or(NodeKeyOptions::File);
            let signer = Arc::new(signer.open(&dir)?);
            print(&migrated(&credentials::migrate_node_key(&dir, signer, &options)?))
        }
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

fn migrated(done: &Migrated) -> String {
    let before = match done.before {
        Some(before) => format!("it was {}, which may do nothing any more", before.short()),
        None => "no other key of it was found; `bt access list` shows who else may do what".to_owned(),
    };
    format!("this node is {} now, in {} zones; {before}\nits key is {}\n", done.node, done.zones, place(&done.node_key))
}
