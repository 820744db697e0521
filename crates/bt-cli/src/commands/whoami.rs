//! `bt whoami`: who a node or a credential file is in a tree.

use std::path::PathBuf;

use bt_node::credentials::{self, Standing, WhoAmI};

use crate::Outcome;
use crate::arguments::OutputOption;
use crate::output::{columns, show};
use crate::target::{check_dir, node_dir};
use crate::units::time;

/// Show who acts on a directory, and what it may do there.
///
/// That is the node's own principal, or that of a credential file. Its public key is what others share with.
#[derive(Debug, clap::Args)]
pub struct Whoami {
    /// The node's directory, or the mount point
    dir: PathBuf,
    /// A credential file of a principal instead of the node; its passphrase is not needed
    #[arg(long = "as", value_name = "FILE")]
    principal: Option<PathBuf>,
    #[command(flatten)]
    output: OutputOption,
}

/// Runs the command.
pub fn run(arguments: &Whoami) -> Outcome {
    let dir = node_dir(&arguments.dir)?;
    check_dir(&dir)?;
    let principal = arguments.principal.as_deref().map(credentials::public_of_file).transpose()?;
    show(arguments.output.output, &credentials::whoami(&dir, principal)?, text)
}

fn text(who: &WhoAmI) -> String {
    let mut lines =
        vec![("principal", who.id.to_string()), ("public key", who.public.clone()), ("tree", who.tree.to_string())];
    if who.is_root {
        lines.push(("is", "the root of the tree".to_owned()));
    }
    lines.extend(who.zones.iter().map(|standing| ("may", may(standing))));
    columns(&lines)
}

fn may(standing: &Standing) -> String {
    let what = match standing.rights {
        Some("read") => "read",
        Some("write") => "read and write",
        Some(_) => "read, write and share",
        None => "do nothing in",
    };
    let zone = if standing.is_top { "the top zone".to_owned() } else { format!("zone {}", standing.zone.short()) };
    let until = standing.until.map_or_else(String::new, |until| format!(" until {}", time(until)));
    format!("{what} {zone}{until}")
}

#[cfg(test)]
mod tests {
    use bt_base::{Timestamp, ZoneId};

    use super::*;

    #[test]
    fn rights_are_said_in_words() {
        let zone = ZoneId([0xab; 32]);
        let standing = |rights, is_top, until| may(&Standing { zone, is_top, rights, until });
        assert_eq!(standing(Some("write"), true, None), "read and write the top zone");
        assert_eq!(standing(None, false, None), "do nothing in zone abababab");
        let until = Some(Timestamp::new(0, 0));
        assert!(standing(Some("read"), false, until).starts_with("read zone abababab until "));
        assert_eq!(standing(Some("admin"), false, None), "read, write and share zone abababab");
    }
}
