//! Which batches count.

use std::sync::Arc;

use bt_base::limits::SESSION_SECONDS;
use bt_base::{Entropy, JournalId, TreeId};
use bt_crypto::{EpochKey, JournalCipher, KeyStore};

use super::*;
use crate::access::{AccessLog, Action};
use crate::head::JournalPosition;
use crate::session::SessionKey;
use crate::testing::{NOW, World, golden, later, session, store};

const JOURNAL: JournalId = JournalId([4; 32]);
const START: JournalPosition =
    JournalPosition { id: JOURNAL, covered: 100, next_batch: 0, previous_batch_hash: [0; 32], offset: 0 };

struct Journal {
    world: World,
    session: Arc<SessionKey>,
    writer: BatchWriter,
}

impl Journal {
    fn new() -> Self {
        let world = World::new();
        let session = Arc::new(session(&world.node, &world.genesis, NOW));
        let writer = BatchWriter::new(cipher(&world), Arc::clone(&session), *world.birth.zone(), JOURNAL, 100);
        Self { world, session, writer }
    }

    fn seal(&mut self, count: u32, payload: &[u8]) -> (Vec<u8>, BatchInfo) {
        let (mut bytes, first) = (Vec::new(), self.writer.next_record());
        let info = self.writer.seal(NOW, first, count, payload, &mut bytes).unwrap();
        (bytes, info)
    }
}

fn cipher(world: &World) -> JournalCipher {
    let key = EpochKey::from_bytes([3; 32]);
    JournalCipher::new(&key, world.genesis.tree(), world.birth.zone(), &JOURNAL)
}

fn reader<'a>(world: &World, log: &'a AccessLog) -> BatchReader<'a> {
    BatchReader::new(cipher(world), log, log.newest(), &START)
}

fn open_first(world: &World, bytes: &[u8]) -> Result<OpenedBatch, BatchError> {
    reader(world, &world.log).open(bytes)
}

#[test]
fn batches_come_back_in_order_as_they_were_written() {
    let mut journal = Journal::new();
    let payloads = [vec![1; 10], vec![], vec![3; 5000], vec![4; 4096 * 3]];
    let mut file = Vec::new();
    let infos = payloads.each_ref().map(|payload| {
        let first = journal.writer.next_record();
        journal.writer.seal(NOW, first, 7, payload, &mut file).unwrap()
    });
    let (mut reader, mut at) = (reader(&journal.world, &journal.world.log), 0);
    for (number, (payload, info)) in payloads.iter().zip(infos).enumerate() {
        let opened = reader.open(&file[at..]).unwrap();
        assert_eq!(opened.payload, *payload);
        assert_eq!(
            (opened.number, opened.first_record, opened.record_count),
            (number as u64, 100 + number as u64 * 7, 7)
        );
        assert_eq!((opened.hash, opened.len, opened.time), (info.hash, info.len, NOW));
        assert_eq!(opened.len % BATCH_ALIGN, 0);
        at += opened.len;
    }
    assert_eq!(at, file.len());
    assert_eq!(reader.previous_hash(), journal.writer.previous_hash());
    assert!(matches!(reader.open(&[0; 4096]), Err(BatchError::NotABatch)));
}

#[test]
fn a_large_batch_survives() {
    let mut journal = Journal::new();
    let payload = vec![7; BATCH_PAYLOAD];
    let (bytes, info) = journal.seal(1, &payload);
    assert_eq!(info.len, bytes.len());
    assert!(open_first(&journal.world, &bytes).unwrap().payload == payload);
    let error = journal.writer.seal(NOW, 101, 1, &vec![7; BATCH_PAYLOAD + 1], &mut Vec::new()).unwrap_err();
    assert!(matches!(error, BatchError::TooLarge { .. }), "{error}");
}

#[test]
fn a_damaged_batch_is_refused() {
    let mut journal = Journal::new();
    let bytes = journal.seal(3, b"three records").0;
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    for len in (0..bytes.len()).step_by(97).chain([used, bytes.len() - 1]) {
        assert!(open_first(&journal.world, &bytes[..len]).is_err(), "{len} bytes were accepted");
    }
    for at in (0..used + 1).chain((used..bytes.len()).step_by(61)) {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(open_first(&journal.world, &flipped).is_err(), "bit {bit} of byte {at} flipped was accepted");
        }
    }
    open_first(&journal.world, &bytes).unwrap();
}

#[test]
fn peeking_tells_whose_batch_it_is_and_how_long() {
    let mut journal = Journal::new();
    let (bytes, info) = journal.seal(3, &[5; 9000]);
    let frame = BatchFrame::peek(&bytes[..BatchFrame::SIZE]).unwrap().unwrap();
    assert_eq!((frame.journal, frame.number, frame.record_count), (JOURNAL, 0, 3));
    assert_eq!(frame.total_len(), info.len);
    assert_eq!(BatchFrame::peek(&bytes[..BatchFrame::SIZE - 1]), Ok(None));
    assert_eq!(BatchFrame::peek(&[0; 4096]), Ok(None));
    assert_eq!(BatchFrame::peek(&bytes[1..]), Ok(None));
}

#[test]
fn bytes_whose_lengths_do_not_fit_are_no_batch() {
    let bytes = Journal::new().seal(1, b"one").0;
    let wrong = [("version", 8, 0), ("header", 10, 0), ("certificate", 14, 1), ("sealed", 103, 3), ("total", 105, 0)];
    for (what, at, byte) in wrong {
        let mut changed = bytes.clone();
        changed[at] = byte;
        assert_eq!(BatchFrame::peek(&changed), Ok(None), "{what}");
    }
}

#[test]
fn a_batch_made_after_its_session_ended_is_refused_though_batches_before_it_counted() {
    let mut journal = Journal::new();
    let first = journal.seal(1, b"in time").0;
    let frame = BatchFrame {
        number: 1,
        first_record: 101,
        time: later(3601),
        previous: journal.writer.previous_hash(),
        ..BatchFrame::peek(&first).unwrap().unwrap()
    };
    let session = &journal.session;
    let mut late = frame.to_bytes().to_vec();
    late.extend_from_slice(session.certificate().as_bytes());
    cipher(&journal.world).seal(1, &frame.to_bytes(), b"in time", &mut late);
    let hash = super::frame::batch_hash(journal.world.genesis.tree(), &late);
    late.extend_from_slice(&session.sign(bt_base::label::JOURNAL_BATCH, &hash).0);
    late.resize(frame.total_len(), 0);
    let mut reader = reader(&journal.world, &journal.world.log);
    reader.open(&first).unwrap();
    let error = reader.open(&late).unwrap_err();
    assert!(matches!(error, BatchError::Session { error: SessionError::NotValidAt { .. }, .. }), "{error}");
}

#[test]
fn a_newer_version_is_an_error_and_not_the_end_of_the_journal() {
    let mut bytes = Journal::new().seal(1, b"one").0;
    bytes[8] = 3;
    let error = BatchFrame::peek(&bytes).unwrap_err().to_string();
    assert_eq!(error, "a journal batch has format version 3, this program knows 2: use a newer bt");
}

#[test]
fn an_older_version_is_an_error_and_not_the_end_of_the_journal() {
    let bytes = golden("batch-v1", || unreachable!("it is there"));
    let error = BatchFrame::peek(&bytes).unwrap_err();
    assert_eq!(error, DecodeError::Outdated { what: "journal batch", found: 1, known: 2 });
}

#[test]
fn a_batch_out_of_order_is_refused_but_known_to_be_a_good_one() {
    let mut journal = Journal::new();
    let [first, second, third] = [b"a", b"b", b"c"].map(|payload| journal.seal(1, payload).0);
    let mut reader = reader(&journal.world, &journal.world.log);
    assert!(matches!(reader.open(&second), Err(BatchError::Number { expected: 0, found: 1 })));
    assert!(reader.is_good_later_batch(&second) && !reader.is_good_later_batch(&first));
    reader.open(&first).unwrap();
    assert!(matches!(reader.open(&first), Err(BatchError::Number { expected: 1, found: 0 })));
    assert!(reader.is_good_later_batch(&third) && !reader.is_good_later_batch(&second));
    let mut bad = third.clone();
    bad[3000] ^= 1;
    assert!(!reader.is_good_later_batch(&bad));
    reader.open(&second).unwrap();
    reader.open(&third).unwrap();
}

#[test]
fn a_batch_of_another_history_is_refused() {
    let (mut one, mut other) = (Journal::new(), Journal::new());
    let first = one.seal(1, b"this").0;
    other.seal(1, b"that");
    let second = other.seal(1, b"next").0;
    let mut reader = reader(&one.world, &one.world.log);
    reader.open(&first).unwrap();
    assert!(matches!(reader.open(&second), Err(BatchError::Previous { number: 1 })));
}

#[test]
fn a_batch_of_another_journal_is_refused() {
    let mut journal = Journal::new();
    let bytes = journal.seal(1, b"one").0;
    let elsewhere = JournalPosition { id: JournalId([5; 32]), ..START };
    let mut reader =
        BatchReader::new(cipher(&journal.world), &journal.world.log, journal.world.log.newest(), &elsewhere);
    assert!(matches!(reader.open(&bytes), Err(BatchError::OtherJournal { .. })));
    assert!(!reader.is_good_later_batch(&bytes));
}

#[test]
fn a_batch_of_one_who_may_not_write_is_refused() {
    let mut journal = Journal::new();
    journal.writer.renew(Arc::new(session(&store(5), &journal.world.genesis, NOW)));
    let bytes = journal.seal(1, b"one").0;
    let error = open_first(&journal.world, &bytes).unwrap_err();
    assert!(matches!(error, BatchError::Access { number: 0, .. }), "{error}");
}

#[test]
fn batches_of_a_revoked_node_no_longer_count() {
    let mut journal = Journal::new();
    let bytes = journal.seal(1, b"one").0;
    open_first(&journal.world, &bytes).unwrap();
    let principal = journal.world.node.credential().id();
    journal.world.log.decide(&journal.world.root, NOW, Action::Revoke { principal, last: None }).unwrap();
    assert!(matches!(open_first(&journal.world, &bytes), Err(BatchError::Access { .. })));
}

#[test]
fn a_batch_is_judged_by_its_own_time_and_never_made_outside_its_session() {
    let mut journal = Journal::new();
    let mut bytes = Vec::new();
    let error = journal.writer.seal(later(3601), 100, 1, b"late", &mut bytes).unwrap_err();
    assert!(matches!(error, BatchError::Session { .. }), "{error}");
    assert!(bytes.is_empty());
    let renewed = session(&journal.world.node, &journal.world.genesis, later(SESSION_SECONDS));
    let first = journal.seal(1, b"in time").0;
    journal.writer.renew(Arc::new(renewed));
    journal.writer.seal(later(SESSION_SECONDS + 1), 101, 1, b"in the next session", &mut bytes).unwrap();
    let mut reader = reader(&journal.world, &journal.world.log);
    reader.open(&first).unwrap();
    assert_eq!(reader.open(&bytes).unwrap().payload, b"in the next session");
}

#[test]
fn a_session_of_another_tree_signs_no_batch_that_counts() {
    let mut journal = Journal::new();
    let mut entropy = crate::testing::SeededEntropy::new(1);
    let foreign = SessionKey::issue(&store(2), &TreeId([9; 32]), NOW, 3600, &mut entropy).unwrap();
    journal.writer.renew(Arc::new(foreign));
    let bytes = journal.seal(1, b"one").0;
    assert!(matches!(open_first(&journal.world, &bytes), Err(BatchError::Session { .. })));
}

#[test]
fn records_do_not_jump() {
    let mut journal = Journal::new();
    journal.seal(3, b"one");
    let error = journal.writer.seal(NOW, 104, 1, b"two", &mut Vec::new()).unwrap_err();
    assert!(matches!(error, BatchError::Records { number: 1, expected: 103, found: 104 }), "{error}");
}

#[test]
fn reading_goes_on_in_the_middle_of_a_journal() {
    let mut journal = Journal::new();
    let (_, first) = journal.seal(1, b"covered");
    let second = journal.seal(1, b"not covered").0;
    let position = JournalPosition { next_batch: 1, previous_batch_hash: first.hash, covered: 101, ..START };
    let mut reader =
        BatchReader::new(cipher(&journal.world), &journal.world.log, journal.world.log.newest(), &position);
    assert_eq!(reader.open(&second).unwrap().payload, b"not covered");
}

#[test]
fn only_records_that_the_head_covers_may_be_left_out() {
    let mut journal = Journal::new();
    let first = journal.seal(1, b"record 100").0;
    journal.writer.skip_to(105);
    let second = journal.seal(1, b"record 105").0;
    for (covered, continues) in [(104, true), (105, true), (103, false)] {
        let head = JournalPosition { covered, ..START };
        let mut reader =
            BatchReader::new(cipher(&journal.world), &journal.world.log, journal.world.log.newest(), &head);
        reader.open(&first).unwrap();
        let result = reader.open(&second);
        assert_eq!(result.is_ok(), continues, "covered up to {covered}: {result:?}");
    }
}

#[test]
fn a_first_batch_that_begins_after_what_the_head_covers_is_refused() {
    let mut journal = Journal::new();
    let bytes = journal.seal(1, b"record 100").0;
    for (covered, continues) in [(98, false), (99, true), (100, true)] {
        let head = JournalPosition { covered, ..START };
        let result = BatchReader::new(cipher(&journal.world), &journal.world.log, journal.world.log.newest(), &head)
            .open(&bytes);
        assert_eq!(result.is_ok(), continues, "covered up to {covered}: {result:?}");
    }
}

#[test]
fn a_clock_set_back_does_not_stop_the_journal() {
    let mut journal = Journal::new();
    let mut bytes = Vec::new();
    journal.writer.seal(later(-1000), 100, 1, b"one", &mut bytes).unwrap();
    assert_eq!(open_first(&journal.world, &bytes).unwrap().time, NOW);
}

#[test]
fn header_and_certificate_lie_in_one_sector() {
    let frame = BatchFrame::peek(&Journal::new().seal(1, b"one").0).unwrap().unwrap();
    assert!(BatchFrame::SIZE + frame.certificate_len <= 512, "{} bytes of certificate", frame.certificate_len);
}

#[test]
fn a_torn_batch_is_the_end_and_a_flipped_bit_in_its_first_sector_is_damage() {
    let mut journal = Journal::new();
    let bytes = journal.seal(3, &[5; 6000]).0;
    let mut entropy = crate::testing::SeededEntropy::new(11);
    for _ in 0..300 {
        let (mut torn, mut lost) = (bytes.clone(), [0; 16]);
        entropy.fill(&mut lost);
        let lost = lost.iter().enumerate().filter(|(_, byte)| **byte < 64);
        lost.for_each(|(sector, _)| torn[sector * 512..][..512].fill(0));
        match open_first(&journal.world, &torn) {
            Ok(_) => assert_eq!(torn, bytes),
            Err(error) => assert!(error.may_be_the_end(), "{error}"),
        }
    }
    for at in 80..BatchFrame::SIZE + 200 {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x40;
        let error = open_first(&journal.world, &flipped).unwrap_err();
        // Of the fields here, only lengths and what the signature alone covers can look like a cut.
        let looks_cut = matches!(error, BatchError::NotABatch | BatchError::Signature { .. } | BatchError::Cut { .. });
        assert!(looks_cut || !error.may_be_the_end(), "byte {at}: {error}");
    }
    let mut newer = bytes.clone();
    newer[8] = 3;
    assert!(!open_first(&journal.world, &newer).unwrap_err().may_be_the_end());
    let mut stale = reader(&journal.world, &journal.world.log);
    stale.open(&bytes).unwrap();
    assert!(stale.open(&bytes).unwrap_err().may_be_the_end());
}

#[test]
fn the_golden_batch_is_understood() {
    let bytes = golden("batch-v2", || Journal::new().seal(3, b"three records").0);
    let opened = open_first(&World::new(), &bytes).unwrap();
    assert_eq!(opened.payload, b"three records");
    assert_eq!((opened.number, opened.first_record, opened.record_count, opened.time), (0, 100, 3, NOW));
}
