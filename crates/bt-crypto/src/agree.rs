//! Key agreement: ECDH on P-256.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::Entropy;
use openssl::derive::Deriver;
use openssl::pkey::{PKey, Private};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::curve::{self, COMPRESSED};
use crate::keystore::KeyError;

/// A private key-agreement key.
pub struct AgreementKey {
    key: PKey<Private>,
    public: AgreementPublic,
}

impl AgreementKey {
    /// The key that a seed gives: its scalar is derived with HKDF under (`CREDENTIAL`, "agreement", attempt).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self::from_scalar(&curve::scalar_from_seed(seed, "agreement"))
    }

    /// A new key, for the life of one sealing or longer.
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        entropy.fill(&mut *seed);
        Self::from_seed(&seed)
    }

    pub(crate) fn from_scalar(scalar: &[u8; 32]) -> Self {
        let key = curve::key_from_scalar(scalar);
        let public = AgreementPublic(curve::compressed(key.public_key()));
        Self { key: PKey::from_ec_key(key).expect("an EC key is a key"), public }
    }

    /// The public half.
    pub fn public(&self) -> AgreementPublic {
        self.public
    }

    /// The secret shared with the holder of `peer`'s private key.
    pub fn agree(&self, peer: &AgreementPublic) -> Result<SharedSecret, KeyError> {
        let peer = curve::public_from_bytes(&peer.0).ok_or(KeyError::BadPeer)?;
        let mut secret = SharedSecret([0; 32]);
        let derive = || {
            let peer = PKey::from_ec_key(peer)?;
            let mut deriver = Deriver::new(&self.key)?;
            deriver.set_peer(&peer)?;
            deriver.derive(&mut secret.0)
        };
        let len = derive().map_err(|_| KeyError::BadPeer)?;
        assert_eq!(len, 32, "P-256 agreement gives 32 bytes");
        Ok(secret)
    }
}

impl fmt::Debug for AgreementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgreementKey(secret of {:?})", self.public)
    }
}

/// A public key-agreement key, a compressed SEC1 point. The bytes may be no point: then agreeing fails.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct AgreementPublic(pub [u8; COMPRESSED]);

impl AgreementPublic {
    /// The key with these coordinates (big endian), as a TPM names its points; None when they are no point of the curve.
    pub fn from_coordinates(x: &[u8; 32], y: &[u8; 32]) -> Option<Self> {
        curve::compressed_coordinates(x, y).map(Self)
    }

    /// The point's coordinates, big endian; None when the bytes are no point of the curve.
    pub fn coordinates(&self) -> Option<([u8; 32], [u8; 32])> {
        curve::coordinates(&self.0)
    }
}

impl fmt::Debug for AgreementPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgreementPublic(")?;
        self.0[..5].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// What two principals share after an agreement: the x coordinate, big endian. Derive keys from it, never use
/// it as one.
#[derive(ZeroizeOnDrop)]
pub struct SharedSecret([u8; 32]);

impl SharedSecret {
    /// A secret that another key store (a TPM) agreed on.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, to derive keys from.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Seeded, hex, hex_array};

    /// NIST CAVP, ECC CDH primitive, P-256, count 0.
    #[test]
    fn agreement_gives_the_published_secret() {
        let key =
            AgreementKey::from_scalar(&hex_array("7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534"));
        let peer = curve::public_from_bytes(&hex("04 700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287
             db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac"))
        .unwrap();
        let peer = AgreementPublic(curve::compressed(peer.public_key()));
        assert_eq!(
            key.agree(&peer).unwrap().as_bytes().to_vec(),
            hex("46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b")
        );
    }

    #[test]
    fn both_sides_agree() {
        let mut entropy = Seeded::new(4);
        let (one, two) = (AgreementKey::generate(&mut entropy), AgreementKey::generate(&mut entropy));
        let secret = one.agree(&two.public()).unwrap();
        assert_eq!(secret.as_bytes(), two.agree(&one.public()).unwrap().as_bytes());
        assert_ne!(secret.as_bytes(), one.agree(&one.public()).unwrap().as_bytes());
        assert_eq!(format!("{secret:?}"), "SharedSecret(secret)");
    }

    #[test]
    fn a_peer_that_is_no_point_is_refused() {
        let key = AgreementKey::generate(&mut Seeded::new(5));
        assert_eq!(key.agree(&AgreementPublic([0; 33])).unwrap_err(), KeyError::BadPeer);
    }
}
