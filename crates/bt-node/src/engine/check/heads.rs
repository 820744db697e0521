//! The two files of heads: every copy, and the link between the two newest.

use std::sync::Arc;

use bt_base::{HeadHash, Revision};
use bt_store::heads::{HEAD_FILES, HeadCopy};
use bt_store::{Heads, Storage, StoreError};
use bt_tree::{HeadError, SignedHead};

use super::report::{Findings, RESTORE, told};
use crate::identity::ZoneIdentity;

const ONE_COPY: &str = "the other copy is used; the next commits write this file anew";

/// What the files of heads hold.
#[derive(Default)]
pub(super) struct Checked {
    pub(super) newest: Option<SignedHead>,
    pub(super) previous: Option<SignedHead>,
    /// Copies that count.
    pub(super) verified: u64,
    /// Heads that are whole, but signed by one who had no right to.
    pub(super) refused: Vec<SignedHead>,
}

/// Verifies one copy.
pub(crate) fn verify(copy: &HeadCopy, identity: &ZoneIdentity) -> Result<SignedHead, HeadError> {
    let signed = SignedHead::decode(&copy.bytes)?;
    let rights = identity.rights.now();
    signed.verify(&rights.access)?;
    signed.verify_epoch(&rights.epochs, &rights.access)?;
    if signed.unverified().revision != copy.revision {
        return Err(HeadError::Decode(bt_base::codec::DecodeError::malformed(
            "head",
            "its slot names another revision",
        )));
    }
    Ok(signed)
}

/// The newest head that counts.
pub(crate) fn newest(storage: &Arc<dyn Storage>, identity: &ZoneIdentity) -> Option<SignedHead> {
    let loaded = Heads::new(storage.clone(), &identity.layout.directory).load().ok()?;
    loaded.copies.iter().find_map(|copy| verify(copy, identity).ok())
}

/// Checks all copies. `serving` is what an open zone knows: whether it is read-only, its newest revision and head.
pub(super) fn check(
    storage: &Arc<dyn Storage>,
    identity: &ZoneIdentity,
    serving: Option<(bool, Revision, HeadHash)>,
    findings: &mut Findings,
) -> Checked {
    let directory = &identity.layout.directory;
    let loaded = match Heads::new(storage.clone(), directory).load() {
        Ok(loaded) => loaded,
        Err(error) => {
            findings.add(error.to_string(), directory.clone(), RESTORE);
            return Checked::default();
        }
    };
    let mut damaged = loaded.damaged;
    let mut good: Vec<(String, SignedHead)> = Vec::new();
    let mut refused = Vec::new();
    for copy in &loaded.copies {
        match verify(copy, identity) {
            Ok(signed) => good.push((copy.file.clone(), signed)),
            Err(error) if error.is_refusal() => refused.extend(SignedHead::decode(&copy.bytes)),
            Err(error) => damaged.push(StoreError::damaged(error.to_string(), &copy.file, copy.offset)),
        }
    }
    let mut checked = Checked { verified: good.len() as u64, refused, ..Checked::default() };
    good.sort_by_key(|(_, signed)| std::cmp::Reverse(signed.unverified().revision));
    for error in &damaged {
        let place = match error {
            StoreError::Damaged { file, offset, .. } => format!("{file} at byte {offset}"),
            _ => directory.clone(),
        };
        findings.add(told(error), place, if good.is_empty() { RESTORE } else { ONE_COPY });
    }
    let Some((_, newest)) = good.first() else {
        let what = match checked.refused.is_empty() {
            true => "no head of the zone can be read",
            false => "no stored head of the zone counts any more: their signers had no right to them",
        };
        findings.add(what, directory.clone(), RESTORE);
        return checked;
    };
    let revision = newest.unverified().revision;
    for (file, signed) in &good {
        if signed.unverified().revision == revision && signed.hash() != newest.hash() {
            findings.add(format!("two different heads have revision {revision}"), file.clone(), RESTORE);
        }
    }
    check_same_in_both(directory, &good, &damaged, serving.is_some_and(|(read_only, ..)| !read_only), findings);
    if let Some((_, known_revision, known)) = serving
        && (known_revision, known) != (revision, newest.hash())
    {
        let what = format!("the newest stored head has revision {revision}, this process published {known_revision}");
        findings.add(what, directory.clone(), "somebody replaced the files of heads: unmount, and restore them");
    }
    let before = |(_, signed): &&(String, SignedHead)| signed.unverified().revision.next() == revision;
    checked.previous = good.iter().find(before).map(|(_, signed)| signed.clone());
    if let Some(previous) = &checked.previous
        && let Err(error) = newest.verify_follows(previous, &identity.rights.now().access)
    {
        findings.add(error.to_string(), directory.clone(), RESTORE);
    }
    checked.newest = Some(newest.clone());
    checked
}

/// Each file should have the newest head. A crash between the two writes leaves it in the first only.
fn check_same_in_both(
    directory: &str,
    good: &[(String, SignedHead)],
    damaged: &[StoreError],
    is_serving: bool,
    findings: &mut Findings,
) {
    let newest_in = |file: &str| {
        let name = format!("{directory}/{file}");
        good.iter().find(|(copy, _)| *copy == name).map(|(_, signed)| signed.unverified().revision.0)
    };
    let is_damaged = |file: &str| {
        damaged.iter().any(|error| matches!(error, StoreError::Damaged { file: of, .. } if of.ends_with(file)))
    };
    let [first, second] = HEAD_FILES;
    let (Some(a), Some(b)) = (newest_in(first), newest_in(second)) else { return };
    let after_crash = a == b + 1 && !is_serving;
    if a == b || after_crash || is_damaged(first) || is_damaged(second) {
        return;
    }
    let (stale, has, newest) = if a < b { (first, a, b) } else { (second, b, a) };
    let what = format!("the newest head of this file has revision {has}, that of the other {newest}");
    findings.add(what, format!("{directory}/{stale}"), ONE_COPY);
}
