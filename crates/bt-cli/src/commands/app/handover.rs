//! `bt app handover`: an author hands over to another key.

use std::path::PathBuf;

use bt_base::PrincipalId;
use bt_node::control::Failure;
use bt_tree::app::Handover;
use serde::Serialize;

use crate::Outcome;
use crate::arguments::OutputOption;
use crate::authoring::package;
use crate::output::{columns, show};
use crate::signer::open_principal;
use crate::units::from_now;

/// Let another key follow yours as author of your apps
///
/// Both sign that. The new file belongs into the folders of apps, named in app.toml under handovers: packages that carry
/// it are taken as updates of those that the key before signed. Where such an update is installed, the key before counts
/// no more.
#[derive(Debug, clap::Args)]
pub struct HandoverArguments {
    /// The new file
    file: PathBuf,
    /// The credential file of the author before
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The credential file of the author that follows
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// A file with the passphrase of both; else BT_PASSPHRASE_FILE names one, else both are asked for
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    output: OutputOption,
}

#[derive(Debug, Serialize)]
struct Handed {
    from: PrincipalId,
    to: PrincipalId,
}

/// Runs the command.
pub fn run(arguments: &HandoverArguments) -> Outcome {
    if arguments.file.symlink_metadata().is_ok() {
        let what = format!("{} exists already", arguments.file.display());
        return Err(Failure::refused(what, "choose another name").into());
    }
    let before = open_principal(&arguments.from, arguments.passphrase_file.as_deref())?;
    let next = open_principal(&arguments.to, arguments.passphrase_file.as_deref())?;
    let handover = Handover::sign(&before, &next, from_now(0))
        .map_err(|error| Failure::refused(error.to_string(), "name two different credential files"))?;
    package::write(&arguments.file, &handover.to_bytes())?;
    let handed = Handed { from: handover.before().id(), to: handover.next().id() };
    show(arguments.output.output, &handed, |handed| {
        columns(&[("author before", handed.from.to_string()), ("author now", handed.to.to_string())])
    })
}
