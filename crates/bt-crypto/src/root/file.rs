//! The root file: the seed under a passphrase.
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

use bt_base::Entropy;
use bt_base::label::ROOT_FILE;

use super::RootSeed;
use crate::sealed_file::{CostError, PassphraseCost, SealedFile, SealedFileError, VERSION};

const FILE: SealedFile = SealedFile { magic: b"BT-ROOT\n", label: ROOT_FILE, public: 0 };

/// Bytes of a root file of this version.
pub const ROOT_FILE_SIZE: usize = FILE.size();

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

impl From<SealedFileError> for RootFileError {
    fn from(error: SealedFileError) -> Self {
        match error {
            SealedFileError::OtherMagic => Self::NotARootFile,
            SealedFileError::TooNew { found } => Self::TooNew { found },
            SealedFileError::Damaged => Self::Damaged,
            SealedFileError::Cost(error) => Self::Cost(error),
            SealedFileError::WrongPassphrase => Self::WrongPassphrase,
        }
    }
}

impl RootSeed {
    /// The root file: the seed sealed under a passphrase.
    pub fn seal_file(&self, passphrase: &[u8], cost: PassphraseCost, entropy: &mut dyn Entropy) -> Vec<u8> {
        FILE.seal(&[], &self.0, passphrase, cost, entropy)
    }

    /// Whether a root file is whole, as far as that can be told without the passphrase: which bytes were written.
    pub fn check_file(bytes: &[u8]) -> Result<(), RootFileError> {
        Ok(FILE.public(bytes).map(|_| ())?)
    }

    /// Opens what [`Self::seal_file`] wrote.
    pub fn open_file(bytes: &[u8], passphrase: &[u8]) -> Result<Self, RootFileError> {
        Ok(FILE.open(bytes, passphrase).map(|seed| Self(*seed))?)
    }
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
        let newer = FILE.forge(&bytes, |body| body[8] = 2);
        assert_eq!(RootSeed::open_file(&newer, PASSPHRASE), Err(RootFileError::TooNew { found: 2 }));
        let older = FILE.forge(&bytes, |body| body[8] = 0);
        assert_eq!(RootSeed::open_file(&older, PASSPHRASE), Err(RootFileError::Damaged));
    }

    #[test]
    fn a_forged_cost_is_refused_before_it_is_paid() {
        let (_, bytes) = file();
        for (at, value) in [(10, u32::MAX), (14, u32::MAX), (18, u32::MAX), (10, 7), (14, 0), (18, 0)] {
            let forged = FILE.forge(&bytes, |body| body[at..at + 4].copy_from_slice(&value.to_le_bytes()));
            let opened = RootSeed::open_file(&forged, PASSPHRASE);
            assert!(matches!(opened, Err(RootFileError::Cost(_))), "{value} at {at}: {opened:?}");
        }
    }

    #[test]
    fn a_forged_header_does_not_open() {
        let (_, bytes) = file();
        for at in [14, 22, 53, 54, 101] {
            let forged = FILE.forge(&bytes, |body| body[at] ^= 2);
            assert_eq!(RootSeed::open_file(&forged, PASSPHRASE), Err(RootFileError::WrongPassphrase), "byte {at}");
        }
    }
}
