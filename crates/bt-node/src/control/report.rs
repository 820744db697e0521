//! What a node tells about itself. The same structures are the JSON output of `bt`.

use bt_base::{BlockHash, HeadHash, PrincipalId, RecordHash, Revision, SegmentId, Timestamp, TreeId, ZoneId};
use serde::{Deserialize, Serialize};

use super::log::HeadEntry;

/// How a node, its root zone and its mount are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The version of the serving program.
    pub version: String,
    /// The process that serves the directory.
    pub pid: u32,
    /// The node's directory, escaped by [`escape`].
    pub dir: String,
    /// The tree.
    pub tree: TreeId,
    /// The zone at the top, which revision and epoch are of.
    pub zone: ZoneId,
    /// Zones below the top in the node's directory.
    pub zones: u64,
    /// Those of them that are open: they count, with the one at the top, in all figures below.
    pub open_zones: u64,
    /// The principal of the node.
    pub node: PrincipalId,
    /// Where the node's key is.
    pub node_key: NodeKeyStatus,
    /// The mount, when there is one.
    pub mount: Option<MountStatus>,
    /// Why a zone takes no more writes, when one does not.
    pub read_only: Option<String>,
    /// The newest durable head.
    pub revision: Revision,
    /// When that head was signed.
    pub committed: Timestamp,
    /// The generation of the zone's keys.
    pub epoch: u32,
    /// Files, directories and all other inodes.
    pub inodes: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Where the bytes are.
    pub space: Space,
    /// Changes in memory that no commit has taken yet, in bytes.
    pub dirty_bytes: u64,
    /// Bytes of the journal in use since the last commit.
    pub journal_bytes: u64,
    /// Bytes the journal can hold.
    pub journal_capacity_bytes: u64,
}

/// Where a node's key is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeKeyStatus {
    /// The TPM that holds it; without one it is in the file `node.key`.
    pub tpm: Option<TpmStatus>,
}

/// A TPM that holds a node's key, and what the key is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmStatus {
    /// How it is reached, in the form of tpm2-tss.
    pub tcti: String,
    /// The manufacturer's letters (TPM_PT_MANUFACTURER); absent while the TPM was not asked for anything.
    pub manufacturer: Option<String>,
    /// It is a program, as tests use it, and protects nothing.
    pub is_software: bool,
    /// The PCRs that the key is bound to.
    pub pcrs: Vec<u8>,
    /// A counter in the TPM tells older copies of the directory.
    pub has_counter: bool,
}

/// A mount of the zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountStatus {
    /// Where, escaped by [`escape`].
    pub mountpoint: String,
    /// How requests of the kernel reach the process: "fuser" or "io_uring".
    pub transport: String,
    /// Since when.
    pub since: Timestamp,
    /// The kernel refuses changes.
    pub read_only: bool,
    /// Users other than the one who mounted may enter.
    pub allow_other: bool,
}

/// Where the bytes of the open zones are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// What the zone could hold in all, in bytes.
    pub capacity_bytes: u64,
    /// What can still be written, reserves taken off, in bytes.
    pub available_bytes: u64,
    /// Sealed bytes that the present or a snapshot needs.
    pub live_bytes: u64,
    /// Sealed bytes that nothing needs and that are still stored.
    pub dead_bytes: u64,
    /// Segments stored.
    pub segments: u64,
    /// Container files.
    pub containers: u64,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What is wrong.
    pub what: String,
    /// Where: a file under the node's directory with offset, a segment and block, or a path in the tree.
    #[serde(rename = "where")]
    pub where_: String,
    /// What to do about it.
    pub hint: String,
}

/// What a check looked at and found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// The revision that was checked.
    pub revision: Revision,
    /// Every stored block was read, not only those of the index.
    pub deep: bool,
    /// Heads verified, with their chains.
    pub heads: u64,
    /// Journal batches verified.
    pub journal_batches: u64,
    /// Snapshots walked.
    pub snapshots: u64,
    /// Inodes seen in the present.
    pub inodes: u64,
    /// Segments seen.
    pub segments: u64,
    /// Blocks verified.
    pub blocks: u64,
    /// Sealed bytes verified.
    pub bytes: u64,
    /// Segments that nothing names: a crash left them, and reclaiming drops them.
    pub leftovers: u64,
    /// Heads that do not count, because their signers had no right to them: refused, and kept aside.
    pub refused: Vec<HeadEntry>,
    /// Problems found, also those that `problems` had no room for.
    pub problem_count: u64,
    /// The problems.
    pub problems: Vec<Problem>,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// Its name, escaped by [`escape`].
    pub name: String,
    /// The revision it shows.
    pub revision: Revision,
    /// When it was made.
    pub created: Timestamp,
    /// Inodes in it.
    pub inodes: u64,
    /// Sealed bytes that only this snapshot and older ones still need.
    pub held_bytes: u64,
}

/// How a path changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only in the newer one.
    Added,
    /// Only in the older one.
    Removed,
    /// The content differs.
    Content,
    /// Only mode, owner, times or extended attributes differ.
    Attributes,
    /// Another kind of file under the same name.
    Kind,
}

/// One path that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffEntry {
    /// The path from the root of the zone, escaped by [`escape`].
    pub path: String,
    /// How it differs.
    pub change: Change,
    /// Size in the older one, in bytes; absent when it is not there.
    pub old_size: Option<u64>,
    /// Size in the newer one, in bytes; absent when it is not there.
    pub new_size: Option<u64>,
}

/// What differs between two states.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffReport {
    /// The paths, in the order of a walk.
    pub entries: Vec<DiffEntry>,
    /// There are more than `entries` had room for.
    pub truncated: bool,
}

/// One of the files that keep heads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadCopy {
    /// The file, from the node's directory.
    pub file: String,
    /// Its newest valid head.
    pub revision: Option<Revision>,
    /// What is wrong with it, when something is.
    pub problem: Option<String>,
}

/// A head, verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadReport {
    /// The zone.
    pub zone: ZoneId,
    /// The revision.
    pub revision: Revision,
    /// The hash of this head.
    pub hash: HeadHash,
    /// The hash of the head before.
    pub previous: HeadHash,
    /// The root of the index.
    pub root: BlockName,
    /// The generation of the keys.
    pub epoch: u32,
    /// The access record it obeys.
    pub access: RecordHash,
    /// The journal number up to which it covers.
    pub covers: u64,
    /// The lease token.
    pub lease_token: u64,
    /// Segments that this commit added.
    pub added: Vec<SegmentId>,
    /// Segments that this commit removed.
    pub removed: Vec<SegmentId>,
    /// When it was signed.
    pub time: Timestamp,
    /// The node that certified the session key.
    pub signer: PrincipalId,
    /// Until when the session key may sign.
    pub session_expires: Timestamp,
    /// The stored copies.
    pub copies: Vec<HeadCopy>,
}

/// The name of a block and what a reference says about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockName {
    /// The segment.
    pub segment: SegmentId,
    /// The index in the segment.
    pub index: u32,
    /// Plain bytes.
    pub len_bytes: u32,
    /// The hash of the sealed bytes.
    pub hash: BlockHash,
}

/// A segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentReport {
    /// Its id.
    pub id: SegmentId,
    /// Where it lies: the container file from the node's directory.
    pub container: String,
    /// Where in that file, in bytes.
    pub offset_bytes: u64,
    /// Its length there, in bytes.
    pub len_bytes: u64,
    /// Blocks in it.
    pub blocks: u32,
    /// Sealed bytes that are still needed; absent when no account names the segment.
    pub live_bytes: Option<u64>,
    /// What is wrong with it, when something is.
    pub problem: Option<String>,
}

/// A block, verified and opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockReport {
    /// The segment.
    pub segment: SegmentId,
    /// The index in the segment.
    pub index: u32,
    /// The container file from the node's directory.
    pub container: String,
    /// Where in that file, in bytes.
    pub offset_bytes: u64,
    /// Sealed bytes, with the tag.
    pub sealed_bytes: u32,
    /// The generation of the keys.
    pub epoch: u32,
    /// The hash of the sealed bytes.
    pub hash: BlockHash,
    /// What it holds, for people: "index leaf", "index branch", "file data".
    pub kind: String,
    /// Its entries as text when it is a node of the index; otherwise empty. Never file content.
    pub entries: Vec<String>,
}

/// What reclaiming did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReclaimReport {
    /// Segments looked at.
    pub examined: u64,
    /// Segments dropped.
    pub dropped: u64,
    /// Live bytes that were copied.
    pub moved_bytes: u64,
    /// Bytes given back to the disk.
    pub freed_bytes: u64,
}

/// What sealing under the newest key did, and what is left under earlier ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RekeyReport {
    /// The newest epoch.
    pub epoch: u32,
    /// Bytes that were sealed anew.
    pub sealed_bytes: u64,
    /// Segments on the disk that earlier keys open, whether the present or a snapshot needs them or not.
    pub left_segments: u64,
    /// Their bytes.
    pub left_bytes: u64,
}

/// A name of any bytes as text: UTF-8 stays, `\` is doubled, control characters and other bytes become `\xNN`.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() => c.to_string().bytes().for_each(|b| text.push_str(&format!("\\x{b:02x}"))),
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|b| text.push_str(&format!("\\x{b:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn names_of_any_bytes_become_distinct_printable_text() {
        assert_eq!(escape("päth/to file".as_bytes()), "päth/to file");
        assert_eq!(escape(b"a\\b"), "a\\\\b");
        assert_eq!(escape(b"a\nb\xff\xc3("), "a\\x0ab\\xff\\xc3(");
    }
}
