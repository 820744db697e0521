//! Which heads count.

use bt_base::BlockHash;
use bt_crypto::KeyStore;

use super::*;
use crate::access::{Action, LastHead, Rights};
use crate::epoch::Keyring;
use crate::testing::{NOW, SeededEntropy, World, assert_only_exact, golden, grant, later, session, store};

fn example(world: &World) -> Head {
    let summary = |id, index_blocks| SegmentSummary {
        id: SegmentId([id; 32]),
        epoch: 1,
        blocks: 512,
        sealed_bytes: 8 << 20,
        hash: [id + 1; 32],
        index_blocks,
    };
    Head {
        tree: *world.genesis.tree(),
        zone: *world.birth.zone(),
        revision: Revision(3),
        previous: HeadHash([2; 32]),
        root: Some(BlockRef {
            segment: SegmentId([5; 32]),
            index: 17,
            len: 16384,
            epoch: 1,
            birth: Revision(3),
            hash: BlockHash([6; 32]),
        }),
        root_level: 2,
        epoch: 1,
        access: world.log.newest(),
        journal: JournalPosition {
            id: JournalId([8; 32]),
            covered: 1000,
            next_batch: 12,
            previous_batch_hash: [9; 32],
            offset: 4096 * 7,
        },
        lease_token: 4,
        added: vec![summary(5, true), summary(7, false)],
        removed: vec![SegmentId([1; 32])],
        time: NOW,
    }
}

fn decode_verified(bytes: &[u8], log: &AccessLog) -> Result<Head, HeadError> {
    SignedHead::decode(bytes)?.verify(log).cloned()
}

#[test]
fn a_head_survives_its_encoding() {
    let world = World::new();
    let signed = SignedHead::sign(example(&world), &world.session).unwrap();
    assert_eq!(decode_verified(&signed.to_bytes(), &world.log).unwrap(), example(&world));
    assert_eq!(SignedHead::decode(&signed.to_bytes()).unwrap().hash(), signed.hash());
}

#[test]
fn a_damaged_head_is_refused() {
    let world = World::new();
    let signed = SignedHead::sign(example(&world), &world.session).unwrap();
    assert_only_exact(&signed.to_bytes(), |bytes| decode_verified(bytes, &world.log));
}

#[test]
fn a_head_of_one_without_rights_is_refused() {
    let world = World::new();
    let stranger = session(&store(5), &world.genesis, NOW);
    let signed = SignedHead::sign(example(&world), &stranger).unwrap();
    let error = signed.verify(&world.log).unwrap_err();
    assert!(matches!(error, HeadError::Access { error: AccessError::Denied { .. }, .. }), "{error}");
}

#[test]
fn a_head_after_a_revocation_is_refused_and_those_before_stay() {
    let mut world = World::new();
    let last = SignedHead::sign(example(&world), &world.session).unwrap();
    let after = Head { revision: Revision(4), previous: last.hash(), ..example(&world) };
    let after = SignedHead::sign(after, &world.session).unwrap();
    after.verify(&world.log).unwrap();
    let revoke = Action::Revoke {
        principal: world.node.credential().id(),
        last: Some(LastHead { revision: Revision(3), hash: last.hash() }),
    };
    world.log.decide(&world.root, later(1), revoke).unwrap();
    last.verify(&world.log).unwrap();
    let error = after.verify(&world.log).unwrap_err();
    assert!(matches!(error, HeadError::Access { error: AccessError::Revoked { .. }, .. }), "{error}");
}

#[test]
fn a_head_outside_its_session_is_neither_signed_nor_accepted() {
    let world = World::new();
    let late = Head { time: later(3601), ..example(&world) };
    let error = SignedHead::sign(late.clone(), &world.session).unwrap_err();
    assert!(matches!(error, HeadError::Session { error: SessionError::NotValidAt { .. }, .. }), "{error}");
    let envelope = Envelope::by_session(KIND, &world.session, encode(&late));
    let error = decode_verified(&envelope.to_bytes(), &world.log).unwrap_err();
    assert!(matches!(error, HeadError::Session { error: SessionError::NotValidAt { .. }, .. }), "{error}");
}

#[test]
fn a_clock_set_back_does_not_stop_heads() {
    let world = World::new();
    let signed = SignedHead::sign(Head { time: later(-1000), ..example(&world) }, &world.session).unwrap();
    assert_eq!(signed.verify(&world.log).unwrap().time, NOW);
}

#[test]
fn a_head_of_another_zone_is_refused() {
    let world = World::new();
    let head = Head { zone: ZoneId([3; 32]), ..example(&world) };
    let error = SignedHead::sign(head, &world.session).unwrap().verify(&world.log).unwrap_err().to_string();
    assert!(error.starts_with("the head is that of zone 0303"), "{error}");
}

#[test]
fn a_head_may_fill_its_space_and_no_more() {
    let world = World::new();
    let removed = (Head::SEGMENT_BYTES - 2 * SegmentSummary::SIZE) / 32;
    let full = Head { removed: vec![SegmentId([1; 32]); removed], ..example(&world) };
    let bytes = SignedHead::sign(full.clone(), &world.session).unwrap().to_bytes();
    assert!(bytes.len() <= SignedHead::LIMIT, "{} bytes", bytes.len());
    assert_eq!(decode_verified(&bytes, &world.log).unwrap(), full);
    let over = Head { removed: vec![SegmentId([1; 32]); removed + 1], ..example(&world) };
    assert!(matches!(SignedHead::sign(over, &world.session), Err(HeadError::TooManySegments { .. })));
}

#[test]
fn a_summary_has_its_size() {
    assert_eq!(encode(&example(&World::new()).added[0]).len(), SegmentSummary::SIZE);
}

#[test]
fn only_the_next_head_follows() {
    let world = World::new();
    let sign = |head| SignedHead::sign(head, &world.session).unwrap();
    let first = sign(Head { time: later(1), ..example(&world) });
    let next = Head { revision: Revision(4), previous: first.hash(), time: later(2), ..example(&world) };
    sign(next.clone()).verify_follows(&first, &world.log).unwrap();
    let none = JournalPosition { id: JournalId::default(), ..next.journal };
    sign(Head { epoch: 2, journal: none, ..next.clone() }).verify_follows(&first, &world.log).unwrap();
    for (what, wrong) in [
        ("revision", Head { revision: Revision(5), ..next.clone() }),
        ("previous head", Head { previous: HeadHash([1; 32]), ..next.clone() }),
        ("epoch", Head { epoch: 0, ..next.clone() }),
        ("journal", Head { epoch: 2, ..next.clone() }),
        ("time", Head { time: NOW, ..next.clone() }),
        ("lease token", Head { lease_token: 3, ..next.clone() }),
        ("access record", Head { access: RecordHash(world.birth.zone().0), ..next.clone() }),
    ] {
        let error = sign(wrong).verify_follows(&first, &world.log).unwrap_err().to_string();
        assert!(error.ends_with(&format!("its {what} is wrong")), "{what}: {error}");
    }
}

#[test]
fn a_head_obeys_the_record_of_its_epoch_or_a_later_one() {
    let mut world = World::new();
    let (mut epochs, mut keys) = (EpochList::new(&world.log), Keyring::default());
    let mut advance = |world: &World| {
        epochs.advance(&world.log, &mut keys, &world.session, NOW, &mut SeededEntropy::new(5)).unwrap();
        epochs.clone()
    };
    let first = advance(&world);
    let before = world.log.newest();
    world.log.decide(&world.root, NOW, grant(&store(3), Rights::Read)).unwrap();
    let verify = |epochs: &EpochList, epoch, access| {
        let signed = SignedHead::sign(Head { epoch, access, ..example(&world) }, &world.session).unwrap();
        signed.verify(&world.log).unwrap();
        signed.verify_epoch(epochs, &world.log)
    };
    let second = advance(&world);
    verify(&first, 1, before).unwrap();
    verify(&second, 1, world.log.newest()).unwrap();
    verify(&second, 2, world.log.newest()).unwrap();
    for (epochs, epoch, access) in [(&second, 2, before), (&first, 2, world.log.newest()), (&second, 0, before)] {
        let error = verify(epochs, epoch, access).unwrap_err();
        assert!(matches!(error, HeadError::Outdated { .. }), "{error}");
    }
}

#[test]
fn one_head_signed_twice_has_one_name_and_two_signers_make_two() {
    let world = World::new();
    let sign = |session: &SessionKey| SignedHead::sign(example(&world), session).unwrap().hash();
    assert_eq!(sign(&world.session), sign(&session(&world.node, &world.genesis, later(-1))));
    assert_ne!(sign(&world.session), sign(&session(&world.root, &world.genesis, NOW)));
}

#[test]
fn the_golden_head_is_understood() {
    let world = World::new();
    let bytes =
        golden("head-v1-under-access-v2", || SignedHead::sign(example(&world), &world.session).unwrap().to_bytes());
    assert_eq!(decode_verified(&bytes, &world.log).unwrap(), example(&world));
    assert_eq!(
        SignedHead::decode(&bytes).unwrap().hash().to_string(),
        "fbec66a41cfb0f3502e9ef788fcee239f3fd9a765a31d3c3844f21c50729c7d9"
    );
}
