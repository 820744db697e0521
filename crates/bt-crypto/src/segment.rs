//! Blocks of one segment: their hash, which needs no key, and their sealing.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bt_base::label::{BLOCK_HASH, SEGMENT_KEY};
use bt_base::limits::{SEGMENT_BLOCKS, TAG_SIZE};
use bt_base::{BlockHash, SegmentId, TreeId, ZoneId};

use crate::derive::derive_key;
use crate::epoch::EpochKey;
use crate::gcm::{AesGcm, NONCE_SIZE};
use crate::labelled::labelled_hash;

/// Sealed bytes that do not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Too short to hold a tag.
    #[error("{len} sealed bytes are shorter than a tag of 16: the data was cut, read it from another copy")]
    TooShort {
        /// Bytes found.
        len: usize,
    },
    /// The bytes are not those that the reference names.
    #[error("sealed block {index} does not have the hash that its reference names: read it from another copy")]
    WrongHash {
        /// Index of the block in its segment.
        index: u32,
    },
    /// The tag does not match under this key.
    #[error("sealed bytes were refused by their tag: they were changed, or belong to another key or place")]
    Refused,
}

/// Where a segment stands: what its keys and the hashes of its blocks are bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentContext {
    /// The tree.
    pub tree: TreeId,
    /// The zone in the tree.
    pub zone: ZoneId,
    /// The segment, an id that is never used again.
    pub segment: SegmentId,
    /// The epoch of the zone whose key seals the segment.
    pub epoch: u32,
}

/// Hashes the sealed blocks of one segment; a store without keys can check with it.
///
/// The hash is BLAKE3 keyed with [`labelled_hash`] of (zone, segment, epoch) over `ciphertext ‖ tag ‖ index (u64
/// LE)`: the place goes into the key and the end, so that BLAKE3 sees the block at its own alignment.
#[derive(Clone, Debug)]
pub struct BlockHasher {
    key: [u8; 32],
}

impl BlockHasher {
    /// The hasher of one segment.
    pub fn new(context: &SegmentContext) -> Self {
        let parts: [&[u8]; 3] = [&context.zone.0, &context.segment.0, &context.epoch.to_le_bytes()];
        Self { key: labelled_hash(BLOCK_HASH, &context.tree, &parts) }
    }

    /// The hash of block `index`, whose ciphertext and tag are `sealed`.
    pub fn hash(&self, index: u32, sealed: &[u8]) -> BlockHash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(sealed);
        hasher.update(&u64::from(index).to_le_bytes());
        BlockHash(*hasher.finalize().as_bytes())
    }

    /// Whether `sealed` is the block that `hash` names.
    pub fn verify(&self, index: u32, hash: &BlockHash, sealed: &[u8]) -> bool {
        self.hash(index, sealed) == *hash
    }
}

/// Seals and opens the blocks of one segment, from many threads at once.
pub struct SegmentCipher {
    cipher: AesGcm,
    hasher: BlockHasher,
    sealed: OnceLock<Box<IndexSet>>,
}

impl SegmentCipher {
    /// The cipher of one segment under its epoch's key.
    pub fn new(key: &EpochKey, context: &SegmentContext) -> Self {
        let parts: [&[u8]; 2] = [&context.zone.0, &context.segment.0];
        let key = derive_key(key.as_bytes(), SEGMENT_KEY, &context.tree, &parts);
        Self { cipher: AesGcm::new(key), hasher: BlockHasher::new(context), sealed: OnceLock::new() }
    }

    /// Appends ciphertext and tag of block `index` to `out` and gives their hash.
    ///
    /// # Panics
    /// When `index` is 4096 or more, or was sealed before by this cipher: the index is the nonce, and a nonce
    /// used twice gives the plaintexts away.
    pub fn seal(&self, index: u32, plaintext: &[u8], out: &mut Vec<u8>) -> BlockHash {
        let start = out.len();
        out.resize(start + plaintext.len() + TAG_SIZE, 0);
        self.seal_into(index, plaintext, &mut out[start..])
    }

    /// Puts ciphertext and tag of block `index` into `out` and gives their hash.
    ///
    /// # Panics
    /// As [`SegmentCipher::seal`], and when `out` is not exactly 16 bytes longer than `plaintext`.
    pub fn seal_into(&self, index: u32, plaintext: &[u8], out: &mut [u8]) -> BlockHash {
        let first = self.sealed.get_or_init(Box::default).insert(index);
        assert!(first, "block {index} of a segment was sealed twice");
        self.cipher.seal_into(&nonce(index), &[], plaintext, out);
        self.hasher.hash(index, out)
    }

    /// Checks the hash of `sealed`, then opens it into `out`, which is zeroed when the tag refuses.
    ///
    /// # Panics
    /// When `out` is not exactly 16 bytes shorter than `sealed`.
    pub fn open(&self, index: u32, hash: &BlockHash, sealed: &[u8], out: &mut [u8]) -> Result<(), OpenError> {
        if sealed.len() < TAG_SIZE {
            return Err(OpenError::TooShort { len: sealed.len() });
        }
        if !self.hasher.verify(index, hash, sealed) {
            return Err(OpenError::WrongHash { index });
        }
        self.cipher.open(&nonce(index), &[], sealed, out).map_err(|_| OpenError::Refused)
    }

    /// The hasher of the same segment.
    pub fn hasher(&self) -> &BlockHasher {
        &self.hasher
    }
}

impl fmt::Debug for SegmentCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SegmentCipher(secret)")
    }
}

fn nonce(index: u32) -> [u8; NONCE_SIZE] {
    let mut nonce = [0; NONCE_SIZE];
    nonce[..4].copy_from_slice(&index.to_le_bytes());
    nonce
}

/// The indices that were sealed; only a writer has one.
struct IndexSet([AtomicU64; SEGMENT_BLOCKS / 64]);

impl Default for IndexSet {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl IndexSet {
    /// Adds `index`; false when it was there.
    fn insert(&self, index: u32) -> bool {
        assert!((index as usize) < SEGMENT_BLOCKS, "block {index} is beyond the {SEGMENT_BLOCKS} of a segment");
        let bit = 1 << (index % 64);
        self.0[index as usize / 64].fetch_or(bit, Ordering::Relaxed) & bit == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> SegmentContext {
        SegmentContext { tree: TreeId([1; 32]), zone: ZoneId([2; 32]), segment: SegmentId([3; 32]), epoch: 4 }
    }

    fn key() -> EpochKey {
        EpochKey::from_bytes([9; 32])
    }

    #[test]
    fn blocks_open_where_they_were_sealed() {
        let cipher = SegmentCipher::new(&key(), &context());
        let mut sealed = Vec::new();
        let first = cipher.seal(0, b"first block", &mut sealed);
        let second = cipher.seal(1, b"", &mut sealed);
        assert_eq!(sealed.len(), 11 + 16 + 16);
        let reader = SegmentCipher::new(&key(), &context());
        let mut out = [0; 11];
        assert_eq!(reader.open(0, &first, &sealed[..27], &mut out), Ok(()));
        assert_eq!(&out, b"first block");
        assert_eq!(reader.open(1, &second, &sealed[27..], &mut []), Ok(()));
        assert_eq!(reader.open(1, &second, &sealed[30..], &mut []), Err(OpenError::TooShort { len: 13 }));
    }

    #[test]
    fn every_part_of_the_place_is_in_the_hash_and_all_but_the_epoch_number_in_the_key() {
        let cipher = SegmentCipher::new(&key(), &context());
        let mut sealed = Vec::new();
        let hash = cipher.seal(5, b"content", &mut sealed);
        let mut out = [0; 7];
        assert_eq!(cipher.open(6, &hash, &sealed, &mut out), Err(OpenError::WrongHash { index: 6 }));
        let moved = [
            SegmentContext { tree: TreeId([0; 32]), ..context() },
            SegmentContext { zone: ZoneId([0; 32]), ..context() },
            SegmentContext { segment: SegmentId([0; 32]), ..context() },
            SegmentContext { epoch: 0, ..context() },
        ];
        for place in moved {
            let other = SegmentCipher::new(&key(), &place);
            assert_eq!(other.open(5, &hash, &sealed, &mut out), Err(OpenError::WrongHash { index: 5 }));
            let forged = other.hasher().hash(5, &sealed);
            let expected = if place.epoch == 0 { Ok(()) } else { Err(OpenError::Refused) };
            assert_eq!(other.open(5, &forged, &sealed, &mut out), expected);
        }
    }

    #[test]
    fn the_tag_refuses_what_a_forged_hash_lets_through() {
        let cipher = SegmentCipher::new(&key(), &context());
        let mut sealed = Vec::new();
        cipher.seal(5, b"content", &mut sealed);
        sealed[0] ^= 1;
        let forged = cipher.hasher().hash(5, &sealed);
        let mut out = [7; 7];
        assert_eq!(cipher.open(5, &forged, &sealed, &mut out), Err(OpenError::Refused));
        assert_eq!(out, [0; 7]);
    }

    #[test]
    #[should_panic(expected = "sealed twice")]
    fn an_index_is_sealed_once() {
        let cipher = SegmentCipher::new(&key(), &context());
        cipher.seal(70, b"one", &mut Vec::new());
        cipher.seal(6, b"two", &mut Vec::new());
        cipher.seal(70, b"three", &mut Vec::new());
    }

    #[test]
    #[should_panic(expected = "beyond the 4096")]
    fn a_segment_ends() {
        SegmentCipher::new(&key(), &context()).seal(4096, b"", &mut Vec::new());
    }
}
