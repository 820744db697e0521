//! HKDF-SHA256 (RFC 5869), and the one way a key is derived from another.
//!
//! HMAC is written out over OpenSSL's SHA-256 because the EVP interface fetches and allocates for every key: a
//! reader derives one key a segment, on its way to a block.

use bt_base::TreeId;
use bt_base::label::Label;
use openssl::sha::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::labelled::{each_part, frame};

/// Bytes of a SHA-256 digest.
const DIGEST: usize = 32;
/// Bytes of a SHA-256 input block.
const INPUT_BLOCK: usize = 64;

/// Derives a 32-byte key from `secret` for one purpose: HKDF-SHA256 without salt, its info the label, the tree
/// and the parts, framed as in [`crate::labelled_hash`].
pub fn derive_key(secret: &[u8], label: Label, tree: &TreeId, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    let mut expansion = Hmac::new(&*extract(&[], &[secret]));
    frame(label, tree, |bytes| expansion.update(bytes));
    each_part(parts, |bytes| expansion.update(bytes));
    // One round of HKDF-Expand gives exactly the 32 bytes wanted.
    expansion.update(&[1]);
    *key = expansion.finish();
    key
}

/// HKDF-Extract over the pieces of the input keying material.
pub(crate) fn extract(salt: &[u8], ikm: &[&[u8]]) -> Zeroizing<[u8; DIGEST]> {
    let mut hmac = Hmac::new(salt);
    ikm.iter().for_each(|piece| hmac.update(piece));
    Zeroizing::new(hmac.finish())
}

/// HKDF-Expand over the pieces of the info, filling `out` (at most 255 digests).
pub(crate) fn expand(prk: &[u8; DIGEST], info: &[&[u8]], out: &mut [u8]) {
    assert!(out.len() <= 255 * DIGEST, "HKDF gives at most 255 digests, {} bytes were asked for", out.len());
    let mut block = Zeroizing::new([0; DIGEST]);
    for (round, chunk) in out.chunks_mut(DIGEST).enumerate() {
        let mut hmac = Hmac::new(prk);
        if round > 0 {
            hmac.update(&*block);
        }
        info.iter().for_each(|piece| hmac.update(piece));
        hmac.update(&[round as u8 + 1]);
        *block = hmac.finish();
        chunk.copy_from_slice(&block[..chunk.len()]);
    }
}

/// HMAC-SHA256 (RFC 2104).
struct Hmac {
    inner: Sha256,
    outer: Sha256,
}

impl Hmac {
    fn new(key: &[u8]) -> Self {
        let mut pad = [0; INPUT_BLOCK];
        if key.len() > INPUT_BLOCK {
            pad[..DIGEST].copy_from_slice(&openssl::sha::sha256(key));
        } else {
            pad[..key.len()].copy_from_slice(key);
        }
        let (mut inner, mut outer) = (Sha256::new(), Sha256::new());
        pad.iter_mut().for_each(|byte| *byte ^= 0x36);
        inner.update(&pad);
        pad.iter_mut().for_each(|byte| *byte ^= 0x36 ^ 0x5c);
        outer.update(&pad);
        pad.zeroize();
        Self { inner, outer }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.inner.update(bytes);
    }

    fn finish(mut self) -> [u8; DIGEST] {
        self.outer.update(&self.inner.finish());
        self.outer.finish()
    }
}
