//! Files with keys, and words on paper.

use bt_base::Entropy;
use bt_base::label::TPM_FILE;
use bt_crypto::{Credential, KeyStore, NO_TREE, PassphraseCost, RootSeed, SoftwareKeyStore, labelled_hash};
use bt_tpm::TpmKeyStore;

/// Bytes that anybody knows.
pub(crate) struct Counting(pub(crate) u8);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }
}

pub(crate) fn root_file(data: &[u8]) {
    // A checksum keeps changed costs from the derivation, which may take gigabytes by design.
    drop(RootSeed::open_file(data, b"passphrase"));
}

pub(crate) fn root_file_seeds() -> Vec<Vec<u8>> {
    let cost = PassphraseCost::new(8, 1, 1).expect("it is within its bounds");
    vec![RootSeed::generate(&mut Counting(0)).seal_file(b"passphrase", cost, &mut Counting(7))]
}

pub(crate) fn recovery_words(data: &[u8]) {
    let Ok(words) = std::str::from_utf8(data) else { return };
    if let Ok(seed) = RootSeed::from_words(words) {
        assert_eq!(RootSeed::from_words(&seed.to_words()), Ok(seed));
    }
}

pub(crate) fn recovery_words_seeds() -> Vec<Vec<u8>> {
    vec![RootSeed::generate(&mut Counting(0)).to_words().as_bytes().to_vec()]
}

pub(crate) fn node_key(data: &[u8]) {
    if let Ok(store) = SoftwareKeyStore::decode(data) {
        assert_eq!(*store.encode(), data, "a key file has one encoding");
    }
}

pub(crate) fn node_key_seeds() -> Vec<Vec<u8>> {
    vec![SoftwareKeyStore::from_seed(&[1; 32]).encode().to_vec()]
}

pub(crate) fn principal_file(data: &[u8]) {
    let shown = Credential::of_file(data);
    if let Ok(store) = SoftwareKeyStore::open_file(data, b"passphrase") {
        assert_eq!(shown.as_ref(), Ok(store.credential()), "a file shows the keys that it holds");
    }
}

pub(crate) fn principal_file_seeds() -> Vec<Vec<u8>> {
    let store = SoftwareKeyStore::generate(&mut Counting(0));
    vec![store.seal_file(b"passphrase", PassphraseCost::LEAST, &mut Counting(7))]
}

pub(crate) fn principal_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(credential) = text.parse::<Credential>() {
        let plain: String = text.split_whitespace().collect();
        assert_eq!(credential.to_string(), plain.to_ascii_lowercase(), "a credential has one text");
    }
}

pub(crate) fn principal_text_seeds() -> Vec<Vec<u8>> {
    vec![SoftwareKeyStore::generate(&mut Counting(0)).credential().to_string().into_bytes()]
}

pub(crate) fn node_key_tpm(data: &[u8]) {
    tpm_file(data);
    // A changed file gets past its hash only with a new one.
    if let Some((rest, _)) = data.split_last_chunk::<32>() {
        tpm_file(&[rest, &labelled_hash(TPM_FILE, &NO_TREE, &[rest])].concat());
    }
}

fn tpm_file(data: &[u8]) {
    if let Ok(store) = TpmKeyStore::decode(data) {
        assert_eq!(store.encode(), data, "a key file has one encoding");
    }
}

pub(crate) fn node_key_tpm_seeds() -> Vec<Vec<u8>> {
    vec![crate::vector("bt-tpm/vectors/node-key-tpm-v1.hex")]
}
