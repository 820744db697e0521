//! Golden vectors of every record and key, and every decoder against random values, bytes and damage.
//!
//! proptest prints the smallest failing case and keeps its seed in `proptest-regressions/`.

use std::fmt::Debug;

use bt_base::codec::DecodeError;
use bt_base::limits::{BLOCK_SIZE, EXTENT_BLOCKS, FILE_SIZE, NAME_SIZE};
use bt_base::{BlockHash, Revision, SegmentId, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::block::BlockRef;
use crate::testing::golden;
use crate::zone::{Account, SnapshotRecord, SnapshotState};

/// One record of a kind, with bytes that an earlier version may have written, and its decoder: `Some` are the bytes
/// that what was decoded encodes to.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    again: fn(&[u8]) -> Option<Vec<u8>>,
}

fn segment(first: u8) -> SegmentId {
    SegmentId(std::array::from_fn(|i| first.wrapping_add(i as u8)))
}

fn block(index: u32, len: u32) -> BlockRef {
    let hash = BlockHash(std::array::from_fn(|i| (index as u8).wrapping_mul(3).wrapping_add(i as u8)));
    BlockRef { segment: segment(0x10), index, len, epoch: 2, birth: Revision(0x0304), hash }
}

fn inode() -> Inode {
    Inode {
        mode: 0o100_644,
        uid: 1000,
        gid: 1001,
        nlink: 2,
        rdev: 0x0501,
        content: Content::Extents,
        has_attributes: true,
        is_entrance: false,
        size: 70_000,
        stored: 81_920,
        atime: Timestamp::new(1, 2),
        mtime: Timestamp::new(-3, 4),
        ctime: Timestamp::new(5, 999_999_999),
        btime: Timestamp::new(7, 8),
        parent: 9,
        next_sequence: 10,
        entries: 11,
    }
}

/// The placeholder of another zone.
fn entrance() -> Inode {
    Inode { mode: 0o040_755, content: Content::None, is_entrance: true, entries: 0, ..inode() }
}

fn extent() -> Extent {
    let mut extent = Extent::default();
    let slots = [(0, 7, 16384, Compression::None), (1, 8, 16384, Compression::Lz4), (5, 4095, 1, Compression::Zstd)];
    for (slot, index, len, compression) in slots {
        extent.slots[slot] = Some(Slot { block: block(index, len), compression });
    }
    extent
}

fn account() -> Account {
    Account {
        sealed_bytes: 9 * 116,
        live_bytes: 8 * 116,
        blocks: 9,
        epoch: 3,
        index_blocks: true,
        dead: vec![0b1000, 0],
    }
}

fn snapshot() -> SnapshotRecord {
    SnapshotRecord {
        number: 4,
        state: SnapshotState::Ready,
        revision: Revision(77),
        time: Timestamp::new(1_790_000_000, 5),
        root: block(1, 300),
        level: 2,
    }
}

fn cases() -> Vec<Case> {
    let zone = ZoneRecord { next_inode: 16, next_snapshot: 1, inodes: 3, compression: Compression::Zstd };
    let case = |name, bytes, again| Case { name, bytes, again };
    vec![
        case("record-zone-v1", zone.encode().to_vec(), |b| Some(ZoneRecord::decode(b).ok()?.encode().to_vec())),
        case("record-inode-v1", inode().encode().to_vec(), |b| Some(Inode::decode(b).ok()?.encode().to_vec())),
        case("record-inode-v2", entrance().encode().to_vec(), |b| Some(Inode::decode(b).ok()?.encode().to_vec())),
        case("record-name-v1", Name { inode: 17, sequence: 5, kind: 8 }.encode().to_vec(), |b| {
            Some(Name::decode(b).ok()?.encode().to_vec())
        }),
        case("record-entry-v1", Entry { inode: 17, kind: 4, name: b"a name" }.encode(), |b| {
            Some(Entry::decode(b).ok()?.encode())
        }),
        case("record-extent-v1", extent().encode(), |b| Some(Extent::decode(b).ok()?.encode())),
        case("record-snapshot-v1", snapshot().encode(), |b| Some(SnapshotRecord::decode(b).ok()?.encode())),
        case("record-account-v1", account().encode(), |b| Some(Account::decode(b).ok()?.encode())),
        case("record-dead-v1", DeadRecord { count: 2, len: 16384 }.encode().to_vec(), |b| {
            Some(DeadRecord::decode(b).ok()?.encode().to_vec())
        }),
        case("record-entrance-v2", vec![9; 32], |b| Some(decode_entrance(b).ok()?.0.to_vec())),
        case("record-count-v1", 3u32.to_le_bytes().to_vec(), |b| Some(decode_count(b).ok()?.to_le_bytes().to_vec())),
    ]
}

/// A key of every type.
fn keys() -> Vec<Key> {
    let death = Death { segment: segment(0x20), index: 4095, len: 1, birth: Revision(6) };
    vec![
        Key::zone(),
        Key::label(),
        Key::inode(0x0102),
        Key::name(1, b"a name"),
        Key::entry(1, 0x0304),
        Key::attribute(17, b"user.test"),
        Key::extent(17, 35),
        Key::inline(17),
        Key::orphan(17),
        Key::entrance(18),
        Key::snapshot(b"monday"),
        Key::account(&segment(0x20)),
        Key::dead(9, &death),
        Key::count(&segment(0x20), 300),
    ]
}

/// The key that a kind says.
fn key_of(kind: KeyKind<'_>) -> Key {
    match kind {
        KeyKind::Zone => Key::zone(),
        KeyKind::Label => Key::label(),
        KeyKind::Inode(inode) => Key::inode(inode),
        KeyKind::Name(directory, name) => Key::name(directory, name),
        KeyKind::Entry(directory, sequence) => Key::entry(directory, sequence),
        KeyKind::Attribute(inode, name) => Key::attribute(inode, name),
        KeyKind::Extent(inode, slot) => Key::extent(inode, slot),
        KeyKind::Inline(inode) => Key::inline(inode),
        KeyKind::Orphan(inode) => Key::orphan(inode),
        KeyKind::Entrance(inode) => Key::entrance(inode),
        KeyKind::Snapshot(name) => Key::snapshot(name),
        KeyKind::Account(segment) => Key::account(&segment),
        KeyKind::Dead(snapshot, segment, index, birth) => Key::dead(snapshot, &Death { segment, index, len: 0, birth }),
        KeyKind::Count(segment, index) => Key::count(&segment, index),
    }
}

#[test]
fn what_an_earlier_version_wrote_is_understood() {
    for Case { name, bytes, again } in cases() {
        let vector = golden(name, || bytes.clone());
        assert_eq!(again(&vector), Some(vector.clone()), "{name}");
        assert_eq!(vector, bytes, "{name} is written as it was");
    }
    let all = || keys().iter().flat_map(|key| [&[key.as_bytes().len() as u8], key.as_bytes()].concat()).collect();
    let vector = golden("index-keys-v2", all);
    assert_eq!(vector, all(), "keys are written as they were");
    let mut first = &golden("index-keys-v1", || unreachable!("it is there"))[..];
    while let Some((len, rest)) = first.split_first() {
        let (key, rest) = rest.split_at(usize::from(*len));
        assert!(keys().iter().any(|known| known.as_bytes() == key), "{key:?} is no key any more");
        first = rest;
    }
}

#[test]
fn keys_say_what_they_were_made_of() {
    for key in keys() {
        let kind = parse_key(key.as_bytes()).expect("it was made by us");
        assert_eq!(key_of(kind).as_bytes(), key.as_bytes());
    }
    assert_eq!(
        parse_key(Key::extent(17, 35).as_bytes()),
        Ok(KeyKind::Extent(17, 32)),
        "an extent begins with its group"
    );
}

#[test]
fn a_record_cut_short_is_refused_or_another_whole_one() {
    for Case { name, bytes, again } in cases() {
        for len in 0..bytes.len() {
            let shorter = again(&bytes[..len]);
            let open_ended = matches!(name, "record-entry-v1" | "record-extent-v1");
            assert!(shorter.is_none() || open_ended, "{len} bytes of {name} were accepted");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(again(&longer).is_none(), "{name} with a byte too many was accepted");
    }
    for key in keys() {
        assert!(parse_key(&[key.as_bytes(), &[0; 255]].concat()).is_err());
    }
    assert!(parse_key(b"").is_err());
}

fn refused<T: Debug>(result: Result<T, DecodeError>) {
    assert!(result.is_err(), "{result:?} was accepted");
}

/// `record` with the byte at `at` replaced.
fn with(record: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut changed = record.to_vec();
    changed[at] = byte;
    changed
}

#[test]
fn numbers_out_of_bounds_are_refused() {
    let bytes = inode().encode();
    for (at, byte, what) in [
        (3, 1, "mode"),
        (20, 3, "content"),
        (21, 4, "flags"),
        (29, 1, "size"),
        (37, 1, "stored"),
        (49, 0xff, "nanoseconds"),
        (93, 0x80, "parent"),
        (101, 0x80, "sequence"),
        (109, 0x80, "entries"),
    ] {
        assert!(Inode::decode(&with(&bytes, at, byte)).is_err(), "{what} out of bounds was accepted");
    }
    assert!(Inode::decode(&Inode { size: FILE_SIZE, ..inode() }.encode()).is_ok());
    refused(Inode::decode(&Inode { size: FILE_SIZE + 1, ..inode() }.encode()));
    refused(Name::decode(&Name { inode: 1, sequence: 1, kind: 16 }.encode()));
    refused(DeadRecord::decode(&DeadRecord { count: 0, len: 1 }.encode()));
    refused(DeadRecord::decode(&DeadRecord { count: 1, len: BLOCK_SIZE as u32 + 1 }.encode()));
    refused(decode_count(&[0; 4]));
    refused(Account::decode(&Account { dead: vec![0, 0b10], ..account() }.encode()));
    refused(Account::decode(&Account { live_bytes: 9 * 116 + 1, ..account() }.encode()));
    refused(SnapshotRecord::decode(&SnapshotRecord { level: 200, ..snapshot() }.encode()));
    refused(parse_key(Key::count(&segment(1), 4096).as_bytes()));
    refused(parse_key(Key::extent(1, FILE_SIZE / BLOCK_SIZE as u64).as_bytes()));
}

#[test]
fn names_that_no_file_can_have_are_refused() {
    let long = [b'x'; NAME_SIZE + 1];
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0", &long] {
        refused(Entry::decode(&Entry { inode: 1, kind: 8, name }.encode()));
    }
    assert!(Entry::decode(&Entry { inode: 1, kind: 8, name: &long[1..] }.encode()).is_ok());
    refused(parse_key(&[&[0x20; 9], &long[..]].concat()));
    refused(parse_key(&[0x20; 9]));
}

#[test]
fn an_extent_of_blocks_that_cannot_be_is_refused() {
    let of = |slot, block| {
        let mut extent = Extent::default();
        extent.slots[slot] = Some(Slot { block, compression: Compression::None });
        extent.encode()
    };
    let good = of(15, block(4095, 16384));
    assert!(Extent::decode(&good).is_ok());
    refused(Extent::decode(&of(0, block(4096, 1))));
    refused(Extent::decode(&of(0, block(0, 0))));
    refused(Extent::decode(&of(0, block(0, 16385))));
    refused(Extent::decode(&with(&good, 0, 16)));
    refused(Extent::decode(&with(&good, 1, 0)));
    refused(Extent::decode(&with(&good, 1, 2)));
    refused(Extent::decode(&[&good[..], &good[..]].concat()));
    refused(Extent::decode(b""));
}

fn any_block() -> impl Strategy<Value = BlockRef> {
    // Few segments and births, so that runs form.
    (0..3u8, 0..4096u32, 1..=16384u32, 0..2u32, 0..2u64, any::<[u8; 32]>()).prop_map(
        |(first, index, len, epoch, birth, hash)| BlockRef {
            segment: segment(first),
            index,
            len,
            epoch,
            birth: Revision(birth),
            hash: BlockHash(hash),
        },
    )
}

fn any_extent() -> impl Strategy<Value = Extent> {
    let slot = (any_block(), any::<bool>(), 0..3u8);
    vec(proptest::option::of(slot), EXTENT_BLOCKS).prop_map(|slots| {
        let mut extent = Extent::default();
        for (i, slot) in slots.into_iter().enumerate() {
            let before = i.checked_sub(1).and_then(|i| extent.slots[i]);
            extent.slots[i] = slot.map(|(mut block, follows, compression)| {
                if let (Some(Slot { block: before, .. }), true) = (before, follows) {
                    let index = (before.index + 1).min(4095);
                    block =
                        BlockRef { segment: before.segment, index, epoch: before.epoch, birth: before.birth, ..block };
                }
                Slot { block, compression: Compression::from_code(compression).expect("a known code") }
            });
        }
        extent
    })
}

proptest! {
    #[test]
    fn extents_survive(extent in any_extent()) {
        if extent.is_hole() {
            prop_assert!(Extent::decode(&extent.encode()).is_err());
        } else {
            prop_assert_eq!(Extent::decode(&extent.encode()), Ok(extent));
        }
    }

    #[test]
    fn inodes_survive(
        (mode, uid, gid, nlink, rdev) in (0..=0o177777u32, any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>()),
        (size, stored) in (0..=FILE_SIZE, 0..=FILE_SIZE),
        times in any::<[(i64, u32); 4]>(),
        is_entrance: bool,
        (parent, next_sequence, entries) in (0..NUMBER_LIMIT, 0..NUMBER_LIMIT, 0..NUMBER_LIMIT),
    ) {
        let [atime, mtime, ctime, btime] =
            times.map(|(seconds, nanos)| Timestamp::new(seconds, nanos % 1_000_000_000));
        let inode = Inode {
            mode, uid, gid, nlink, rdev, content: Content::Inline, has_attributes: false, is_entrance, size, stored,
            atime, mtime, ctime, btime, parent, next_sequence, entries,
        };
        prop_assert_eq!(Inode::decode(&inode.encode()), Ok(inode));
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        for case in cases() {
            (case.again)(&bytes);
        }
        if let Ok(kind) = parse_key(&bytes) {
            let made = key_of(kind);
            prop_assert_eq!(made.as_bytes(), &bytes[..], "a key has one encoding");
        }
    }

    #[test]
    fn damage_is_refused_or_gives_another_record(at in any::<prop::sample::Index>(), bit in 0..8u8) {
        for Case { name, bytes, again } in cases() {
            let mut changed = bytes.clone();
            changed[at.index(bytes.len())] ^= 1 << bit;
            // An index node is authenticated as a whole; what matters here is that nothing is silently the same.
            prop_assert_ne!(again(&changed), Some(bytes), "{}", name);
        }
        for key in keys() {
            let mut changed = key.as_bytes().to_vec();
            let at = at.index(changed.len());
            changed[at] ^= 1 << bit;
            if let Ok(kind) = parse_key(&changed) {
                let made = key_of(kind);
                prop_assert_eq!(made.as_bytes(), &changed[..]);
            }
        }
    }
}
