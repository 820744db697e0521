//! A 32-byte secret in a file behind a passphrase, by Argon2id and AES-256-GCM: the shape of the root file and of
//! a principal's.
//!
//! | bytes | field |
//! |---|---|
//! | 8 | magic |
//! | 2 | version, 1 (u16 LE) |
//! | 4 | Argon2id memory, KiB (u32 LE) |
//! | 4 | Argon2id passes (u32 LE) |
//! | 4 | Argon2id lanes (u32 LE) |
//! | 32 | salt |
//! | n | public bytes; how many is fixed for each kind of file |
//! | 48 | sealed secret and tag; associated data is all before |
//! | 32 | hash of all before |
//!
//! Magic, version and the hash at the end keep their place in every version, so that a damaged file and one
//! that is too new are told apart.

use argon2::{Algorithm, Argon2, Params, Version};
use bt_base::Entropy;
use bt_base::label::Label;
use zeroize::Zeroizing;

use crate::derive::derive_key;
use crate::gcm::{AesGcm, NONCE_SIZE};
use crate::labelled::{NO_TREE, labelled_hash};

/// The version of all kinds of files.
pub(crate) const VERSION: u16 = 1;
const HEADER: usize = 22;
const SALT: usize = 32;
const SEALED: usize = 48;
const HASH: usize = 32;

/// A cost out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a passphrase cost of {memory_kib} KiB, {passes} passes and {lanes} lanes is out of bounds: at most 2 GiB, 64 \
     passes and 16 lanes, at least 8 KiB a lane"
)]
pub struct CostError {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// What one guess at a passphrase costs: the parameters of Argon2id (RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassphraseCost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl PassphraseCost {
    /// What a file is protected with unless the user asks for another: 256 MiB, 3 passes.
    pub const STANDARD: Self = Self { memory_kib: 256 * 1024, passes: 3, lanes: 1 };
    /// The least that Argon2 takes: for tests, and for a file that is protected by other means.
    pub const LEAST: Self = Self { memory_kib: 8, passes: 1, lanes: 1 };

    /// A cost within the bounds that a file is opened with: 8 KiB a lane to 2 GiB of memory, 1 to 64 passes, 1
    /// to 16 lanes.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, CostError> {
        let bounded = (1..=64).contains(&passes)
            && (1..=16).contains(&lanes)
            && (8 * lanes..=2 * 1024 * 1024).contains(&memory_kib);
        if bounded { Ok(Self { memory_kib, passes, lanes }) } else { Err(CostError { memory_kib, passes, lanes }) }
    }

    fn stretch(self, label: Label, passphrase: &[u8], salt: &[u8]) -> Zeroizing<[u8; 32]> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).expect("the cost is bounded");
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase, salt, &mut *key)
            .expect("Argon2 takes a salt of 32 bytes and any passphrase below 4 GiB");
        derive_key(&*key, label, &NO_TREE, &[])
    }
}

/// Why a file does not open; each kind of file says it in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SealedFileError {
    OtherMagic,
    TooNew { found: u16 },
    Damaged,
    Cost(CostError),
    WrongPassphrase,
}

/// One kind of file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SealedFile {
    /// The first bytes.
    pub magic: &'static [u8; 8],
    /// What its key and hash are for.
    pub label: Label,
    /// How many public bytes it has.
    pub public: usize,
}

impl SealedFile {
    /// Bytes of a file of this kind.
    pub(crate) const fn size(self) -> usize {
        HEADER + SALT + self.public + SEALED + HASH
    }

    /// The file: `public` as it is, `secret` under a passphrase.
    pub(crate) fn seal(
        self,
        public: &[u8],
        secret: &[u8; 32],
        passphrase: &[u8],
        cost: PassphraseCost,
        entropy: &mut dyn Entropy,
    ) -> Vec<u8> {
        assert_eq!(public.len(), self.public, "the public bytes of a kind of file have one length");
        let mut file = Vec::with_capacity(self.size());
        file.extend_from_slice(self.magic);
        file.extend_from_slice(&VERSION.to_le_bytes());
        for parameter in [cost.memory_kib, cost.passes, cost.lanes] {
            file.extend_from_slice(&parameter.to_le_bytes());
        }
        let mut salt = [0; SALT];
        entropy.fill(&mut salt);
        file.extend_from_slice(&salt);
        file.extend_from_slice(public);
        let associated = file.clone();
        // A fresh salt gives a fresh key, so the nonce can be constant.
        let key = cost.stretch(self.label, passphrase, &salt);
        AesGcm::new(key).seal(&[0; NONCE_SIZE], &associated, secret, &mut file);
        let hash = labelled_hash(self.label, &NO_TREE, &[&file]);
        file.extend_from_slice(&hash);
        file
    }

    /// The secret; the public bytes are then authentic too.
    pub(crate) fn open(self, bytes: &[u8], passphrase: &[u8]) -> Result<Zeroizing<[u8; 32]>, SealedFileError> {
        let (cost, body) = self.check(bytes)?;
        let (associated, sealed) = body.split_at(HEADER + SALT + self.public);
        let mut secret = Zeroizing::new([0; 32]);
        AesGcm::new(cost.stretch(self.label, passphrase, &associated[HEADER..][..SALT]))
            .open(&[0; NONCE_SIZE], associated, sealed, &mut *secret)
            .map_err(|_| SealedFileError::WrongPassphrase)?;
        Ok(secret)
    }

    /// The public bytes, as far as they can be trusted without the passphrase: nobody changed them by accident.
    pub(crate) fn public(self, bytes: &[u8]) -> Result<&[u8], SealedFileError> {
        self.check(bytes).map(|(_, body)| &body[HEADER + SALT..][..self.public])
    }

    /// Checks all that can be checked without the passphrase; gives the cost and the file without its hash.
    fn check(self, bytes: &[u8]) -> Result<(PassphraseCost, &[u8]), SealedFileError> {
        if !bytes.starts_with(self.magic) {
            return Err(SealedFileError::OtherMagic);
        }
        let (body, hash) = bytes.split_last_chunk::<HASH>().ok_or(SealedFileError::Damaged)?;
        let found = body.get(8..10).ok_or(SealedFileError::Damaged)?;
        if labelled_hash(self.label, &NO_TREE, &[body]) != *hash {
            return Err(SealedFileError::Damaged);
        }
        let found = u16::from_le_bytes([found[0], found[1]]);
        if found > VERSION {
            return Err(SealedFileError::TooNew { found });
        }
        if found != VERSION || bytes.len() != self.size() {
            return Err(SealedFileError::Damaged);
        }
        let parameter = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().expect("four bytes are four bytes"));
        let cost = PassphraseCost::new(parameter(10), parameter(14), parameter(18)).map_err(SealedFileError::Cost)?;
        Ok((cost, body))
    }
}

#[cfg(test)]
impl SealedFile {
    /// Changes a file as one who knows the format would: the hash at the end holds again.
    pub(crate) fn forge(self, bytes: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut body = bytes[..bytes.len() - HASH].to_vec();
        change(&mut body);
        let hash = labelled_hash(self.label, &NO_TREE, &[&body]);
        [body, hash.to_vec()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_bounded() {
        let standard = PassphraseCost::STANDARD;
        assert_eq!(PassphraseCost::new(standard.memory_kib, standard.passes, standard.lanes), Ok(standard));
        assert!(PassphraseCost::new(2 * 1024 * 1024 + 1, 1, 1).is_err());
        assert!(PassphraseCost::new(31, 1, 4).is_err());
        assert!(PassphraseCost::new(32, 1, 4).is_ok());
    }
}
