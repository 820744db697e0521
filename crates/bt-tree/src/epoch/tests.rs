//! Who gets which keys.

use bt_base::Timestamp;
use std::sync::atomic::{AtomicUsize, Ordering};

use bt_base::TreeId;
use bt_base::label::Label;
use bt_crypto::{
    AgreementPublic, Credential, EpochKey, KeyError, KeyPlace, KeyStore, SharedSecret, Signature, SoftwareKeyStore,
};

use super::*;
use crate::access::{Action, Rights};
use crate::checks::{Check, without};
use crate::testing::{NOW, SeededEntropy, World, assert_only_exact, golden, grant, later, session, store, to_hex};

struct Zone {
    world: World,
    list: EpochList,
    keyring: Keyring,
    entropy: SeededEntropy,
}

impl Zone {
    fn new() -> Self {
        let world = World::new();
        let list = EpochList::new(&world.log);
        let mut zone = Self { world, list, keyring: Keyring::default(), entropy: SeededEntropy::new(5) };
        zone.advance(0);
        zone
    }

    fn decide(&mut self, action: Action) {
        self.world.log.decide(&self.world.root, NOW, action).unwrap();
    }

    fn advance(&mut self, seconds: i64) {
        let World { log, session, .. } = &self.world;
        self.list.advance(log, &mut self.keyring, session, later(seconds), &mut self.entropy).unwrap();
    }
}

fn keys(keyring: &Keyring) -> Vec<(u32, [u8; 32])> {
    keyring.iter().map(|(epoch, key)| (epoch, *key.as_bytes())).collect()
}

fn revoke(store: &SoftwareKeyStore) -> Action {
    Action::Revoke { principal: store.credential().id(), last: None }
}

#[test]
fn every_reader_and_the_root_find_all_keys() {
    let mut zone = Zone::new();
    zone.decide(grant(&store(3), Rights::Read));
    zone.advance(1);
    zone.advance(2);
    let decoded = EpochList::decode(&zone.world.log, &zone.list.to_bytes()).unwrap();
    assert_eq!(keys(&zone.keyring).len(), 3);
    for reader in [&zone.world.root, &zone.world.node, &store(3)] {
        assert_eq!(keys(&decoded.open_with(reader).unwrap()), keys(&zone.keyring));
    }
}

#[test]
fn an_epoch_is_current_until_somebody_s_right_ends_or_something_is_decided() {
    let mut zone = Zone::new();
    assert_eq!(zone.list.current_until(&zone.world.log), Some(Timestamp::new(i64::MAX, 0)));
    let principal = *store(3).credential();
    zone.decide(Action::Grant { principal, rights: Rights::Read, until: Some(later(50)) });
    assert_eq!(zone.list.current_until(&zone.world.log), None, "the guest has no box yet");
    zone.advance(1);
    assert_eq!(zone.list.current_until(&zone.world.log), Some(later(50)));
    for seconds in [1, 2, 49, 50, 51, 60] {
        assert_eq!(zone.list.is_current(&zone.world.log, later(seconds)), seconds <= 50, "after {seconds} s");
    }
    zone.advance(51);
    assert_eq!(zone.list.current_until(&zone.world.log), Some(Timestamp::new(i64::MAX, 0)));
}

#[test]
fn one_who_is_no_reader_finds_nothing() {
    let mut zone = Zone::new();
    let guest = store(3);
    let error = zone.list.open_with(&guest).unwrap_err();
    assert!(matches!(error, EpochError::NotAReader { number: 1, .. }), "{error}");
    zone.decide(grant(&guest, Rights::Read));
    zone.advance(1);
    assert!(zone.list.open_with(&guest).is_ok());
    zone.decide(revoke(&guest));
    zone.advance(2);
    assert!(matches!(zone.list.open_with(&guest), Err(EpochError::NotAReader { number: 3, .. })));
}

#[test]
fn an_epoch_is_current_until_readers_change_or_expire() {
    let mut zone = Zone::new();
    let current = |zone: &Zone, seconds| zone.list.is_current(&zone.world.log, later(seconds));
    assert!(current(&zone, 1000));
    let principal = *store(3).credential();
    zone.decide(Action::Grant { principal, rights: Rights::Read, until: Some(later(10)) });
    assert!(!current(&zone, 1));
    zone.advance(1);
    assert!(current(&zone, 10) && !current(&zone, 11));
    zone.advance(11);
    assert!(current(&zone, 11));
    assert!(!EpochList::new(&zone.world.log).is_current(&zone.world.log, NOW));
}

#[test]
fn the_number_of_boxes_shows_no_more_than_a_power_of_two() {
    let mut zone = Zone::new();
    let one_box = 16 + 48;
    let len = |zone: &Zone| zone.list.records().last().unwrap().to_bytes().len();
    zone.advance(1);
    let four = len(&zone);
    for seed in 3..=5 {
        zone.decide(grant(&store(seed), Rights::Read));
        zone.advance(1);
        assert_eq!(len(&zone), four + if seed == 5 { 4 * one_box } else { 0 }, "{} readers", seed);
    }
}

#[test]
fn a_damaged_list_is_refused_and_a_cut_one_has_fewer_epochs() {
    let mut zone = Zone::new();
    zone.advance(1);
    assert_only_exact(&zone.list.to_bytes(), |bytes| {
        let list = EpochList::decode(&zone.world.log, bytes)?;
        match list.newest_number() {
            2 => list.open_with(&zone.world.node),
            _ => Err(EpochError::NoEpoch),
        }
    });
}

#[test]
fn an_epoch_of_one_who_may_not_write_is_refused() {
    let mut zone = Zone::new();
    zone.decide(grant(&store(3), Rights::Read));
    let reader = session(&store(3), &zone.world.genesis, NOW);
    let mut entropy = SeededEntropy::new(6);
    let result = zone.list.clone().advance(&zone.world.log, &mut zone.keyring, &reader, NOW, &mut entropy);
    assert!(matches!(result, Err(EpochError::Access { number: 2, .. })), "{result:?}");
    assert_eq!(keys(&zone.keyring).len(), 1);
}

#[test]
fn one_who_lost_the_right_to_write_adds_no_epoch_under_an_old_record() {
    let mut zone = Zone::new();
    let mut copy = zone.list.clone();
    zone.advance(1);
    let late = zone.list.records()[1].clone();
    copy.clone().append(late.clone(), &zone.world.log).unwrap();
    let node = zone.world.node.credential().id();
    zone.decide(Action::Revoke { principal: node, last: None });
    assert!(matches!(copy.append(late, &zone.world.log), Err(EpochError::Access { number: 2, .. })));
}

#[test]
fn keys_that_are_not_the_newest_make_no_epoch() {
    let mut zone = Zone::new();
    let mut old = zone.keyring.clone();
    zone.advance(1);
    let World { log, session, .. } = &zone.world;
    let result = zone.list.advance(log, &mut old, session, NOW, &mut zone.entropy);
    assert!(matches!(result, Err(EpochError::StaleKeyring { held: 1, newest: 2 })), "{result:?}");
}

#[test]
fn a_grantee_whose_key_is_no_point_does_not_stop_the_others() {
    let mut zone = Zone::new();
    let mut principal = *store(3).credential();
    principal.agreement_public.0 = [0xff; 33];
    zone.decide(Action::Grant { principal, rights: Rights::Read, until: None });
    zone.advance(1);
    assert!(zone.list.open_with(&zone.world.root).is_ok());
}

#[test]
fn a_key_that_its_record_does_not_commit_to_is_refused() {
    let zone = Zone::new();
    let World { log, session, node, .. } = &zone.world;
    let first = &zone.list.records()[0];
    let next = record::EpochStatement { number: 2, previous: first.hash(), ..first.statement().clone() };
    let (key, wrong) = (EpochKey::from_bytes([1; 32]), EpochKey::from_bytes([2; 32]));
    for (previous, opens) in [(zone.keyring.newest().unwrap().1, true), (&wrong, false)] {
        let mut entropy = SeededEntropy::new(6);
        let readers = log.readers(NOW);
        let record = EpochRecord::make(next.clone(), &key, Some(previous), &readers, session, &mut entropy).unwrap();
        let mut list = zone.list.clone();
        list.append(record, log).unwrap();
        let opened = list.open_with(node);
        assert_eq!(opened.is_ok(), opens, "{opened:?}");
        without(Check::Commitment, || list.open_with(node).map(drop))
            .unwrap_or_else(|error| assert!(!opens, "{error}"));
    }
}

#[test]
fn a_record_with_another_number_or_predecessor_does_not_follow() {
    let zone = Zone::new();
    let World { log, session, .. } = &zone.world;
    let first = &zone.list.records()[0];
    let next = record::EpochStatement { number: 2, previous: first.hash(), ..first.statement().clone() };
    let (key, previous) = (EpochKey::from_bytes([1; 32]), zone.keyring.newest().unwrap().1);
    for wrong in [
        record::EpochStatement { number: 3, ..next.clone() },
        record::EpochStatement { previous: bt_base::RecordHash([1; 32]), ..next.clone() },
        record::EpochStatement { time: later(-1), ..next.clone() },
        record::EpochStatement { access: bt_base::RecordHash(log.zone().0), ..next.clone() },
    ] {
        let mut entropy = SeededEntropy::new(6);
        let readers = log.readers(NOW);
        let record = EpochRecord::make(wrong, &key, Some(previous), &readers, session, &mut entropy).unwrap();
        let result = zone.list.clone().append(record, log);
        assert!(matches!(result, Err(EpochError::Chain { number: 2 })), "{result:?}");
    }
}

/// A reader whose agreements are counted.
struct Counted(SoftwareKeyStore, AtomicUsize);

impl KeyStore for Counted {
    fn credential(&self) -> &Credential {
        self.0.credential()
    }

    fn sign(&self, label: Label, tree: &TreeId, message: &[u8]) -> Result<Signature, KeyError> {
        self.0.sign(label, tree, message)
    }

    fn agree(&self, peer: &AgreementPublic) -> Result<SharedSecret, KeyError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.agree(peer)
    }

    fn place(&self) -> KeyPlace {
        self.0.place()
    }
}

#[test]
fn one_of_a_thousand_readers_opens_all_epochs_with_one_agreement() {
    let mut zone = Zone::new();
    let reader = |number: u32| {
        let mut seed = [0x77; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        SoftwareKeyStore::from_seed(&seed)
    };
    for number in 0..1000 {
        zone.decide(grant(&reader(number), Rights::Read));
    }
    zone.advance(1);
    zone.advance(2);
    let list = EpochList::decode(&zone.world.log, &zone.list.to_bytes()).unwrap();
    for store in [reader(0), reader(517), reader(999), store(1), store(2)] {
        let counted = Counted(store, AtomicUsize::new(0));
        assert_eq!(keys(&list.open_with(&counted).unwrap()), keys(&zone.keyring));
        assert_eq!(counted.1.into_inner(), 1, "however many boxes and epochs there are");
    }
    let stranger = Counted(reader(1000), AtomicUsize::new(0));
    assert!(matches!(list.open_with(&stranger), Err(EpochError::NotAReader { .. })));
    assert_eq!(stranger.1.into_inner(), 1, "also to learn that there is none");
}

#[test]
fn an_epoch_without_any_grant_still_has_a_box_for_the_root() {
    let mut zone = Zone::new();
    zone.decide(revoke(&store(2)));
    let World { log, root, .. } = &zone.world;
    assert_eq!(log.readers(later(1)), [*root.credential()]);
    let by_root = session(root, &zone.world.genesis, NOW);
    zone.list.advance(log, &mut zone.keyring, &by_root, later(1), &mut zone.entropy).unwrap();
    assert_eq!(keys(&zone.list.open_with(root).unwrap()), keys(&zone.keyring));
    assert!(zone.list.open_with(&store(2)).is_err());
}

#[test]
fn the_golden_list_is_understood() {
    let bytes = golden("epochs-v1-under-access-v2", || {
        let mut zone = Zone::new();
        zone.advance(1);
        zone.list.to_bytes()
    });
    let World { log, root, node, .. } = World::new();
    let list = EpochList::decode(&log, &bytes).unwrap();
    let opened = keys(&list.open_with(&node).unwrap());
    assert_eq!(opened, keys(&list.open_with(&root).unwrap()));
    assert_eq!(
        opened.iter().map(|(_, key)| to_hex(key)).collect::<Vec<_>>(),
        [
            "7670a5a683b5119971841294a5291a339464be45d612a0e0e083dc6b09de86f3",
            "dae68605b0265e4bc9f521f8885f609c6d714f5b00a0a86b4d3425a91a898062"
        ]
    );
}
