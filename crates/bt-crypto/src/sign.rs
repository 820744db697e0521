//! ECDSA on P-256 over SHA-256 of (label, tree, message), with the low `s` only.
//!
//! The nonce of a signature comes from OpenSSL, which hashes the private key and the message into it: a cloned
//! machine whose generator repeats still never signs two messages with one nonce.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::label::Label;
use bt_base::{Entropy, TreeId};
use openssl::bn::BigNum;
use openssl::ec::EcKey;
use openssl::ecdsa::EcdsaSig;
use openssl::pkey::{Private, Public};
use openssl::sha::Sha256;
use zeroize::Zeroizing;

use crate::curve::{self, COMPRESSED, ORDER};
use crate::labelled::frame;

/// Half the group order, rounded down, big endian: the highest `s` that is accepted.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xde, 0x73, 0x7d,
    0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

/// A signature that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The verifying key is no point of the curve.
    #[error("a verifying key is no point of P-256: the record that holds it is damaged or forged")]
    BadKey,
    /// The signature has the high of its two forms, or a number out of range.
    #[error("a signature is not in its one accepted form (low s): it was not made by this program")]
    BadForm,
    /// The signature is not that of this key over this message.
    #[error("a signature does not match its key and message: the record is damaged or forged")]
    Mismatch,
}

/// A private signing key, ready to sign.
pub struct SigningKey {
    key: EcKey<Private>,
    public: VerifyingKey,
}

impl SigningKey {
    /// The key that a seed gives: its scalar is derived with HKDF under (`CREDENTIAL`, "signing", attempt).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = curve::key_from_scalar(&curve::scalar_from_seed(seed, "signing"));
        let public = VerifyingKey(curve::compressed(key.public_key()));
        Self { key, public }
    }

    /// A new key.
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        entropy.fill(&mut *seed);
        Self::from_seed(&seed)
    }

    /// Signs `message` for one purpose in one tree.
    pub fn sign(&self, label: Label, tree: &TreeId, message: &[u8]) -> Signature {
        let digest = signing_digest(label, tree, message);
        let signature = EcdsaSig::sign(&digest, &self.key).expect("OpenSSL signs with a valid key");
        let mut bytes = [0; 64];
        write_padded(signature.r(), &mut bytes[..32]);
        write_padded(signature.s(), &mut bytes[32..]);
        Signature(bytes).with_low_s()
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        self.public
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(secret of {:?})", self.public)
    }
}

/// What is signed: SHA-256 over the label's frame and the message.
pub fn signing_digest(label: Label, tree: &TreeId, message: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    frame(label, tree, |bytes| hasher.update(bytes));
    hasher.update(message);
    hasher.finish()
}

/// A public signing key, a compressed SEC1 point. The bytes may be no point: then [`Self::prepare`] says so.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct VerifyingKey(pub [u8; COMPRESSED]);

impl VerifyingKey {
    /// The key with these coordinates (big endian), as a TPM names its points; None when they are no point of the curve.
    pub fn from_coordinates(x: &[u8; 32], y: &[u8; 32]) -> Option<Self> {
        curve::compressed_coordinates(x, y).map(Self)
    }

    /// The point's coordinates, big endian; None when the bytes are no point of the curve.
    pub fn coordinates(&self) -> Option<([u8; 32], [u8; 32])> {
        curve::coordinates(&self.0)
    }

    /// Decompresses the key once, for many signatures.
    pub fn prepare(&self) -> Result<PreparedKey, SignatureError> {
        curve::public_from_bytes(&self.0).map(|key| PreparedKey { key }).ok_or(SignatureError::BadKey)
    }

    /// Checks one signature; [`Self::prepare`] is cheaper for more.
    pub fn verify(
        &self,
        label: Label,
        tree: &TreeId,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        self.prepare()?.verify(label, tree, message, signature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyingKey(")?;
        self.0[..5].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// A public signing key with its point decompressed.
pub struct PreparedKey {
    key: EcKey<Public>,
}

impl PreparedKey {
    /// Checks one signature over `message` for one purpose in one tree.
    pub fn verify(
        &self,
        label: Label,
        tree: &TreeId,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        let parsed = signature.parse().ok_or(SignatureError::BadForm)?;
        let digest = signing_digest(label, tree, message);
        match parsed.verify(&digest, &self.key) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(SignatureError::Mismatch),
        }
    }
}

impl fmt::Debug for PreparedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PreparedKey({:?})", VerifyingKey(curve::compressed(self.key.public_key())))
    }
}

/// An ECDSA signature: r and s, 32 bytes each, big endian.
#[derive(Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Signature(pub [u8; 64]);

impl Signature {
    /// The same signature with `s` in the lower half: n - s signs as well as s does, and only one is accepted.
    #[must_use]
    pub fn with_low_s(mut self) -> Self {
        if self.0[32..] > HALF_ORDER[..] {
            let mut borrow = 0;
            for (byte, order) in self.0[32..].iter_mut().zip(ORDER).rev() {
                let difference = i16::from(order) - i16::from(*byte) - borrow;
                borrow = i16::from(difference < 0);
                *byte = difference.rem_euclid(256) as u8;
            }
        }
        self
    }

    pub(crate) fn parse(&self) -> Option<EcdsaSig> {
        let (r, s) = self.0.split_at(32);
        if s > &HALF_ORDER[..] || r >= &ORDER[..] {
            return None;
        }
        EcdsaSig::from_private_components(BigNum::from_slice(r).ok()?, BigNum::from_slice(s).ok()?).ok()
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(")?;
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

fn write_padded(number: &openssl::bn::BigNumRef, out: &mut [u8]) {
    let bytes = number.to_vec();
    let start = out.len() - bytes.len();
    out[start..].copy_from_slice(&bytes);
}

#[cfg(test)]
mod tests {
    use bt_base::label::{BIRTH, HEAD};

    use super::*;
    use crate::labelled::NO_TREE;
    use crate::testing::{Seeded, hex, hex_array};

    /// RFC 6979, A.2.5, SHA-256, message "sample": the published s is the high one.
    const SAMPLE: &str = "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
                          F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8";

    #[test]
    fn the_signature_of_rfc_6979_holds_in_its_low_form_only() {
        let public = hex("04 60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6
             7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299");
        let key = curve::public_from_bytes(&public).unwrap();
        let high = Signature(hex_array(SAMPLE));
        assert!(high.parse().is_none());
        let low = high.with_low_s();
        assert_eq!(low.0[..32], high.0[..32]);
        assert!(low.parse().unwrap().verify(&openssl::sha::sha256(b"sample"), &key).unwrap());
        assert_eq!(low.with_low_s(), low);
    }

    #[test]
    fn a_signature_holds_for_its_key_label_tree_and_message() {
        let mut entropy = Seeded::new(2);
        let (key, other) = (SigningKey::generate(&mut entropy), SigningKey::generate(&mut entropy));
        let public = key.verifying_key();
        for message in 0..64_u8 {
            let signature = key.sign(HEAD, &NO_TREE, &[message]);
            assert_eq!(public.verify(HEAD, &NO_TREE, &[message], &signature), Ok(()));
            let refused = Err(SignatureError::Mismatch);
            assert_eq!(public.verify(HEAD, &NO_TREE, &[message ^ 1], &signature), refused);
            assert_eq!(public.verify(BIRTH, &NO_TREE, &[message], &signature), refused);
            assert_eq!(public.verify(HEAD, &TreeId([1; 32]), &[message], &signature), refused);
            assert_eq!(other.verifying_key().verify(HEAD, &NO_TREE, &[message], &signature), refused);
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let mut entropy = Seeded::new(3);
        let key = SigningKey::generate(&mut entropy);
        let prepared = key.verifying_key().prepare().unwrap();
        let good = key.sign(HEAD, &NO_TREE, b"").0;
        let with = |r: [u8; 32], s: [u8; 32]| Signature([r, s].concat().try_into().unwrap());
        let (r, s): ([u8; 32], [u8; 32]) = (good[..32].try_into().unwrap(), good[32..].try_into().unwrap());
        for signature in [with([0; 32], s), with(r, [0; 32])] {
            assert_eq!(prepared.verify(HEAD, &NO_TREE, b"", &signature), Err(SignatureError::Mismatch));
        }
        for signature in [with(ORDER, s), with([0xff; 32], s), with(r, ORDER), with(r, [0xff; 32])] {
            assert_eq!(prepared.verify(HEAD, &NO_TREE, b"", &signature), Err(SignatureError::BadForm));
        }
        assert_eq!(VerifyingKey([0; 33]).verify(HEAD, &NO_TREE, b"", &with(r, s)), Err(SignatureError::BadKey));
    }
}
