//! Which of the stored heads is the newest that counts.

use std::sync::Arc;

use bt_store::{Heads, RecordFile, Storage, StoreError};
use bt_tree::checks::{Check, enforce};
use bt_tree::{HeadError, SignedHead};

use super::check::verify_head;
use super::history::History;
use crate::control::Failure;
use crate::error::EngineError;
use crate::identity::ZoneIdentity;
use crate::layout::ZoneLayout;
use crate::system::now;

/// Heads of the history that are compared with the newest stored one.
const SEEN_HEADS: usize = 8;
/// How far a clock may be behind what is recorded, in seconds.
pub(super) const CLOCK_SECONDS: i64 = 86_400;
/// Heads that do not count are kept up to this many.
const REFUSED_HEADS: usize = 64;

/// What the files of heads hold.
pub(super) struct Newest {
    /// The newest head that counts.
    pub(super) head: SignedHead,
    /// Heads that count, oldest first, as they are stored.
    pub(super) stored: Vec<Vec<u8>>,
    /// A newer head does not count, because its signer lost the right: what it brought is not there any more.
    pub(super) after_refusal: bool,
}

/// The newest head that counts. One whose signer had no right to it is kept aside, and the one before counts. One that
/// is damaged is passed over only when the copies of no newer one are, unless the zone is opened for reading.
pub(super) fn newest_head(
    storage: &Arc<dyn Storage>,
    identity: &ZoneIdentity,
    read_only: bool,
) -> Result<Newest, Failure> {
    let heads = Heads::new(storage.clone(), &identity.layout.directory);
    let loaded = heads.load().map_err(|error| EngineError::from(error).into_failure("reading the heads"))?;
    let mut problems: Vec<(String, u64)> = Vec::new();
    for error in &loaded.damaged {
        tracing::warn!(%error, "a copy of a head is damaged");
        if let StoreError::Damaged { file, offset, .. } = error {
            problems.push((file.clone(), *offset));
        }
    }
    let (mut good, mut refused): (Vec<SignedHead>, Vec<SignedHead>) = (Vec::new(), Vec::new());
    for copy in &loaded.copies {
        match verify_head(copy, identity) {
            Ok(signed) => good.push(signed),
            Err(error) if error.is_refusal() => {
                tracing::warn!(file = copy.file, %error, "a stored head is refused");
                refused.extend(SignedHead::decode(&copy.bytes));
            }
            Err(error) => {
                tracing::warn!(file = copy.file, offset = copy.offset, %error, "a copy of a head does not verify");
                problems.push((copy.file.clone(), copy.offset));
            }
        }
    }
    if !read_only {
        keep_aside(storage, &identity.layout, &refused)?;
    }
    good.sort_by_key(|signed| signed.unverified().revision);
    let history =
        History::new(storage, &identity.layout).load().map_err(|error| error.into_failure("reading the history"))?.0;
    let Some(head) = good.last().cloned() else { return Err(none_counts(&refused)) };
    let revision = head.unverified().revision;
    let both = problems.iter().any(|(file, offset)| problems.iter().any(|(other, at)| other != file && at == offset));
    if both && !read_only {
        return Err(Failure::problem(
            format!("both copies of one head are damaged; the newest that is whole has revision {revision}"),
            "mount with --read-only to see that state, or restore the files heads.a and heads.b from a backup",
        ));
    }
    enforce(Check::Fork, check_fork(&good))?;
    check_follows(&good, identity)?;
    if !read_only {
        enforce(Check::NewestSeen, check_seen(&history, identity, &head))?;
        check_clock(identity, &head)?;
    }
    // A crash left one copy torn. Were it still so after the next crash, both copies could be.
    if problems.len() == loaded.damaged.len() && !both && !read_only {
        heads.repair().map_err(|error| EngineError::from(error).into_failure("repairing the heads"))?;
    }
    let after_refusal = refused.iter().any(|signed| signed.unverified().revision > revision);
    good.dedup_by_key(|signed| signed.hash());
    Ok(Newest { head, stored: good.iter().map(SignedHead::to_bytes).collect(), after_refusal })
}

/// Two heads of one revision were published at two places by one who may write: nobody can say which counts.
fn check_fork(good: &[SignedHead]) -> Result<(), Failure> {
    let two = good
        .windows(2)
        .find(|two| two[0].unverified().revision == two[1].unverified().revision && two[0].hash() != two[1].hash());
    match two {
        None => Ok(()),
        Some(two) => Err(Failure::problem(
            format!(
                "two different heads have revision {}: the zone was written in two places",
                two[0].unverified().revision
            ),
            "keep the copy of the directory that you want, with both files heads.a and heads.b of that copy",
        )),
    }
}

/// The history is written after the head, so a newer head in it that counts was there before.
fn check_seen(history: &[SignedHead], identity: &ZoneIdentity, newest: &SignedHead) -> Result<(), Failure> {
    let (rights, revision) = (identity.rights.now(), newest.unverified().revision);
    let newer = history
        .iter()
        .rev()
        .take(SEEN_HEADS)
        .find(|seen| seen.unverified().revision > revision && seen.verify(&rights.access).is_ok());
    match newer {
        None => Ok(()),
        Some(seen) => Err(Failure::problem(
            format!(
                "the files of heads are older than the zone: the newest has revision {revision}, revision {} was published",
                seen.unverified().revision
            ),
            "restore the whole directory from one backup, not single files of it; --read-only shows the older state",
        )),
    }
}

/// A clock that is wrong by days would make grants and sessions hold when they do not: nothing is written by it.
fn check_clock(identity: &ZoneIdentity, newest: &SignedHead) -> Result<(), Failure> {
    let (now, genesis, newest) = (now(), identity.node.genesis.time(), newest.unverified().time);
    let too_early = |than: bt_base::Timestamp| now.seconds < than.seconds.saturating_sub(CLOCK_SECONDS);
    let what = match (too_early(genesis), too_early(newest)) {
        (true, _) => "the tree was made",
        (_, true) => "the zone was last written",
        _ => return Ok(()),
    };
    Err(Failure::refused(
        format!("this machine's clock is wrong by days: it stands more than a day before the time at which {what}"),
        "set the clock (`date`, `timedatectl`), then mount again; until then --read-only works",
    ))
}

/// The newest head must follow the one before it, where that is stored.
fn check_follows(good: &[SignedHead], identity: &ZoneIdentity) -> Result<(), Failure> {
    let Some(newest) = good.last() else { return Ok(()) };
    let before = good.iter().find(|signed| signed.unverified().revision.next() == newest.unverified().revision);
    let follows = before.map_or(Ok(()), |before| newest.verify_follows(before, &identity.rights.now().access));
    follows.map_err(|error: HeadError| {
        Failure::problem(error.to_string(), "restore the files heads.a and heads.b from a backup of the directory")
    })
}

fn none_counts(refused: &[SignedHead]) -> Failure {
    match refused.first() {
        None => Failure::problem(
            "no head of the zone can be read",
            "restore the files heads.a and heads.b from a backup of the directory",
        ),
        Some(signed) => Failure::refused(
            format!(
                "no stored head of the zone counts any more: {}, who signed revision {}, lost the right before it",
                signed.certificate().node().id().short(),
                signed.unverified().revision
            ),
            "restore an older copy of the directory, of before the revocation named its last head",
        ),
    }
}

/// The file with heads that do not count.
pub(super) fn refused_file(storage: &Arc<dyn Storage>, layout: &ZoneLayout) -> RecordFile {
    RecordFile::new(storage.clone(), &layout.refused())
}

/// Keeps heads that do not count, so that they can be shown when their slots are long used again.
fn keep_aside(storage: &Arc<dyn Storage>, layout: &ZoneLayout, refused: &[SignedHead]) -> Result<(), Failure> {
    if refused.is_empty() {
        return Ok(());
    }
    let failed = |error: StoreError| EngineError::from(error).into_failure("keeping a refused head");
    let file = refused_file(storage, layout);
    let loaded = file.load().map_err(failed)?;
    let mut kept: Vec<SignedHead> = loaded.records.iter().filter_map(|bytes| SignedHead::decode(bytes).ok()).collect();
    let before = kept.len();
    for signed in refused {
        if kept.len() < REFUSED_HEADS && kept.iter().all(|other| other.hash() != signed.hash()) {
            kept.push(signed.clone());
        }
    }
    if kept.len() == before {
        return Ok(());
    }
    let records: Vec<Vec<u8>> = kept.iter().map(SignedHead::to_bytes).collect();
    file.replace(records.iter().map(Vec::as_slice)).map_err(failed)
}
