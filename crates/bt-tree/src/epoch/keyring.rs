//! The keys of a zone's epochs, as a reader holds them in memory.

use std::collections::BTreeMap;

use bt_crypto::EpochKey;

/// The keys of all epochs up to some newest one.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    keys: BTreeMap<u32, EpochKey>,
}

impl Keyring {
    /// The key of an epoch.
    pub fn key(&self, epoch: u32) -> Option<&EpochKey> {
        self.keys.get(&epoch)
    }

    /// The newest epoch with its key; none in an empty ring.
    pub fn newest(&self) -> Option<(u32, &EpochKey)> {
        self.keys.last_key_value().map(|(epoch, key)| (*epoch, key))
    }

    /// All epochs with their keys, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &EpochKey)> {
        self.keys.iter().map(|(epoch, key)| (*epoch, key))
    }

    pub(super) fn insert(&mut self, epoch: u32, key: EpochKey) {
        self.keys.insert(epoch, key);
    }
}
