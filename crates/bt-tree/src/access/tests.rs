//! What the access log lets through, and what it stops.

use bt_base::codec::DecodeError;
use bt_base::{HeadHash, RecordHash, Revision, Timestamp};
use bt_crypto::{KeyStore, SoftwareKeyStore};

use super::*;
use crate::testing::{NOW, World, assert_only_exact, golden, grant, later, store};

fn revoke(store: &SoftwareKeyStore, last: Option<LastHead>) -> Action {
    Action::Revoke { principal: store.credential().id(), last }
}

fn app(name: &str, record: Option<u8>) -> Action {
    Action::App { name: name.parse().unwrap(), record: record.map(|byte| RecordHash([byte; 32])) }
}

fn may_write(log: &AccessLog, store: &SoftwareKeyStore, at: Timestamp) -> bool {
    log.may_write(&store.credential().id(), &log.newest(), at).is_ok()
}

#[test]
fn a_log_survives_its_encoding() {
    let World { genesis, birth, mut log, root, node, .. } = World::new();
    log.decide(&root, later(1), grant(&store(3), Rights::Admin)).unwrap();
    log.decide(&store(3), later(2), revoke(&node, None)).unwrap();
    let decoded = AccessLog::decode(&genesis, &birth, &log.to_bytes()).unwrap();
    assert_eq!(decoded.records(), log.records());
    assert_eq!(decoded.newest(), log.newest());
    assert!(!may_write(&decoded, &node, later(3)));
}

#[test]
fn a_damaged_log_is_refused_and_a_cut_one_lacks_its_newest_record() {
    let World { genesis, birth, log, .. } = World::new();
    assert_only_exact(&log.to_bytes(), |bytes| {
        let decoded = AccessLog::decode(&genesis, &birth, bytes)?;
        decoded.may_write(&store(2).credential().id(), &log.newest(), NOW)
    });
}

#[test]
fn rights_are_as_granted() {
    let World { mut log, root, node, .. } = World::new();
    let reader = store(3);
    log.decide(&root, NOW, grant(&reader, Rights::Read)).unwrap();
    assert!(may_write(&log, &root, NOW) && may_write(&log, &node, NOW));
    assert!(!may_write(&log, &reader, NOW) && !may_write(&log, &store(4), NOW));
    let reads = |who: &SoftwareKeyStore| log.may(&who.credential().id(), Rights::Read, &log.newest(), NOW).is_ok();
    assert!(reads(&reader) && reads(&node) && reads(&root) && !reads(&store(4)));
}

#[test]
fn a_grant_ends_with_its_time() {
    let World { mut log, root, .. } = World::new();
    let guest = store(3);
    let principal = *guest.credential();
    log.decide(&root, NOW, Action::Grant { principal, rights: Rights::Write, until: Some(later(10)) }).unwrap();
    assert_eq!(log.standing(&principal.id(), later(10)), Some((Rights::Write, Some(later(10)))));
    assert_eq!(log.standing(&principal.id(), later(11)), None);
    assert_eq!(log.standing(&root.credential().id(), later(11)), Some((Rights::Admin, None)));
    assert!(may_write(&log, &guest, later(10)) && !may_write(&log, &guest, later(11)));
    assert!(log.readers(later(10)).contains(&principal) && !log.readers(later(11)).contains(&principal));
}

#[test]
fn what_was_made_under_an_older_record_is_judged_by_that_record() {
    let World { mut log, root, .. } = World::new();
    let (guest, before) = (store(3), log.newest());
    let under_grant = log.decide(&root, NOW, grant(&guest, Rights::Write)).unwrap().hash();
    log.decide(&root, NOW, revoke(&guest, None)).unwrap();
    let principal = guest.credential().id();
    assert!(log.may_write(&principal, &before, NOW).is_err());
    assert!(log.may_write(&principal, &under_grant, NOW).is_ok());
    assert!(log.may_write(&principal, &log.newest(), NOW).is_err());
    let unknown = log.may_write(&principal, &RecordHash([9; 32]), NOW);
    assert!(matches!(unknown, Err(AccessError::UnknownRecord(_))), "{unknown:?}");
}

#[test]
fn heads_after_the_last_accepted_one_are_refused_even_under_an_old_record() {
    let World { mut log, root, node, .. } = World::new();
    let record = log.newest();
    let last = LastHead { revision: Revision(7), hash: HeadHash([7; 32]) };
    log.decide(&root, NOW, revoke(&node, Some(last))).unwrap();
    log.decide(&root, NOW, grant(&node, Rights::Write)).unwrap();
    let accepts = |revision, hash| {
        log.accepts_head(&node.credential().id(), &record, NOW, Revision(revision), &HeadHash([hash; 32])).is_ok()
    };
    assert!(accepts(6, 1) && accepts(7, 7));
    assert!(!accepts(7, 8) && !accepts(8, 1));
    let again = log.newest();
    assert!(log.accepts_head(&node.credential().id(), &again, NOW, Revision(8), &HeadHash([1; 32])).is_ok());
}

#[test]
fn only_the_root_and_admins_decide() {
    let World { mut log, root, node, .. } = World::new();
    let admin = store(3);
    let denied = log.decide(&node, NOW, grant(&node, Rights::Admin)).unwrap_err();
    assert!(matches!(denied, AccessError::NotAdmin { number: 1, .. }), "{denied}");
    assert!(matches!(log.decide(&admin, NOW, revoke(&node, None)), Err(AccessError::NotAdmin { .. })));
    log.decide(&root, NOW, grant(&admin, Rights::Admin)).unwrap();
    log.decide(&admin, NOW, revoke(&node, None)).unwrap();
    let refused = log.decide(&admin, NOW, revoke(&root, None)).unwrap_err();
    assert!(matches!(refused, AccessError::RevokesRoot { .. }), "{refused}");
    log.decide(&root, NOW, revoke(&admin, None)).unwrap();
    assert!(matches!(log.decide(&admin, NOW, grant(&node, Rights::Read)), Err(AccessError::NotAdmin { .. })));
    assert!(may_write(&log, &root, NOW));
}

#[test]
fn a_record_signed_by_another_is_refused() {
    let World { log, node, root, .. } = World::new();
    let statement = record::Statement {
        number: 1,
        previous: log.newest(),
        signer: root.credential().id(),
        action: grant(&node, Rights::Admin),
        ..log.records()[0].statement().clone()
    };
    let forged = AccessRecord::sign(&node, statement).unwrap();
    assert!(matches!(log.clone().append(forged), Err(AccessError::Signature { number: 1 })));
}

#[test]
fn records_in_another_order_are_refused() {
    let World { genesis, birth, mut log, root, .. } = World::new();
    log.decide(&root, NOW, grant(&store(3), Rights::Read)).unwrap();
    let mut swapped = AccessLog::new(&genesis, &birth).unwrap();
    let result = swapped.append(log.records()[1].clone());
    assert!(matches!(result, Err(AccessError::Chain { number: 0 })), "{result:?}");
}

#[test]
fn rights_shrink_only_by_a_revocation() {
    let World { mut log, root, node, .. } = World::new();
    let lowered = log.decide(&root, NOW, grant(&node, Rights::Read)).unwrap_err();
    assert!(matches!(lowered, AccessError::Lowers { .. }), "{lowered}");
    let ending = Action::Grant { principal: *node.credential(), rights: Rights::Admin, until: Some(later(9)) };
    assert!(matches!(log.decide(&root, NOW, ending), Err(AccessError::Lowers { .. })));
    log.decide(&root, NOW, revoke(&node, None)).unwrap();
    log.decide(&root, NOW, grant(&node, Rights::Read)).unwrap();
    assert!(!may_write(&log, &node, NOW));
}

#[test]
fn the_creator_of_a_zone_is_its_first_admin_until_revoked() {
    let World { genesis, birth, root, node, .. } = World::new();
    let mut entropy = crate::testing::SeededEntropy::new(4);
    let child = crate::Birth::create(&node, &genesis, Some(*birth.zone()), &mut entropy).unwrap();
    let mut log = AccessLog::new(&genesis, &child).unwrap();
    assert!(may_write(&log, &node, NOW));
    log.decide(&node, NOW, grant(&store(3), Rights::Read)).unwrap();
    log.decide(&root, NOW, revoke(&node, None)).unwrap();
    assert!(!may_write(&log, &node, NOW));
    assert_eq!(log.readers(NOW), [*root.credential(), *store(3).credential()]);
}

#[test]
fn time_never_runs_back_in_a_log() {
    let World { mut log, root, .. } = World::new();
    let record = log.decide(&root, later(-100), grant(&store(3), Rights::Read)).unwrap();
    assert_eq!(record.statement().time, NOW);
}

#[test]
fn the_golden_log_is_understood() {
    let World { genesis, birth, root, node, .. } = World::new();
    let bytes = golden("access-v2", || {
        let mut log = World::new().log;
        let last = Some(LastHead { revision: Revision(7), hash: HeadHash([7; 32]) });
        log.decide(&root, later(1), revoke(&node, last)).unwrap();
        let principal = *store(3).credential();
        log.decide(&root, later(2), Action::Grant { principal, rights: Rights::Admin, until: Some(later(9)) }).unwrap();
        log.decide(&store(3), later(3), app("notes", Some(8))).unwrap();
        log.decide(&store(3), later(4), app("notes", None)).unwrap();
        log.to_bytes()
    });
    let log = AccessLog::decode(&genesis, &birth, &bytes).unwrap();
    assert_eq!(log.newest().to_string(), "e8985213ca6ef7b88f59c0e17f870eb8b90eb5b0ab43bb7907c289792d0a1860");
    assert!(may_write(&log, &store(3), later(9)) && !may_write(&log, &node, later(9)));
}

#[test]
fn a_log_of_an_older_version_is_refused_with_words() {
    let World { genesis, birth, .. } = World::new();
    let old = golden("access-v1", || unreachable!("version 1 is not written any more"));
    let error = AccessLog::decode(&genesis, &birth, &old).unwrap_err();
    let is_outdated = matches!(&error, AccessError::Decode(DecodeError::Outdated { found: 1, known: 2, .. }));
    assert!(is_outdated, "{error}");
}

#[test]
fn the_newest_record_about_an_app_counts_and_changes_nobodys_rights() {
    let World { genesis, birth, mut log, root, node, .. } = World::new();
    let before = log.newest();
    log.decide(&root, later(1), app("notes", Some(1))).unwrap();
    log.decide(&root, later(2), app("inbox", Some(2))).unwrap();
    log.decide(&root, later(3), app("notes", Some(3))).unwrap();
    log.decide(&root, later(4), app("inbox", None)).unwrap();
    let root_id = root.credential().id();
    let expected = InstalledApp { record: RecordHash([3; 32]), by: root_id, time: later(3) };
    for log in [&log, &AccessLog::decode(&genesis, &birth, &log.to_bytes()).unwrap()] {
        assert_eq!(log.apps().iter().collect::<Vec<_>>(), [(&"notes".parse().unwrap(), &expected)]);
        assert!(log.has_same_rights_since(&before).unwrap());
        assert!(may_write(log, &node, later(5)));
        assert_eq!(log.taken_from(1), None);
    }
    log.decide(&root, later(5), revoke(&node, None)).unwrap();
    assert!(!log.has_same_rights_since(&before).unwrap());
    assert_eq!(log.apps().len(), 1);
}

#[test]
fn records_about_apps_are_checked() {
    let World { mut log, root, node, .. } = World::new();
    let denied = log.decide(&node, NOW, app("notes", Some(1)));
    assert!(matches!(denied, Err(AccessError::NotAdmin { number: 1, .. })), "a writer is no admin: {denied:?}");
    let gone = log.decide(&root, NOW, app("notes", None));
    assert!(matches!(gone, Err(AccessError::NoSuchApp { number: 1, .. })), "{gone:?}");
    for number in 0..AccessLog::APPS {
        log.decide(&root, NOW, app(&format!("app{number}"), Some(1))).unwrap();
    }
    let full = log.decide(&root, NOW, app("notes", Some(1)));
    assert!(matches!(full, Err(AccessError::TooManyApps { apps: 1024, .. })), "{full:?}");
    log.decide(&root, NOW, app("app7", Some(2))).unwrap();
    log.decide(&root, NOW, app("app7", None)).unwrap();
    log.decide(&root, NOW, app("notes", Some(1))).unwrap();
}

#[test]
fn what_everyone_may_do_is_listed_with_who_granted_it() {
    let World { mut log, root, node, .. } = World::new();
    let (admin, guest) = (store(3), store(4));
    log.decide(&root, later(1), grant(&admin, Rights::Admin)).unwrap();
    let until = Some(later(100));
    log.decide(&admin, later(2), Action::Grant { principal: *guest.credential(), rights: Rights::Read, until })
        .unwrap();
    let listed = |log: &AccessLog, at| {
        let mut grants = log.grants(at);
        grants[1..].sort_by_key(|grant| grant.granted.map(|(_, time)| time));
        grants
    };
    let id = |store: &SoftwareKeyStore| store.credential().id();
    let expected = [
        Grant { principal: id(&root), rights: Rights::Admin, until: None, granted: None },
        Grant { principal: id(&node), rights: Rights::Write, until: None, granted: Some((id(&root), NOW)) },
        Grant { principal: id(&admin), rights: Rights::Admin, until: None, granted: Some((id(&root), later(1))) },
        Grant { principal: id(&guest), rights: Rights::Read, until, granted: Some((id(&admin), later(2))) },
    ];
    assert_eq!(listed(&log, later(100)), expected);
    assert_eq!(listed(&log, later(101)), expected[..3], "the guest's time is over");
    let under = |principal, record: usize| log.grant_under(&id(principal), &log.records()[record].hash());
    assert_eq!((under(&node, 0), under(&admin, 0)), (Some(expected[1]), None));
    assert_eq!((under(&admin, 1), under(&root, 0)), (Some(expected[2]), Some(expected[0])));
    log.decide(&admin, later(3), revoke(&node, None)).unwrap();
    assert!(listed(&log, later(4)).iter().all(|grant| grant.principal != id(&node)));
}

#[test]
fn the_next_end_of_a_right_is_known() {
    let World { mut log, root, .. } = World::new();
    assert_eq!(log.holds_until(NOW), None);
    for (seed, end) in [(3, 10), (4, 20)] {
        let principal = *store(seed).credential();
        log.decide(&root, NOW, Action::Grant { principal, rights: Rights::Read, until: Some(later(end)) }).unwrap();
    }
    assert_eq!(log.holds_until(NOW), Some(later(10)));
    assert_eq!(log.holds_until(later(10)), Some(later(10)));
    assert_eq!(log.holds_until(later(11)), Some(later(20)));
    log.decide(&root, NOW, revoke(&store(4), None)).unwrap();
    assert_eq!(log.holds_until(later(11)), None);
}
