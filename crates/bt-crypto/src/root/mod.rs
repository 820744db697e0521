//! The seed that everything a tree's owner may do comes from: as 24 words, as keys, as a file.

mod file;

use std::fmt;

use bip39::{Language, Mnemonic};
use bt_base::Entropy;
use bt_base::label::ROOT_SEED;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub use file::{CostError, PassphraseCost, ROOT_FILE_SIZE, RootFileError};

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
