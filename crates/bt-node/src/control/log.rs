//! The chain of a zone's heads, for people.

use bt_base::{HeadHash, PrincipalId, RecordHash, Revision, Timestamp};
use serde::{Deserialize, Serialize};

use super::access::Right;

/// What was decided about an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppDecision {
    /// The app.
    pub name: String,
    /// The installation record that counts from then on; absent: it is not installed any more.
    pub record: Option<RecordHash>,
    /// Who signed that.
    pub by: PrincipalId,
}

/// One head: who published which revision, when, and by whose word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadEntry {
    /// The revision.
    pub revision: Revision,
    /// The head.
    pub hash: HeadHash,
    /// When it was signed, by the signer's clock.
    pub time: Timestamp,
    /// Who signed.
    pub signer: PrincipalId,
    /// The signer is the root of the tree.
    pub is_root: bool,
    /// What the signer might do under the access record that the head obeys; absent for nothing.
    pub right: Option<Right>,
    /// Who granted that; absent for the root and the zone's creator.
    pub granted_by: Option<PrincipalId>,
    /// When that was granted.
    pub granted: Option<Timestamp>,
    /// The access record that the head obeys.
    pub access: RecordHash,
    /// What was decided about apps since the head before it in this list.
    pub apps: Vec<AppDecision>,
    /// The epoch of the zone's keys.
    pub epoch: u32,
    /// Segments that it brought.
    pub added_segments: u64,
    /// Their sealed bytes.
    pub added_bytes: u64,
    /// Segments that nothing needs from it on.
    pub removed_segments: u64,
    /// Why it does not count; absent when it does.
    pub refused: Option<String>,
}

/// The newest heads of a zone, and those that were refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogReport {
    /// The heads, oldest first. Where revisions are missing between two, those heads were thinned by age.
    pub heads: Vec<HeadEntry>,
    /// Kept heads that are older than those.
    pub earlier: u64,
    /// Heads that were kept aside because they do not count.
    pub refused: Vec<HeadEntry>,
}
