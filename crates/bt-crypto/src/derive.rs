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

#[cfg(test)]
mod tests {
    use bt_base::label::SEGMENT_KEY;

    use super::*;
    use crate::labelled::NO_TREE;
    use crate::testing::hex;

    /// RFC 5869, appendix A: (input, salt, info, PRK, output).
    const RFC_5869: [[&str; 5]; 3] = [
        [
            "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ],
        [
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f
             303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f",
            "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f
             909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
            "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf
             e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
            "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09
             da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ],
        [
            "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
            "",
            "",
            "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ],
    ];

    #[test]
    fn hkdf_gives_the_answers_of_rfc_5869() {
        for [input, salt, info, prk, output] in RFC_5869 {
            let (input, info, output) = (hex(input), hex(info), hex(output));
            // In two pieces each: how the input is cut must not matter.
            let (first, second) = input.split_at(input.len() / 3);
            let extracted = extract(&hex(salt), &[first, second]);
            assert_eq!(extracted.to_vec(), hex(prk));
            let (first, second) = info.split_at(info.len() / 3);
            let mut expanded = vec![0; output.len()];
            expand(&extracted, &[first, second], &mut expanded);
            assert_eq!(expanded, output);
        }
    }

    #[test]
    fn a_derived_key_is_hkdf_over_the_documented_info() {
        let mut info = vec![21];
        info.extend(b"blocktree/segment-key");
        info.extend([1, 0]);
        info.extend([0; 32]);
        info.extend([3, 0, 0, 0, 0, 0, 0, 0, b'a', b'b', b'c']);
        let mut expected = [0; 32];
        expand(&extract(&[], &[b"secret"]), &[&info], &mut expected);
        assert_eq!(*derive_key(b"secret", SEGMENT_KEY, &NO_TREE, &[b"abc"]), expected);
    }

    #[test]
    fn a_key_longer_than_a_block_is_hashed_first() {
        let long = [0xaa; 131];
        // RFC 4231, test case 6.
        let mut hmac = Hmac::new(&long);
        hmac.update(b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hmac.finish().to_vec(), hex("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"));
    }
}
