//! A zone in memory, for tests of the engine.

use std::ops::ControlFlow;
use std::sync::Arc;

use bt_crypto::{KeyStore, PassphraseCost, RootSeed, SoftwareKeyStore};
use bt_store::{MemoryStorage, Storage};
use bt_tree::schema::ROOT_INODE;
use bt_tree::{AccessRecord, Action, LastHead, Rights};
use bt_vfs::ShareRange;

use super::Engine;
use crate::control::report::{CheckReport, Problem};
use crate::control::{Failure, Progress};
use crate::error::Result as EngineResult;
use crate::identity::{NodeIdentity, ZoneIdentity};
use crate::options::{Compression, InitOptions, NodeKeyOptions, OpenOptions};

pub(crate) const ROOT: u64 = ROOT_INODE;

/// A storage with a tree, and its zone while it is open.
pub(crate) struct TestZone {
    pub(crate) storage: MemoryStorage,
    pub(crate) engine: Arc<Engine>,
    /// The tree's root.
    pub(crate) root: SoftwareKeyStore,
}

impl TestZone {
    pub(crate) fn new() -> Self {
        Self::with(None)
    }

    pub(crate) fn with(compression: Option<Compression>) -> Self {
        Self::on(MemoryStorage::new(), compression)
    }

    pub(crate) fn on(storage: MemoryStorage, compression: Option<Compression>) -> Self {
        let options =
            InitOptions { passphrase: b"secret".to_vec().into(), compression, node_key: NodeKeyOptions::File };
        let made = crate::init::make(Arc::new(storage.clone()), &options, PassphraseCost::LEAST).unwrap();
        let root = RootSeed::from_words(&made.words).unwrap().key_store();
        let engine = open(&storage).unwrap();
        Self { storage, engine, root }
    }

    /// Commits all and opens the zone again.
    pub(crate) fn reopen(self) -> Self {
        self.engine.close().unwrap();
        self.crash()
    }

    /// Opens the zone again without a last commit.
    pub(crate) fn crash(self) -> Self {
        let Self { storage, engine, root } = self;
        drop(engine);
        let engine = open(&storage).unwrap();
        Self { storage, engine, root }
    }

    /// The same, opened by another principal.
    pub(crate) fn reopen_as(self, who: &SoftwareKeyStore) -> Self {
        let Self { storage, engine, root } = self;
        engine.close().unwrap();
        drop(engine);
        let engine = open_as(&storage, who).unwrap();
        Self { storage, engine, root }
    }

    /// A record of the access log, signed by `signer` and appended.
    pub(crate) fn decide(&self, signer: &SoftwareKeyStore, action: Action) -> EngineResult<()> {
        let access = &self.engine.identity.rights.now().access;
        let statement = access.next_statement(signer.credential().id(), crate::system::now(), action);
        self.engine.append_access(&[AccessRecord::sign(signer, statement).unwrap().to_bytes()])
    }

    /// A grant by the root.
    pub(crate) fn grant(&self, to: &SoftwareKeyStore, rights: Rights) {
        self.decide(&self.root, Action::Grant { principal: *to.credential(), rights, until: None }).unwrap();
    }

    /// A revocation by the root, from the newest head on.
    pub(crate) fn revoke(&self, from: &dyn KeyStore) {
        self.engine.commit().unwrap();
        self.decide(&self.root, Action::Revoke { principal: from.credential().id(), last: self.last_head() }).unwrap();
    }

    /// The newest head.
    pub(crate) fn last_head(&self) -> Option<LastHead> {
        self.engine.newest_head()
    }

    pub(crate) fn directory(&self, parent: u64, name: &str) -> u64 {
        self.engine.make(parent, name.as_bytes(), 0o040755, 0, b"", (0, 0, 0)).unwrap().0
    }

    /// A file with the given content, under a name that may exist.
    pub(crate) fn file(&self, parent: u64, name: &str, content: &[u8]) -> u64 {
        let inode = match self.engine.lookup(parent, name.as_bytes()).unwrap() {
            Some((inode, _)) => inode,
            None => self.engine.make(parent, name.as_bytes(), 0o100644, 0, b"", (0, 0, 0)).unwrap().0,
        };
        self.engine.write_file(inode, 0, content, false).unwrap();
        inode
    }

    /// Removes a file whose inode nobody holds after this.
    pub(crate) fn remove(&self, parent: u64, name: &str) {
        let (inode, _) = self.engine.lookup(parent, name.as_bytes()).unwrap().unwrap();
        self.engine.unlink(parent, name.as_bytes(), false).unwrap();
        self.engine.forget(inode, u64::MAX);
    }

    pub(crate) fn share(&self, from: u64, to: u64, len: u64) {
        let copied = self.engine.copy_range(ShareRange { from, from_offset: 0, to, to_offset: 0, len }, true).unwrap();
        assert_eq!(copied, len);
    }

    pub(crate) fn delete_snapshot(&self, name: &[u8]) {
        let deleted = self.engine.delete_snapshot(name, &mut || ControlFlow::Continue(())).unwrap();
        assert!(deleted.is_continue());
    }

    pub(crate) fn content(&self, inode: u64) -> Vec<u8> {
        let size = self.engine.inode(inode).unwrap().size;
        let mut content = vec![0; size as usize];
        let read = self.engine.read_file(inode, 0, &mut content).unwrap();
        assert_eq!(read as u64, size);
        content
    }

    pub(crate) fn check(&self) -> CheckReport {
        self.engine.check(true, &mut go_on).unwrap().report
    }

    #[track_caller]
    pub(crate) fn expect_clean(&self) -> CheckReport {
        let report = self.check();
        assert_eq!(report.problems, [], "revision {}", report.revision);
        report
    }
}

pub(crate) fn open(storage: &MemoryStorage) -> Result<Arc<Engine>, Failure> {
    let identity = crate::identity::load_top(storage)?;
    Engine::open(Arc::new(storage.clone()), identity, &OpenOptions::default())
}

/// Opens the zone for another principal than the node.
pub(crate) fn open_as(storage: &MemoryStorage, who: &SoftwareKeyStore) -> Result<Arc<Engine>, Failure> {
    let who = SoftwareKeyStore::decode(&who.encode()).unwrap();
    let node = NodeIdentity::load_as(storage, Arc::new(who))?;
    let identity = ZoneIdentity::load_top(storage, Arc::new(node))?;
    Engine::open(Arc::new(storage.clone()), identity, &OpenOptions::default())
}

/// A principal of its own for each seed.
pub(crate) fn principal(seed: u8) -> SoftwareKeyStore {
    SoftwareKeyStore::from_seed(&[seed; 32])
}

pub(crate) fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Checks the top zone of a storage that no engine serves.
pub(crate) fn check_disk(storage: Arc<dyn Storage>) -> Result<CheckReport, Failure> {
    let loaded = crate::identity::load_top(&*storage);
    Ok(super::check_storage(storage, "", loaded, true, &mut go_on)?.report)
}

/// Checks a storage that no engine serves.
pub(crate) fn check(storage: &MemoryStorage) -> CheckReport {
    check_disk(Arc::new(storage.clone())).unwrap()
}

pub(crate) fn flip(storage: &MemoryStorage, name: &str, byte: u64) {
    let file = storage.open(name, false).unwrap();
    let mut bytes = [0];
    file.read_exact_at(&mut bytes, byte).unwrap();
    file.write_at(&[bytes[0] ^ 0x10], byte).unwrap();
}

/// Bytes that differ from block to block.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

#[track_caller]
pub(crate) fn assert_names(problems: &[Problem], part: &str) {
    let found = problems.iter().any(|problem| problem.what.contains(part) || problem.where_.contains(part));
    assert!(found, "nothing names {part:?}: {problems:#?}");
}
