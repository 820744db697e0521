//! The node's own key: in the file `node.key`, or in a TPM that the file names.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bt_crypto::{KeyError, KeyPlace, KeyStore, SoftwareKeyStore};
use bt_tpm::{TpmError, TpmKeyOptions, TpmKeyStore};
use zeroize::Zeroizing;

use crate::control::Failure;
use crate::control::report::{NodeKeyStatus, TpmStatus};
use crate::layout;
use crate::options::NodeKeyOptions;
use crate::system::SystemEntropy;

/// The node's own key, wherever it is.
#[derive(Clone)]
pub(crate) enum NodeKey {
    Software(Arc<SoftwareKeyStore>),
    Tpm(Arc<TpmKeyStore>),
}

impl NodeKey {
    /// Makes a new key.
    pub(crate) fn create(options: &NodeKeyOptions) -> Result<Self, Failure> {
        match options {
            NodeKeyOptions::File => Ok(Self::Software(Arc::new(SoftwareKeyStore::generate(&mut SystemEntropy)))),
            NodeKeyOptions::Tpm { tcti, binding, with_counter } => {
                let binding = binding.as_ref().map(|binding| (binding.pcrs, &binding.passphrase[..]));
                let options = TpmKeyOptions { tcti, binding, with_counter: *with_counter };
                TpmKeyStore::create(&options, &mut SystemEntropy).map(Arc::new).map(Self::Tpm).map_err(refused)
            }
        }
    }

    /// Reads a node key file of either kind. A TPM is not asked yet.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Failure> {
        let damaged = |error: String| Failure::problem(format!("{}: {error}", layout::NODE_KEY), "");
        match TpmKeyStore::is_key_file(bytes) {
            true => TpmKeyStore::decode(bytes).map(Arc::new).map(Self::Tpm).map_err(|error| damaged(error.to_string())),
            false => SoftwareKeyStore::decode(bytes)
                .map(Arc::new)
                .map(Self::Software)
                .map_err(|error| damaged(error.to_string())),
        }
    }

    /// The bytes of the node key file.
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Software(store) => store.encode(),
            Self::Tpm(store) => Zeroizing::new(store.encode()),
        }
    }

    /// The key, to be used.
    pub(crate) fn store(&self) -> Arc<dyn KeyStore> {
        match self {
            Self::Software(store) => store.clone(),
            Self::Tpm(store) => store.clone(),
        }
    }

    /// Whether the key is where the options ask for one. One that is bound never is: whether its recovery passphrase is
    /// the one that is given now cannot be told.
    pub(crate) fn is_as(&self, options: &NodeKeyOptions) -> bool {
        match (self.status().tpm, options) {
            (None, NodeKeyOptions::File) => true,
            (Some(tpm), NodeKeyOptions::Tpm { tcti, binding: None, with_counter }) => {
                tpm.tcti == *tcti && tpm.pcrs.is_empty() && tpm.has_counter == *with_counter
            }
            _ => false,
        }
    }

    /// Whether a counter in a TPM belongs to it.
    pub(crate) fn has_counter(&self) -> bool {
        self.status().tpm.is_some_and(|tpm| tpm.has_counter)
    }

    /// Gives up a key that nobody was told of, or that was replaced: nothing of it stays in a TPM that can be reached.
    pub(crate) fn discard(&self) {
        if let Self::Tpm(store) = self
            && let Err(error) = store.remove_counter()
        {
            tracing::warn!(%error, "the counter of a key that is given up stays in the TPM");
        }
    }

    /// Where the key is and what it is bound to.
    pub(crate) fn status(&self) -> NodeKeyStatus {
        NodeKeyStatus::from(self.store().place())
    }
}

/// The failure for a use of the node's key that its store refused; other errors are `other`'s to tell.
pub(crate) fn key_failure(error: &KeyError, other: impl FnOnce() -> Failure) -> Failure {
    match error {
        KeyError::Unavailable { why } => Failure::refused(format!("this node's key cannot be used: {why}"), ""),
        KeyError::BadPeer => other(),
    }
}

/// The failure for a TPM that did not do what was asked.
pub(crate) fn refused(error: TpmError) -> Failure {
    match error {
        TpmError::BadTcti { .. } => Failure::usage(error.to_string(), ""),
        _ => Failure::refused(error.to_string(), ""),
    }
}

impl From<KeyPlace> for NodeKeyStatus {
    fn from(place: KeyPlace) -> Self {
        match place {
            KeyPlace::Software => Self { tpm: None },
            KeyPlace::Tpm(place) => Self {
                tpm: Some(TpmStatus {
                    tcti: place.tcti,
                    manufacturer: place.maker.as_ref().map(|maker| maker.manufacturer.clone()),
                    is_software: place.maker.is_some_and(|maker| maker.is_software),
                    pcrs: place.pcrs,
                    has_counter: place.has_counter,
                }),
            },
        }
    }
}
