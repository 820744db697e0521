//! Attacks, each on a copy: first with exactly the check left out that stands in its way, where it works, then as the
//! program is, where it does not.
//!
//! The attacker has the node's directory, and what its part says: a reader's keys, a writer's rights in another zone,
//! rights that it had once, a session key that it stole.

mod chains;
mod heads;
mod journal;
mod keys;
mod plaintext;
mod roots;

use std::sync::Arc;

use bt_crypto::SoftwareKeyStore;
use bt_store::{Heads, MemoryStorage, Storage};
use bt_tree::checks::{Check, without};
use bt_tree::{Head, SessionKey, SignedHead};

use super::check;
use super::testing::{TestZone, open};
use crate::control::Failure;
use crate::system::{SystemEntropy, now};

/// The newest head that is stored.
fn newest(zone: &TestZone) -> SignedHead {
    check::newest_head(&zone.engine.storage, &zone.engine.identity).unwrap()
}

/// A session of a principal, from now on.
fn session(zone: &TestZone, of: &SoftwareKeyStore) -> SessionKey {
    SessionKey::issue(of, zone.engine.identity.tree(), now(), 3600, &mut SystemEntropy).unwrap()
}

/// Publishes a head in both files of a zone, as its owner would.
fn publish(storage: &MemoryStorage, zone: &TestZone, signed: &SignedHead) {
    let heads = Heads::new(Arc::new(storage.clone()), &zone.engine.identity.layout.directory);
    heads.publish(signed.unverified().revision, &signed.to_bytes()).unwrap();
}

/// The head that would follow the newest one, over the same state.
fn next_head(zone: &TestZone) -> Head {
    let newest = newest(zone);
    let head = newest.unverified();
    Head { revision: head.revision.next(), previous: newest.hash(), time: now(), ..head.clone() }
}

fn copy_file(from: &dyn Storage, to: &MemoryStorage, name: &str, as_name: &str) {
    let bytes = crate::identity::read(from, name).unwrap();
    crate::identity::replace(to, as_name, &bytes).unwrap();
}

/// What opening says, with all checks.
#[track_caller]
fn refused(storage: &MemoryStorage) -> String {
    match open(storage) {
        Err(Failure { what, .. }) => what,
        Ok(_) => panic!("the attack works"),
    }
}

/// Opens a copy while one check is left out.
#[track_caller]
fn fooled(storage: &MemoryStorage, check: Check) -> TestZone {
    let storage = storage.deep_copy();
    let engine = without(check, || open(&storage)).expect("without the check the attack works");
    TestZone { storage, engine, root: super::testing::principal(1) }
}
