//! `bt app list`, `info` and `logs`.

use std::path::{Path, PathBuf};

use bt_node::control::app::{InstalledReport, LogLine};
use bt_node::control::{Failure, Request, Response};

use bt_tree::app::AppName;

use super::Which;
use crate::Outcome;
use crate::arguments::OutputOption;
use crate::output::{columns, show, table};
use crate::target::{ask, unexpected};
use crate::units::time;

/// List the apps that are installed.
#[derive(Debug, clap::Args)]
pub struct List {
    /// The node's directory, or the mount point
    dir: PathBuf,
    #[command(flatten)]
    output: OutputOption,
}

/// Show the last lines that an app wrote to its outputs, and why calls of it failed.
///
/// The process that serves the tree keeps them in memory.
#[derive(Debug, clap::Args)]
pub struct Logs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    output: OutputOption,
}

/// Runs `bt app list`.
pub fn list(arguments: &List) -> Outcome {
    show(arguments.output.output, &apps(&arguments.dir)?, |apps| listed(apps))
}

/// Runs `bt app info` on an installed app.
pub fn info(dir: &Path, name: &AppName, output: OutputOption) -> Outcome {
    let app = apps(dir)?
        .into_iter()
        .find(|app| app.name == name.as_str())
        .ok_or_else(|| Failure::refused(format!("no app {name} is installed"), "`bt app list` shows those that are"))?;
    show(output.output, &app, described)
}

/// Runs `bt app logs`.
pub fn logs(arguments: &Logs) -> Outcome {
    let name = arguments.which.name.to_string();
    match ask(&arguments.which.dir, false, Request::AppLog { name })? {
        Response::AppLog(lines) => show(arguments.output.output, &lines, |lines| lines.iter().map(line).collect()),
        other => Err(unexpected(&other).into()),
    }
}

fn apps(dir: &Path) -> Result<Vec<InstalledReport>, Failure> {
    match ask(dir, false, Request::Apps)? {
        Response::Apps(apps) => Ok(apps),
        other => Err(unexpected(&other)),
    }
}

fn listed(apps: &[InstalledReport]) -> String {
    let rows: Vec<Vec<String>> = apps
        .iter()
        .map(|app| {
            vec![
                app.name.clone(),
                app.version.clone().unwrap_or_else(|| "-".to_owned()),
                state(app),
                app.author.map_or_else(|| "-".to_owned(), |author| author.short()),
                app.about.clone().unwrap_or_default(),
            ]
        })
        .collect();
    table(&["app", "version", "state", "author", ""], &[false; 5], &rows)
}

fn state(app: &InstalledReport) -> String {
    match (&app.problem, app.enabled) {
        (Some(problem), _) => problem.clone(),
        (None, true) => "answers".to_owned(),
        (None, false) => "stopped".to_owned(),
    }
}

fn described(app: &InstalledReport) -> String {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut text = columns(&[
        ("app", app.name.clone()),
        ("version", or_none(app.version.clone())),
        ("state", state(app)),
        ("about", or_none(app.about.clone())),
        ("author", or_none(app.author.map(|author| author.to_string()))),
        ("package", or_none(app.package.map(|package| package.to_string()))),
        ("earlier", if app.kept.is_empty() { "-".to_owned() } else { app.kept.join(", ") }),
        ("installed", format!("{} by {}", time(app.since), app.by.short())),
    ]);
    for permission in &app.permissions {
        let granted =
            permission.granted.as_deref().map_or_else(|| "not granted".to_owned(), |granted| format!("may {granted}"));
        text.push_str(&format!(
            "\n{}: asks to {}\n  the author says: {}\n  {granted}\n",
            permission.name, permission.allows, permission.why
        ));
    }
    text
}

fn line(line: &LogLine) -> String {
    format!("{} {}{}\n", time(line.time), if line.is_error { "! " } else { "" }, line.text)
}

#[cfg(test)]
mod tests {
    use bt_base::{PackageId, PrincipalId, Timestamp};
    use bt_node::control::app::PermissionReport;

    use super::*;

    fn report() -> InstalledReport {
        let permission = |name: &str, granted: Option<&str>| PermissionReport {
            name: name.into(),
            allows: "read what is in /notes of the tree".into(),
            why: "To show them.".into(),
            granted: granted.map(str::to_owned),
            as_app: false,
        };
        InstalledReport {
            name: "notes".into(),
            version: Some("1.0.2".into()),
            package: Some(PackageId([2; 32])),
            author: Some(PrincipalId([3; 32])),
            about: Some("Keeps notes.".into()),
            permissions: vec![
                permission("notes", Some("read what is in /notes of the tree")),
                permission("other", None),
            ],
            kept: vec!["1.0.1".into()],
            enabled: true,
            problem: None,
            record: Default::default(),
            by: PrincipalId([1; 32]),
            since: Timestamp::new(60, 0),
        }
    }

    #[test]
    fn apps_are_listed_with_why_one_does_not_run() {
        let gone = InstalledReport {
            name: "inbox".into(),
            version: None,
            author: None,
            about: None,
            problem: Some("its record is not there".into()),
            ..report()
        };
        insta::assert_snapshot!(listed(&[gone, report()]), @r"
        app    version  state                    author
        inbox  -        its record is not there  -
        notes  1.0.2    answers                  03030303  Keeps notes.
        ");
    }

    #[test]
    fn an_app_is_described_with_what_it_may_do() {
        insta::assert_snapshot!(described(&report()), @r"
        app        notes
        version    1.0.2
        state      answers
        about      Keeps notes.
        author     0303030303030303030303030303030303030303030303030303030303030303
        package    0202020202020202020202020202020202020202020202020202020202020202
        earlier    1.0.1
        installed  1970-01-01T00:01:00Z by 01010101

        notes: asks to read what is in /notes of the tree
          the author says: To show them.
          may read what is in /notes of the tree

        other: asks to read what is in /notes of the tree
          the author says: To show them.
          not granted
        ");
    }
}
