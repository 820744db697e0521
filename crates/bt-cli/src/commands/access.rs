//! `bt access`: who may do what.

use std::path::PathBuf;

use bt_node::control::access::{AccessReport, AppReport, GrantReport};
use clap::Subcommand;

use crate::Outcome;
use crate::arguments::OutputOption;
use crate::output::{show, table};
use crate::rights::{self, in_words};
use crate::units::time;

/// Show who may do what in a zone.
#[derive(Debug, clap::Args)]
pub struct Access {
    #[command(subcommand)]
    command: AccessCommand,
}

#[derive(Debug, Subcommand)]
enum AccessCommand {
    /// List who may do what, until when, and who granted it; who was revoked; and which apps are installed
    List {
        /// The node's directory, or the mount point
        dir: PathBuf,
        /// Where the zone is entered, from the top of the tree
        #[arg(default_value = "/")]
        path: String,
        #[command(flatten)]
        output: OutputOption,
    },
}

/// Runs the command.
pub fn run(arguments: &Access) -> Outcome {
    let AccessCommand::List { dir, path, output } = &arguments.command;
    show(output.output, &rights::show(dir, path)?, text)
}

fn text(report: &AccessReport) -> String {
    let mut rows: Vec<Vec<String>> = report.grants.iter().map(row).collect();
    rows.extend(report.revoked.iter().map(|revoked| {
        vec![
            revoked.principal.short(),
            "nothing".to_owned(),
            "revoked".to_owned(),
            revoked.revoked_by.short(),
            time(revoked.revoked),
        ]
    }));
    let mut text = table(&["principal", "may", "until", "by", "since"], &[false; 5], &rows);
    if !report.apps.is_empty() {
        let apps = report.apps.iter();
        let row = |app: &AppReport| vec![app.name.clone(), app.record.short(), app.by.short(), time(app.time)];
        text.push('\n');
        text.push_str(&table(&["app", "record", "by", "since"], &[false; 4], &apps.map(row).collect::<Vec<_>>()));
    }
    if !report.keys_are_current {
        text.push_str("the keys follow when one who may write mounts the zone\n");
    }
    text
}

fn row(grant: &GrantReport) -> Vec<String> {
    let is = match (grant.is_root, grant.is_self) {
        (true, _) => " (root)",
        (_, true) => " (this node)",
        _ => "",
    };
    vec![
        format!("{}{is}", grant.principal.short()),
        in_words(grant.right).to_owned(),
        grant.until.map_or_else(|| "-".to_owned(), time),
        grant.granted_by.map_or_else(|| "-".to_owned(), |by| by.short()),
        grant.granted.map_or_else(|| "-".to_owned(), time),
    ]
}

#[cfg(test)]
mod tests {
    use bt_base::{PrincipalId, Revision, Timestamp};
    use bt_node::control::access::{RevokedReport, Right};

    use super::*;

    #[test]
    fn everyone_is_listed_with_what_they_may_do() {
        let at = |seconds| Timestamp::new(seconds, 0);
        let id = |byte| PrincipalId([byte; 32]);
        let root = GrantReport {
            principal: id(1),
            right: Right::Admin,
            until: None,
            granted_by: None,
            granted: None,
            is_root: true,
            is_self: true,
        };
        let guest = GrantReport {
            principal: id(2),
            right: Right::Read,
            until: Some(at(86_400)),
            granted_by: Some(id(1)),
            granted: Some(at(0)),
            is_root: false,
            is_self: false,
        };
        let revoked =
            RevokedReport { principal: id(3), revoked_by: id(1), revoked: at(60), last_revision: Some(Revision(4)) };
        let report = AccessReport {
            tree: Default::default(),
            zone: Default::default(),
            path: "/".into(),
            grants: vec![root, guest],
            revoked: vec![revoked],
            apps: vec![AppReport { name: "notes".into(), record: Default::default(), by: id(1), time: at(60) }],
            records: 3,
            newest: Default::default(),
            newest_time: None,
            head: None,
            epoch: 2,
            keys_are_current: false,
        };
        insta::assert_snapshot!(text(&report), @r"
        principal        may                    until                 by        since
        01010101 (root)  read, write and share  -                     -         -
        02020202         read                   1970-01-02T00:00:00Z  01010101  1970-01-01T00:00:00Z
        03030303         nothing                revoked               01010101  1970-01-01T00:01:00Z

        app    record    by        since
        notes  00000000  01010101  1970-01-01T00:01:00Z
        the keys follow when one who may write mounts the zone
        ");
    }
}
