//! Whatever is sealed, signed or written opens unchanged, and nothing else does.
//!
//! A failing case prints its input and the seed that runs it again.

use bt_base::codec::{decode_exact, encode};
use bt_base::label::HEAD;
use bt_base::{Entropy, JournalId, SegmentId, TreeId, ZoneId};
use bt_crypto::{
    CREDENTIAL_SIZE, Credential, EpochKey, JournalCipher, KeyStore, NODE_KEY_SIZE, OpenError, PRINCIPAL_FILE_SIZE,
    PassphraseCost, ROOT_FILE_SIZE, RootSeed, SegmentCipher, SegmentContext, Signature, SignatureError,
    SoftwareKeyStore, hpke,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

struct Seeded(blake3::OutputReader);

impl Seeded {
    fn new(seed: [u8; 32]) -> Self {
        Self(blake3::Hasher::new_keyed(&seed).finalize_xof())
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }
}

fn segment_cipher(key: [u8; 32]) -> SegmentCipher {
    let context =
        SegmentContext { tree: TreeId([1; 32]), zone: ZoneId([2; 32]), segment: SegmentId([3; 32]), epoch: 4 };
    SegmentCipher::new(&EpochKey::from_bytes(key), &context)
}

fn journal_cipher(key: [u8; 32]) -> JournalCipher {
    JournalCipher::new(&EpochKey::from_bytes(key), &TreeId([1; 32]), &ZoneId([2; 32]), &JournalId([3; 32]))
}

/// `bytes` with one bit changed.
fn flipped(bytes: &[u8], at: Index, bit: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = at.index(bytes.len());
    bytes[at] ^= 1 << bit;
    bytes
}

/// `bytes` without at least one byte at the end.
fn cut(bytes: &[u8], at: Index) -> &[u8] {
    &bytes[..at.index(bytes.len())]
}

proptest! {
    #[test]
    fn a_block_opens_unchanged_and_only_whole(
        key: [u8; 32], index in 0..4096_u32, plaintext in vec(any::<u8>(), 0..20_000), at: Index, bit in 0..8_u8,
    ) {
        let cipher = segment_cipher(key);
        let mut sealed = Vec::new();
        let hash = cipher.seal(index, &plaintext, &mut sealed);
        let mut out = vec![0; plaintext.len()];
        prop_assert_eq!(cipher.open(index, &hash, &sealed, &mut out), Ok(()));
        prop_assert_eq!(&out, &plaintext);

        let damaged = flipped(&sealed, at, bit);
        prop_assert_eq!(cipher.open(index, &hash, &damaged, &mut out), Err(OpenError::WrongHash { index }));
        // One who knows the context can make a hash for it; the tag then refuses, and nothing is left to read.
        let forged = cipher.hasher().hash(index, &damaged);
        prop_assert_eq!(cipher.open(index, &forged, &damaged, &mut out), Err(OpenError::Refused));
        prop_assert!(out.iter().all(|byte| *byte == 0));

        let short = cut(&sealed, at);
        let mut out = vec![0; short.len().saturating_sub(16)];
        prop_assert!(cipher.open(index, &hash, short, &mut out).is_err());
    }

    #[test]
    fn a_journal_record_opens_unchanged_and_only_whole(
        key: [u8; 32],
        number in 0..u64::MAX,
        associated in vec(any::<u8>(), 1..100),
        plaintext in vec(any::<u8>(), 0..3000),
        at: Index,
        bit in 0..8_u8,
    ) {
        let cipher = journal_cipher(key);
        let mut sealed = Vec::new();
        cipher.seal(number, &associated, &plaintext, &mut sealed);
        prop_assert_eq!(cipher.open(number, &associated, &sealed), Ok(plaintext));
        prop_assert!(cipher.open(number, &associated, &flipped(&sealed, at, bit)).is_err());
        prop_assert!(cipher.open(number, &flipped(&associated, at, bit), &sealed).is_err());
        prop_assert!(cipher.open(number ^ (1 << bit), &associated, &sealed).is_err());
        prop_assert!(cipher.open(number, &associated, cut(&sealed, at)).is_err());
    }

    #[test]
    fn a_signature_holds_for_one_message(
        seed: [u8; 32], message in vec(any::<u8>(), 1..500), at: Index, bit in 0..8_u8,
    ) {
        let store = SoftwareKeyStore::from_seed(&seed);
        let key = store.credential().verifying_key.prepare().unwrap();
        let tree = TreeId([1; 32]);
        let signature = store.sign(HEAD, &tree, &message).unwrap();
        prop_assert_eq!(key.verify(HEAD, &tree, &message, &signature), Ok(()));
        let refused = Err(SignatureError::Mismatch);
        prop_assert_eq!(key.verify(HEAD, &tree, &flipped(&message, at, bit), &signature), refused);
        prop_assert_eq!(key.verify(HEAD, &tree, cut(&message, at), &signature), refused);
        let damaged = Signature(flipped(&signature.0, at, bit).try_into().unwrap());
        prop_assert!(key.verify(HEAD, &tree, &message, &damaged).is_err());
    }

    #[test]
    fn a_sealed_message_opens_for_its_recipient_only_whole(
        seed: [u8; 32], info in vec(any::<u8>(), 1..50), plaintext in vec(any::<u8>(), 0..200), at: Index, bit in 0..8_u8,
    ) {
        let mut entropy = Seeded::new(seed);
        let store = SoftwareKeyStore::generate(&mut entropy);
        let recipient = store.credential().agreement_public;
        let (enc, sealed) = hpke::seal(&recipient, &info, b"", &plaintext, &mut entropy).unwrap();
        prop_assert_eq!(&*hpke::open(&store, &enc, &info, b"", &sealed).unwrap(), &plaintext);
        prop_assert!(hpke::open(&store, &enc, &info, b"", &flipped(&sealed, at, bit)).is_err());
        prop_assert!(hpke::open(&store, &enc, &info, b"", cut(&sealed, at)).is_err());
        prop_assert!(hpke::open(&store, &enc, &flipped(&info, at, bit), b"", &sealed).is_err());
        let other_enc = flipped(&enc, at, bit).try_into().unwrap();
        prop_assert!(hpke::open(&store, &other_enc, &info, b"", &sealed).is_err());
    }

    #[test]
    fn decoders_take_what_was_encoded_and_nothing_shorter_or_changed(seed: [u8; 32], at: Index, bit in 0..8_u8) {
        let mut entropy = Seeded::new(seed);
        let store = SoftwareKeyStore::generate(&mut entropy);
        let file = store.encode();
        prop_assert_eq!(file.len(), NODE_KEY_SIZE);
        let again = SoftwareKeyStore::decode(&file).unwrap();
        prop_assert_eq!(again.credential(), store.credential());
        prop_assert!(SoftwareKeyStore::decode(&flipped(&file, at, bit)).is_err());
        prop_assert!(SoftwareKeyStore::decode(cut(&file, at)).is_err());

        let credential = encode(store.credential());
        let decode = |bytes: &[u8]| decode_exact::<Credential>("credential", bytes, CREDENTIAL_SIZE);
        prop_assert_eq!(decode(&credential), Ok(*store.credential()));
        prop_assert!(decode(cut(&credential, at)).is_err());
        // A changed key is another credential, and so another principal.
        if let Ok(other) = decode(&flipped(&credential, at, bit)) {
            prop_assert_ne!(other.id(), store.credential().id());
        }

        let root = RootSeed::generate(&mut entropy);
        let file = root.seal_file(&seed, PassphraseCost::LEAST, &mut entropy);
        prop_assert_eq!(file.len(), ROOT_FILE_SIZE);
        prop_assert_eq!(RootSeed::open_file(&file, &seed), Ok(root.clone()));
        prop_assert!(RootSeed::open_file(&flipped(&file, at, bit), &seed).is_err());
        prop_assert!(RootSeed::open_file(cut(&file, at), &seed).is_err());
        prop_assert!(RootSeed::open_file(&file, &flipped(&seed, at, bit)).is_err());
        prop_assert_eq!(RootSeed::from_words(&root.to_words()), Ok(root));

        let file = store.seal_file(&seed, PassphraseCost::LEAST, &mut entropy);
        prop_assert_eq!(file.len(), PRINCIPAL_FILE_SIZE);
        prop_assert_eq!(Credential::of_file(&file), Ok(*store.credential()));
        let opened = SoftwareKeyStore::open_file(&file, &seed).unwrap();
        prop_assert_eq!(opened.credential(), store.credential());
        prop_assert!(SoftwareKeyStore::open_file(&flipped(&file, at, bit), &seed).is_err());
        prop_assert!(SoftwareKeyStore::open_file(cut(&file, at), &seed).is_err());
        prop_assert!(SoftwareKeyStore::open_file(&file, &flipped(&seed, at, bit)).is_err());
    }

    #[test]
    fn a_public_key_as_text_is_read_as_written_and_in_no_other_way(
        seed: [u8; 32], at: Index, other in "[ -~]", case in vec(any::<bool>(), 124),
    ) {
        let credential = *SoftwareKeyStore::from_seed(&seed).credential();
        let text = credential.to_string();
        let upper = |at: usize| case.get(at).is_some_and(|upper| *upper);
        let mixed: String =
            text.chars().enumerate().map(|(at, c)| if upper(at) { c.to_ascii_uppercase() } else { c }).collect();
        prop_assert_eq!(mixed.parse(), Ok(credential));
        prop_assert!(text[..at.index(text.len())].parse::<Credential>().is_err());
        let at = at.index(text.len());
        let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
        let same = changed.to_ascii_lowercase() == text;
        prop_assert_eq!(changed.parse::<Credential>().is_ok(), same, "{}", changed);
    }

    #[test]
    fn arbitrary_bytes_panic_no_decoder(bytes in vec(any::<u8>(), 0..200), text: String) {
        let node_file = [b"BT-NODE\n".to_vec(), bytes.clone()].concat();
        let root_file = [b"BT-ROOT\n".to_vec(), bytes.clone()].concat();
        let principal_file = [b"BT-PRIN\n".to_vec(), bytes.clone()].concat();
        prop_assert!(SoftwareKeyStore::open_file(&principal_file, b"").is_err());
        prop_assert!(SoftwareKeyStore::open_file(&bytes, b"").is_err());
        prop_assert!(text.parse::<Credential>().is_err());
        let prefixed = format!("btp1{text}");
        prop_assert!(prefixed.parse::<Credential>().is_err());
        prop_assert!(SoftwareKeyStore::decode(&node_file).is_err());
        prop_assert!(SoftwareKeyStore::decode(&bytes).is_err());
        prop_assert!(RootSeed::open_file(&root_file, b"").is_err());
        prop_assert!(RootSeed::open_file(&bytes, b"").is_err());
        prop_assert!(RootSeed::from_words(&text).is_err());
        prop_assert!(journal_cipher([0; 32]).open(0, b"", &bytes).is_err());
    }
}
