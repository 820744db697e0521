//! AES-256-GCM under one key, from many threads, without a key schedule or an allocation per message.
//!
//! OpenSSL spends more on fetching the cipher and expanding the key than on a small block. Both are done once
//! for each context here; a message only sets its nonce. Contexts that are not in use wait in a pool, which
//! grows to the number of threads that use the key at the same time.

use std::sync::{Mutex, OnceLock};

use bt_base::limits::TAG_SIZE;
use openssl::cipher::Cipher;
use openssl::cipher_ctx::CipherCtx;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a GCM nonce.
pub(crate) const NONCE_SIZE: usize = 12;
/// Contexts kept for later; more threads than this at once pay for a key schedule.
const IDLE_CONTEXTS: usize = 16;

/// The tag does not match: the bytes, the associated data, the nonce or the key is not that of the sealing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TagMismatch;

/// One AES-256-GCM key with its prepared contexts; OpenSSL clears a context when it is freed.
pub(crate) struct AesGcm {
    key: Zeroizing<[u8; 32]>,
    idle: Mutex<Vec<CipherCtx>>,
}

impl AesGcm {
    pub(crate) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self { key, idle: Mutex::new(Vec::new()) }
    }

    /// Appends ciphertext and tag to `out`. A nonce must never be used for two messages under one key.
    pub(crate) fn seal(&self, nonce: &[u8; NONCE_SIZE], associated: &[u8], plaintext: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + plaintext.len() + TAG_SIZE, 0);
        self.seal_into(nonce, associated, plaintext, &mut out[start..]);
    }

    /// Puts ciphertext and tag into `out`, which holds exactly these; else as [`AesGcm::seal`].
    pub(crate) fn seal_into(&self, nonce: &[u8; NONCE_SIZE], associated: &[u8], plaintext: &[u8], out: &mut [u8]) {
        assert_eq!(out.len(), plaintext.len() + TAG_SIZE, "the output of sealing holds exactly ciphertext and tag");
        let (ciphertext, tag) = out.split_at_mut(plaintext.len());
        self.with_context(|context| {
            context.encrypt_init(None, None, Some(nonce))?;
            update(context, associated, plaintext, ciphertext)?;
            context.cipher_final(&mut [])?;
            context.tag(tag)
        })
        .expect("AES-GCM seals any message below its size limit");
    }

    /// Opens `sealed` (ciphertext and tag) into `out`, which holds exactly the plaintext; zeroes it on a mismatch.
    pub(crate) fn open(
        &self,
        nonce: &[u8; NONCE_SIZE],
        associated: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), TagMismatch> {
        let (ciphertext, tag) = sealed.split_last_chunk::<TAG_SIZE>().ok_or(TagMismatch)?;
        assert_eq!(ciphertext.len(), out.len(), "the output of opening holds exactly the plaintext");
        let opened = self.with_context(|context| {
            context.decrypt_init(None, None, Some(nonce))?;
            context.set_tag(tag)?;
            update(context, associated, ciphertext, out)?;
            context.cipher_final(&mut [])
        });
        opened.map(drop).map_err(|_| {
            out.zeroize();
            TagMismatch
        })
    }

    fn with_context<T>(
        &self,
        work: impl FnOnce(&mut CipherCtx) -> Result<T, openssl::error::ErrorStack>,
    ) -> Result<T, openssl::error::ErrorStack> {
        let idle = self.idle.lock().expect("no thread panics while it holds the pool").pop();
        let mut context = idle.unwrap_or_else(|| self.prepare_context());
        let result = work(&mut context);
        let mut pool = self.idle.lock().expect("no thread panics while it holds the pool");
        if pool.len() < IDLE_CONTEXTS {
            pool.push(context);
        }
        result
    }

    fn prepare_context(&self) -> CipherCtx {
        let mut context = CipherCtx::new().expect("OpenSSL gives a cipher context");
        context.encrypt_init(Some(cipher()), Some(&*self.key), None).expect("AES-256-GCM takes 32 key bytes");
        context
    }
}

fn update(
    context: &mut CipherCtx,
    associated: &[u8],
    input: &[u8],
    output: &mut [u8],
) -> Result<(), openssl::error::ErrorStack> {
    if !associated.is_empty() {
        context.cipher_update(associated, None)?;
    }
    if !input.is_empty() {
        context.cipher_update(input, Some(output))?;
    }
    Ok(())
}

/// The cipher, fetched once for the process.
fn cipher() -> &'static Cipher {
    static CIPHER: OnceLock<Cipher> = OnceLock::new();
    CIPHER.get_or_init(|| Cipher::fetch(None, "AES-256-GCM", None).expect("OpenSSL provides AES-256-GCM"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{hex, hex_array};

    /// The AES-256 cases of the GCM specification (McGrew and Viega, appendix B): (key, nonce, associated data,
    /// plaintext, ciphertext and tag).
    const SPECIFICATION: [[&str; 5]; 4] = [
        [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "000000000000000000000000",
            "",
            "",
            "530f8afbc74536b9a963b4f1c4cb738b",
        ],
        [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "000000000000000000000000",
            "",
            "00000000000000000000000000000000",
            "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
        ],
        [
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            "cafebabefacedbaddecaf888",
            "",
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad
             b094dac5d93471bdec1a502270e3cc6c",
        ],
        [
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            "cafebabefacedbaddecaf888",
            "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662
             76fc6ece0f4e1768cddf8853bb2d551b",
        ],
    ];

    fn cipher_of(key: &str) -> AesGcm {
        AesGcm::new(Zeroizing::new(hex_array(key)))
    }

    fn open(cipher: &AesGcm, nonce: &[u8; NONCE_SIZE], aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, TagMismatch> {
        let mut out = vec![0xee; sealed.len() - TAG_SIZE];
        cipher.open(nonce, aad, sealed, &mut out).map(|()| out)
    }

    #[test]
    fn gcm_gives_the_answers_of_its_specification() {
        for [key, nonce, associated, plaintext, expected] in SPECIFICATION {
            let (cipher, nonce) = (cipher_of(key), hex_array(nonce));
            let mut sealed = b"kept".to_vec();
            cipher.seal(&nonce, &hex(associated), &hex(plaintext), &mut sealed);
            assert_eq!(sealed, [b"kept".to_vec(), hex(expected)].concat());
            assert_eq!(open(&cipher, &nonce, &hex(associated), &sealed[4..]), Ok(hex(plaintext)));
        }
    }

    #[test]
    fn a_context_serves_both_directions_and_outlives_a_refusal() {
        let cipher = cipher_of(SPECIFICATION[3][0]);
        for round in 0..4_u8 {
            let nonce = [round; NONCE_SIZE];
            let mut sealed = Vec::new();
            cipher.seal(&nonce, b"aad", &[round; 100], &mut sealed);
            assert_eq!(open(&cipher, &nonce, b"other", &sealed), Err(TagMismatch));
            assert_eq!(open(&cipher, &nonce, b"aad", &sealed), Ok(vec![round; 100]));
            assert_eq!(cipher.idle.lock().unwrap().len(), 1, "one thread needs one context");
        }
    }

    #[test]
    fn a_refused_message_leaves_no_plaintext() {
        let cipher = cipher_of(SPECIFICATION[3][0]);
        let mut sealed = Vec::new();
        cipher.seal(&[1; NONCE_SIZE], &[], b"sixteen secret b", &mut sealed);
        *sealed.last_mut().unwrap() ^= 1;
        let mut out = [0xee; 16];
        assert_eq!(cipher.open(&[1; NONCE_SIZE], &[], &sealed, &mut out), Err(TagMismatch));
        assert_eq!(out, [0; 16]);
    }

    #[test]
    fn many_threads_share_a_key() {
        let cipher = cipher_of(SPECIFICATION[0][0]);
        std::thread::scope(|scope| {
            for thread in 0..8_u8 {
                let cipher = &cipher;
                scope.spawn(move || {
                    for message in 0..200_u8 {
                        let mut nonce = [0; NONCE_SIZE];
                        nonce[..2].copy_from_slice(&[thread, message]);
                        let mut sealed = Vec::new();
                        cipher.seal(&nonce, &[], &[thread ^ message; 300], &mut sealed);
                        assert_eq!(open(cipher, &nonce, &[], &sealed), Ok(vec![thread ^ message; 300]));
                    }
                });
            }
        });
        assert!(cipher.idle.lock().unwrap().len() <= 8);
    }
}
