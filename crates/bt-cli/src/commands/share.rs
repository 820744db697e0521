//! `bt share`: lets a principal read, write or share a zone.

use std::path::PathBuf;

use bt_base::Timestamp;
use bt_crypto::Credential;
use bt_node::control::access::{AccessReport, Right};

use crate::Outcome;
use crate::arguments::OutputOption;
use crate::output::show;
use crate::principal::credential_of;
use crate::rights::{change, in_words};
use crate::signer::SignerOptions;
use crate::units::{parse_duration, time};

/// Let a principal read a zone, write to it, or share it further.
///
/// The root or an admin of the zone signs; the principal can open what is there and what is written from now on.
/// Sharing again with more rights, or for longer, replaces what was granted; less takes `bt revoke` first.
#[derive(Debug, clap::Args)]
pub struct Share {
    /// The node's directory, or the mount point
    dir: PathBuf,
    /// Where the zone is entered, from the top of the tree
    #[arg(default_value = "/")]
    path: String,
    /// With whom: a public key (btp1...), a file with one, or a credential file
    #[arg(long, value_name = "PRINCIPAL")]
    with: String,
    #[command(flatten)]
    right: RightOption,
    /// When it ends: so many hours, days, weeks or years from now, as 12h, 90d, 2w, 1y; without it, never
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    expires: Option<i64>,
    #[command(flatten)]
    signer: SignerOptions,
    #[command(flatten)]
    output: OutputOption,
}

/// What may be done; one of them.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct RightOption {
    /// Read
    #[arg(long)]
    read: bool,
    /// Read and write
    #[arg(long)]
    write: bool,
    /// Read, write, and share with others
    #[arg(long)]
    admin: bool,
}

impl RightOption {
    fn right(self) -> Right {
        match self {
            Self { admin: true, .. } => Right::Admin,
            Self { write: true, .. } => Right::Write,
            _ => Right::Read,
        }
    }
}

/// Runs the command.
pub fn run(arguments: &Share) -> Outcome {
    let principal = credential_of(&arguments.with)?;
    let right = arguments.right.right();
    let until = arguments.expires.map(crate::units::from_now);
    let report =
        change(&arguments.dir, &arguments.path, &arguments.signer, |next, _| next.grant(&principal, right, until))?;
    show(arguments.output.output, &report, |report| text(report, &principal, right, until))
}

fn text(report: &AccessReport, principal: &Credential, right: Right, until: Option<Timestamp>) -> String {
    let until = until.map_or_else(String::new, |until| format!(" until {}", time(until)));
    let keys = match report.keys_are_current {
        true => "",
        false => "the keys follow when one who may write mounts the zone\n",
    };
    format!("{} may {} the zone at {}{until}\n{keys}", principal.id().short(), in_words(right), report.path)
}
