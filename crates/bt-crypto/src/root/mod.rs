//! The seed that everything a tree's owner may do comes from: as 24 words, as keys, as a file.

mod file;

use std::fmt;

use bip39::{Language, Mnemonic};
use bt_base::Entropy;
use bt_base::label::ROOT_SEED;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub use file::{ROOT_FILE_SIZE, RootFileError};

use crate::derive::derive_key;
use crate::keystore::SoftwareKeyStore;
use crate::labelled::NO_TREE;

/// Words of a written seed.
const WORDS: usize = 24;

/// Words that are no seed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// Not 24 words.
    #[error("a root seed has 24 words, here are {found}")]
    Count {
        /// Words found.
        found: usize,
    },
    /// A word that is not in the list.
    #[error("word {position} is not in the English BIP-39 list: check its spelling")]
    Unknown {
        /// Which word, counted from 1.
        position: usize,
    },
    /// Known words whose checksum is wrong.
    #[error("the words do not belong together: one is wrong, or two are swapped")]
    Checksum,
}

/// The 256-bit seed of a root principal.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct RootSeed([u8; 32]);

impl RootSeed {
    /// A new seed.
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        let mut seed = Self([0; 32]);
        entropy.fill(&mut seed.0);
        seed
    }

    /// The seed as 24 words of the English BIP-39 list, one space between them.
    pub fn to_words(&self) -> Zeroizing<String> {
        let mnemonic = Mnemonic::from_entropy(&self.0).expect("32 bytes have 24 words");
        let mut text = Zeroizing::new(String::with_capacity(WORDS * 9));
        for (position, word) in mnemonic.words().enumerate() {
            if position > 0 {
                text.push(' ');
            }
            text.push_str(word);
        }
        text
    }

    /// The seed that 24 words stand for; case and the white space between words do not matter.
    pub fn from_words(words: &str) -> Result<Self, WordsError> {
        let lower = Zeroizing::new(words.to_ascii_lowercase());
        let found = lower.split_whitespace().count();
        if found != WORDS {
            return Err(WordsError::Count { found });
        }
        let mnemonic = Mnemonic::parse_in_normalized(Language::English, &lower).map_err(|error| match error {
            bip39::Error::UnknownWord(index) => WordsError::Unknown { position: index + 1 },
            _ => WordsError::Checksum,
        })?;
        let (mut entropy, len) = mnemonic.to_entropy_array();
        assert_eq!(len, 32, "24 words hold 32 bytes");
        let mut seed = Self([0; 32]);
        seed.0.copy_from_slice(&entropy[..32]);
        entropy.zeroize();
        Ok(seed)
    }

    /// The root principal's keys: the store of the seed derived with HKDF under (`ROOT_SEED`, "key store").
    pub fn key_store(&self) -> SoftwareKeyStore {
        SoftwareKeyStore::from_seed(&derive_key(&self.0, ROOT_SEED, &NO_TREE, &[b"key store"]))
    }
}

impl fmt::Debug for RootSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootSeed(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keystore::KeyStore;
    use crate::testing::{Seeded, hex_array};

    /// The 256-bit cases of the BIP-39 vectors (github.com/trezor/python-mnemonic, vectors.json).
    const BIP_39: [(&str, &str); 8] = [
        (
            "0000000000000000000000000000000000000000000000000000000000000000",
            "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
             abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon art",
        ),
        (
            "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f",
            "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful \
             legal winner thank year wave sausage worth title",
        ),
        (
            "8080808080808080808080808080808080808080808080808080808080808080",
            "letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor \
             acoustic avoid letter advice cage absurd amount doctor acoustic bless",
        ),
        (
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo vote",
        ),
        (
            "68a79eaca2324873eacc50cb9c6eca8cc68ea5d936f98787c60c7ebc74e6ce7c",
            "hamster diagram private dutch cause delay private meat slide toddler razor book happy fancy gospel \
             tennis maple dilemma loan word shrug inflict delay length",
        ),
        (
            "9f6a2878b2520799a44ef18bc7df394e7061a224d2c33cd015b157d746869863",
            "panda eyebrow bullet gorilla call smoke muffin taste mesh discover soft ostrich alcohol speed nation \
             flash devote level hobby quick inner drive ghost inside",
        ),
        (
            "066dca1a2bb7e8a1db2832148ce9933eea0f3ac9548d793112d9a95c9407efad",
            "all hour make first leader extend hole alien behind guard gospel lava path output census museum \
             junior mass reopen famous sing advance salt reform",
        ),
        (
            "f585c11aec520db57dd353c69554b21a89b20fb0650966fa0a9d6f74fd989d8f",
            "void come effort suffer camp survey warrior heavy shoot primary clutch crush open amazing screen \
             patrol group space point ten exist slush involve unfold",
        ),
    ];

    #[test]
    fn words_are_those_of_bip_39() {
        for (entropy, words) in BIP_39 {
            let seed = RootSeed(hex_array(entropy));
            assert_eq!(*seed.to_words(), words);
            assert_eq!(RootSeed::from_words(words), Ok(seed));
        }
    }

    #[test]
    fn words_as_people_write_them_are_read() {
        let seed = RootSeed::generate(&mut Seeded::new(10));
        let words = seed.to_words().to_uppercase().replace(' ', " \n\t ");
        assert_eq!(RootSeed::from_words(&format!("  {words}\n")), Ok(seed));
    }

    #[test]
    fn wrong_words_are_told_apart() {
        let good = RootSeed::generate(&mut Seeded::new(11)).to_words();
        let mut words: Vec<&str> = good.split(' ').collect();
        assert_eq!(RootSeed::from_words(""), Err(WordsError::Count { found: 0 }));
        assert_eq!(RootSeed::from_words(&words[..12].join(" ")), Err(WordsError::Count { found: 12 }));
        words.swap(0, 1);
        assert_eq!(RootSeed::from_words(&words.join(" ")), Err(WordsError::Checksum));
        words[4] = "blocktree";
        assert_eq!(RootSeed::from_words(&words.join(" ")), Err(WordsError::Unknown { position: 5 }));
    }

    #[test]
    fn a_seed_always_gives_the_same_keys_and_shows_none() {
        let seed = RootSeed([1; 32]);
        assert_eq!(seed.key_store().credential(), RootSeed([1; 32]).key_store().credential());
        assert_ne!(seed.key_store().credential(), SoftwareKeyStore::from_seed(&[1; 32]).credential());
        assert_eq!(format!("{seed:?}"), "RootSeed(secret)");
    }
}
