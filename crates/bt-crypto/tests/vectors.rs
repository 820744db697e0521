//! The vectors of every format, made by the independent implementation in `vectors/reference.py`.

use bt_base::codec::{decode_exact, encode};
use bt_base::label::{self, Label};
use bt_base::{BlockHash, Entropy, JournalId, SegmentId, TreeId, ZoneId};
use bt_crypto::{
    CREDENTIAL_SIZE, Credential, EpochKey, JournalCipher, KeyStore, PassphraseCost, RootSeed, SegmentCipher,
    SegmentContext, Signature, SoftwareKeyStore, derive_key, hpke, labelled_hash, unwrap_key, wrap_key,
};
use serde_json::Value;

/// Hands out bytes that were fixed before.
struct Fixed(Vec<u8>);

impl Entropy for Fixed {
    fn fill(&mut self, out: &mut [u8]) {
        out.copy_from_slice(&self.0[..out.len()]);
        self.0.drain(..out.len());
    }
}

fn each_case(kind: &str, check: impl Fn(&Case)) {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/v1.json")).unwrap();
    let cases = vectors[kind].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        check(&Case(case));
    }
}

struct Case<'a>(&'a Value);

impl Case<'_> {
    fn bytes(&self, field: &str) -> Vec<u8> {
        hex(self.text(field))
    }

    fn array<const N: usize>(&self, field: &str) -> [u8; N] {
        self.bytes(field).try_into().unwrap()
    }

    fn number(&self, field: &str) -> u64 {
        self.0[field].as_u64().unwrap()
    }

    fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap()
    }

    fn parts(&self) -> Vec<Vec<u8>> {
        self.0["parts"].as_array().unwrap().iter().map(|part| hex(part.as_str().unwrap())).collect()
    }

    fn label(&self) -> Label {
        let name = format!("blocktree/{}", self.text("label"));
        *label::ALL.iter().find(|label| label.name == name).unwrap()
    }

    fn tree(&self) -> TreeId {
        TreeId(self.array("tree"))
    }

    fn zone(&self) -> ZoneId {
        ZoneId(self.array("zone"))
    }

    fn epoch_key(&self) -> EpochKey {
        EpochKey::from_bytes(self.array("epoch_key"))
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn slices(parts: &[Vec<u8>]) -> Vec<&[u8]> {
    parts.iter().map(Vec::as_slice).collect()
}

/// `pattern` of the reference: BLAKE3's output stream.
fn pattern(len: u64, seed: u64) -> Vec<u8> {
    let mut out = vec![0; len as usize];
    blake3::Hasher::new().update(b"pattern").update(&[seed as u8]).finalize_xof().fill(&mut out);
    out
}

#[test]
fn hashes_and_derived_keys() {
    each_case("labelled_hash", |case| {
        let hash = labelled_hash(case.label(), &case.tree(), &slices(&case.parts()));
        assert_eq!(hash, case.array("hash"));
    });
    each_case("derive_key", |case| {
        let key = derive_key(&case.bytes("secret"), case.label(), &case.tree(), &slices(&case.parts()));
        assert_eq!(*key, case.array("key"));
    });
}

#[test]
fn blocks() {
    each_case("block", |case| {
        let context = SegmentContext {
            tree: case.tree(),
            zone: case.zone(),
            segment: SegmentId(case.array("segment")),
            epoch: case.number("epoch") as u32,
        };
        let plaintext = pattern(case.number("length"), case.number("pattern"));
        let index = case.number("index") as u32;
        let cipher = SegmentCipher::new(&case.epoch_key(), &context);
        let mut sealed = Vec::new();
        let hash = cipher.seal(index, &plaintext, &mut sealed);
        assert_eq!(blake3::hash(&sealed).as_bytes(), &case.array("sealed_blake3"));
        assert_eq!(sealed[plaintext.len()..], case.bytes("tag"));
        assert_eq!(hash, BlockHash(case.array("hash")));
        let mut opened = vec![0; plaintext.len()];
        assert_eq!(cipher.open(index, &hash, &sealed, &mut opened), Ok(()));
        assert_eq!(opened, plaintext);
    });
}

#[test]
fn journal_records() {
    each_case("journal", |case| {
        let journal = JournalId(case.array("journal"));
        let cipher = JournalCipher::new(&case.epoch_key(), &case.tree(), &case.zone(), &journal);
        let mut sealed = Vec::new();
        cipher.seal(case.number("number"), &case.bytes("associated"), &case.bytes("plaintext"), &mut sealed);
        assert_eq!(sealed, case.bytes("sealed"));
        assert_eq!(cipher.open(case.number("number"), &case.bytes("associated"), &sealed), Ok(case.bytes("plaintext")));
    });
}

#[test]
fn wrapped_keys() {
    each_case("wrapped_key", |case| {
        let (secret, parts) = (case.bytes("secret"), case.parts());
        let inner = EpochKey::from_bytes(case.array("inner"));
        let sealed = wrap_key(&secret, case.label(), &case.tree(), &slices(&parts), &inner);
        assert_eq!(sealed.to_vec(), case.bytes("sealed"));
        assert_eq!(unwrap_key(&secret, case.label(), &case.tree(), &slices(&parts), &sealed), Ok(inner));
    });
}

#[test]
fn principals_and_node_key_files() {
    each_case("principal", |case| {
        let store = SoftwareKeyStore::from_seed(&case.array("seed"));
        assert_eq!(encode(store.credential()), case.bytes("credential"));
        let decoded: Credential = decode_exact("credential", &case.bytes("credential"), CREDENTIAL_SIZE).unwrap();
        assert_eq!(decoded.id().0, case.array("id"));
        assert_eq!(*store.encode(), case.bytes("node_key_file"));
        let read = SoftwareKeyStore::decode(&case.bytes("node_key_file")).unwrap();
        assert_eq!(read.credential(), store.credential());
    });
}

#[test]
fn signatures() {
    each_case("signature", |case| {
        let key = SoftwareKeyStore::from_seed(&case.array("seed")).credential().verifying_key;
        let signature = Signature(case.array("signature"));
        assert_eq!(key.verify(case.label(), &case.tree(), &case.bytes("message"), &signature), Ok(()));
    });
}

#[test]
fn sealed_messages() {
    each_case("hpke", |case| {
        let store = SoftwareKeyStore::from_seed(&case.array("recipient_seed"));
        let (info, aad, plaintext) = (case.bytes("info"), case.bytes("aad"), case.bytes("plaintext"));
        let mut entropy = Fixed(case.bytes("entropy"));
        let recipient = store.credential().agreement_public;
        let (enc, ciphertext) = hpke::seal(&recipient, &info, &aad, &plaintext, &mut entropy).unwrap();
        assert_eq!(enc.to_vec(), case.bytes("enc"));
        assert_eq!(ciphertext, case.bytes("ciphertext"));
        assert_eq!(*hpke::open(&store, &enc, &info, &aad, &ciphertext).unwrap(), plaintext);
    });
}

#[test]
fn roots() {
    each_case("root", |case| {
        let seed = RootSeed::from_words(case.text("words")).unwrap();
        assert_eq!(*seed.to_words(), case.text("words"));
        assert_eq!(seed, RootSeed::generate(&mut Fixed(case.bytes("seed"))));
        assert_eq!(seed.key_store().credential().id().0, case.array("principal"));
        let number = |field| case.number(field) as u32;
        let cost = PassphraseCost::new(number("memory_kib"), number("passes"), number("lanes")).unwrap();
        let file = seed.seal_file(&case.bytes("passphrase"), cost, &mut Fixed(case.bytes("salt")));
        assert_eq!(file, case.bytes("file"));
        assert_eq!(RootSeed::open_file(&file, &case.bytes("passphrase")), Ok(seed));
    });
}

#[test]
fn people() {
    each_case("person", |case| {
        let store = SoftwareKeyStore::from_seed(&case.array("seed"));
        assert_eq!(store.credential().to_string(), case.text("text"));
        assert_eq!(case.text("text").parse(), Ok(*store.credential()));
        let number = |field| case.number(field) as u32;
        let cost = PassphraseCost::new(number("memory_kib"), number("passes"), number("lanes")).unwrap();
        let file = store.seal_file(&case.bytes("passphrase"), cost, &mut Fixed(case.bytes("salt")));
        assert_eq!(file, case.bytes("file"));
        assert_eq!(Credential::of_file(&file), Ok(*store.credential()));
        let opened = SoftwareKeyStore::open_file(&file, &case.bytes("passphrase")).unwrap();
        assert_eq!(opened.credential(), store.credential());
    });
}
