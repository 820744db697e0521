//! Which roots count, where, and from when on.

use bt_base::{HeadHash, Revision};
use bt_crypto::SoftwareKeyStore;

use super::*;
use crate::access::{AccessError, AccessLog, AccessRecord, Action, LastHead, Rights};
use crate::birth::Birth;
use crate::epoch::{EpochError, EpochList, Keyring};
use crate::genesis::{Genesis, GenesisError};
use crate::testing::{NOW, SeededEntropy, World, assert_only_exact, golden, grant, later, session, store};

/// A world whose root was succeeded once, and the second root.
fn succeeded() -> (World, SoftwareKeyStore) {
    let (mut world, second) = (World::new(), store(7));
    world.genesis.succeed(&world.root, &second, *world.birth.zone(), NOW).unwrap();
    (world, second)
}

/// Its log, read with the successions known, and then told of the newest.
fn obeying(world: &World, second: &SoftwareKeyStore, last: Option<LastHead>) -> AccessLog {
    let mut log = AccessLog::decode(&world.genesis, &world.birth, &world.log.to_bytes()).unwrap();
    log.decide(second, later(5), mark(&world.genesis, last)).unwrap();
    log
}

fn mark(genesis: &Genesis, last: Option<LastHead>) -> Action {
    Action::Succeed { succession: genesis.newest_succession(), root: genesis.root().id(), last }
}

fn reads_as(genesis: &Genesis, bytes: &[u8]) -> Result<Genesis, GenesisError> {
    Genesis::decode(genesis.as_bytes())?.with_successions(bytes)
}

fn refused(genesis: &Genesis, records: &[Succession]) -> SuccessionError {
    let mut bytes = Vec::new();
    records.iter().for_each(|record| frame::push(&mut bytes, &encode(&record.encoded)));
    match reads_as(genesis, &bytes).unwrap_err() {
        GenesisError::Succession(error) => error,
        other => panic!("{other}"),
    }
}

fn statement(genesis: &Genesis, successor: &SoftwareKeyStore) -> SuccessionStatement {
    SuccessionStatement {
        tree: *genesis.tree(),
        number: 1,
        previous: RecordHash(genesis.tree().0),
        time: NOW,
        top: ZoneId([3; 32]),
        successor: *successor.credential(),
    }
}

#[test]
fn a_tree_keeps_its_name_and_has_a_new_root() {
    let (world, second) = succeeded();
    let (mut genesis, third) = (world.genesis, store(8));
    genesis.succeed(&second, &third, *world.birth.zone(), later(-9)).unwrap();
    let again = reads_as(&genesis, &genesis.successions_to_bytes()).unwrap();
    assert_eq!(again, genesis);
    assert_eq!((again.tree(), again.founder()), (World::new().genesis.tree(), world.root.credential()));
    assert_eq!(again.root(), third.credential());
    assert_eq!(again.successions()[1].statement().time, NOW, "time never runs back in the list");
    let first = again.successions()[0].hash();
    assert_eq!(again.root_under(&first), Some((1, second.credential())));
    assert_eq!(again.root_under(&RecordHash(again.tree().0)), Some((0, world.root.credential())));
    assert_eq!(again.root_under(&RecordHash([1; 32])), None);
}

#[test]
fn a_damaged_list_is_refused_and_a_cut_one_lacks_its_newest_record() {
    let (world, second) = succeeded();
    let bytes = world.genesis.successions_to_bytes();
    assert_only_exact(&bytes, |bytes| match reads_as(&world.genesis, bytes) {
        Ok(genesis) if genesis.root() == second.credential() => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn a_succession_that_the_root_did_not_sign_is_refused() {
    let (world, second) = succeeded();
    let thief = store(9);
    for signer in [&thief, &second, &world.node] {
        let forged = Succession::sign(statement(&world.genesis, &thief), signer, &thief).unwrap();
        assert!(matches!(refused(&world.genesis, &[forged]), SuccessionError::Signature { number: 1 }));
    }
    // The root's signature of one statement under another.
    let mut spliced = Succession::sign(statement(&world.genesis, &thief), &thief, &thief).unwrap();
    spliced.encoded.signed = world.genesis.successions()[0].encoded.signed;
    assert!(matches!(refused(&world.genesis, &[spliced]), SuccessionError::Signature { number: 1 }));
}

#[test]
fn a_successor_that_did_not_accept_is_refused() {
    let (world, second) = succeeded();
    let named = statement(&world.genesis, &second);
    let alone = Succession::sign(named.clone(), &world.root, &world.root).unwrap();
    assert!(matches!(refused(&world.genesis, &[alone]), SuccessionError::NotAccepted { number: 1 }));
    // The root's own signature is no acceptance, and an acceptance is no signature of the root.
    let mut swapped = Succession::sign(named, &world.root, &second).unwrap();
    let Encoded { accepted, signed, .. } = &mut swapped.encoded;
    std::mem::swap(accepted, signed);
    assert!(matches!(refused(&world.genesis, &[swapped]), SuccessionError::Signature { number: 1 }));
}

#[test]
fn records_of_another_order_place_or_tree_are_refused() {
    let (world, second) = succeeded();
    let mut genesis = world.genesis.clone();
    genesis.succeed(&second, &store(8), *world.birth.zone(), NOW).unwrap();
    let [one, two] = genesis.successions() else { panic!("two were made") };
    let (one, two) = (one.clone(), two.clone());
    for wrong in [vec![two.clone(), one.clone()], vec![two.clone()], vec![one.clone(), one.clone()]] {
        assert!(matches!(refused(&genesis, &wrong), SuccessionError::Chain { .. }));
    }
    let fork = Succession::sign(statement(&genesis, &store(9)), &world.root, &store(9)).unwrap();
    assert!(matches!(refused(&genesis, &[fork, two.clone()]), SuccessionError::Chain { number: 2 }));
    let elsewhere = SuccessionStatement { top: ZoneId([4; 32]), ..two.statement().clone() };
    let moved = Succession::sign(elsewhere, &second, &store(8)).unwrap();
    assert!(matches!(refused(&genesis, &[one.clone(), moved]), SuccessionError::Chain { number: 2 }));
    let earlier = SuccessionStatement { time: later(-1), ..two.statement().clone() };
    let early = Succession::sign(earlier, &second, &store(8)).unwrap();
    assert!(matches!(refused(&genesis, &[one.clone(), early]), SuccessionError::Chain { number: 2 }));
    let after_nothing = SuccessionStatement { previous: RecordHash([1; 32]), ..one.statement().clone() };
    let loose = Succession::sign(after_nothing, &world.root, &second).unwrap();
    assert!(matches!(refused(&genesis, &[loose]), SuccessionError::Chain { number: 1 }));
    let other = Genesis::create(&world.root, later(1), &mut SeededEntropy::new(2)).unwrap();
    assert!(matches!(refused(&other, &[one]), SuccessionError::OtherTree { .. }));
}

#[test]
fn nobody_is_root_twice() {
    let (world, second) = succeeded();
    let mut genesis = world.genesis.clone();
    for again in [&world.root, &second] {
        let result = genesis.succeed(&second, again, *world.birth.zone(), NOW);
        assert!(matches!(result, Err(GenesisError::Succession(SuccessionError::RootAgain { number: 2 }))));
    }
    assert_eq!(genesis, world.genesis);
}

#[test]
fn what_the_first_root_decided_stays_and_what_it_decides_later_does_not_count() {
    let (world, second) = succeeded();
    let mut log = obeying(&world, &second, None);
    let node = world.node.credential().id();
    let taken: Vec<_> = (0..3).map(|place| log.taken_from(place)).collect();
    assert_eq!(taken, [None, Some(world.root.credential().id()), None]);
    assert!(log.may_write(&node, &log.newest(), later(6)).is_ok(), "its grants stay");
    let refused = log.decide(&world.root, later(6), grant(&store(3), Rights::Admin)).unwrap_err();
    assert!(matches!(refused, AccessError::NotAdmin { .. }), "{refused}");
    assert!(log.may(&world.root.credential().id(), Rights::Read, &log.newest(), later(6)).is_err());
    log.decide(&second, later(6), grant(&store(3), Rights::Admin)).unwrap();
    assert!(log.obeys_newest_root());
    let again = AccessLog::decode(&world.genesis, &world.birth, &log.to_bytes()).unwrap();
    assert_eq!((again.newest(), again.root()), (log.newest(), second.credential()));
}

#[test]
fn a_root_decides_nothing_in_a_zone_that_does_not_obey_it_yet() {
    let (world, second) = succeeded();
    let mut log = AccessLog::decode(&world.genesis, &world.birth, &world.log.to_bytes()).unwrap();
    assert!(!log.obeys_newest_root());
    let early = log.decide(&second, NOW, grant(&store(3), Rights::Read)).unwrap_err();
    assert!(matches!(early, AccessError::NotAdmin { .. }), "{early}");
    for stranger in [&world.root, &world.node, &store(9)] {
        let result = log.decide(stranger, NOW, mark(&world.genesis, None));
        assert!(matches!(result, Err(AccessError::NotAdmin { .. })), "{result:?}");
    }
    let named_wrong =
        Action::Succeed { succession: world.genesis.newest_succession(), root: store(9).credential().id(), last: None };
    assert!(matches!(log.decide(&second, NOW, named_wrong), Err(AccessError::NotAdmin { .. })));
    let in_its_name = log.next_statement(second.credential().id(), NOW, mark(&world.genesis, None));
    let forged = AccessRecord::sign(&world.root, in_its_name).unwrap();
    assert!(matches!(log.append(forged), Err(AccessError::Signature { .. })));
    log.decide(&second, NOW, mark(&world.genesis, None)).unwrap();
    let twice = log.decide(&second, NOW, mark(&world.genesis, None));
    assert!(matches!(twice, Err(AccessError::NotNewer { .. })), "{twice:?}");
    let back = Action::Succeed {
        succession: RecordHash(world.genesis.tree().0),
        root: world.root.credential().id(),
        last: None,
    };
    assert!(matches!(log.decide(&world.root, NOW, back), Err(AccessError::NotNewer { .. })));
    let revoked = log.decide(&second, NOW, Action::Revoke { principal: second.credential().id(), last: None });
    assert!(matches!(revoked, Err(AccessError::RevokesRoot { .. })), "{revoked:?}");
}

#[test]
fn a_rival_succession_does_not_replace_the_one_that_a_zone_obeys() {
    let (world, second) = succeeded();
    let log = obeying(&world, &second, None);
    let (mut rival, thief) = (World::new().genesis, store(9));
    rival.succeed(&world.root, &thief, *world.birth.zone(), NOW).unwrap();
    let result = AccessLog::decode(&rival, &world.birth, &log.to_bytes());
    assert!(matches!(result, Err(AccessError::UnknownSuccession(_))), "{result:?}");
    // Nor does it help to put the list of successions away.
    let result = AccessLog::decode(&World::new().genesis, &world.birth, &log.to_bytes());
    assert!(matches!(result, Err(AccessError::UnknownSuccession(_))), "{result:?}");
}

#[test]
fn heads_of_the_first_root_end_where_the_zone_says() {
    let (world, second) = succeeded();
    let last = LastHead { revision: Revision(7), hash: HeadHash([7; 32]) };
    let before = world.log.newest();
    let log = obeying(&world, &second, Some(last));
    let accepts = |store: &SoftwareKeyStore, record, revision, hash| {
        let head = HeadHash([hash; 32]);
        log.accepts_head(&store.credential().id(), &record, later(5), Revision(revision), &head).is_ok()
    };
    assert!(accepts(&world.root, before, 6, 1) && accepts(&world.root, before, 7, 7));
    assert!(!accepts(&world.root, before, 7, 8) && !accepts(&world.root, before, 8, 1));
    assert!(!accepts(&world.root, log.newest(), 6, 1));
    assert!(accepts(&world.node, before, 8, 1), "those of others go on");
    assert!(accepts(&second, log.newest(), 8, 1) && !accepts(&second, before, 8, 1));
}

#[test]
fn the_next_epoch_has_a_box_for_the_new_root_and_none_for_the_one_before() {
    let (world, second) = succeeded();
    let (mut list, mut keyring) = (EpochList::new(&world.log), Keyring::default());
    let mut entropy = SeededEntropy::new(5);
    list.advance(&world.log, &mut keyring, &world.session, NOW, &mut entropy).unwrap();
    assert!(list.open_with(&world.root).is_ok() && list.open_with(&second).is_err());
    let log = obeying(&world, &second, None);
    assert!(!list.is_current(&log, later(5)));
    let by_root = session(&second, &world.genesis, later(5));
    list.advance(&log, &mut keyring, &by_root, later(5), &mut entropy).unwrap();
    assert_eq!(list.open_with(&second).unwrap().iter().count(), 2, "with all that was before");
    let result = list.open_with(&world.root);
    assert!(matches!(result, Err(EpochError::NotAReader { .. })), "{result:?}");
    assert!(EpochList::decode(&log, &list.to_bytes()).is_ok());
}

#[test]
fn a_zone_born_after_a_succession_never_obeys_the_root_before() {
    let (world, second) = succeeded();
    let parent = Some(*world.birth.zone());
    let birth = Birth::create(&world.node, &world.genesis, parent, &mut SeededEntropy::new(3)).unwrap();
    let birth = Birth::decode_for(world.genesis.tree(), birth.zone(), birth.as_bytes()).unwrap();
    assert_eq!(*birth.succession(), world.genesis.newest_succession());
    let mut log = AccessLog::new(&world.genesis, &birth).unwrap();
    assert!(log.decide(&world.root, NOW, grant(&store(3), Rights::Read)).is_err());
    assert_eq!(log.readers(NOW)[0], *second.credential());
    log.decide(&second, NOW, grant(&store(3), Rights::Read)).unwrap();
    let unknowing = AccessLog::new(&World::new().genesis, &birth);
    assert!(matches!(unknowing, Err(AccessError::UnknownSuccession(_))), "{unknowing:?}");
}

#[test]
fn the_top_of_a_tree_is_the_one_that_its_successions_name() {
    let (world, _) = succeeded();
    let birth = |genesis, seed| Birth::create(&world.root, genesis, None, &mut SeededEntropy::new(seed)).unwrap();
    assert!(world.birth.is_top_of(&world.genesis));
    let old = World::new().genesis;
    let other = birth(&old, 8);
    assert!(other.is_top_of(&old), "before the succession only its creator tells");
    assert!(!other.is_top_of(&world.genesis));
    assert!(!birth(&world.genesis, 9).is_top_of(&world.genesis));
}

#[test]
fn the_golden_records_are_understood() {
    let (world, second) = succeeded();
    let genesis = reads_as(&world.genesis, &golden("succession-v1", || world.genesis.successions_to_bytes())).unwrap();
    assert_eq!(genesis.root(), second.credential());
    assert_eq!(
        genesis.newest_succession().to_string(),
        "e0cfb4c608245f7fd4740ee1f43bad9486563b95c792dbe19f30b3378d50922f"
    );
    let birth = golden("birth-v2", || {
        Birth::create(&world.node, &genesis, Some(ZoneId([3; 32])), &mut SeededEntropy::new(1))
            .unwrap()
            .as_bytes()
            .to_vec()
    });
    let birth = Birth::decode(genesis.tree(), &birth).unwrap();
    assert_eq!(
        (birth.zone().to_string().as_str(), *birth.succession()),
        ("75bd6b15ee22650a60cd40539fe29089959d6eb43347a413be193c64f30df934", genesis.newest_succession())
    );
    let bytes = golden("access-succession-v2", || {
        let last = Some(LastHead { revision: Revision(7), hash: HeadHash([7; 32]) });
        obeying(&world, &second, last).to_bytes()
    });
    let log = AccessLog::decode(&genesis, &world.birth, &bytes).unwrap();
    assert_eq!(
        (log.root(), log.newest().to_string().as_str()),
        (second.credential(), "92478097a56e0775b172a7a4ab342eb919a8edc61ae58eefdeac1c8e8f71da8c")
    );
}
