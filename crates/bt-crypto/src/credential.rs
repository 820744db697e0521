//! The public keys of a principal; their hash is its name.

use std::io::{Error, ErrorKind, Read, Result as IoResult};

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::PrincipalId;
use bt_base::codec::encode;
use bt_base::label::CREDENTIAL;

use crate::agree::AgreementPublic;
use crate::labelled::{NO_TREE, labelled_hash};
use crate::sign::VerifyingKey;

/// The version of the credential format.
pub const CREDENTIAL_VERSION: u16 = 1;
/// Bytes of an encoded credential of this version.
pub const CREDENTIAL_SIZE: usize = 70;

/// How a principal signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum SigningAlgorithm {
    /// ECDSA on P-256 with SHA-256, low s.
    EcdsaP256Sha256 = 1,
}

/// How a principal agrees on secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum AgreementAlgorithm {
    /// ECDH on P-256.
    EcdhP256 = 1,
}

/// The public keys of a principal with the algorithms they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Credential {
    /// The format, [`CREDENTIAL_VERSION`].
    #[borsh(deserialize_with = "known_version")]
    pub version: u16,
    /// How it signs.
    pub signing_algorithm: SigningAlgorithm,
    /// What its signatures are checked with.
    pub verifying_key: VerifyingKey,
    /// How it agrees on secrets.
    pub agreement_algorithm: AgreementAlgorithm,
    /// What secrets are sealed to.
    pub agreement_public: AgreementPublic,
}

impl Credential {
    /// The credential of two P-256 keys.
    pub fn new(verifying_key: VerifyingKey, agreement_public: AgreementPublic) -> Self {
        Self {
            version: CREDENTIAL_VERSION,
            signing_algorithm: SigningAlgorithm::EcdsaP256Sha256,
            verifying_key,
            agreement_algorithm: AgreementAlgorithm::EcdhP256,
            agreement_public,
        }
    }

    /// The name of the principal: the hash of its credential.
    pub fn id(&self) -> PrincipalId {
        PrincipalId(labelled_hash(CREDENTIAL, &NO_TREE, &[&encode(self)]))
    }
}

fn known_version<R: Read>(reader: &mut R) -> IoResult<u16> {
    match u16::deserialize_reader(reader)? {
        CREDENTIAL_VERSION => Ok(CREDENTIAL_VERSION),
        other => Err(Error::new(
            ErrorKind::InvalidData,
            format!("credential version {other} is unknown here, this program knows {CREDENTIAL_VERSION}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use bt_base::codec::decode_exact;

    use super::*;

    fn credential() -> Credential {
        Credential::new(VerifyingKey([2; 33]), AgreementPublic([3; 33]))
    }

    #[test]
    fn a_credential_has_its_documented_bytes() {
        let bytes = encode(&credential());
        assert_eq!(bytes.len(), CREDENTIAL_SIZE);
        assert_eq!(bytes, [&[1, 0, 1][..], &[2; 33], &[1], &[3; 33]].concat());
        assert_eq!(decode_exact("credential", &bytes, CREDENTIAL_SIZE), Ok(credential()));
    }

    #[test]
    fn unknown_versions_and_algorithms_are_refused() {
        for at in [0, 1, 2, 36] {
            let mut bytes = encode(&credential());
            bytes[at] ^= 0x82;
            assert!(decode_exact::<Credential>("credential", &bytes, CREDENTIAL_SIZE).is_err(), "byte {at}");
        }
    }

    #[test]
    fn the_name_of_a_principal_covers_both_keys() {
        let id = credential().id();
        assert_ne!(id, Credential { verifying_key: VerifyingKey([4; 33]), ..credential() }.id());
        assert_ne!(id, Credential { agreement_public: AgreementPublic([4; 33]), ..credential() }.id());
    }
}
