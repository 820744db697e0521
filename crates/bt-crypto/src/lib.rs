//! Hashing, sealing, signing and wrapping over OpenSSL and BLAKE3, for one tree's keys and bytes.
//!
//! Nothing here does I/O or reads a clock. Keys, salts and seeds come from an [`bt_base::Entropy`] that the
//! caller hands in; only the nonce of a signature is OpenSSL's own, hedged with the key and the message.
//!
//! * [`SegmentCipher`] and [`BlockHasher`]: the blocks of a segment; the first needs the epoch's key, the second
//!   none.
//! * [`JournalCipher`]: the records of a journal.
//! * [`SigningKey`], [`VerifyingKey`], [`AgreementKey`], [`Credential`]: the keys of a principal; [`KeyStore`] is
//!   how they are used where they cannot be read, [`SoftwareKeyStore`] the one in memory.
//! * [`hpke`], [`wrap_key`]: a secret sealed to a principal, or under another secret.
//! * [`RootSeed`]: the owner's seed, as words, as keys, as a file under a passphrase.
//! * [`SoftwareKeyStore::seal_file`], [`Credential`] as text: a person's keys under a passphrase, and what others get.
//!
//! Invariants:
//! * Every hash, derived key and signature begins with a label, its version and the tree's id ([`NO_TREE`] where
//!   there is none); HPKE keeps the framing of its RFC.
//! * A cipher panics before it uses a nonce twice.
//! * What a tag or a hash refuses leaves no plaintext in the output.
//! * Secrets are zeroed when dropped, and `Debug` shows none.
//!
//! The formats are described in `doc/format/keys.md`; `vectors/` holds known answers of each.

mod agree;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod credential;
mod curve;
mod derive;
mod epoch;
mod gcm;
pub mod hpke;
mod journal;
mod keystore;
mod labelled;
mod principal;
#[cfg(test)]
mod published_tests;
mod root;
mod sealed_file;
mod segment;
mod sign;
#[cfg(test)]
mod testing;

pub use agree::{AgreementKey, AgreementPublic, SharedSecret};
pub use credential::{AgreementAlgorithm, CREDENTIAL_SIZE, CREDENTIAL_VERSION, Credential, SigningAlgorithm};
pub use derive::derive_key;
pub use epoch::{EpochKey, WRAPPED_KEY_SIZE, unwrap_key, wrap_key};
pub use journal::JournalCipher;
pub use keystore::{KeyError, KeyPlace, KeyStore, NODE_KEY_SIZE, NodeKeyError, SoftwareKeyStore, TpmMaker, TpmPlace};
pub use labelled::{NO_TREE, labelled_hash};
pub use principal::{
    PRINCIPAL_FILE_SIZE, PRINCIPAL_PREFIX, PRINCIPAL_TEXT_SIZE, PrincipalFileError, PrincipalTextError,
};
pub use root::{ROOT_FILE_SIZE, RootFileError, RootSeed, WordsError};
pub use sealed_file::{CostError, PassphraseCost};
pub use segment::{BlockHasher, OpenError, SegmentCipher, SegmentContext};
pub use sign::{PreparedKey, Signature, SignatureError, SigningKey, VerifyingKey, signing_digest};
