//! What lies in a zone's index and journal.

use bt_tree::index::Node;
use bt_tree::schema::{DeadRecord, Entry, Extent, Inode, Name, ZoneRecord, decode_count, decode_entrance, parse_key};
use bt_tree::zone::{Account, SnapshotRecord};
use bt_tree::{BlockRef, SegmentSummary};
use bt_vfs::op::decode_records;

use crate::vector;

/// Decodes and encodes again.
type Again = fn(&[u8]) -> Option<Vec<u8>>;

/// Records of the index by the first byte of the input, and the vector of each.
const RECORDS: [(&str, Again); 10] = [
    ("zone", |bytes| Some(ZoneRecord::decode(bytes).ok()?.encode().to_vec())),
    ("inode", |bytes| Some(Inode::decode(bytes).ok()?.encode().to_vec())),
    ("name", |bytes| Some(Name::decode(bytes).ok()?.encode().to_vec())),
    ("entry", |bytes| Some(Entry::decode(bytes).ok()?.encode())),
    ("snapshot", |bytes| Some(SnapshotRecord::decode(bytes).ok()?.encode())),
    ("account", |bytes| Some(Account::decode(bytes).ok()?.encode())),
    ("dead", |bytes| Some(DeadRecord::decode(bytes).ok()?.encode().to_vec())),
    ("count", |bytes| Some(decode_count(bytes).ok()?.to_le_bytes().to_vec())),
    ("entrance", |bytes| Some(decode_entrance(bytes).ok()?.0.to_vec())),
    // Runs may be split where they need not be: compared after a second round.
    ("extent", |bytes| {
        let extent = Extent::decode(bytes).ok()?;
        let encoded = extent.encode();
        assert_eq!(Extent::decode(&encoded).as_ref(), Ok(&extent), "an extent survives");
        Some(bytes.to_vec())
    }),
];

pub(crate) fn index_node(data: &[u8]) {
    let Ok(node) = Node::decode(data.to_vec()) else { return };
    assert_eq!(node.encoded_size(), data.len(), "a node is all of its block");
    let keys: Vec<&[u8]> = node.records().map(|(key, _)| key).collect();
    assert!(keys.is_sorted_by(|a, b| a < b), "keys rise");
    for reference in node.references() {
        assert!(reference.len > 0, "a reference is within its bounds");
    }
}

pub(crate) fn index_node_seeds() -> Vec<Vec<u8>> {
    ["leaf", "branch"].map(|kind| vector(&format!("bt-tree/vectors/index-{kind}-v2.hex"))).to_vec()
}

pub(crate) fn index_key(data: &[u8]) {
    // What a key says is compared with its bytes beside the code.
    drop(parse_key(data));
}

pub(crate) fn index_key_seeds() -> Vec<Vec<u8>> {
    let keys = vector("bt-tree/vectors/index-keys-v2.hex");
    let (mut rest, mut seeds) = (&keys[..], Vec::new());
    while let Some((len, tail)) = rest.split_first() {
        let (key, tail) = tail.split_at(usize::from(*len));
        seeds.push(key.to_vec());
        rest = tail;
    }
    seeds
}

pub(crate) fn index_record(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    let (name, again) = RECORDS[usize::from(*kind) % RECORDS.len()];
    if let Some(encoded) = again(bytes) {
        assert_eq!(encoded, bytes, "a {name} record has one encoding");
    }
    if let Ok(reference) = BlockRef::read_from(bytes) {
        let mut encoded = Vec::new();
        reference.write_to(&mut encoded);
        assert_eq!(encoded, bytes[..BlockRef::SIZE]);
    }
}

pub(crate) fn index_record_seeds() -> Vec<Vec<u8>> {
    let of = |(kind, (name, _)): (usize, &(&str, Again))| {
        let version = if *name == "entrance" { 2 } else { 1 };
        [&[kind as u8], &vector(&format!("bt-tree/vectors/record-{name}-v{version}.hex"))[..]].concat()
    };
    RECORDS.iter().enumerate().map(of).collect()
}

pub(crate) fn journal_records(data: &[u8]) {
    drop(decode_records(data));
    drop(bt_base::codec::decode_exact::<SegmentSummary>("segment", data, SegmentSummary::SIZE));
}

pub(crate) fn journal_records_seeds() -> Vec<Vec<u8>> {
    vec![vector("bt-vfs/vectors/journal-records-v2.hex")]
}
