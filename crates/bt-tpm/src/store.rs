//! The key store whose keys a TPM holds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bt_base::label::{Label, TPM_FILE};
use bt_base::{Entropy, TreeId};
use bt_crypto::{
    AgreementPublic, Credential, KeyError, KeyPlace, KeyStore, NO_TREE, SharedSecret, Signature, TpmMaker, TpmPlace,
    signing_digest,
};
use zeroize::Zeroizing;

use crate::actor::Tpm;
use crate::binding;
use crate::connection::{Connection, Step};
use crate::counter::{Counter, Draw};
use crate::error::TpmError;
use crate::file::{KeyFile, TpmFileError, is_key_file};
use crate::key::Role;
use crate::limits::CALL_TIMEOUT;
use crate::pcr::Pcrs;
use crate::tcti::Tcti;

/// How keys are made.
pub struct TpmKeyOptions<'a> {
    /// Where the TPM is, in the form of tpm2-tss: `device:/dev/tpmrm0`.
    pub tcti: &'a str,
    /// The PCRs whose present values the keys are bound to, and the passphrase that binds them anew.
    pub binding: Option<(Pcrs, &'a [u8])>,
    /// Whether to define a counter that tells older copies of the node's directory.
    pub with_counter: bool,
}

/// How often a store used its TPM since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Signatures.
    pub signatures: u64,
    /// Key agreements.
    pub agreements: u64,
    /// Readings of the counter.
    pub counter_reads: u64,
    /// Steps of the counter.
    pub counter_steps: u64,
}

#[derive(Default)]
struct Meter {
    signatures: AtomicU64,
    agreements: AtomicU64,
    counter_reads: AtomicU64,
    counter_steps: AtomicU64,
}

/// The keys of one principal in a TPM. Uses take milliseconds to seconds, and wait for each other.
pub struct TpmKeyStore {
    file: Arc<KeyFile>,
    credential: Credential,
    tpm: Tpm,
    maker: Arc<OnceLock<TpmMaker>>,
    meter: Meter,
}

impl TpmKeyStore {
    /// Makes new keys in the TPM, and tries them.
    pub fn create(options: &TpmKeyOptions<'_>, entropy: &mut dyn Entropy) -> Result<Self, TpmError> {
        let tcti = Tcti::parse(options.tcti)?;
        let tpm = Tpm::new(tcti.clone(), CALL_TIMEOUT);
        let binding = options.binding.map(|(pcrs, passphrase)| (pcrs, Zeroizing::new(passphrase.to_vec())));
        let draw = options.with_counter.then(|| Draw::new(entropy));
        let file = tpm.call(move |connection| make(connection, &tcti, binding.as_ref(), draw.clone()))?;
        let store = Self::new(file, tpm).ok_or(TpmError::Unexpected {
            what: "making a key",
            why: "the public key that it gave is no point of P-256".into(),
        })?;
        store.try_out()?;
        Ok(store)
    }

    /// Whether the bytes of a node's key file say that its keys are in a TPM.
    pub fn is_key_file(bytes: &[u8]) -> bool {
        is_key_file(bytes)
    }

    /// Reads what [`Self::encode`] wrote. The TPM is not asked before a key is used.
    pub fn decode(bytes: &[u8]) -> Result<Self, TpmFileError> {
        Self::decode_with(bytes, CALL_TIMEOUT)
    }

    /// As [`Self::decode`], with another limit than [`CALL_TIMEOUT`] for each call.
    pub fn decode_with(bytes: &[u8], timeout: Duration) -> Result<Self, TpmFileError> {
        let file = KeyFile::decode(bytes)?;
        let tpm = Tpm::new(file.tcti.clone(), timeout);
        Self::new(file, tpm).ok_or(TpmFileError::Damaged)
    }

    /// The bytes that name the keys: of no use without this TPM. Keep them to their owner all the same: together with
    /// the TPM they are the node.
    pub fn encode(&self) -> Vec<u8> {
        self.file.encode()
    }

    /// The same keys, bound to the present values of `pcrs` (those that they are bound to, if none are named).
    pub fn rebind(&self, pcrs: Option<Pcrs>, passphrase: &[u8]) -> Result<Self, TpmError> {
        let binding = self.file.binding.as_ref().ok_or(TpmError::NotBound)?;
        let pcrs = pcrs.unwrap_or(binding.pcrs);
        let recovery = binding.recovery.clone();
        let passphrase = Zeroizing::new(passphrase.to_vec());
        let binding = self.call(move |connection, _| binding::bind(connection, pcrs, &recovery, &passphrase))?;
        let file = KeyFile { binding: Some(binding), ..(*self.file).clone() };
        let store = Self::new(file, Tpm::new(self.tpm.tcti().clone(), self.tpm.timeout()));
        let store = store.expect("the credential is as it was");
        store.try_out()?;
        Ok(store)
    }

    /// The counter, where the node has one.
    pub fn counter(&self) -> Option<&Counter> {
        self.file.counter.as_ref()
    }

    /// The counter's present value; None where there is no counter.
    pub fn read_counter(&self) -> Result<Option<u64>, TpmError> {
        let Some(counter) = self.file.counter.clone() else { return Ok(None) };
        self.meter.counter_reads.fetch_add(1, Ordering::Relaxed);
        self.call(move |connection, _| counter.read(connection)).map(Some)
    }

    /// Raises the counter by one, if there is one.
    pub fn step_counter(&self) -> Result<(), TpmError> {
        let Some(counter) = self.file.counter.clone() else { return Ok(()) };
        self.meter.counter_steps.fetch_add(1, Ordering::Relaxed);
        self.call(move |connection, _| counter.step(connection))
    }

    /// Deletes the counter from the TPM, for a node whose keys are given up.
    pub fn remove_counter(&self) -> Result<(), TpmError> {
        let Some(counter) = self.file.counter.clone() else { return Ok(()) };
        self.call(move |connection, _| counter.remove(connection))
    }

    /// Flushes what this has loaded in the TPM, and lets it go until it is used again: for a process that is about to end.
    /// A TPM without a resource manager keeps what a process leaves there.
    pub fn release(&self) {
        self.tpm.release();
    }

    /// How often the TPM was used.
    pub fn uses(&self) -> Uses {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Uses {
            signatures: read(&self.meter.signatures),
            agreements: read(&self.meter.agreements),
            counter_reads: read(&self.meter.counter_reads),
            counter_steps: read(&self.meter.counter_steps),
        }
    }

    fn new(file: KeyFile, tpm: Tpm) -> Option<Self> {
        let credential = file.credential()?;
        let maker = Arc::default();
        Some(Self { file: Arc::new(file), credential, tpm, maker, meter: Meter::default() })
    }

    /// Uses both keys once: a file is written only when they work.
    fn try_out(&self) -> Result<(), TpmError> {
        let signed = self.signature(TPM_FILE, &NO_TREE, b"")?;
        let holds = self.credential.verifying_key.verify(TPM_FILE, &NO_TREE, b"", &signed);
        holds.map_err(|error| TpmError::Unexpected { what: "a signature", why: error.to_string() })?;
        let own = self.agreement_coordinates();
        self.shared(own).map(drop)
    }

    fn agreement_coordinates(&self) -> ([u8; 32], [u8; 32]) {
        self.file.agreement.point
    }

    fn signature(&self, label: Label, tree: &TreeId, message: &[u8]) -> Result<Signature, TpmError> {
        let digest = signing_digest(label, tree, message);
        let bytes =
            self.use_key(move |connection, file| connection.sign(&file.signing, file.binding.as_ref(), digest))?;
        Ok(Signature(bytes).with_low_s())
    }

    fn shared(&self, peer: ([u8; 32], [u8; 32])) -> Result<SharedSecret, TpmError> {
        let secret =
            self.use_key(move |connection, file| connection.agree(&file.agreement, file.binding.as_ref(), peer))?;
        Ok(SharedSecret::from_bytes(secret))
    }

    /// Uses a key; where its policy does not hold, says which PCRs are other than they were.
    fn use_key<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Connection, &KeyFile) -> Step<T> + Send + 'static,
    ) -> Result<T, TpmError> {
        self.call(move |connection, file| match work(connection, file) {
            Ok(value) => Ok(value),
            Err(failed) => {
                if let Some(binding) = file.binding.as_ref().filter(|_| failed.is_policy()) {
                    binding.check(connection)?;
                }
                Err(connection.explain(failed))
            }
        })
    }

    fn call<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Connection, &KeyFile) -> Result<T, TpmError> + Send + 'static,
    ) -> Result<T, TpmError> {
        let (file, maker) = (self.file.clone(), self.maker.clone());
        self.tpm.call(move |connection| {
            maker.get_or_init(|| connection.maker().clone());
            connection.expect_parent(&file.parent)?;
            work(connection, &file)
        })
    }
}

/// Makes the keys, and what else the options ask for.
fn make(
    connection: &mut Connection,
    tcti: &Tcti,
    binding: Option<&(Pcrs, Zeroizing<Vec<u8>>)>,
    draw: Option<Draw>,
) -> Result<KeyFile, TpmError> {
    let parent = *connection.parent_name();
    let binding = match binding {
        Some((pcrs, passphrase)) => {
            let recovery = connection.attempt(|connection| binding::create_recovery(connection, passphrase))?;
            Some(binding::bind(connection, *pcrs, &recovery, passphrase)?)
        }
        None => None,
    };
    let policy = match &binding {
        Some(binding) => Some(connection.attempt(|_| binding::policy(&binding.recovery))?),
        None => None,
    };
    let signing = connection.attempt(|connection| connection.create(Role::Signing, policy, None))?;
    let agreement = connection.attempt(|connection| connection.create(Role::Agreement, policy, None))?;
    // Last, since it is the only thing that stays in the TPM.
    let counter = draw.map(|draw| Counter::define(connection, draw)).transpose()?;
    Ok(KeyFile { tcti: tcti.clone(), parent, signing, agreement, binding, counter })
}

impl KeyStore for TpmKeyStore {
    fn credential(&self) -> &Credential {
        &self.credential
    }

    fn sign(&self, label: Label, tree: &TreeId, message: &[u8]) -> Result<Signature, KeyError> {
        self.meter.signatures.fetch_add(1, Ordering::Relaxed);
        Ok(self.signature(label, tree, message)?)
    }

    fn agree(&self, peer: &AgreementPublic) -> Result<SharedSecret, KeyError> {
        let peer = peer.coordinates().ok_or(KeyError::BadPeer)?;
        self.meter.agreements.fetch_add(1, Ordering::Relaxed);
        Ok(self.shared(peer)?)
    }

    fn place(&self) -> KeyPlace {
        KeyPlace::Tpm(TpmPlace {
            tcti: self.tpm.tcti().as_str().to_owned(),
            maker: self.maker.get().cloned(),
            pcrs: self.file.binding.iter().flat_map(|binding| binding.pcrs.numbers()).collect(),
            has_counter: self.file.counter.is_some(),
        })
    }
}
