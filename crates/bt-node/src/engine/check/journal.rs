//! The journal above the newest head.

use std::collections::HashSet;

use bt_base::SegmentId;
use bt_crypto::JournalCipher;
use bt_store::{JournalFile, Storage};
use bt_tree::{BatchReader, SignedHead};
use bt_vfs::op::{Op, decode_records};

use crate::engine::open::{batch_at, find_later_batch};
use crate::identity::ZoneIdentity;

/// What the journal holds above a head.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) batches: u64,
    /// Segments that recovery would use.
    pub(super) announced: HashSet<SegmentId>,
}

/// What is wrong, where, and what was found before it.
pub(super) type Damage = (String, String, Checked);

/// Verifies and decodes every batch above the head.
pub(super) fn check(storage: &dyn Storage, identity: &ZoneIdentity, signed: &SignedHead) -> Result<Checked, Damage> {
    let head = signed.unverified();
    let mut checked = Checked::default();
    if head.journal.id == Default::default() {
        return match JournalFile::open(storage, &identity.layout.journal()) {
            Ok(_) => Ok(checked),
            Err(error) => Err((error.to_string(), identity.layout.journal(), checked)),
        };
    }
    let mut at = head.journal.offset;
    match read(storage, identity, signed, &mut at, &mut checked) {
        Ok(()) => Ok(checked),
        Err(what) => Err((what, format!("{} at byte {at}", identity.layout.journal()), checked)),
    }
}

fn read(
    storage: &dyn Storage,
    identity: &ZoneIdentity,
    signed: &SignedHead,
    at: &mut u64,
    checked: &mut Checked,
) -> Result<(), String> {
    let head = signed.unverified();
    let journal = JournalFile::open(storage, &identity.layout.journal()).map_err(|error| error.to_string())?;
    let rights = identity.rights.now();
    let key = rights.keys.key(head.epoch).ok_or("the key of the head's epoch is missing")?;
    let cipher = JournalCipher::new(key, &head.tree, &head.zone, &head.journal.id);
    let mut reader = BatchReader::new(cipher, &rights.access, head.access, &head.journal);
    'batches: loop {
        for place in [*at % journal.size(), 0] {
            let Some(bytes) = batch_at(&journal, place).map_err(|error| error.to_string())? else { continue };
            let batch = match reader.open(&bytes) {
                Ok(batch) => batch,
                Err(error) if error.may_be_the_end() => continue,
                // Opening the zone ends there too: what a revoked principal wrote does not count.
                Err(error) if error.is_refusal() => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            *at = place + batch.len as u64;
            checked.batches += 1;
            for op in decode_records(&batch.payload).map_err(|error| error.to_string())? {
                if let Op::Segment(summary) = op {
                    checked.announced.insert(summary.id);
                }
            }
            continue 'batches;
        }
        break;
    }
    find_later_batch(&journal, &mut reader, *at).map_err(|error| error.to_string())
}
