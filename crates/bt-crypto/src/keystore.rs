//! Where the private keys of a principal are used, and the store that holds them in memory.

use std::fmt;

use bt_base::label::Label;
use bt_base::{Entropy, PrincipalId, TreeId};
use zeroize::Zeroizing;

use crate::agree::{AgreementKey, AgreementPublic, SharedSecret};
use crate::credential::Credential;
use crate::sign::{Signature, SigningKey};

/// The first bytes of a node key file.
const MAGIC: &[u8; 8] = b"BT-NODE\n";
/// The version of the node key file.
const VERSION: u16 = 1;
/// Bytes of a node key file: magic, version, seed, principal.
pub const NODE_KEY_SIZE: usize = 8 + 2 + 32 + 32;

/// A private key that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The other side's public key is no point of the curve.
    #[error("a public key to agree with is no point of P-256: the record that holds it is damaged or forged")]
    BadPeer,
    /// The device that holds the key did not answer as it should.
    #[error("the key store did not use its key: {why}")]
    Unavailable {
        /// What the device said.
        why: String,
    },
}

/// Where a principal's private keys are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// In a file, and in memory while in use.
    Software,
    /// In a TPM, which never gives them out.
    Tpm(TpmPlace),
}

/// The TPM that holds keys, and what their use is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmPlace {
    /// How the TPM is reached, in the form of tpm2-tss.
    pub tcti: String,
    /// What the TPM says of itself; None while it has not been asked.
    pub maker: Option<TpmMaker>,
    /// The PCRs whose values the keys are bound to; empty where there are none.
    pub pcrs: Vec<u8>,
    /// Whether a counter in the TPM tells older copies of the node's directory.
    pub has_counter: bool,
}

/// Who made a TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmMaker {
    /// The manufacturer's four letters (TPM_PT_MANUFACTURER), without spaces at the end.
    pub manufacturer: String,
    /// It is a program, as tests use it: who may read that program's files has the keys.
    pub is_software: bool,
}

/// The private keys of one principal, usable but not readable.
pub trait KeyStore: Send + Sync {
    /// The public half.
    fn credential(&self) -> &Credential;
    /// Signs `message` for one purpose in one tree.
    fn sign(&self, label: Label, tree: &TreeId, message: &[u8]) -> Result<Signature, KeyError>;
    /// The secret shared with the holder of `peer`'s private key.
    fn agree(&self, peer: &AgreementPublic) -> Result<SharedSecret, KeyError>;
    /// Where the keys are.
    fn place(&self) -> KeyPlace;
}

/// A node key file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeKeyError {
    /// The first bytes are not those of a node key file.
    #[error("this is not a node key file: check the path")]
    NotANodeKey,
    /// The file was written by a newer program.
    #[error("the node key file has version {found}, this program knows {VERSION}: use a newer bt")]
    TooNew {
        /// The version found.
        found: u16,
    },
    /// The bytes were cut or changed.
    #[error("the node key file is damaged: restore it from a backup, or admit this node again with new keys")]
    Damaged,
}

/// A key store whose two keys are derived from one seed and live in memory.
pub struct SoftwareKeyStore {
    seed: Zeroizing<[u8; 32]>,
    credential: Credential,
    signing: SigningKey,
    agreement: AgreementKey,
}

impl SoftwareKeyStore {
    /// The store that a seed gives.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let signing = SigningKey::from_seed(seed);
        let agreement = AgreementKey::from_seed(seed);
        let credential = Credential::new(signing.verifying_key(), agreement.public());
        Self { seed: Zeroizing::new(*seed), credential, signing, agreement }
    }

    /// A store with new keys.
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        entropy.fill(&mut *seed);
        Self::from_seed(&seed)
    }

    /// What both keys come from.
    pub(crate) fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The node key file: magic, version, seed, and the principal's id, which tells damage.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(NODE_KEY_SIZE));
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&*self.seed);
        bytes.extend_from_slice(&self.credential.id().0);
        bytes
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, NodeKeyError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(NodeKeyError::NotANodeKey)?;
        let (version, rest) = rest.split_first_chunk().ok_or(NodeKeyError::Damaged)?;
        let found = u16::from_le_bytes(*version);
        if found > VERSION {
            return Err(NodeKeyError::TooNew { found });
        }
        let (seed, rest) = rest.split_first_chunk::<32>().ok_or(NodeKeyError::Damaged)?;
        let principal = PrincipalId(rest.try_into().map_err(|_| NodeKeyError::Damaged)?);
        let store = Self::from_seed(seed);
        if found != VERSION || store.credential.id() != principal {
            return Err(NodeKeyError::Damaged);
        }
        Ok(store)
    }
}

impl KeyStore for SoftwareKeyStore {
    fn credential(&self) -> &Credential {
        &self.credential
    }

    fn sign(&self, label: Label, tree: &TreeId, message: &[u8]) -> Result<Signature, KeyError> {
        Ok(self.signing.sign(label, tree, message))
    }

    fn agree(&self, peer: &AgreementPublic) -> Result<SharedSecret, KeyError> {
        self.agreement.agree(peer)
    }

    fn place(&self) -> KeyPlace {
        KeyPlace::Software
    }
}

impl fmt::Debug for SoftwareKeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftwareKeyStore({:?})", self.credential.id())
    }
}

#[cfg(test)]
mod tests {
    use bt_base::label::SESSION;

    use super::*;
    use crate::labelled::NO_TREE;
    use crate::testing::Seeded;

    #[test]
    fn a_store_survives_its_file() {
        let store = SoftwareKeyStore::generate(&mut Seeded::new(6));
        let bytes = store.encode();
        assert_eq!(bytes.len(), NODE_KEY_SIZE);
        let again = SoftwareKeyStore::decode(&bytes).unwrap();
        assert_eq!(again.credential(), store.credential());
        let signature = again.sign(SESSION, &NO_TREE, b"message").unwrap();
        assert_eq!(store.credential().verifying_key.verify(SESSION, &NO_TREE, b"message", &signature), Ok(()));
        assert_eq!(store.place(), KeyPlace::Software);
    }

    #[test]
    fn the_two_keys_of_a_seed_differ() {
        let store = SoftwareKeyStore::from_seed(&[7; 32]);
        assert_ne!(store.credential().verifying_key.0, store.credential().agreement_public.0);
    }

    #[test]
    fn damage_is_told_from_a_wrong_file_and_a_newer_one() {
        let bytes = SoftwareKeyStore::from_seed(&[7; 32]).encode();
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0x40;
            let expected = match at {
                0..8 => NodeKeyError::NotANodeKey,
                8 => NodeKeyError::TooNew { found: 0x41 },
                9 => NodeKeyError::TooNew { found: 0x4001 },
                _ => NodeKeyError::Damaged,
            };
            assert_eq!(SoftwareKeyStore::decode(&damaged).unwrap_err(), expected, "byte {at}");
            let cut = SoftwareKeyStore::decode(&bytes[..at]).unwrap_err();
            assert_eq!(cut, if at < 8 { NodeKeyError::NotANodeKey } else { NodeKeyError::Damaged }, "cut at {at}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert_eq!(SoftwareKeyStore::decode(&longer).unwrap_err(), NodeKeyError::Damaged);
    }
}
