//! The key of a directory's node, where a TPM holds it.

use std::path::Path;

use bt_store::{FileStorage, Storage};
use bt_tpm::{Pcrs, TpmError};

use crate::control::Failure;
use crate::control::report::NodeKeyStatus;
use crate::identity;
use crate::layout;
use crate::node_key::{NodeKey, refused};

/// The key of a node in a TPM, bound to PCRs.
pub struct TpmKey {
    storage: FileStorage,
    key: NodeKey,
}

impl TpmKey {
    /// Reads the key file of the node's directory `dir`; refuses one that is not bound.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        let storage = FileStorage::open(dir).map_err(|error| Failure::problem(error.to_string(), ""))?;
        let key = NodeKey::decode(&identity::read(&storage, layout::NODE_KEY)?)?;
        match key.status().tpm {
            Some(tpm) if !tpm.pcrs.is_empty() => Ok(Self { storage, key }),
            Some(_) => Err(refused(TpmError::NotBound)),
            None => {
                let what = "this node's key is in the file node.key, and bound to nothing";
                Err(Failure::refused(what, "move it into a TPM with `bt node key migrate DIR --tpm TCTI`"))
            }
        }
    }

    /// Binds it to the present values of `pcrs`, or of those that it is bound to, and writes its file. A process that
    /// serves the directory goes on with the binding that it began with.
    pub fn rebind(&self, pcrs: Option<Pcrs>, passphrase: &[u8]) -> Result<NodeKeyStatus, Failure> {
        let NodeKey::Tpm(store) = &self.key else { unreachable!("a key that is not in a TPM is not opened") };
        let rebound = store.rebind(pcrs, passphrase).map_err(refused)?;
        identity::write(&self.storage as &dyn Storage, layout::NODE_KEY, &rebound.encode())?;
        Ok(NodeKey::Tpm(rebound.into()).status())
    }
}
