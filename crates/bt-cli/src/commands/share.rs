//! `bt share`: lets a principal read, write or share a zone.

use std::path::PathBuf;
use std::sync::Arc;

use bt_base::Timestamp;
use bt_crypto::{Credential, KeyStore};
use bt_node::control::access::{AccessReport, Right};
use bt_node::control::zone::NewGrant;
use bt_node::control::{Failure, Request, Response};

use crate::Outcome;
use crate::arguments::OutputOption;
use crate::output::show;
use crate::principal::credential_of;
use crate::rights::{change_in, in_words, show_in};
use crate::signer::SignerOptions;
use crate::target::{Target, unexpected};
use crate::units::{parse_duration, time};

/// Let a principal read a directory, write to it, or share it further.
///
/// Rights are those of whole zones: a directory that is none yet becomes one, and what is in it moves under keys of its
/// own while work goes on. Those who may use it now still may (--closed leaves them out). The root or an admin of the
/// zone signs; the principal can open what is there and what is written from now on. Sharing again with more rights, or
/// for longer, replaces what was granted; less takes `bt revoke` first.
#[derive(Debug, clap::Args)]
pub struct Share {
    /// The node's directory, or the mount point
    dir: PathBuf,
    /// The directory, from the top of the tree
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
    /// Let nobody else in who may use the directory now, but for whom this node acts: for a directory that is no zone yet
    #[arg(long)]
    closed: bool,
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
    let signer: Arc<dyn KeyStore> = Arc::new(arguments.signer.open(&arguments.dir)?);
    let mut target = Target::find_for(&arguments.dir, signer.clone())?;
    let shared = share(&mut target, arguments, &*signer, &NewGrant { principal, right, until });
    let closed = target.close();
    let report = shared?;
    closed?;
    show(arguments.output.output, &report, |report| text(report, &principal, right, until))
}

fn share(
    target: &mut Target,
    arguments: &Share,
    signer: &dyn KeyStore,
    with: &NewGrant,
) -> Result<AccessReport, Failure> {
    let path = &arguments.path;
    let terms = match target.call(Request::ZoneTerms { path: path.clone() })? {
        Response::Terms(terms) => terms,
        other => return Err(unexpected(&other)),
    };
    if !terms.is_zone {
        let (birth, access) = terms.sign(signer, with, arguments.closed)?;
        return match target.call(Request::ZoneMake { path: path.clone(), birth, access })? {
            Response::ZoneMade { .. } => show_in(target, path),
            other => Err(unexpected(&other)),
        };
    }
    if arguments.closed {
        let what = format!("{path} is a zone already");
        return Err(Failure::refused(what, "take rights away with `bt revoke`; --closed is for a new zone"));
    }
    change_in(target, path, signer, &|next, _| next.grant(&with.principal, with.right, with.until))
}

fn text(report: &AccessReport, principal: &Credential, right: Right, until: Option<Timestamp>) -> String {
    let until = until.map_or_else(String::new, |until| format!(" until {}", time(until)));
    let keys = match report.keys_are_current {
        true => "",
        false => "the keys follow when one who may write mounts the zone\n",
    };
    format!("{} may {} the zone at {}{until}\n{keys}", principal.id().short(), in_words(right), report.path)
}
