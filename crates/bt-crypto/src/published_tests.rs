//! What others published for the primitives that are used here (`vectors/published.json`, picked by `published.py`).

use serde_json::Value;
use zeroize::Zeroizing;

use crate::agree::AgreementKey;
use crate::curve;
use crate::gcm::AesGcm;
use crate::hpke;
use crate::keystore::{KeyError, KeyPlace, KeyStore};
use crate::sign::Signature;
use crate::testing::{hex, hex_array};
use crate::{AgreementPublic, Credential, SharedSecret, VerifyingKey};

fn each_case(kind: &str, expected: usize, check: impl Fn(&dyn Fn(&str) -> Vec<u8>, bool)) {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/published.json")).unwrap();
    let cases = vectors[kind].as_array().unwrap();
    assert_eq!(cases.len(), expected, "cases of {kind}");
    for case in cases {
        check(&|field| hex(case[field].as_str().unwrap()), case["holds"].as_bool().unwrap_or(true));
    }
}

#[test]
fn gcm_gives_the_answers_of_nist() {
    each_case("gcm", 100, |field, holds| {
        let cipher = AesGcm::new(Zeroizing::new(field("key").try_into().unwrap()));
        let (nonce, aad, sealed) = (field("nonce").try_into().unwrap(), field("aad"), field("sealed"));
        let mut opened = vec![0; sealed.len() - 16];
        assert_eq!(cipher.open(&nonce, &aad, &sealed, &mut opened).is_ok(), holds);
        if holds {
            assert_eq!(opened, field("plaintext"));
            let mut again = Vec::new();
            cipher.seal(&nonce, &aad, &opened, &mut again);
            assert_eq!(again, sealed);
        }
    });
}

#[test]
fn ecdsa_judges_as_nist_does() {
    each_case("ecdsa", 15, |field, holds| {
        let digest = openssl::sha::sha256(&field("message"));
        // A key that is no point of the curve has no signatures; n - s is as good as s, and only the low one is taken.
        let verified = curve::public_from_bytes(&field("public")).is_some_and(|key| {
            let signature = Signature(field("signature").try_into().unwrap()).with_low_s();
            signature.parse().is_some_and(|parsed| parsed.verify(&digest, &key).unwrap_or(false))
        });
        assert_eq!(verified, holds);
    });
}

/// The recipient of the published message, whose key comes from no seed of ours.
struct Recipient(AgreementKey, Credential);

impl KeyStore for Recipient {
    fn credential(&self) -> &Credential {
        &self.1
    }

    fn sign(&self, _: bt_base::label::Label, _: &bt_base::TreeId, _: &[u8]) -> Result<Signature, KeyError> {
        unreachable!("a recipient does not sign")
    }

    fn agree(&self, peer: &AgreementPublic) -> Result<SharedSecret, KeyError> {
        self.0.agree(peer)
    }

    fn place(&self) -> KeyPlace {
        KeyPlace::Software
    }
}

#[test]
fn hpke_seals_and_opens_as_the_authors_of_the_rfc_do() {
    each_case("hpke", 1, |field, _| {
        let ephemeral = AgreementKey::from_scalar(&field("skEm").try_into().unwrap());
        let key = AgreementKey::from_scalar(&field("skRm").try_into().unwrap());
        let public = key.public();
        let (enc, sealed) = hpke::seal_with(&ephemeral, &public, &field("info"), &field("aad"), &field("pt")).unwrap();
        assert_eq!((enc.to_vec(), sealed), (field("enc"), field("ct")));
        let recipient = Recipient(key, Credential::new(VerifyingKey([2; 33]), public));
        let opened = hpke::open(&recipient, &enc, &field("info"), &field("aad"), &field("ct")).unwrap();
        assert_eq!(*opened, field("pt"));
    });
}

/// RFC 6979, A.2.5, SHA-256: the key, and two messages with their (r, s).
#[test]
fn the_signatures_of_rfc_6979_hold() {
    let public = "04 60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6
                  7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299";
    let key = curve::public_from_bytes(&hex(public)).unwrap();
    let published = [
        (
            "sample",
            "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
             F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
        ),
        (
            "test",
            "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367
             019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083",
        ),
    ];
    for (message, signature) in published {
        let signature = Signature(hex_array(signature)).with_low_s();
        let holds = |message: &str| {
            let digest = openssl::sha::sha256(message.as_bytes());
            signature.parse().unwrap().verify(&digest, &key).unwrap()
        };
        assert!(holds(message) && !holds("another"), "{message}");
    }
}
