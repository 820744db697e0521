//! The chain that gives the right to write (grants in the access log, then a session's certificate): expired, revoked,
//! truncated, signed again, spliced.

use bt_base::Timestamp;
use bt_crypto::KeyStore;
use bt_tree::checks::Check;
use bt_tree::{AccessError, AccessLog, AccessRecord, Action, LastHead, Rights, SignedHead};

use super::*;
use crate::engine::testing::{ROOT, principal};
use crate::system::CLOCK_AHEAD;

fn decoded(zone: &TestZone, records: &[AccessRecord]) -> Result<AccessLog, AccessError> {
    let identity = &zone.engine.identity;
    let mut log = AccessLog::new(&identity.node.genesis, &identity.birth)?;
    for record in records {
        log.append(AccessRecord::decode(&record.to_bytes())?)?;
    }
    Ok(log)
}

fn records(zone: &TestZone) -> Vec<AccessRecord> {
    zone.engine.identity.rights.now().access.records().to_vec()
}

#[test]
fn a_grant_that_expired_is_used() {
    let zone = TestZone::new();
    let guest = principal(7);
    let until = Some(Timestamp::new(now().seconds + 50, 0));
    zone.decide(&zone.root, Action::Grant { principal: *guest.credential(), rights: Rights::Write, until }).unwrap();
    let log = zone.engine.identity.rights.now();
    SignedHead::sign(next_head(&zone), &session(&zone, &guest)).unwrap().verify(&log.access).unwrap();
    CLOCK_AHEAD.set(100);
    let late = SignedHead::sign(next_head(&zone), &session(&zone, &guest)).unwrap();
    without(Check::Rights, || late.verify(&log.access).map(drop)).unwrap();
    assert!(late.verify(&log.access).unwrap_err().is_refusal());
}

#[test]
fn a_grant_that_was_revoked_is_used() {
    let zone = TestZone::new();
    let guest = principal(7);
    zone.grant(&guest, Rights::Write);
    let session = session(&zone, &guest);
    let before = next_head(&zone);
    zone.revoke(&guest);
    // Under the record that gave the right: the signer may write there, but its heads have ended.
    let revision = newest(&zone).unverified().revision;
    let late = bt_tree::Head { revision: revision.next(), ..before };
    let late = SignedHead::sign(late, &session).unwrap();
    let log = zone.engine.identity.rights.now();
    without(Check::Revocation, || late.verify(&log.access).map(drop)).unwrap();
    assert!(late.verify(&log.access).unwrap_err().is_refusal());
}

#[test]
fn a_log_is_truncated_before_the_revocation() {
    let zone = TestZone::new();
    let guest = principal(7);
    zone.grant(&guest, Rights::Write);
    let grants = zone.engine.identity.rights.now().access.to_bytes();
    zone.revoke(&guest);
    zone.file(ROOT, "file", b"content");
    zone.engine.close().unwrap();
    let storage = zone.storage.deep_copy();
    crate::identity::replace(&storage, &zone.engine.identity.layout.access(), &grants).unwrap();
    let fooled = fooled(&storage, Check::KnownRecord);
    let may =
        |zone: &TestZone| zone.engine.identity.rights.now().access.newest_grant(&guest.credential().id()).is_some();
    assert!(may(&fooled) && !may(&zone), "without the check the revocation is forgotten");
    assert!(refused(&storage).contains("is not in the log"));
}

#[test]
fn a_record_is_changed_and_signed_again() {
    let zone = TestZone::new();
    let guest = principal(7);
    zone.grant(&guest, Rights::Read);
    let mut records = records(&zone);
    let honest = records.pop().unwrap();
    let action = Action::Grant { principal: *guest.credential(), rights: Rights::Admin, until: None };
    let statement = bt_tree::Statement { action, ..honest.statement().clone() };
    // In the name of the root, and in its own.
    for signer in [statement.signer, guest.credential().id()] {
        let forged = AccessRecord::sign(&guest, bt_tree::Statement { signer, ..statement.clone() }).unwrap();
        let forged = [&records[..], &[forged]].concat();
        let log = without(Check::RecordSigner, || decoded(&zone, &forged)).unwrap();
        assert_eq!(log.newest_grant(&guest.credential().id()).unwrap().rights, Rights::Admin);
        let error = decoded(&zone, &forged).unwrap_err();
        assert!(matches!(error, AccessError::Signature { .. } | AccessError::NotAdmin { .. }), "{error}");
    }
}

#[test]
fn a_record_is_taken_from_another_zone_or_place() {
    let zone = TestZone::new();
    let guest = principal(7);
    zone.grant(&guest, Rights::Read);
    zone.revoke(&guest);
    let own = records(&zone);
    // The grant again after the revocation.
    let replayed = [&own[..], &own[1..2]].concat();
    let log = without(Check::RecordChain, || decoded(&zone, &replayed)).unwrap();
    assert!(log.newest_grant(&guest.credential().id()).is_some(), "without the check the grant is back");
    assert!(matches!(decoded(&zone, &replayed), Err(AccessError::Chain { .. })));
    // A record that the root signed for another zone of the tree.
    let second =
        bt_tree::Birth::create(&zone.root, &zone.engine.identity.node.genesis, None, &mut SystemEntropy).unwrap();
    let mut other = AccessLog::new(&zone.engine.identity.node.genesis, &second).unwrap();
    let grant = Action::Grant { principal: *principal(8).credential(), rights: Rights::Admin, until: None };
    let foreign = other.decide(&zone.root, now(), grant).unwrap().clone();
    let spliced = [&own[..], &[foreign]].concat();
    let log = without(Check::RecordChain, || decoded(&zone, &spliced)).unwrap();
    assert!(log.newest_grant(&principal(8).credential().id()).is_some());
    assert!(matches!(decoded(&zone, &spliced), Err(AccessError::OtherZone { .. })));
    // Without the first: all others hang in the air.
    without(Check::RecordChain, || decoded(&zone, &own[1..])).unwrap();
    assert!(matches!(decoded(&zone, &own[1..]), Err(AccessError::Chain { .. })));
}

#[test]
fn a_revocation_that_names_no_head_of_the_zone() {
    let zone = TestZone::new();
    let guest = principal(7);
    zone.grant(&guest, Rights::Write);
    let invented = LastHead { revision: bt_base::Revision(1_000_000), hash: Default::default() };
    let action = Action::Revoke { principal: guest.credential().id(), last: Some(invented) };
    // A revocation with a head of the far future would let all heads until then count.
    assert!(zone.decide(&zone.root, action).is_err());
}
