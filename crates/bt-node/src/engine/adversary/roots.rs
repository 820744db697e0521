//! A root that handed over, and wants to come back.

use bt_crypto::{KeyStore, SoftwareKeyStore};
use bt_tree::checks::{Check, without};
use bt_tree::{AccessLog, Action, Birth, Genesis, Rights};

use crate::engine::testing::{TestZone, principal};
use crate::layout;
use crate::system::{SystemEntropy, now};
use crate::zones::NewZone;

/// The records of a zone below that `creator` makes, as one who knows of these roots.
fn born(zone: &TestZone, genesis: &Genesis, creator: &SoftwareKeyStore) -> (Vec<u8>, Vec<u8>) {
    let parent = Some(zone.engine.identity.zone());
    let birth = Birth::create(creator, genesis, parent, &mut SystemEntropy).unwrap();
    let access = AccessLog::new(genesis, &birth).unwrap();
    (birth.as_bytes().to_vec(), access.to_bytes())
}

#[test]
fn an_admin_makes_a_zone_that_obeys_a_root_which_handed_over() {
    let zone = TestZone::new();
    let (admin, second) = (principal(7), principal(8));
    zone.grant(&admin, Rights::Admin);
    let old = zone.engine.identity.node.genesis.clone();
    let mut genesis = old.clone();
    genesis.succeed(&zone.root, &second, zone.engine.identity.zone(), now()).unwrap();
    zone.engine.close().unwrap();
    crate::identity::replace(&zone.storage, layout::SUCCESSION, &genesis.successions_to_bytes()).unwrap();
    let zone = zone.crash();
    let succeed =
        Action::Succeed { succession: genesis.newest_succession(), root: genesis.root().id(), last: zone.last_head() };
    zone.decide(&second, succeed).unwrap();

    let (birth, access) = born(&zone, &old, &admin);
    let fooled = without(Check::NewestRoot, || NewZone::decode(&zone.engine, &birth, &access)).unwrap();
    assert_eq!(fooled.access.root().id(), zone.root.credential().id(), "it may read and decide everything there");
    let refused = NewZone::decode(&zone.engine, &birth, &access).err().expect("the old root is over");
    assert!(refused.what.contains("was succeeded"), "{refused:?}");
    let (birth, access) = born(&zone, &genesis, &admin);
    let made = NewZone::decode(&zone.engine, &birth, &access).unwrap();
    assert_eq!(made.access.root().id(), second.credential().id());
}
