//! Sealing to one principal: HPKE (RFC 9180) in base mode with DHKEM(P-256, HKDF-SHA256), HKDF-SHA256 and
//! AES-256-GCM, one message an encapsulation.

use bt_base::Entropy;
use bt_base::limits::TAG_SIZE;
use zeroize::Zeroizing;

use crate::agree::{AgreementKey, AgreementPublic, SharedSecret};
use crate::curve::{self, UNCOMPRESSED};
use crate::derive::{expand, extract};
use crate::gcm::{AesGcm, NONCE_SIZE};
use crate::keystore::{KeyError, KeyStore};

/// Bytes of an encapsulated key: an uncompressed point.
pub const ENCAPSULATED_SIZE: usize = UNCOMPRESSED;

/// "KEM", then DHKEM(P-256, HKDF-SHA256).
const KEM_SUITE: &[u8] = b"KEM\x00\x10";
/// "HPKE", then the KEM, HKDF-SHA256 and AES-256-GCM.
const HPKE_SUITE: &[u8] = b"HPKE\x00\x10\x00\x01\x00\x02";

/// A message that could not be sealed to or opened by a principal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HpkeError {
    /// The key store could not agree, or a public key is none.
    #[error("a sealed message needs a key agreement that failed: {0}")]
    Key(#[from] KeyError),
    /// The message is not for this principal, or was changed.
    #[error("a sealed message was refused: it was changed, or is not for this principal and purpose")]
    Refused,
}

/// Seals `plaintext` to `recipient`; `info` and `aad` must be the same when it is opened. Gives the
/// encapsulated key and the ciphertext with its tag.
pub fn seal(
    recipient: &AgreementPublic,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    entropy: &mut dyn Entropy,
) -> Result<([u8; ENCAPSULATED_SIZE], Vec<u8>), HpkeError> {
    seal_with(&AgreementKey::generate(entropy), recipient, info, aad, plaintext)
}

fn seal_with(
    ephemeral: &AgreementKey,
    recipient: &AgreementPublic,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<([u8; ENCAPSULATED_SIZE], Vec<u8>), HpkeError> {
    let enc = uncompressed(&ephemeral.public().0)?;
    let shared = shared_secret(&ephemeral.agree(recipient)?, &enc, &uncompressed(&recipient.0)?);
    let schedule = Schedule::new(&shared, info);
    let mut ciphertext = Vec::with_capacity(plaintext.len() + TAG_SIZE);
    AesGcm::new(schedule.key).seal(&schedule.base_nonce, aad, plaintext, &mut ciphertext);
    Ok((enc, ciphertext))
}

/// Opens what [`seal`] sealed to the principal of `store`.
pub fn open(
    store: &dyn KeyStore,
    enc: &[u8; ENCAPSULATED_SIZE],
    info: &[u8],
    aad: &[u8],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, HpkeError> {
    let ephemeral = curve::public_from_bytes(enc).ok_or(KeyError::BadPeer)?;
    let ephemeral = AgreementPublic(curve::compressed(ephemeral.public_key()));
    let own = uncompressed(&store.credential().agreement_public.0)?;
    let shared = shared_secret(&store.agree(&ephemeral)?, enc, &own);
    let schedule = Schedule::new(&shared, info);
    let len = ciphertext.len().checked_sub(TAG_SIZE).ok_or(HpkeError::Refused)?;
    let mut plaintext = Zeroizing::new(vec![0; len]);
    AesGcm::new(schedule.key)
        .open(&schedule.base_nonce, aad, ciphertext, &mut plaintext)
        .map_err(|_| HpkeError::Refused)?;
    Ok(plaintext)
}

fn uncompressed(point: &[u8]) -> Result<[u8; UNCOMPRESSED], KeyError> {
    let key = curve::public_from_bytes(point).ok_or(KeyError::BadPeer)?;
    Ok(curve::uncompressed(key.public_key()))
}

/// ExtractAndExpand of section 4.1.
fn shared_secret(agreed: &SharedSecret, enc: &[u8], recipient: &[u8]) -> Zeroizing<[u8; 32]> {
    let prk = labeled_extract(KEM_SUITE, &[], b"eae_prk", agreed.as_bytes());
    labeled_expand(KEM_SUITE, &prk, b"shared_secret", &[enc, recipient])
}

/// What the key schedule of section 5.1 gives for base mode.
struct Schedule {
    key: Zeroizing<[u8; 32]>,
    base_nonce: [u8; NONCE_SIZE],
}

impl Schedule {
    fn new(shared: &[u8; 32], info: &[u8]) -> Self {
        let psk_id_hash = labeled_extract(HPKE_SUITE, &[], b"psk_id_hash", &[]);
        let info_hash = labeled_extract(HPKE_SUITE, &[], b"info_hash", info);
        let context: [&[u8]; 3] = [&[0], &*psk_id_hash, &*info_hash];
        let secret = labeled_extract(HPKE_SUITE, shared, b"secret", &[]);
        Self {
            key: labeled_expand(HPKE_SUITE, &secret, b"key", &context),
            base_nonce: *labeled_expand(HPKE_SUITE, &secret, b"base_nonce", &context),
        }
    }
}

fn labeled_extract(suite: &[u8], salt: &[u8], label: &[u8], ikm: &[u8]) -> Zeroizing<[u8; 32]> {
    extract(salt, &[b"HPKE-v1", suite, label, ikm])
}

fn labeled_expand<const N: usize>(suite: &[u8], prk: &[u8; 32], label: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    let len = (N as u16).to_be_bytes();
    let mut pieces: Vec<&[u8]> = vec![&len, b"HPKE-v1", suite, label];
    pieces.extend(info);
    let mut out = Zeroizing::new([0; N]);
    expand(prk, &pieces, &mut *out);
    out
}
