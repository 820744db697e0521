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
