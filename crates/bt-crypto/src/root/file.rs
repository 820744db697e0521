//! The root file: the seed under a passphrase, by Argon2id and AES-256-GCM.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `BT-ROOT\n` |
//! | 8 | 2 | version, 1 (u16 LE) |
//! | 10 | 4 | Argon2id memory, KiB (u32 LE) |
//! | 14 | 4 | Argon2id passes (u32 LE) |
//! | 18 | 4 | Argon2id lanes (u32 LE) |
//! | 22 | 32 | salt |
//! | 54 | 48 | sealed seed and tag |
//! | 102 | 32 | hash of all before |
//!
//! Magic, version and the hash at the end keep their place in every version, so that a damaged file and one
//! that is too new are told apart.

use argon2::{Algorithm, Argon2, Params, Version};
use bt_base::Entropy;
use bt_base::label::ROOT_FILE;
use zeroize::Zeroizing;

use super::RootSeed;
use crate::derive::derive_key;
use crate::gcm::{AesGcm, NONCE_SIZE};
use crate::labelled::{NO_TREE, labelled_hash};

const MAGIC: &[u8; 8] = b"BT-ROOT\n";
const VERSION: u16 = 1;
const HEADER: usize = 22;
const SALT: usize = 32;
const HASH: usize = 32;
/// Bytes of a root file of this version.
pub const ROOT_FILE_SIZE: usize = HEADER + SALT + 48 + HASH;

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
    /// What a root file is protected with unless the user asks for another: 256 MiB, 3 passes.
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

    fn stretch(self, passphrase: &[u8], salt: &[u8]) -> Zeroizing<[u8; 32]> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).expect("the cost is bounded");
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase, salt, &mut *key)
            .expect("Argon2 takes a salt of 32 bytes and any passphrase below 4 GiB");
        derive_key(&*key, ROOT_FILE, &NO_TREE, &[])
    }
}

/// A root file that does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RootFileError {
    /// The first bytes are not those of a root file.
    #[error("this is not a root file: check the path")]
    NotARootFile,
    /// The file was written by a newer program.
    #[error("the root file has version {found}, this program knows {VERSION}: use a newer bt")]
    TooNew {
        /// The version found.
        found: u16,
    },
    /// The bytes were cut or changed.
    #[error("the root file is damaged: take another copy, or restore the root from its 24 words")]
    Damaged,
    /// The file asks for more memory or time than a root file may.
    #[error("the root file was not written by this program: {0}")]
    Cost(#[from] CostError),
    /// The file is whole, the passphrase does not open it.
    #[error("the passphrase does not open the root file: try again, or restore the root from its 24 words")]
    WrongPassphrase,
}

impl RootSeed {
    /// The root file: the seed sealed under a passphrase.
    pub fn seal_file(&self, passphrase: &[u8], cost: PassphraseCost, entropy: &mut dyn Entropy) -> Vec<u8> {
        let mut file = Vec::with_capacity(ROOT_FILE_SIZE);
        file.extend_from_slice(MAGIC);
        file.extend_from_slice(&VERSION.to_le_bytes());
        for parameter in [cost.memory_kib, cost.passes, cost.lanes] {
            file.extend_from_slice(&parameter.to_le_bytes());
        }
        let mut salt = [0; SALT];
        entropy.fill(&mut salt);
        file.extend_from_slice(&salt);
        let associated = file.clone();
        // A fresh salt gives a fresh key, so the nonce can be constant.
        AesGcm::new(cost.stretch(passphrase, &salt)).seal(&[0; NONCE_SIZE], &associated, &self.0, &mut file);
        let hash = labelled_hash(ROOT_FILE, &NO_TREE, &[&file]);
        file.extend_from_slice(&hash);
        file
    }

    /// Whether a root file is whole, as far as that can be told without the passphrase: which bytes were written.
    pub fn check_file(bytes: &[u8]) -> Result<(), RootFileError> {
        check(bytes).map(|_| ())
    }

    /// Opens what [`Self::seal_file`] wrote.
    pub fn open_file(bytes: &[u8], passphrase: &[u8]) -> Result<Self, RootFileError> {
        let (cost, body) = check(bytes)?;
        let (associated, sealed) = body.split_at(HEADER + SALT);
        let mut seed = Self([0; 32]);
        AesGcm::new(cost.stretch(passphrase, &associated[HEADER..]))
            .open(&[0; NONCE_SIZE], associated, sealed, &mut seed.0)
            .map_err(|_| RootFileError::WrongPassphrase)?;
        Ok(seed)
    }
}

/// Checks all that can be checked without the passphrase; gives the cost and the file without its hash.
fn check(bytes: &[u8]) -> Result<(PassphraseCost, &[u8]), RootFileError> {
    if !bytes.starts_with(MAGIC) {
        return Err(RootFileError::NotARootFile);
    }
    let (body, hash) = bytes.split_last_chunk::<HASH>().ok_or(RootFileError::Damaged)?;
    let found = body.get(8..10).ok_or(RootFileError::Damaged)?;
    if labelled_hash(ROOT_FILE, &NO_TREE, &[body]) != *hash {
        return Err(RootFileError::Damaged);
    }
    let found = u16::from_le_bytes([found[0], found[1]]);
    if found > VERSION {
        return Err(RootFileError::TooNew { found });
    }
    if found != VERSION || bytes.len() != ROOT_FILE_SIZE {
        return Err(RootFileError::Damaged);
    }
    let parameter = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().expect("four bytes are four bytes"));
    Ok((PassphraseCost::new(parameter(10), parameter(14), parameter(18))?, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Seeded;

    const PASSPHRASE: &[u8] = b"correct horse";

    fn file() -> (RootSeed, Vec<u8>) {
        let mut entropy = Seeded::new(12);
        let seed = RootSeed::generate(&mut entropy);
        let bytes = seed.seal_file(PASSPHRASE, PassphraseCost::LEAST, &mut entropy);
        (seed, bytes)
    }

    /// Changes a file as one who knows the format would: the hash at the end holds again.
    fn forge(bytes: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut body = bytes[..bytes.len() - HASH].to_vec();
        change(&mut body);
        let hash = labelled_hash(ROOT_FILE, &NO_TREE, &[&body]);
        [body, hash.to_vec()].concat()
    }

    #[test]
    fn every_flipped_bit_is_found_without_the_passphrase() {
        let (_, file) = file();
        assert_eq!(RootSeed::check_file(&file), Ok(()));
        for byte in 0..file.len() {
            let mut damaged = file.clone();
            damaged[byte] ^= 1;
            assert!(RootSeed::check_file(&damaged).is_err(), "byte {byte}");
        }
    }

    #[test]
    fn the_passphrase_opens_the_file_and_no_other_does() {
        let (seed, bytes) = file();
        assert_eq!(bytes.len(), ROOT_FILE_SIZE);
        assert_eq!(RootSeed::open_file(&bytes, PASSPHRASE), Ok(seed));
        assert_eq!(RootSeed::open_file(&bytes, b"wrong"), Err(RootFileError::WrongPassphrase));
        assert_eq!(RootSeed::open_file(&bytes, b""), Err(RootFileError::WrongPassphrase));
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_damage() {
        let (_, bytes) = file();
        for at in 0..bytes.len() {
            let expected = if at < 8 { RootFileError::NotARootFile } else { RootFileError::Damaged };
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert_eq!(RootSeed::open_file(&damaged, PASSPHRASE), Err(expected), "byte {at} bit {bit}");
            }
            assert_eq!(RootSeed::open_file(&bytes[..at], PASSPHRASE), Err(expected), "cut at {at}");
        }
        let longer = [bytes, vec![0]].concat();
        assert_eq!(RootSeed::open_file(&longer, PASSPHRASE), Err(RootFileError::Damaged));
    }

    #[test]
    fn a_newer_file_is_not_a_damaged_one() {
        let (_, bytes) = file();
        let newer = forge(&bytes, |body| body[8] = 2);
        assert_eq!(RootSeed::open_file(&newer, PASSPHRASE), Err(RootFileError::TooNew { found: 2 }));
        let older = forge(&bytes, |body| body[8] = 0);
        assert_eq!(RootSeed::open_file(&older, PASSPHRASE), Err(RootFileError::Damaged));
    }

    #[test]
    fn a_forged_cost_is_refused_before_it_is_paid() {
        let (_, bytes) = file();
        for (at, value) in [(10, u32::MAX), (14, u32::MAX), (18, u32::MAX), (10, 7), (14, 0), (18, 0)] {
            let forged = forge(&bytes, |body| body[at..at + 4].copy_from_slice(&value.to_le_bytes()));
            let opened = RootSeed::open_file(&forged, PASSPHRASE);
            assert!(matches!(opened, Err(RootFileError::Cost(_))), "{value} at {at}: {opened:?}");
        }
    }

    #[test]
    fn a_forged_header_does_not_open() {
        let (_, bytes) = file();
        for at in [14, 22, 53, 54, 101] {
            let forged = forge(&bytes, |body| body[at] ^= 2);
            assert_eq!(RootSeed::open_file(&forged, PASSPHRASE), Err(RootFileError::WrongPassphrase), "byte {at}");
        }
    }

    #[test]
    fn costs_are_bounded() {
        let standard = PassphraseCost::STANDARD;
        assert_eq!(PassphraseCost::new(standard.memory_kib, standard.passes, standard.lanes), Ok(standard));
        assert!(PassphraseCost::new(2 * 1024 * 1024 + 1, 1, 1).is_err());
        assert!(PassphraseCost::new(31, 1, 4).is_err());
        assert!(PassphraseCost::new(32, 1, 4).is_ok());
    }
}
