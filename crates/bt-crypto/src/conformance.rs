//! What every key store does: one suite, for the software store here and for stores in other crates (with the feature
//! `testing`).
//!
//! Each function is one promise of [`KeyStore`]; [`all`] holds each of them. A function panics where its promise is broken.

use std::sync::Arc;
use std::thread;

use bt_base::label::{ACCESS, Label, SESSION};
use bt_base::{Entropy, TreeId};

use crate::{AgreementKey, AgreementPublic, KeyError, KeyStore, NO_TREE, SignatureError, SoftwareKeyStore, hpke};

/// Holds a store to every promise.
pub fn all(store: &Arc<dyn KeyStore>) {
    signatures_verify(&**store);
    signatures_have_the_accepted_form(&**store);
    a_signature_is_for_one_purpose_tree_and_message(&**store);
    both_sides_agree(&**store);
    peers_that_are_no_points_are_refused(&**store);
    sealed_messages_open(&**store);
    a_refused_use_leaves_the_store_usable(&**store);
    many_threads_use_one_store(store);
}

/// What the tests seal and agree with: the same in each run.
struct Stream(blake3::OutputReader);

impl Stream {
    fn new(purpose: &str) -> Self {
        Self(blake3::Hasher::new().update(purpose.as_bytes()).finalize_xof())
    }
}

impl Entropy for Stream {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }
}

fn verifies(store: &dyn KeyStore, label: Label, tree: &TreeId, message: &[u8]) {
    let signature = store.sign(label, tree, message).expect("the store signs");
    let verified = store.credential().verifying_key.verify(label, tree, message, &signature);
    assert_eq!(verified, Ok(()), "of a message of {} bytes", message.len());
}

/// Signatures of short, long and no messages are those of the credential's key.
pub fn signatures_verify(store: &dyn KeyStore) {
    for message in [&b""[..], b"message", &[7; 100_000]] {
        verifies(store, SESSION, &NO_TREE, message);
    }
    verifies(store, ACCESS, &TreeId([9; 32]), b"message");
}

/// Signatures always have the low s: one in two would not have it by chance.
pub fn signatures_have_the_accepted_form(store: &dyn KeyStore) {
    for number in 0..24u32 {
        verifies(store, SESSION, &NO_TREE, &number.to_le_bytes());
    }
}

/// A signature says nothing about another purpose, tree or message.
pub fn a_signature_is_for_one_purpose_tree_and_message(store: &dyn KeyStore) {
    let key = store.credential().verifying_key;
    let signature = store.sign(SESSION, &NO_TREE, b"message").expect("the store signs");
    for (label, tree, message) in [
        (ACCESS, NO_TREE, &b"message"[..]),
        (SESSION, TreeId([1; 32]), b"message"),
        (SESSION, NO_TREE, b"massage"),
        (SESSION, NO_TREE, b"message\0"),
    ] {
        assert_eq!(key.verify(label, &tree, message, &signature), Err(SignatureError::Mismatch));
    }
}

/// The store and a peer come to the same secret, another peer to another.
pub fn both_sides_agree(store: &dyn KeyStore) {
    let mut entropy = Stream::new("agreement");
    let own = store.credential().agreement_public;
    // Coordinates that begin with zeros are where an implementation would err: one key in 128 has one.
    for _ in 0..8 {
        let (peer, other) = (AgreementKey::generate(&mut entropy), AgreementKey::generate(&mut entropy));
        let secret = store.agree(&peer.public()).expect("the store agrees");
        assert_eq!(secret.as_bytes(), peer.agree(&own).expect("the peer agrees").as_bytes());
        assert_ne!(secret.as_bytes(), other.agree(&own).expect("the other agrees").as_bytes());
    }
    let with_itself = store.agree(&own).expect("the store agrees with itself");
    let again = store.agree(&own).expect("the store agrees with itself");
    assert_eq!(with_itself.as_bytes(), again.as_bytes());
}

/// Public keys that are no points of the curve give [`KeyError::BadPeer`].
pub fn peers_that_are_no_points_are_refused(store: &dyn KeyStore) {
    let mut beyond = [0xff; 33];
    beyond[0] = 2;
    // No point of P-256 has x = 1.
    let mut none = [0; 33];
    (none[0], none[32]) = (3, 1);
    let mut form = store.credential().agreement_public.0;
    form[0] = 5;
    for bytes in [[0; 33], beyond, none, form] {
        assert_eq!(store.agree(&AgreementPublic(bytes)).unwrap_err(), KeyError::BadPeer, "{bytes:?}");
    }
}

/// What is sealed to the store's credential opens with the store, and with no other.
pub fn sealed_messages_open(store: &dyn KeyStore) {
    let mut entropy = Stream::new("sealed");
    let public = store.credential().agreement_public;
    let (enc, sealed) = hpke::seal(&public, b"info", b"aad", b"secret", &mut entropy).expect("a point");
    let opened = hpke::open(store, &enc, b"info", b"aad", &sealed).expect("it is sealed to the store");
    assert_eq!(*opened, b"secret");
    let other = SoftwareKeyStore::generate(&mut entropy);
    assert_eq!(hpke::open(&other, &enc, b"info", b"aad", &sealed), Err(hpke::HpkeError::Refused));
}

/// After an error the next use works.
pub fn a_refused_use_leaves_the_store_usable(store: &dyn KeyStore) {
    for _ in 0..4 {
        store.agree(&AgreementPublic([0; 33])).expect_err("it is no point");
    }
    verifies(store, SESSION, &NO_TREE, b"message");
}

/// Threads do not get each other's answers.
pub fn many_threads_use_one_store(store: &Arc<dyn KeyStore>) {
    thread::scope(|scope| {
        for number in 0..4u8 {
            scope.spawn(move || {
                let peer = AgreementKey::generate(&mut Stream::new(&format!("thread {number}")));
                let expected = peer.agree(&store.credential().agreement_public).expect("the peer agrees");
                for round in 0..4u8 {
                    verifies(&**store, SESSION, &NO_TREE, &[number, round]);
                    let secret = store.agree(&peer.public()).expect("the store agrees");
                    assert_eq!(secret.as_bytes(), expected.as_bytes());
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_software_store_keeps_every_promise() {
        let store: Arc<dyn KeyStore> = Arc::new(SoftwareKeyStore::generate(&mut Stream::new("store")));
        all(&store);
    }
}
