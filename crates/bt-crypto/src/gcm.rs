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
        let (ciphertext, tag) = out[start..].split_at_mut(plaintext.len());
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
