//! What the owner grants: options, questions, and the words for both.

use std::io::{self, BufRead, IsTerminal};

use bt_node::control::Failure;
use bt_tree::app::{Grant, GrantTo, Permission, PermissionKind, PermissionName};

use crate::passphrase::say;

/// What is granted of what a package asks for.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct GrantOptions {
    /// Grant all that it asks for, without asking
    #[arg(long)]
    pub grant_all: bool,
    /// Grant this permission: as asked for, or with another directory (NAME=PATH) or a value (NAME=VALUE)
    #[arg(long = "grant", value_name = "NAME[=VALUE]", conflicts_with = "grant_all")]
    pub grants: Vec<String>,
    /// Grant nothing, without asking
    #[arg(long, conflicts_with_all = ["grant_all", "grants"])]
    pub grant_none: bool,
    /// Let this permission hold whoever calls, also for callers that nobody knows; else only as far as the caller may, too
    #[arg(long, value_name = "NAME")]
    pub as_app: Vec<PermissionName>,
}

impl GrantOptions {
    /// Whether anything is said of grants.
    pub fn is_decided(&self) -> bool {
        self.grant_all || self.grant_none || !self.grants.is_empty()
    }

    /// The grants of `asked`; asks on the terminal where no option says.
    pub fn decide(&self, asked: &[Permission]) -> Result<Vec<Grant>, Failure> {
        let mut grants = match self {
            Self { grant_all: true, .. } => asked.iter().filter_map(Grant::of_all).collect(),
            Self { grant_none: true, .. } => vec![],
            Self { grants, .. } if !grants.is_empty() => {
                grants.iter().map(|text| parse(text, asked)).collect::<Result<_, _>>()?
            }
            _ if asked.is_empty() => vec![],
            _ => ask(asked)?,
        };
        for name in &self.as_app {
            let grant = grants.iter_mut().find(|grant| grant.permission == *name);
            grant.ok_or_else(|| Failure::usage(format!("{name} is not granted"), "grant it, too"))?.as_app = true;
        }
        Ok(grants)
    }
}

/// `NAME` or `NAME=VALUE`.
pub fn parse(text: &str, asked: &[Permission]) -> Result<Grant, Failure> {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let permission = asked.iter().find(|permission| permission.name.as_str() == name).ok_or_else(|| {
        let names: Vec<&str> = asked.iter().map(|permission| permission.name.as_str()).collect();
        let hint = if names.is_empty() {
            "it asks for nothing".to_owned()
        } else {
            format!("it asks for: {}", names.join(", "))
        };
        Failure::usage(format!("the app does not ask for a permission {name}"), hint)
    })?;
    let to = match (&permission.kind, value) {
        (PermissionKind::Files { write, .. }, Some(path)) => {
            let path =
                path.parse().map_err(|error: bt_tree::app::words::WordError| Failure::usage(error.to_string(), ""))?;
            GrantTo::Files { path, write: *write }
        }
        (PermissionKind::Environment, Some(value)) => GrantTo::Environment { value: value.to_owned() },
        (PermissionKind::Environment, None) => {
            return Err(Failure::usage(format!("{name} needs a value"), format!("give it as --grant {name}=VALUE")));
        }
        (_, None) => Grant::of_all(permission).expect("only a value has to be chosen").to,
        (_, Some(_)) => return Err(Failure::usage(format!("{name} takes no value"), format!("use --grant {name}"))),
    };
    Ok(Grant { permission: permission.name.clone(), to, as_app: false })
}

fn ask(asked: &[Permission]) -> Result<Vec<Grant>, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let what = "the app asks for permissions, and there is no terminal to ask on";
        return Err(Failure::usage(what, "say what it gets with --grant-all, --grant NAME or --grant-none"));
    }
    let mut grants = Vec::new();
    for permission in asked {
        let Some(grant) = Grant::of_all(permission) else {
            say(&format!("{}: give the value with `bt app grant`\n", permission.name))?;
            continue;
        };
        say(&format!("May it {}? [y/N] ", permission.in_words()))?;
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line).map_err(|error| Failure::io("reading the answer", &error))? == 0 {
            return Err(Failure::interrupted());
        }
        if ["y", "yes"].contains(&line.trim().to_lowercase().as_str()) {
            grants.push(grant);
        }
    }
    Ok(grants)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(name: &str, kind: PermissionKind) -> Permission {
        Permission { name: name.parse().unwrap(), kind, why: "For a test.".parse().unwrap() }
    }

    fn asked() -> Vec<Permission> {
        let files = PermissionKind::Files { path: "notes".parse().unwrap(), write: true };
        vec![
            permission("notes", files),
            permission("token", PermissionKind::Secret),
            permission("name", PermissionKind::Environment),
        ]
    }

    #[test]
    fn options_become_grants() {
        let all = GrantOptions { grant_all: true, ..Default::default() }.decide(&asked()).unwrap();
        assert_eq!(all.len(), 2, "a value has to be chosen");
        let some = GrantOptions {
            grants: vec!["notes=/other".into(), "name=Ann=a".into()],
            as_app: vec!["notes".parse().unwrap()],
            ..Default::default()
        };
        let words: Vec<String> = some.decide(&asked()).unwrap().iter().map(Grant::in_words).collect();
        assert_eq!(
            words,
            ["read, change and delete what is in /other of the tree, whoever calls it", "be given NAME=\"Ann=a\""]
        );
        assert_eq!(GrantOptions { grant_none: true, ..Default::default() }.decide(&asked()).unwrap(), []);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_words() {
        for (text, said) in [
            ("other", "notes, token, name"),
            ("notes=a/../b", ""),
            ("token=x", "--grant token"),
            ("name", "name=VALUE"),
        ] {
            let failure = parse(text, &asked()).unwrap_err();
            assert!(failure.hint.contains(said), "{text}: {failure}");
        }
        let options = GrantOptions { grant_none: true, as_app: vec!["notes".parse().unwrap()], ..Default::default() };
        assert!(options.decide(&asked()).unwrap_err().what.contains("not granted"));
    }
}
