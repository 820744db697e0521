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

pub(crate) fn seal_with(
    ephemeral: &AgreementKey,
    recipient: &AgreementPublic,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<([u8; ENCAPSULATED_SIZE], Vec<u8>), HpkeError> {
    let enc = uncompressed(&ephemeral.public().0)?;
    let shared = shared_secret(&ephemeral.agree(recipient)?, &enc, &uncompressed(&recipient.0)?);
    let schedule = Schedule::new(HPKE_SUITE, &shared, info);
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
    let schedule = Schedule::new(HPKE_SUITE, &shared, info);
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
struct Schedule<const KEY: usize> {
    key: Zeroizing<[u8; KEY]>,
    base_nonce: [u8; NONCE_SIZE],
}

impl<const KEY: usize> Schedule<KEY> {
    fn new(suite: &[u8], shared: &[u8; 32], info: &[u8]) -> Self {
        let psk_id_hash = labeled_extract(suite, &[], b"psk_id_hash", &[]);
        let info_hash = labeled_extract(suite, &[], b"info_hash", info);
        let context: [&[u8]; 3] = [&[0], &*psk_id_hash, &*info_hash];
        let secret = labeled_extract(suite, shared, b"secret", &[]);
        Self {
            key: labeled_expand(suite, &secret, b"key", &context),
            base_nonce: *labeled_expand(suite, &secret, b"base_nonce", &context),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keystore::SoftwareKeyStore;
    use crate::testing::{Seeded, hex, hex_array};

    const INFO: &str = "4f6465206f6e2061204772656369616e2055726e";

    /// RFC 9180, A.3.1 and A.5.1: the same KEM and KDF with other ciphers, so other suite ids.
    struct Published<const KEY: usize> {
        suite: &'static [u8],
        ephemeral: &'static str,
        recipient: &'static str,
        enc: &'static str,
        shared_secret: &'static str,
        key: &'static str,
        base_nonce: &'static str,
    }

    const AES_128_GCM: Published<16> = Published {
        suite: b"HPKE\x00\x10\x00\x01\x00\x01",
        ephemeral: "4995788ef4b9d6132b249ce59a77281493eb39af373d236a1fe415cb0c2d7beb",
        recipient: "f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2",
        enc: "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac9
              8536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4",
        shared_secret: "c0d26aeab536609a572b07695d933b589dcf363ff9d93c93adea537aeabb8cb8",
        key: "868c066ef58aae6dc589b6cfdd18f97e",
        base_nonce: "4e0bc5018beba4bf004cca59",
    };

    const CHACHA20_POLY1305: Published<32> = Published {
        suite: b"HPKE\x00\x10\x00\x01\x00\x03",
        ephemeral: "7550253e1147aae48839c1f8af80d2770fb7a4c763afe7d0afa7e0f42a5b3689",
        recipient: "a4d1c55836aa30f9b3fbb6ac98d338c877c2867dd3a77396d13f68d3ab150d3b",
        enc: "04c07836a0206e04e31d8ae99bfd549380b072a1b1b82e563c935c095827824fc1
              559eac6fb9e3c70cd3193968994e7fe9781aa103f5b50e934b5b2f387e381291",
        shared_secret: "806520f82ef0b03c823b7fc524b6b55a088f566b9751b89551c170f4113bd850",
        key: "a8f45490a92a3b04d1dbf6cf2c3939ad8bfc9bfcb97c04bffe116730c9dfe3fc",
        base_nonce: "726b4390ed2209809f58c693",
    };

    impl<const KEY: usize> Published<KEY> {
        fn check(&self) {
            let ephemeral = AgreementKey::from_scalar(&hex_array(self.ephemeral));
            let recipient = AgreementKey::from_scalar(&hex_array(self.recipient));
            let enc = uncompressed(&ephemeral.public().0).unwrap();
            assert_eq!(enc.to_vec(), hex(self.enc));
            let agreed = ephemeral.agree(&recipient.public()).unwrap();
            let shared = shared_secret(&agreed, &enc, &uncompressed(&recipient.public().0).unwrap());
            assert_eq!(shared.to_vec(), hex(self.shared_secret));
            let schedule = Schedule::<KEY>::new(self.suite, &shared, &hex(INFO));
            assert_eq!(schedule.key.to_vec(), hex(self.key));
            assert_eq!(schedule.base_nonce.to_vec(), hex(self.base_nonce));
        }
    }

    #[test]
    fn kem_and_key_schedule_give_the_answers_of_rfc_9180() {
        AES_128_GCM.check();
        CHACHA20_POLY1305.check();
    }

    #[test]
    fn a_message_opens_for_its_recipient_info_and_aad() {
        let mut entropy = Seeded::new(8);
        let (store, other) = (SoftwareKeyStore::generate(&mut entropy), SoftwareKeyStore::generate(&mut entropy));
        let public = store.credential().agreement_public;
        let (enc, sealed) = seal(&public, b"info", b"aad", b"secret", &mut entropy).unwrap();
        assert_eq!(*open(&store, &enc, b"info", b"aad", &sealed).unwrap(), b"secret");
        for opened in [
            open(&other, &enc, b"info", b"aad", &sealed),
            open(&store, &enc, b"other", b"aad", &sealed),
            open(&store, &enc, b"info", b"other", &sealed),
            open(&store, &enc, b"info", b"aad", &sealed[..sealed.len() - 1]),
            open(&store, &enc, b"info", b"aad", &sealed[..3]),
        ] {
            assert_eq!(opened, Err(HpkeError::Refused));
        }
    }

    #[test]
    fn two_sealings_share_nothing() {
        let mut entropy = Seeded::new(9);
        let public = SoftwareKeyStore::generate(&mut entropy).credential().agreement_public;
        let one = seal(&public, b"", b"", b"secret", &mut entropy).unwrap();
        let two = seal(&public, b"", b"", b"secret", &mut entropy).unwrap();
        assert_ne!(one.0, two.0);
        assert_ne!(one.1, two.1);
    }
}
