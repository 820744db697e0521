//! `bt principal`: credentials of people.

use std::path::PathBuf;

use bt_base::PrincipalId;
use bt_crypto::Credential;
use bt_node::credentials;
use clap::Subcommand;
use serde::Serialize;

use crate::Outcome;
use crate::arguments::OutputOption;
use crate::output::{columns, show};
use crate::passphrase::new_passphrase;
use crate::principal::credential_of;

/// Make and show the credentials of people.
///
/// A principal is who may do something in a tree: a person, or a node. A person's credential is a file protected by a
/// passphrase; others need only its public key, a text that begins with btp1.
#[derive(Debug, clap::Args)]
pub struct Principal {
    #[command(subcommand)]
    command: PrincipalCommand,
}

#[derive(Debug, Subcommand)]
enum PrincipalCommand {
    /// Make the credential of a person in a new file
    ///
    /// Nothing restores the keys but this file and its passphrase: keep a copy of it. Who loses them is made a new
    /// principal and shared with again.
    Create {
        /// The new file
        file: PathBuf,
        /// A file with the passphrase; else BT_PASSPHRASE_FILE names one, else it is asked for
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        #[command(flatten)]
        output: OutputOption,
    },
    /// Show the id and the public key of a principal; no passphrase is needed
    Show {
        /// A credential file, a file with a public key, or the public key
        #[arg(value_name = "FILE")]
        principal: String,
        #[command(flatten)]
        output: OutputOption,
    },
}

/// What others may know of a principal.
#[derive(Debug, Serialize)]
struct Public {
    id: PrincipalId,
    public: String,
}

/// Runs the command.
pub fn run(arguments: &Principal) -> Outcome {
    match &arguments.command {
        PrincipalCommand::Create { file, passphrase_file, output } => {
            credentials::refuse_existing(file)?;
            let passphrase = new_passphrase(passphrase_file.as_deref())?;
            print(&credentials::create_principal(file, &passphrase)?, *output)
        }
        PrincipalCommand::Show { principal, output } => print(&credential_of(principal)?, *output),
    }
}

fn print(credential: &Credential, output: OutputOption) -> Outcome {
    let public = Public { id: credential.id(), public: credential.to_string() };
    show(output.output, &public, |public| {
        columns(&[("principal", public.id.to_string()), ("public key", public.public.clone())])
    })
}
