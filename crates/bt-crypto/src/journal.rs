//! Records of one journal: sealed under a key of its own, the record number as nonce.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use bt_base::label::JOURNAL_KEY;
use bt_base::limits::TAG_SIZE;
use bt_base::{JournalId, TreeId, ZoneId};

use crate::derive::derive_key;
use crate::epoch::EpochKey;
use crate::gcm::{AesGcm, NONCE_SIZE};
use crate::segment::OpenError;

/// Seals and opens the records of one opening of a zone's journal.
pub struct JournalCipher {
    cipher: AesGcm,
    /// The lowest number that may be sealed next.
    next: AtomicU64,
}

impl JournalCipher {
    /// The cipher of one journal under the epoch's key; the journal's id is random and never used again.
    pub fn new(key: &EpochKey, tree: &TreeId, zone: &ZoneId, journal: &JournalId) -> Self {
        let key = derive_key(key.as_bytes(), JOURNAL_KEY, tree, &[&zone.0, &journal.0]);
        Self { cipher: AesGcm::new(key), next: AtomicU64::new(0) }
    }

    /// Appends ciphertext and tag of record `number` to `out`; the tag covers `associated` too.
    ///
    /// # Panics
    /// When `number` is not above every number this cipher has sealed: the number is the nonce, and a nonce
    /// used twice gives the plaintexts away.
    pub fn seal(&self, number: u64, associated: &[u8], plaintext: &[u8], out: &mut Vec<u8>) {
        let lowest =
            self.next.fetch_max(number.checked_add(1).expect("a journal ends before 2^64 records"), Ordering::Relaxed);
        assert!(number >= lowest, "journal record {number} was sealed although the next is {lowest}");
        self.cipher.seal(&nonce(number), associated, plaintext, out);
    }

    /// Opens record `number`, sealed with the same `associated` bytes.
    pub fn open(&self, number: u64, associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let len = sealed.len().checked_sub(TAG_SIZE).ok_or(OpenError::TooShort { len: sealed.len() })?;
        let mut plaintext = vec![0; len];
        self.cipher.open(&nonce(number), associated, sealed, &mut plaintext).map_err(|_| OpenError::Refused)?;
        Ok(plaintext)
    }
}

impl fmt::Debug for JournalCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JournalCipher(secret)")
    }
}

fn nonce(number: u64) -> [u8; NONCE_SIZE] {
    let mut nonce = [0; NONCE_SIZE];
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher(journal: u8) -> JournalCipher {
        let key = EpochKey::from_bytes([9; 32]);
        JournalCipher::new(&key, &TreeId([1; 32]), &ZoneId([2; 32]), &JournalId([journal; 32]))
    }

    #[test]
    fn a_record_opens_under_its_number_its_journal_and_its_associated_bytes() {
        let mut sealed = Vec::new();
        cipher(1).seal(7, b"header", b"operation", &mut sealed);
        assert_eq!(cipher(1).open(7, b"header", &sealed), Ok(b"operation".to_vec()));
        assert_eq!(cipher(1).open(8, b"header", &sealed), Err(OpenError::Refused));
        assert_eq!(cipher(1).open(7, b"other", &sealed), Err(OpenError::Refused));
        assert_eq!(cipher(2).open(7, b"header", &sealed), Err(OpenError::Refused));
        assert_eq!(cipher(1).open(7, b"header", &sealed[..15]), Err(OpenError::TooShort { len: 15 }));
    }

    #[test]
    #[should_panic(expected = "journal record 7 was sealed although the next is 8")]
    fn a_number_is_sealed_once() {
        let cipher = cipher(1);
        cipher.seal(7, b"", b"one", &mut Vec::new());
        cipher.seal(7, b"", b"two", &mut Vec::new());
    }
}
