//! The file that names a node's keys in a TPM: `doc/format/tpm-key.md` has its byte table.

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::codec::{decode_exact, encode};
use bt_base::label::TPM_FILE;
use bt_crypto::{AgreementPublic, Credential, NO_TREE, VerifyingKey, labelled_hash};
use zeroize::Zeroizing;

use crate::binding::{self, Binding};
use crate::counter::Counter;
use crate::key::{Role, WrappedKey};
use crate::limits::{BLOB_BYTES, FILE_BYTES};
use crate::pcr::Pcrs;
use crate::tcti::Tcti;

/// The first bytes of the file.
const MAGIC: &[u8; 8] = b"BT-TPMK\n";
const VERSION: u16 = 1;
const HASH: usize = 32;

/// A file of keys in a TPM that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TpmFileError {
    /// The first bytes are others.
    #[error("this file names no keys in a TPM: check the path")]
    NotATpmKey,
    /// The file was written by a newer program.
    #[error(
        "the file that names this node's keys in the TPM has version {found}, this program knows {VERSION}: use a newer bt"
    )]
    TooNew {
        /// The version found.
        found: u16,
    },
    /// The bytes were cut or changed.
    #[error(
        "the file that names this node's keys in the TPM is damaged: restore it from a backup, or admit this node with \
         new keys and the root credential (`bt node key migrate`)"
    )]
    Damaged,
}

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyFile {
    /// Where the TPM was when the keys were made.
    pub(crate) tcti: Tcti,
    /// The name of the primary that wraps the keys.
    pub(crate) parent: [u8; 32],
    pub(crate) signing: WrappedKey,
    pub(crate) agreement: WrappedKey,
    pub(crate) binding: Option<Binding>,
    pub(crate) counter: Option<Counter>,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct Body {
    tcti: String,
    parent: [u8; 32],
    credential: Credential,
    signing: Vec<u8>,
    agreement: Vec<u8>,
    binding: Option<BindingBody>,
    counter: Option<CounterBody>,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct BindingBody {
    pcrs: Pcrs,
    values: Vec<[u8; 32]>,
    recovery_key: VerifyingKey,
    recovery: Vec<u8>,
    approval: [u8; 64],
}

#[derive(BorshSerialize, BorshDeserialize)]
struct CounterBody {
    id: [u8; 32],
    index: u32,
    auth: [u8; 32],
}

/// Whether the bytes are of such a file, damaged or not: node keys of other kinds begin otherwise.
pub(crate) fn is_key_file(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

impl KeyFile {
    /// The public half of both keys; None where a point is none.
    pub(crate) fn credential(&self) -> Option<Credential> {
        Some(Credential::new(self.signing.verifying_key()?, self.agreement.agreement_public()?))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(encode(&self.body()));
        let hash = labelled_hash(TPM_FILE, &NO_TREE, &[&bytes]);
        bytes.extend(hash);
        bytes
    }

    fn body(&self) -> Body {
        Body {
            tcti: self.tcti.as_str().to_owned(),
            parent: self.parent,
            credential: self.credential().expect("both points were checked when they came from the TPM or a file"),
            signing: self.signing.private.clone(),
            agreement: self.agreement.private.clone(),
            binding: self.binding.as_ref().map(|binding| BindingBody {
                pcrs: binding.pcrs,
                values: binding.values.clone(),
                recovery_key: binding.recovery.verifying_key().expect("its point was checked as well"),
                recovery: binding.recovery.private.clone(),
                approval: binding.approval,
            }),
            counter: self.counter.as_ref().map(|counter| CounterBody {
                id: counter.id,
                index: counter.index,
                auth: *counter.auth,
            }),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, TpmFileError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(TpmFileError::NotATpmKey)?;
        let (signed, hash) = bytes.split_last_chunk::<HASH>().ok_or(TpmFileError::Damaged)?;
        if bytes.len() > FILE_BYTES || *hash != labelled_hash(TPM_FILE, &NO_TREE, &[signed]) {
            return Err(TpmFileError::Damaged);
        }
        let (version, rest) = rest.split_first_chunk().ok_or(TpmFileError::Damaged)?;
        let found = u16::from_le_bytes(*version);
        if found > VERSION {
            return Err(TpmFileError::TooNew { found });
        }
        let body = rest.len().checked_sub(HASH).map(|end| &rest[..end]).filter(|_| found == VERSION);
        let body = decode_exact("file of keys in a TPM", body.ok_or(TpmFileError::Damaged)?, FILE_BYTES);
        Self::from_body(body.map_err(|_| TpmFileError::Damaged)?).ok_or(TpmFileError::Damaged)
    }

    /// None where a value is out of its bounds.
    fn from_body(body: Body) -> Option<Self> {
        let binding = match body.binding {
            Some(binding) => Some(Binding::from_body(binding)?),
            None => None,
        };
        let counter =
            body.counter.map(|body| Counter { id: body.id, index: body.index, auth: Zeroizing::new(body.auth) });
        if counter.as_ref().is_some_and(|counter| !counter.is_valid()) {
            return None;
        }
        let policy = match &binding {
            Some(binding) => Some(binding::policy(&binding.recovery).ok()?),
            None => None,
        };
        let Credential { verifying_key, agreement_public: AgreementPublic(agreement), .. } = body.credential;
        Some(Self {
            tcti: Tcti::parse(&body.tcti).ok()?,
            parent: body.parent,
            signing: wrapped(Role::Signing, verifying_key, body.signing, policy)?,
            agreement: wrapped(Role::Agreement, VerifyingKey(agreement), body.agreement, policy)?,
            binding,
            counter,
        })
    }
}

impl Binding {
    fn from_body(body: BindingBody) -> Option<Self> {
        let fits = body.pcrs.is_valid() && !body.pcrs.is_empty() && body.values.len() == body.pcrs.len();
        fits.then_some(Self {
            pcrs: body.pcrs,
            values: body.values,
            recovery: wrapped(Role::Recovery, body.recovery_key, body.recovery, None)?,
            approval: body.approval,
        })
    }
}

fn wrapped(role: Role, public: VerifyingKey, private: Vec<u8>, policy: Option<[u8; 32]>) -> Option<WrappedKey> {
    let point = public.coordinates()?;
    (1..=BLOB_BYTES).contains(&private.len()).then_some(WrappedKey { role, point, private, policy })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bt_crypto::{KeyStore, SoftwareKeyStore};
    use proptest::prelude::*;

    use super::*;

    /// A file as a TPM could have given it.
    fn file(bound: bool, counted: bool) -> KeyFile {
        let key = |seed: u8| SoftwareKeyStore::from_seed(&[seed; 32]).credential().verifying_key;
        let recovery = wrapped(Role::Recovery, key(3), vec![3; 126], None).unwrap();
        let policy = bound.then(|| binding::policy(&recovery).unwrap());
        KeyFile {
            tcti: Tcti::parse("device:/dev/tpmrm0").unwrap(),
            parent: [9; 32],
            signing: wrapped(Role::Signing, key(1), vec![1; 126], policy).unwrap(),
            agreement: wrapped(Role::Agreement, key(2), vec![2; 126], policy).unwrap(),
            binding: bound.then(|| Binding {
                pcrs: Pcrs::new(&[0, 2, 7]).unwrap(),
                values: vec![[0x10; 32], [0x12; 32], [0x17; 32]],
                recovery,
                approval: [4; 64],
            }),
            counter: counted.then(|| Counter { id: [5; 32], index: 0x0180_0007, auth: Zeroizing::new([6; 32]) }),
        }
    }

    #[test]
    fn the_golden_file_is_understood() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/node-key-tpm-v1.hex");
        let written: String = file(true, true).encode().iter().map(|byte| format!("{byte:02x}")).collect();
        if !path.exists() && std::env::var_os("BT_ADD_VECTORS").is_some() {
            std::fs::write(&path, format!("{written}\n")).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap();
        assert_eq!(golden.trim(), written);
        assert_eq!(KeyFile::decode(&file(true, true).encode()), Ok(file(true, true)));
    }

    #[test]
    fn a_file_survives_its_bytes() {
        for (bound, counted) in [(false, false), (true, false), (false, true), (true, true)] {
            let file = file(bound, counted);
            assert_eq!(KeyFile::decode(&file.encode()), Ok(file));
        }
    }

    #[test]
    fn damage_is_told_from_other_files_and_newer_ones() {
        let bytes = file(true, true).encode();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            let expected = if at < 8 { TpmFileError::NotATpmKey } else { TpmFileError::Damaged };
            assert_eq!(KeyFile::decode(&damaged), Err(expected.clone()), "byte {at}");
            assert_eq!(KeyFile::decode(&bytes[..at]), Err(expected), "cut at {at}");
        }
        let mut newer = bytes[..bytes.len() - HASH].to_vec();
        newer[8] = 2;
        newer.extend(labelled_hash(TPM_FILE, &NO_TREE, &[&newer]));
        assert_eq!(KeyFile::decode(&newer), Err(TpmFileError::TooNew { found: 2 }));
    }

    /// Encodes a file that was changed, with the right hash: what only a check of each value refuses.
    fn refused(change: impl FnOnce(&mut Body)) {
        let mut body = file(true, true).body();
        change(&mut body);
        assert!(KeyFile::from_body(body).is_none());
    }

    #[test]
    fn values_out_of_their_bounds_are_refused() {
        refused(|body| body.tcti = "elsewhere".into());
        refused(|body| body.credential.verifying_key.0[0] = 9);
        refused(|body| body.credential.agreement_public.0 = [0; 33]);
        refused(|body| body.signing = vec![]);
        refused(|body| body.agreement = vec![0; BLOB_BYTES + 1]);
        refused(|body| body.counter.as_mut().unwrap().index = 1);
        refused(|body| body.binding.as_mut().unwrap().values.truncate(2));
        refused(|body| body.binding.as_mut().unwrap().recovery_key.0 = [0; 33]);
        refused(|body| body.binding.as_mut().unwrap().pcrs = Pcrs::default());
        let beyond: Pcrs = borsh::from_slice(&0xff00_0000u32.to_le_bytes()).unwrap();
        refused(|body| body.binding.as_mut().unwrap().pcrs = beyond);
    }

    proptest! {
        #[test]
        fn random_bytes_give_errors(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let bytes = [&MAGIC[..], &VERSION.to_le_bytes(), &bytes].concat();
            let bytes = [&bytes[..], &labelled_hash(TPM_FILE, &NO_TREE, &[&bytes])].concat();
            prop_assert_eq!(KeyFile::decode(&bytes), Err(TpmFileError::Damaged));
        }
    }
}
