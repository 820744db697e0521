//! Session keys: short-lived signing keys in memory, certified by a node's own key.
//!
//! The node's key may live in a TPM, which takes milliseconds for a signature; the session key signs heads and
//! journal batches in microseconds. A certificate holds for at most [`SESSION_SECONDS`] and meets the times that
//! the signed records carry, not the clock of whoever verifies them.

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::codec::{DecodeError, encode};
use bt_base::label::{self, Label};
use bt_base::limits::SESSION_SECONDS;
use bt_base::{Entropy, Timestamp, TreeId};
use bt_crypto::{Credential, KeyError, KeyStore, Signature, SigningKey, VerifyingKey};

use crate::checks::{Check, enforce};
use crate::envelope::{Envelope, Kind};

const KIND: Kind = Kind { what: "session certificate", label: label::SESSION, limit: 1024 };

/// Why a session key cannot be had or trusted.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The certificate's bytes are no certificate.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The lifetime is not between one second and a day.
    #[error("a session of {seconds} s was asked for, it lasts from 1 to {SESSION_SECONDS} s")]
    Lifetime {
        /// Seconds from its begin to its end.
        seconds: i64,
    },
    /// The certificate was issued in another tree.
    #[error("the session certificate is for tree {found}, this is tree {expected}")]
    OtherTree {
        /// The tree at hand.
        expected: TreeId,
        /// The tree that the certificate names.
        found: TreeId,
    },
    /// Something was signed, or is to be signed, outside the certificate's time.
    #[error("the session certificate holds from {not_before:?} to {not_after:?}, not at {at:?}: issue a new session")]
    NotValidAt {
        /// The time in question.
        at: Timestamp,
        /// When the certificate begins to hold.
        not_before: Timestamp,
        /// The last time at which it holds.
        not_after: Timestamp,
    },
    /// The node did not sign the certificate, or not these bytes.
    #[error("the signature of a session certificate is wrong: the record is damaged or forged")]
    Signature,
    /// The node's key store did not sign.
    #[error("the node's key could not certify a session: {0}")]
    Key(#[from] KeyError),
}

#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
struct Body {
    tree: TreeId,
    node: Credential,
    session: VerifyingKey,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// A node's statement that a session key speaks for it for a time.
///
/// A decoded certificate is well formed; whether its node signed it is [`SessionCertificate::verify`]'s to say, and
/// whether the node may do what the session signed is a question for the zone's access log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionCertificate {
    body: Body,
    envelope: Envelope,
    bytes: Vec<u8>,
}

impl SessionCertificate {
    /// The most bytes of an encoded certificate.
    pub const LIMIT: usize = KIND.limit;

    /// Certifies `session` with the node's key in `store`, from `now` on for `lifetime_seconds`.
    pub fn issue(
        store: &dyn KeyStore,
        tree: &TreeId,
        now: Timestamp,
        lifetime_seconds: i64,
        session: VerifyingKey,
    ) -> Result<Self, SessionError> {
        if !(1..=SESSION_SECONDS).contains(&lifetime_seconds) {
            return Err(SessionError::Lifetime { seconds: lifetime_seconds });
        }
        let not_after = Timestamp::new(now.seconds.saturating_add(lifetime_seconds), now.nanos);
        let body = Body { tree: *tree, node: *store.credential(), session, not_before: now, not_after };
        let envelope = Envelope::by_credential(KIND, tree, store, encode(&body))?;
        let bytes = envelope.to_bytes();
        Ok(Self { body, envelope, bytes })
    }

    /// Decodes a certificate, and checks what can be checked without keys.
    pub fn decode(bytes: &[u8]) -> Result<Self, SessionError> {
        let envelope = Envelope::decode(KIND, bytes)?;
        let body: Body = envelope.decode_body(KIND)?;
        let seconds = body.not_after.seconds.saturating_sub(body.not_before.seconds);
        let same_nanos = body.not_after.nanos == body.not_before.nanos;
        if !(1..=SESSION_SECONDS).contains(&seconds) || !same_nanos {
            return Err(SessionError::Lifetime { seconds });
        }
        Ok(Self { body, envelope, bytes: bytes.to_vec() })
    }

    /// Checks that the node signed the certificate, for `tree`, and that it holds at the time `at`.
    pub fn verify(&self, tree: &TreeId, at: Timestamp) -> Result<(), SessionError> {
        self.check_tree(tree)?;
        self.check_time(at)?;
        match self.envelope.is_signed_by_credential(KIND, tree, &self.body.node.verifying_key) {
            true => Ok(()),
            false => Err(SessionError::Signature),
        }
    }

    /// Checks that the certificate was issued in `tree`; the signature is not looked at.
    pub fn check_tree(&self, tree: &TreeId) -> Result<(), SessionError> {
        match self.body.tree == *tree {
            true => Ok(()),
            false => Err(SessionError::OtherTree { expected: *tree, found: self.body.tree }),
        }
    }

    /// Checks that the certificate holds at the time `at`; the signature is not looked at.
    pub fn check_time(&self, at: Timestamp) -> Result<(), SessionError> {
        let Body { not_before, not_after, .. } = self.body;
        let holds = match not_before <= at && at <= not_after {
            true => Ok(()),
            false => Err(SessionError::NotValidAt { at, not_before, not_after }),
        };
        enforce(Check::SessionTime, holds)
    }

    /// The tree in which the session acts.
    pub fn tree(&self) -> &TreeId {
        &self.body.tree
    }

    /// The node that the session speaks for.
    pub fn node(&self) -> &Credential {
        &self.body.node
    }

    /// The session's key.
    pub fn session(&self) -> &VerifyingKey {
        &self.body.session
    }

    /// `at`, or the certificate's begin where that is later: the time to record where a clock was set back after the
    /// session began. A clock that was set forward past the end takes a new session.
    pub fn no_earlier(&self, at: Timestamp) -> Timestamp {
        at.max(self.body.not_before)
    }

    /// The last time at which the certificate holds.
    pub fn not_after(&self) -> Timestamp {
        self.body.not_after
    }

    /// The encoded certificate.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A signing key in memory with the certificate that lets it speak for its node.
pub struct SessionKey {
    key: SigningKey,
    certificate: SessionCertificate,
}

impl SessionKey {
    /// Draws a new key and has the node's key in `store` certify it from `now` on for `lifetime_seconds`.
    pub fn issue(
        store: &dyn KeyStore,
        tree: &TreeId,
        now: Timestamp,
        lifetime_seconds: i64,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, SessionError> {
        Self::certify(store, tree, now, lifetime_seconds, SigningKey::generate(entropy))
    }

    /// Has the node's key in `store` certify `key` from `now` on for `lifetime_seconds`.
    pub fn certify(
        store: &dyn KeyStore,
        tree: &TreeId,
        now: Timestamp,
        lifetime_seconds: i64,
        key: SigningKey,
    ) -> Result<Self, SessionError> {
        let certificate = SessionCertificate::issue(store, tree, now, lifetime_seconds, key.verifying_key())?;
        Ok(Self { key, certificate })
    }

    /// Signs `message` for the purpose `label` in the session's tree.
    pub fn sign(&self, label: Label, message: &[u8]) -> Signature {
        self.key.sign(label, self.certificate.tree(), message)
    }

    /// The certificate that travels with everything the key signs.
    pub fn certificate(&self) -> &SessionCertificate {
        &self.certificate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, SeededEntropy, World, assert_only_exact, golden, later, store};

    #[test]
    fn a_certificate_survives_its_encoding_and_holds_for_its_time() {
        let World { genesis, node, session, .. } = World::new();
        let certificate = SessionCertificate::decode(session.certificate().as_bytes()).unwrap();
        assert_eq!(certificate, *session.certificate());
        assert_eq!(certificate.node(), node.credential());
        for (seconds, holds) in [(-1, false), (0, true), (3600, true), (3601, false)] {
            let result = certificate.verify(genesis.tree(), later(seconds));
            assert_eq!(result.is_ok(), holds, "after {seconds} s: {result:?}");
        }
        assert!(matches!(certificate.verify(&TreeId([7; 32]), NOW), Err(SessionError::OtherTree { .. })));
    }

    #[test]
    fn a_damaged_certificate_is_refused() {
        let World { genesis, session, .. } = World::new();
        assert_only_exact(session.certificate().as_bytes(), |bytes| {
            SessionCertificate::decode(bytes)?.verify(genesis.tree(), NOW)
        });
    }

    #[test]
    fn a_session_longer_than_a_day_is_neither_issued_nor_accepted() {
        let tree = TreeId([7; 32]);
        let issue = |seconds| SessionKey::issue(&store(2), &tree, NOW, seconds, &mut SeededEntropy::new(1));
        assert!(issue(SESSION_SECONDS).is_ok());
        for seconds in [SESSION_SECONDS + 1, 0, -1, i64::MAX] {
            assert!(matches!(issue(seconds), Err(SessionError::Lifetime { .. })), "{seconds} s were issued");
        }
        let long = Body {
            tree,
            node: *store(2).credential(),
            session: issue(1).unwrap().key.verifying_key(),
            not_before: NOW,
            not_after: later(SESSION_SECONDS + 1),
        };
        let bytes = Envelope::by_credential(KIND, &tree, &store(2), encode(&long)).unwrap().to_bytes();
        assert!(matches!(SessionCertificate::decode(&bytes), Err(SessionError::Lifetime { .. })));
    }

    #[test]
    fn the_golden_certificate_is_understood() {
        let bytes = golden("session-v1", || World::new().session.certificate().as_bytes().to_vec());
        let certificate = SessionCertificate::decode(&bytes).unwrap();
        certificate.verify(World::new().genesis.tree(), NOW).unwrap();
        assert_eq!(certificate.not_after(), later(3600));
        assert_eq!(certificate.node(), store(2).credential());
    }
}
