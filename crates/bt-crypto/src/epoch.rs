//! The key of one epoch of a zone, and one epoch's key sealed under another's.

use std::fmt;

use bt_base::label::Label;
use bt_base::{Entropy, TreeId};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::derive::derive_key;
use crate::gcm::{AesGcm, NONCE_SIZE};
use crate::segment::OpenError;

/// Bytes of a wrapped key: the key and the tag.
pub const WRAPPED_KEY_SIZE: usize = 48;

/// The secret that opens everything a zone wrote during one epoch.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct EpochKey([u8; 32]);

impl EpochKey {
    /// A new key.
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        let mut key = Self([0; 32]);
        entropy.fill(&mut key.0);
        key
    }

    /// A key read from where it was kept.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the key, to be sealed to a reader.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EpochKey(secret)")
    }
}

/// Seals `inner` under a key derived from `secret`, the label, the tree and the parts.
///
/// The nonce is zero: the same (secret, label, tree, parts) must not wrap two different keys.
pub fn wrap_key(
    secret: &[u8],
    label: Label,
    tree: &TreeId,
    parts: &[&[u8]],
    inner: &EpochKey,
) -> [u8; WRAPPED_KEY_SIZE] {
    let mut sealed = Vec::with_capacity(WRAPPED_KEY_SIZE);
    AesGcm::new(derive_key(secret, label, tree, parts)).seal(&[0; NONCE_SIZE], &[], inner.as_bytes(), &mut sealed);
    sealed.try_into().expect("a sealed key is 48 bytes")
}

/// Opens what [`wrap_key`] sealed with the same secret, label, tree and parts.
pub fn unwrap_key(
    secret: &[u8],
    label: Label,
    tree: &TreeId,
    parts: &[&[u8]],
    sealed: &[u8; WRAPPED_KEY_SIZE],
) -> Result<EpochKey, OpenError> {
    let mut key = Zeroizing::new([0; 32]);
    AesGcm::new(derive_key(secret, label, tree, parts))
        .open(&[0; NONCE_SIZE], &[], sealed, &mut *key)
        .map_err(|_| OpenError::Refused)?;
    Ok(EpochKey::from_bytes(*key))
}

#[cfg(test)]
mod tests {
    use bt_base::label::{EPOCH_CHAIN, READCAP};

    use super::*;
    use crate::labelled::NO_TREE;
    use crate::testing::Seeded;

    #[test]
    fn a_wrapped_key_opens_only_with_all_it_was_wrapped_with() {
        let mut entropy = Seeded::new(1);
        let (outer, inner) = (EpochKey::generate(&mut entropy), EpochKey::generate(&mut entropy));
        let sealed = wrap_key(outer.as_bytes(), EPOCH_CHAIN, &NO_TREE, &[b"zone", b"7"], &inner);
        assert_eq!(unwrap_key(outer.as_bytes(), EPOCH_CHAIN, &NO_TREE, &[b"zone", b"7"], &sealed), Ok(inner.clone()));
        for opened in [
            unwrap_key(inner.as_bytes(), EPOCH_CHAIN, &NO_TREE, &[b"zone", b"7"], &sealed),
            unwrap_key(outer.as_bytes(), READCAP, &NO_TREE, &[b"zone", b"7"], &sealed),
            unwrap_key(outer.as_bytes(), EPOCH_CHAIN, &TreeId([1; 32]), &[b"zone", b"7"], &sealed),
            unwrap_key(outer.as_bytes(), EPOCH_CHAIN, &NO_TREE, &[b"zone", b"8"], &sealed),
        ] {
            assert_eq!(opened, Err(OpenError::Refused));
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let key = EpochKey::from_bytes([0x41; 32]);
        assert_eq!(format!("{key:?}"), "EpochKey(secret)");
    }
}
