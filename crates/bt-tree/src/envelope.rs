//! The shape that all signed records share: a version, the signed bytes, the signer's certificate, a signature.
//!
//! What is signed and hashed are always the bytes as received, never an encoding made from decoded fields. The
//! version selects the label, and the label is part of what is signed, so a flipped version fails like any other
//! flipped bit. Signatures are not part of a record's hash: ECDSA has two valid signatures for each that was made,
//! and a record must not have two names.

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::TreeId;
use bt_base::codec::{DecodeError, decode_exact, encode};
use bt_base::label::Label;
use bt_crypto::{Credential, KeyError, KeyStore, Signature, VerifyingKey, labelled_hash};

use crate::session::{SessionCertificate, SessionKey};

/// What a kind of record is called, which label it is signed under, and how long it may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// The name in messages.
    pub what: &'static str,
    /// The label of the newest version known here; its version is the record's.
    pub label: Label,
    /// The most bytes of an encoded record.
    pub limit: usize,
}

/// A record signed by a credential's own key, or by a session key whose certificate travels along.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct Envelope {
    version: u16,
    /// The record's fields in borsh, as they were signed.
    pub body: Vec<u8>,
    /// The encoded certificate of the session key; empty where a credential signed.
    pub certificate: Vec<u8>,
    signature: Signature,
}

impl Envelope {
    /// Signs `body` with the key of a credential.
    pub fn by_credential(kind: Kind, tree: &TreeId, store: &dyn KeyStore, body: Vec<u8>) -> Result<Self, KeyError> {
        let signature = store.sign(kind.label, tree, &body)?;
        Ok(Self { version: kind.label.version, body, certificate: Vec::new(), signature })
    }

    /// A record that nobody has signed yet: zeros stand for the signature, which no key ever makes.
    pub fn unsigned(kind: Kind, body: Vec<u8>) -> Self {
        Self { version: kind.label.version, body, certificate: Vec::new(), signature: Signature([0; 64]) }
    }

    /// Whether this is what [`Self::unsigned`] made.
    pub fn is_unsigned(&self) -> bool {
        self.signature == Signature([0; 64]) && self.certificate.is_empty()
    }

    /// Signs `body`, led by the principal that the session speaks for, with a session key.
    pub fn by_session(kind: Kind, session: &SessionKey, body: Vec<u8>) -> Self {
        let certificate = session.certificate();
        let message = led_by_signer(certificate.node(), &body);
        let signature = session.sign(kind.label, &message);
        Self { version: kind.label.version, body, certificate: certificate.as_bytes().to_vec(), signature }
    }

    /// The encoded record.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Takes an encoded record apart; nothing is verified yet.
    pub fn decode(kind: Kind, bytes: &[u8]) -> Result<Self, DecodeError> {
        let (what, known) = (kind.what, kind.label.version);
        check_version(what, bytes, known)?;
        match version_of(bytes) {
            // The label that is signed has the version: no other can be verified here.
            Some(found) if found < known => return Err(DecodeError::Outdated { what, found, known }),
            _ => {}
        }
        decode_exact(kind.what, bytes, kind.limit)
    }

    /// The record's fields.
    pub fn decode_body<T: BorshDeserialize>(&self, kind: Kind) -> Result<T, DecodeError> {
        decode_exact(kind.what, &self.body, kind.limit)
    }

    /// Whether the holder of `key` signed this record itself.
    pub fn is_signed_by_credential(&self, kind: Kind, tree: &TreeId, key: &VerifyingKey) -> bool {
        self.certificate.is_empty() && key.verify(kind.label, tree, &self.body, &self.signature).is_ok()
    }

    /// Whether the session key of `certificate` signed this record for its node.
    pub fn is_signed_by_session(&self, kind: Kind, certificate: &SessionCertificate) -> bool {
        let message = led_by_signer(certificate.node(), &self.body);
        certificate.session().verify(kind.label, certificate.tree(), &message, &self.signature).is_ok()
    }

    /// The name of a record signed by a credential.
    pub fn hash(&self, kind: Kind, tree: &TreeId) -> [u8; 32] {
        labelled_hash(kind.label, tree, &[&self.body])
    }

    /// The name of a record signed by a session; the node it speaks for is part of it.
    pub fn hash_with_signer(&self, kind: Kind, tree: &TreeId, signer: &Credential) -> [u8; 32] {
        labelled_hash(kind.label, tree, &[&led_by_signer(signer, &self.body)])
    }
}

fn led_by_signer(signer: &Credential, body: &[u8]) -> Vec<u8> {
    [&signer.id().0, body].concat()
}

/// The version that encoded bytes begin with, if they are long enough to have one.
pub(crate) fn version_of(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|version| u16::from_le_bytes(*version))
}

/// Refuses bytes that do not begin with a version from 1 to `known`.
pub(crate) fn check_version(what: &'static str, bytes: &[u8], known: u16) -> Result<(), DecodeError> {
    match version_of(bytes).ok_or_else(|| DecodeError::malformed(what, "no version"))? {
        0 => Err(DecodeError::malformed(what, "version 0")),
        found if found > known => Err(DecodeError::Version { what, found, known }),
        _ => Ok(()),
    }
}
