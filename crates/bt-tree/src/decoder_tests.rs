//! Every decoder against random values, random bytes and random damage.
//!
//! proptest prints the smallest failing case and keeps its seed in `proptest-regressions/`.

use std::sync::LazyLock;

use bt_base::codec::encode;
use bt_base::{BlockHash, HeadHash, JournalId, RecordHash, Revision, SegmentId};
use bt_crypto::{EpochKey, JournalCipher, KeyStore};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::testing::{NOW, SeededEntropy, World};
use crate::*;

const JOURNAL: JournalPosition =
    JournalPosition { id: JournalId([4; 32]), covered: 0, next_batch: 0, previous_batch_hash: [0; 32], offset: 0 };

/// A decoder that accepts or refuses, and one record that it accepts.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    accept: fn(&[u8]) -> bool,
}

static WORLD: LazyLock<World> = LazyLock::new(World::new);
static CASES: LazyLock<Vec<Case>> = LazyLock::new(cases);

fn journal_cipher() -> JournalCipher {
    JournalCipher::new(&EpochKey::from_bytes([3; 32]), WORLD.genesis.tree(), WORLD.birth.zone(), &JOURNAL.id)
}

fn empty_head() -> Head {
    Head {
        tree: *WORLD.genesis.tree(),
        zone: *WORLD.birth.zone(),
        revision: Revision(1),
        previous: HeadHash([0; 32]),
        root: None,
        root_level: 0,
        epoch: 1,
        access: WORLD.log.newest(),
        journal: JOURNAL,
        lease_token: 0,
        added: vec![],
        removed: vec![],
        time: NOW,
    }
}

fn succession() -> Vec<u8> {
    let mut genesis = WORLD.genesis.clone();
    genesis.succeed(&WORLD.root, &testing::store(7), *WORLD.birth.zone(), NOW).unwrap();
    genesis.successions_to_bytes()
}

fn counter() -> Vec<u8> {
    let heads = [(*WORLD.birth.zone(), LastHead { revision: Revision(3), hash: HeadHash([3; 32]) })].into();
    let (tree, node) = (*WORLD.genesis.tree(), WORLD.node.credential().id());
    CounterRecord { tree, node, counter: [6; 32], value: 7, heads, time: NOW }.sign(&WORLD.node).unwrap()
}

fn cases() -> Vec<Case> {
    let mut epochs = EpochList::new(&WORLD.log);
    let mut entropy = SeededEntropy::new(3);
    epochs.advance(&WORLD.log, &mut Keyring::default(), &WORLD.session, NOW, &mut entropy).unwrap();
    let session = std::sync::Arc::new(testing::session(&WORLD.node, &WORLD.genesis, NOW));
    let mut batch = Vec::new();
    BatchWriter::new(journal_cipher(), session, *WORLD.birth.zone(), JOURNAL.id, 1)
        .seal(NOW, 1, 1, &[7; 4000], &mut batch)
        .unwrap();
    let case = |name, bytes, accept| Case { name, bytes, accept };
    vec![
        case("genesis", WORLD.genesis.as_bytes().to_vec(), |bytes| Genesis::decode(bytes).is_ok()),
        case("successions", succession(), |bytes| {
            let genesis = WORLD.genesis.clone().with_successions(bytes);
            genesis.is_ok_and(|genesis| !genesis.successions().is_empty())
        }),
        case("birth", WORLD.birth.as_bytes().to_vec(), |bytes| Birth::decode(WORLD.genesis.tree(), bytes).is_ok()),
        case("counter", counter(), |bytes| {
            CounterRecord::decode(WORLD.genesis.tree(), WORLD.node.credential(), &[6; 32], bytes).is_ok()
        }),
        case("access", WORLD.log.to_bytes(), |bytes| {
            AccessLog::decode(&WORLD.genesis, &WORLD.birth, bytes).is_ok_and(|log| !log.records().is_empty())
        }),
        case("epochs", epochs.to_bytes(), |bytes| {
            EpochList::decode(&WORLD.log, bytes).is_ok_and(|list| list.newest_number() > 0)
        }),
        case("session", WORLD.session.certificate().as_bytes().to_vec(), |bytes| {
            SessionCertificate::decode(bytes).is_ok_and(|found| found.verify(WORLD.genesis.tree(), NOW).is_ok())
        }),
        case("head", SignedHead::sign(empty_head(), &WORLD.session).unwrap().to_bytes(), |bytes| {
            SignedHead::decode(bytes).is_ok_and(|head| head.verify(&WORLD.log).is_ok())
        }),
        case("batch", batch, |bytes| {
            BatchReader::new(journal_cipher(), &WORLD.log, WORLD.log.newest(), &JOURNAL).open(bytes).is_ok()
        }),
    ]
}

fn block_ref() -> impl Strategy<Value = BlockRef> {
    let bounds = (0..4096u32, 1..=16384u32, any::<u32>(), any::<u64>());
    (any::<[u8; 32]>(), bounds, any::<[u8; 32]>()).prop_map(|(segment, (index, len, epoch, birth), hash)| BlockRef {
        segment: SegmentId(segment),
        index,
        len,
        epoch,
        birth: Revision(birth),
        hash: BlockHash(hash),
    })
}

fn summary() -> impl Strategy<Value = SegmentSummary> {
    (any::<[u8; 32]>(), any::<(u32, u32, u64, bool)>(), any::<[u8; 32]>()).prop_map(
        |(id, (epoch, blocks, sealed_bytes, index_blocks), hash)| SegmentSummary {
            id: SegmentId(id),
            epoch,
            blocks,
            sealed_bytes,
            hash,
            index_blocks,
        },
    )
}

fn journal_position() -> impl Strategy<Value = JournalPosition> {
    (any::<[u8; 32]>(), any::<(u64, u64, u64)>(), any::<[u8; 32]>()).prop_map(
        |(id, (covered, next_batch, offset), previous_batch_hash)| JournalPosition {
            id: JournalId(id),
            covered,
            next_batch,
            previous_batch_hash,
            offset,
        },
    )
}

fn head() -> impl Strategy<Value = Head> {
    let numbers = any::<(u64, u8, u32, u64)>();
    let lists = (vec(summary(), 0..20), vec(any::<[u8; 32]>(), 0..20));
    let names = any::<([u8; 32], [u8; 32])>();
    (numbers, names, proptest::option::of(block_ref()), journal_position(), lists).prop_map(
        |((revision, root_level, epoch, lease_token), (previous, access), root, journal, (added, removed))| Head {
            revision: Revision(revision),
            previous: HeadHash(previous),
            root,
            root_level,
            epoch,
            access: RecordHash(access),
            journal,
            lease_token,
            added,
            removed: removed.into_iter().map(SegmentId).collect(),
            ..empty_head()
        },
    )
}

proptest! {
    #[test]
    fn block_references_survive(reference in block_ref()) {
        let mut bytes = Vec::new();
        reference.write_to(&mut bytes);
        prop_assert_eq!(BlockRef::read_from(&bytes), Ok(reference));
        prop_assert_eq!(bytes, encode(&reference));
    }

    #[test]
    fn heads_survive(head in head()) {
        let signed = SignedHead::sign(head.clone(), &WORLD.session).unwrap();
        let decoded = SignedHead::decode(&signed.to_bytes()).unwrap();
        prop_assert_eq!(decoded.unverified(), &head);
        prop_assert_eq!(decoded.hash(), signed.hash());
    }

    #[test]
    fn payloads_survive(payloads in vec(vec(any::<u8>(), 0..9000), 1..4)) {
        let session = std::sync::Arc::new(testing::session(&WORLD.node, &WORLD.genesis, NOW));
        let mut writer = BatchWriter::new(journal_cipher(), session, *WORLD.birth.zone(), JOURNAL.id, 1);
        let mut file = Vec::new();
        for payload in &payloads {
            writer.seal(NOW, writer.next_record(), 2, payload, &mut file).unwrap();
        }
        let (mut reader, mut at) = (BatchReader::new(journal_cipher(), &WORLD.log, WORLD.log.newest(), &JOURNAL), 0);
        for payload in &payloads {
            let opened = reader.open(&file[at..]).unwrap();
            prop_assert_eq!(&opened.payload, payload);
            at += opened.len;
        }
        prop_assert_eq!(at, file.len());
    }

    #[test]
    fn random_bytes_are_refused(bytes in vec(any::<u8>(), 0..2000)) {
        for case in CASES.iter() {
            prop_assert!(!(case.accept)(&bytes), "{}", case.name);
        }
    }

    #[test]
    fn overwritten_bytes_are_refused(at in any::<prop::sample::Index>(), patch in vec(any::<u8>(), 1..40)) {
        for case in CASES.iter() {
            prop_assert!((case.accept)(&case.bytes), "{}", case.name);
            let mut changed = case.bytes.clone();
            let at = at.index(changed.len());
            let end = changed.len().min(at + patch.len());
            changed[at..end].copy_from_slice(&patch[..end - at]);
            prop_assert_eq!((case.accept)(&changed), changed == case.bytes, "{} at byte {}", case.name, at);
        }
    }

    #[test]
    fn records_of_one_kind_are_none_of_another(from in 0..8usize, to in 0..8usize) {
        prop_assert_eq!((CASES[to].accept)(&CASES[from].bytes), from == to);
    }
}
