//! `bt revoke`: takes all rights in a zone from a principal.

use std::path::PathBuf;

use bt_base::PrincipalId;
use bt_node::control::Failure;
use bt_node::control::access::AccessReport;

use crate::Outcome;
use crate::arguments::OutputOption;
use crate::output::show;
use crate::rights::{change, named};
use crate::signer::SignerOptions;

/// Take all rights in a zone from a principal.
///
/// What it wrote until now stays; what it signs later is refused and shown by `bt log` and `bt check`. It keeps what it
/// has read, and can open what was there until now wherever it finds it, until that is sealed anew (`bt rekey`);
/// everything written from now on is under keys that it does not get.
#[derive(Debug, clap::Args)]
pub struct Revoke {
    /// The node's directory, or the mount point
    dir: PathBuf,
    /// Where the zone is entered, from the top of the tree
    #[arg(default_value = "/")]
    path: String,
    /// From whom: a public key, a file with one, an id, or the beginning of an id that `bt access list` shows
    #[arg(long, value_name = "PRINCIPAL")]
    from: String,
    #[command(flatten)]
    signer: SignerOptions,
    #[command(flatten)]
    output: OutputOption,
}

/// Runs the command.
pub fn run(arguments: &Revoke) -> Outcome {
    let who = std::cell::Cell::new(PrincipalId::default());
    let report = change(&arguments.dir, &arguments.path, &arguments.signer, |next, report| {
        who.set(find(&arguments.from, report)?);
        next.revoke(&who.get())
    })?;
    show(arguments.output.output, &report, |report| text(report, &who.get()))
}

/// Whom to revoke; one without any right is refused, so that a mistaken name is not taken for done.
fn find(from: &str, report: &AccessReport) -> Result<PrincipalId, Failure> {
    let id = named(from, report)?;
    match report.grants.iter().any(|grant| grant.principal == id) {
        true => Ok(id),
        false => Err(Failure::refused(
            format!("{} may do nothing in the zone at {}", id.short(), report.path),
            "`bt access list` shows who may do what",
        )),
    }
}

fn text(report: &AccessReport, who: &PrincipalId) -> String {
    let keys = match report.keys_are_current {
        true => format!("what is written from now on is under new keys (epoch {})", report.epoch),
        false => "new keys are made when one who may write mounts the zone".to_owned(),
    };
    format!("{} may do nothing in the zone at {} any more; {keys}\n", who.short(), report.path)
}
