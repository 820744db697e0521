//! A principal's file: the public credential for everyone who reads it, the seed of its keys under a passphrase.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `BT-PRIN\n` |
//! | 8 | 2 | version, 1 (u16 LE) |
//! | 10 | 4 | Argon2id memory, KiB (u32 LE) |
//! | 14 | 4 | Argon2id passes (u32 LE) |
//! | 18 | 4 | Argon2id lanes (u32 LE) |
//! | 22 | 32 | salt |
//! | 54 | 70 | credential |
//! | 124 | 48 | sealed seed and tag |
//! | 172 | 32 | hash of all before |

use bt_base::Entropy;
use bt_base::codec::{decode_exact, encode};
use bt_base::label::PRINCIPAL_FILE;

use crate::credential::{CREDENTIAL_SIZE, Credential};
use crate::keystore::{KeyStore, SoftwareKeyStore};
use crate::sealed_file::{CostError, PassphraseCost, SealedFile, SealedFileError, VERSION};

const FILE: SealedFile = SealedFile { magic: b"BT-PRIN\n", label: PRINCIPAL_FILE, public: CREDENTIAL_SIZE };

/// Bytes of a principal's file of this version.
pub const PRINCIPAL_FILE_SIZE: usize = FILE.size();

/// A principal's file that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrincipalFileError {
    /// The first bytes are not those of a principal's file.
    #[error("this is not the credential file of a principal: check the path")]
    NotAPrincipalFile,
    /// The file was written by a newer program.
    #[error("the credential file has version {found}, this program knows {VERSION}: use a newer bt")]
    TooNew {
        /// The version found.
        found: u16,
    },
    /// The bytes were cut or changed.
    #[error("the credential file is damaged: take another copy of it")]
    Damaged,
    /// The file asks for more memory or time than one may.
    #[error("the credential file was not written by this program: {0}")]
    Cost(#[from] CostError),
    /// The file is whole, the passphrase does not open it.
    #[error("the passphrase does not open the credential file: try again")]
    WrongPassphrase,
    /// The keys inside are not those of the public half: somebody who knows the passphrase put them together.
    #[error("the credential file holds other keys than it shows: do not use it, take another copy")]
    OtherKeys,
}

impl From<SealedFileError> for PrincipalFileError {
    fn from(error: SealedFileError) -> Self {
        match error {
            SealedFileError::OtherMagic => Self::NotAPrincipalFile,
            SealedFileError::TooNew { found } => Self::TooNew { found },
            SealedFileError::Damaged => Self::Damaged,
            SealedFileError::Cost(error) => Self::Cost(error),
            SealedFileError::WrongPassphrase => Self::WrongPassphrase,
        }
    }
}

impl SoftwareKeyStore {
    /// The principal's file: the public credential as it is, the seed sealed under a passphrase.
    pub fn seal_file(&self, passphrase: &[u8], cost: PassphraseCost, entropy: &mut dyn Entropy) -> Vec<u8> {
        FILE.seal(&encode(self.credential()), self.seed(), passphrase, cost, entropy)
    }

    /// Opens what [`Self::seal_file`] wrote. The passphrase authenticates the public half too.
    pub fn open_file(bytes: &[u8], passphrase: &[u8]) -> Result<Self, PrincipalFileError> {
        let shown = Credential::of_file(bytes)?;
        let store = Self::from_seed(&*FILE.open(bytes, passphrase)?);
        if *store.credential() == shown { Ok(store) } else { Err(PrincipalFileError::OtherKeys) }
    }
}

impl Credential {
    /// The public half of a principal's file, readable without its passphrase. Who can write the file can put another
    /// principal's there; only opening the file with its passphrase proves that its keys belong to it.
    pub fn of_file(bytes: &[u8]) -> Result<Self, PrincipalFileError> {
        let public = FILE.public(bytes)?;
        decode_exact("credential", public, CREDENTIAL_SIZE).map_err(|_| PrincipalFileError::Damaged)
    }

    /// Whether these are the first bytes of a principal's file, whole or not.
    pub fn is_file(bytes: &[u8]) -> bool {
        bytes.starts_with(FILE.magic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Seeded;

    const PASSPHRASE: &[u8] = b"correct horse";

    fn file() -> (SoftwareKeyStore, Vec<u8>) {
        let mut entropy = Seeded::new(13);
        let store = SoftwareKeyStore::generate(&mut entropy);
        let bytes = store.seal_file(PASSPHRASE, PassphraseCost::LEAST, &mut entropy);
        (store, bytes)
    }

    fn opened(bytes: &[u8], passphrase: &[u8]) -> Result<Credential, PrincipalFileError> {
        SoftwareKeyStore::open_file(bytes, passphrase).map(|store| *store.credential())
    }

    #[test]
    fn the_passphrase_opens_the_file_and_no_other_does() {
        let (store, bytes) = file();
        assert_eq!(bytes.len(), PRINCIPAL_FILE_SIZE);
        assert_eq!(opened(&bytes, PASSPHRASE), Ok(*store.credential()));
        for wrong in [&b"wrong"[..], b"", b"correct horse "] {
            assert_eq!(opened(&bytes, wrong), Err(PrincipalFileError::WrongPassphrase));
        }
    }

    #[test]
    fn the_public_half_is_readable_without_the_passphrase() {
        let (store, bytes) = file();
        assert_eq!(Credential::of_file(&bytes), Ok(*store.credential()));
        assert!(Credential::is_file(&bytes) && !Credential::is_file(&bytes[1..]));
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_found_without_the_passphrase() {
        let (_, bytes) = file();
        for at in 0..bytes.len() {
            let expected = if at < 8 { PrincipalFileError::NotAPrincipalFile } else { PrincipalFileError::Damaged };
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert_eq!(Credential::of_file(&damaged), Err(expected), "byte {at} bit {bit}");
                assert_eq!(opened(&damaged, PASSPHRASE), Err(expected), "byte {at} bit {bit}");
            }
            assert_eq!(Credential::of_file(&bytes[..at]), Err(expected), "cut at {at}");
        }
        let longer = [bytes, vec![0]].concat();
        assert_eq!(Credential::of_file(&longer), Err(PrincipalFileError::Damaged));
    }

    #[test]
    fn a_public_half_that_was_put_there_by_another_does_not_open() {
        let (_, bytes) = file();
        let other = encode(SoftwareKeyStore::from_seed(&[9; 32]).credential());
        let forged = FILE.forge(&bytes, |body| body[54..124].copy_from_slice(&other));
        assert!(Credential::of_file(&forged).is_ok(), "without the passphrase nobody can tell");
        assert_eq!(opened(&forged, PASSPHRASE), Err(PrincipalFileError::WrongPassphrase));
        // One who knows the passphrase can make a whole new file, but not one whose halves differ.
        let seed = [7; 32];
        let mixed = FILE.seal(&other, &seed, PASSPHRASE, PassphraseCost::LEAST, &mut Seeded::new(1));
        assert_eq!(opened(&mixed, PASSPHRASE), Err(PrincipalFileError::OtherKeys));
    }

    #[test]
    fn newer_files_and_forged_costs_are_told_apart() {
        let (_, bytes) = file();
        let newer = FILE.forge(&bytes, |body| body[8] = 2);
        assert_eq!(Credential::of_file(&newer), Err(PrincipalFileError::TooNew { found: 2 }));
        let credential = FILE.forge(&bytes, |body| body[54] = 2);
        assert_eq!(Credential::of_file(&credential), Err(PrincipalFileError::Damaged));
        let costly = FILE.forge(&bytes, |body| body[10..14].copy_from_slice(&u32::MAX.to_le_bytes()));
        assert!(matches!(opened(&costly, PASSPHRASE), Err(PrincipalFileError::Cost(_))));
    }
}
