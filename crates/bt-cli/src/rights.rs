//! What the commands that show and change rights have in common.

use std::path::Path;
use std::sync::Arc;

use bt_base::PrincipalId;
use bt_crypto::KeyStore;
use bt_node::control::access::{AccessReport, NextRecords, Right};
use bt_node::control::{Failure, Request, Response};

use crate::principal::credential_of;
use crate::signer::SignerOptions;
use crate::target::{Target, ask, unexpected};

/// How often a record is signed again when the zone moved on in between.
const TRIES: usize = 5;
/// The fewest digits of an id that name a principal.
const PREFIX: usize = 6;

/// Who may do what in the zone at `path`.
pub fn show(dir: &Path, path: &str) -> Result<AccessReport, Failure> {
    match ask(dir, false, Request::AccessShow { path: path.to_owned() })? {
        Response::Access(report) => Ok(*report),
        other => Err(unexpected(&other)),
    }
}

/// Signs what `decide` adds to the access log of the zone at `path`, and has it obeyed.
pub fn change(
    dir: &Path,
    path: &str,
    signer: &SignerOptions,
    decide: impl Fn(&mut NextRecords<'_>, &AccessReport) -> Result<(), Failure>,
) -> Result<AccessReport, Failure> {
    let signer: Arc<dyn KeyStore> = Arc::new(signer.open(dir)?);
    let mut target = Target::find_for(dir, signer.clone())?;
    let changed = change_in(&mut target, path, &*signer, &decide);
    let closed = target.close();
    let report = changed?;
    closed.map(|()| report)
}

/// Who may do what in the zone at `path`, asked of an open target.
pub fn show_in(target: &mut Target, path: &str) -> Result<AccessReport, Failure> {
    match target.call(Request::AccessShow { path: path.to_owned() })? {
        Response::Access(report) => Ok(*report),
        other => Err(unexpected(&other)),
    }
}

/// As [`change`], with a target that is open.
pub fn change_in(
    target: &mut Target,
    path: &str,
    signer: &dyn KeyStore,
    decide: &dyn Fn(&mut NextRecords<'_>, &AccessReport) -> Result<(), Failure>,
) -> Result<AccessReport, Failure> {
    for _ in 0..TRIES {
        let report = show_in(target, path)?;
        let mut next = NextRecords::new(&report, signer);
        decide(&mut next, &report)?;
        let append = Request::AccessAppend { path: path.to_owned(), zone: report.zone, records: next.finish() };
        match target.call(append)? {
            Response::Access(report) => return Ok(*report),
            Response::Outdated => {}
            other => return Err(unexpected(&other)),
        }
    }
    Err(Failure::refused(
        "the zone changed each time between signing and appending",
        "try again when less is written to it, or unmount first",
    ))
}

/// The principal that `text` names: a public key, a file, an id, or the beginning of the id of one in the report.
pub fn named(text: &str, report: &AccessReport) -> Result<PrincipalId, Failure> {
    let is_id = (PREFIX..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id || Path::new(text).exists() {
        return match credential_of(text) {
            Err(failure) if !Path::new(text).exists() => {
                let hint = format!("{}; `bt access list` shows ids, of which the first digits do too", failure.hint);
                Err(Failure { hint: hint.trim_start_matches("; ").to_owned(), ..failure })
            }
            other => other.map(|credential| credential.id()),
        };
    }
    let digits = text.to_ascii_lowercase();
    let mut found = report.grants.iter().map(|grant| grant.principal).filter(|id| id.to_string().starts_with(&digits));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(Failure::usage(format!("several principals begin with {text}"), "give more digits")),
        (None, _) => Err(Failure::refused(
            format!("no principal that begins with {text} may do anything in the zone at {}", report.path),
            "`bt access list` shows who may do what",
        )),
    }
}

/// A right in words.
pub fn in_words(right: Right) -> &'static str {
    match right {
        Right::Read => "read",
        Right::Write => "read and write",
        Right::Admin => "read, write and share",
    }
}

#[cfg(test)]
mod tests {
    use bt_node::control::FailureKind;
    use bt_node::control::access::GrantReport;

    use super::*;

    #[test]
    fn a_principal_is_named_by_the_beginning_of_its_id() {
        let grant = |byte: u8| GrantReport {
            principal: PrincipalId([byte; 32]),
            right: Right::Read,
            until: None,
            granted_by: None,
            granted: None,
            is_root: false,
            is_self: false,
        };
        let mut close = grant(0xab);
        close.principal.0[4] = 0;
        let report = AccessReport {
            tree: Default::default(),
            zone: Default::default(),
            path: "/".into(),
            grants: vec![grant(0xab), close, grant(0xcd)],
            revoked: vec![],
            apps: vec![],
            records: 0,
            newest: Default::default(),
            newest_time: None,
            head: None,
            epoch: 1,
            keys_are_current: true,
        };
        assert_eq!(named("CDCDCD", &report), Ok(PrincipalId([0xcd; 32])));
        assert_eq!(named(&"ab".repeat(5), &report), Ok(PrincipalId([0xab; 32])));
        assert_eq!(named("abababab", &report).unwrap_err().kind, FailureKind::Usage);
        assert_eq!(named("efefef", &report).unwrap_err().kind, FailureKind::Refused);
        let nobody = named("zzzz", &report).unwrap_err();
        assert!(nobody.hint.contains("btp1") && nobody.hint.contains("bt access list"), "{nobody:?}");
    }
}
