//! Journal records: golden vectors, limits, and damage of every kind.

use std::path::Path;

use bt_base::limits::{FILE_SIZE, PAGE_SIZE};
use bt_base::{BlockHash, Revision, SegmentId, Timestamp, ZoneId};
use bt_tree::block::BlockRef;
use bt_tree::head::SegmentSummary;
use bt_tree::schema::ROOT_INODE;

use super::bed::Bed;
use super::with_seeds;
use crate::Replay;
use crate::op::{Change, Data, Log, Make, Op, SlotRecord, decode_records};
use crate::view::{DIRECTORY, REGULAR, SYMLINK};

const TIME: Timestamp = Timestamp::new(1_790_000_000, 999_999_999);

fn block() -> BlockRef {
    BlockRef {
        segment: SegmentId([0x11; 32]),
        index: 3,
        len: 16384,
        epoch: 1,
        birth: Revision(5),
        hash: BlockHash([0x22; 32]),
    }
}

fn summary() -> SegmentSummary {
    let id = SegmentId([0x11; 32]);
    SegmentSummary { id, epoch: 1, blocks: 4, sealed_bytes: 4 * 16400, hash: [0x33; 32], index_blocks: false }
}

fn make() -> Make {
    let attributes = vec![(b"user.name".to_vec(), b"value".to_vec())];
    Make { inode: 17, mode: REGULAR | 0o644, uid: 1, gid: 2, rdev: 3, time: TIME, target: vec![], attributes }
}

fn data() -> Data {
    Data {
        inode: 17,
        size: 70_000,
        mtime: Some(TIME),
        clear: vec![(0, 4), (9, 1 << 32)],
        slots: vec![
            SlotRecord { slot: 1, block: Some(block()), compression: 2 },
            SlotRecord { slot: 2, block: None, compression: 0 },
        ],
        pages: vec![(17, b"content".to_vec()), (18, vec![])],
    }
}

/// A record of every kind.
fn ops() -> Vec<Op> {
    let link = Make { inode: 18, mode: SYMLINK | 0o777, target: b"../target".to_vec(), attributes: vec![], ..make() };
    let change = Change { mode: Some(0o600), mtime: Some(TIME), ..Change::default() };
    let placeholder = Make { inode: 19, mode: DIRECTORY | 0o755, rdev: 0, attributes: vec![], ..make() };
    let only_slots = Data { clear: vec![], pages: vec![], ..data() };
    vec![
        Op::Make { directory: 1, name: b"a name".to_vec(), inode: make() },
        Op::Make { directory: 0, name: vec![], inode: link },
        Op::Link { inode: 17, directory: 1, name: b"another".to_vec(), time: TIME },
        Op::Unlink { directory: 1, name: b"another".to_vec(), time: TIME },
        Op::Rename { from: 1, name: b"old".to_vec(), to: 16, new_name: b"new".to_vec(), exchange: true, time: TIME },
        Op::Change { inode: 17, change },
        Op::Attribute { inode: 17, name: b"user.name".to_vec(), value: Some(b"value".to_vec()), time: TIME },
        Op::Attribute { inode: 17, name: b"user.name".to_vec(), value: None, time: TIME },
        Op::Data(data()),
        Op::Segment(summary()),
        Op::Share(only_slots),
        Op::Enter { directory: 1, name: b"shared".to_vec(), placeholder, zone: ZoneId([0x44; 32]) },
    ]
}

fn encode(ops: &[Op]) -> Vec<u8> {
    let mut log = Log::new(0);
    for op in ops {
        log.append(op);
    }
    log.take().remove(0).bytes
}

/// Bytes that an earlier version wrote. Vectors are only ever added: `BT_ADD_VECTORS=1` writes a missing one.
fn golden(name: &str, make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(format!("{name}.hex"));
    if !path.exists() && std::env::var_os("BT_ADD_VECTORS").is_some() {
        let line = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
        std::fs::write(&path, make().chunks(32).map(line).collect::<String>()).expect("the vector can be written");
    }
    let text = std::fs::read_to_string(&path).expect("add it with BT_ADD_VECTORS=1 cargo test");
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

#[test]
fn what_an_earlier_version_wrote_is_understood() {
    let vector = golden("journal-records-v2", || encode(&ops()));
    assert_eq!(decode_records(&vector), Ok(ops()));
    assert_eq!(encode(&ops()), vector, "records are written as they were");
    let first = golden("journal-records-v1", || unreachable!("it is there"));
    assert!(ops().starts_with(&decode_records(&first).unwrap()), "kinds of records are only added");
}

#[test]
fn records_cut_short_are_refused_or_fewer() {
    let (bytes, ops) = (encode(&ops()), ops());
    for len in 0..bytes.len() {
        if let Ok(found) = decode_records(&bytes[..len]) {
            assert!(found.len() < ops.len() && ops.starts_with(&found), "{len} bytes");
        }
    }
    for op in &ops {
        let mut record = encode(std::slice::from_ref(op));
        record.push(0);
        assert!(decode_records(&record).is_err(), "{op:?} and a byte");
        let len = (record.len() - 4) as u32;
        record[..4].copy_from_slice(&len.to_le_bytes());
        assert!(decode_records(&record).is_err(), "{op:?} with a byte too many in it");
    }
}

#[test]
fn records_beyond_the_limits_are_refused() {
    let late = Timestamp::new(0, 1_000_000_000);
    let name = |name: &[u8]| Op::Unlink { directory: 1, name: name.to_vec(), time: TIME };
    let made = |inode| Op::Make { directory: 1, name: b"x".to_vec(), inode };
    let attribute =
        |name: &[u8], len| Op::Attribute { inode: 17, name: name.to_vec(), value: Some(vec![0; len]), time: TIME };
    let enter = |placeholder| Op::Enter { directory: 1, name: b"x".to_vec(), placeholder, zone: ZoneId([1; 32]) };
    let slot = |slot| Data { slots: vec![SlotRecord { slot, block: None, compression: 0 }], ..data() };
    let unknown = vec![SlotRecord { slot: 0, block: Some(block()), compression: 3 }];
    let wrong = [
        name(b""),
        name(b".."),
        name(b"a/b"),
        name(b"a\0"),
        name(&[b'x'; 256]),
        Op::Make { directory: 0, name: b"x".to_vec(), inode: make() },
        Op::Make { directory: 1, name: vec![], inode: make() },
        Op::Unlink { directory: 1, name: b"x".to_vec(), time: late },
        Op::Link { inode: u64::MAX, directory: 1, name: b"x".to_vec(), time: TIME },
        made(Make { inode: 15, ..make() }),
        made(Make { inode: u64::MAX, ..make() }),
        made(Make { mode: 1 << 16, ..make() }),
        made(Make { target: b"x".to_vec(), ..make() }),
        made(Make { mode: SYMLINK, target: vec![b'x'; 4096], ..make() }),
        made(Make { attributes: vec![(b"user.x".to_vec(), vec![]); 3], ..make() }),
        made(Make { attributes: vec![(b"other.x".to_vec(), vec![])], ..make() }),
        Op::Change { inode: 17, change: Change { atime: Some(late), ..Change::default() } },
        Op::Change { inode: 17, change: Change { mode: Some(1 << 16), ..Change::default() } },
        attribute(b"user.", 0),
        attribute(&[b"user.", &[b'x'; 251][..]].concat(), 0),
        attribute(b"user.x", 8193),
        Op::Data(Data { size: FILE_SIZE + 1, ..data() }),
        Op::Data(Data { mtime: Some(late), ..data() }),
        Op::Data(Data { clear: vec![(5, 4)], ..data() }),
        Op::Data(Data { clear: vec![(0, FILE_SIZE / PAGE_SIZE as u64 + 1)], ..data() }),
        Op::Data(slot(FILE_SIZE / 16384)),
        Op::Data(Data { slots: unknown, ..data() }),
        Op::Data(Data { pages: vec![(0, vec![0; 4097])], ..data() }),
        Op::Data(Data { pages: vec![(FILE_SIZE / 4096, vec![])], ..data() }),
        Op::Share(data()),
        enter(Make { mode: REGULAR, ..make() }),
        enter(Make { mode: DIRECTORY, ..make() }),
        enter(Make { mode: DIRECTORY, attributes: vec![], inode: 15, ..make() }),
        Op::Segment(SegmentSummary { blocks: 0, ..summary() }),
        Op::Segment(SegmentSummary { blocks: 4097, ..summary() }),
        Op::Segment(SegmentSummary { sealed_bytes: (8 << 20) + 1, ..summary() }),
        Op::Segment(SegmentSummary { index_blocks: true, ..summary() }),
    ];
    for op in wrong {
        assert!(decode_records(&encode(std::slice::from_ref(&op))).is_err(), "{op:?} was accepted");
    }
}

#[test]
fn damaged_records_are_refused_or_other_records() {
    with_seeds("damaged_records_are_refused_or_other_records", 30, |mut random, log| {
        let whole = encode(&ops());
        for _ in 0..200 {
            let mut bytes = whole.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] ^= random.pick(&[1, 2, 4, 0x80, 0xff]);
            }
            log.push(format!("{bytes:02x?}"));
            if let Ok(found) = decode_records(&bytes) {
                assert_eq!(encode(&found), bytes, "a record has one encoding");
            }
        }
        let len = random.below(400) as usize;
        let noise: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        drop(decode_records(&noise));
    });
}

/// A log that nobody wrote: each record is possible alone.
#[test]
fn recovery_of_records_that_contradict_each_other_never_panics() {
    with_seeds("recovery_of_records_that_contradict_each_other_never_panics", 200, |mut random, log| {
        let mut bed = Bed::new();
        let (mut replay, mut applied) = (Replay::default(), 0);
        for _ in 0..40 {
            let inode = 16 + random.below(4);
            let directory = random.pick(&[0, ROOT_INODE, ROOT_INODE, 16, 17]);
            let name = random.pick(&[&b"a"[..], b"b", b"c"]).to_vec();
            let new_name = random.pick(&[&b"a"[..], b"b", b"c"]).to_vec();
            let (to, exchange) = (random.pick(&[ROOT_INODE, 16, 17]), random.below(3) == 0);
            let mut data = Data { inode, size: random.below(40_000), ..data() };
            data.slots[0].slot = random.below(3);
            let op = match random.below(8) {
                0..3 => {
                    let mode = random.pick(&[REGULAR, DIRECTORY, SYMLINK]) | 0o700;
                    let name = if directory == 0 { vec![] } else { name };
                    Op::Make { directory, name, inode: Make { inode, mode, ..make() } }
                }
                3 => Op::Link { inode, directory, name, time: TIME },
                4 => Op::Unlink { directory, name, time: TIME },
                5 => Op::Rename { from: directory, name, to, new_name, exchange, time: TIME },
                6 => Op::Data(data),
                _ => Op::Segment(summary()),
            };
            log.push(format!("{op:?}"));
            applied += u32::from(bed.replay_one(&mut replay, op));
        }
        log.push(format!("{applied} of them applied"));
    });
}
