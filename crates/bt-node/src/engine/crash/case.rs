//! One case: a tree, a seed, and how to run it again.

use std::sync::{Arc, LazyLock, OnceLock};

use bt_crypto::{PassphraseCost, RootSeed, SoftwareKeyStore};
use bt_store::{FaultStorage, JournalFile, MemoryStorage};
use bt_tree::schema::ROOT_INODE;
use bt_vfs::op::Change;
use zeroize::Zeroizing;

use crate::engine::Engine;
use crate::identity::load_top;
use crate::options::{InitOptions, NodeKeyOptions, OpenOptions};

/// Journals of these sizes, in bytes: one that wraps and fills all the time, one that wraps at times, a roomy one.
const JOURNAL_BYTES: [u64; 3] = [40 << 10, 128 << 10, 1 << 20];

/// Trees with nothing in them, one for each size of the journal; the next batch goes near its end.
static TREES: LazyLock<Vec<MemoryStorage>> = LazyLock::new(|| {
    let storage = MemoryStorage::new();
    let root = make_tree(&storage);
    assert!(ROOT.set(root).is_ok(), "the trees are made once");
    JOURNAL_BYTES.iter().map(|bytes| near_the_end(with_journal(&storage, *bytes), *bytes)).collect()
});

/// The root of [`TREES`].
static ROOT: OnceLock<SoftwareKeyStore> = OnceLock::new();

/// The root of the trees that cases work on; none before the first is made.
pub(super) fn root() -> Option<&'static SoftwareKeyStore> {
    ROOT.get()
}

/// Writes small batches until the next goes near the end of the journal.
fn near_the_end(tree: MemoryStorage, journal_bytes: u64) -> MemoryStorage {
    let engine = crate::engine::testing::open(&tree).expect("a new tree opens");
    let position = || engine.position.lock().expect("no panic under this lock").offset;
    while position() < journal_bytes - (24 << 10) {
        let change = |now| Some(Change { atime: Some(now), ..Change::default() });
        engine.set_attributes(ROOT_INODE, None, change, false).expect("a time can be set");
        engine.sync_file(None).expect("nothing fails on a good disk");
    }
    engine.close().expect("nothing fails on a good disk");
    tree
}

/// Makes a tree in an empty storage; gives its root.
pub(super) fn make_tree(storage: &MemoryStorage) -> SoftwareKeyStore {
    let options = InitOptions {
        passphrase: Zeroizing::new(b"crash".to_vec()),
        compression: None,
        node_key: NodeKeyOptions::File,
    };
    let made = crate::init::make(Arc::new(storage.clone()), &options, PassphraseCost::LEAST);
    let words = made.expect("an empty storage takes a tree").words;
    RootSeed::from_words(&words).expect("they were just made").key_store()
}

/// A copy of a tree that was closed, with a journal of `bytes`.
pub(super) fn with_journal(tree: &MemoryStorage, bytes: u64) -> MemoryStorage {
    let copy = tree.deep_copy();
    let layout = load_top(&copy).expect("a tree was made").layout;
    JournalFile::create(&copy, &layout.journal(), bytes).expect("a closed tree needs no journal");
    copy
}

/// A workload and what is done to its disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) seed: u64,
    /// Changes of the disk before the crash, or calls before the fault.
    pub(super) point: Option<usize>,
    /// Chooses what of the unsynced changes is left.
    pub(super) disk: Option<u64>,
    test: &'static str,
}

impl Case {
    /// The cases of a test: those of `seeds`, more in a long run, or the one that the user asks for.
    pub(super) fn all(test: &'static str, seeds: u64, long: u64) -> Vec<Self> {
        if let Ok(text) = std::env::var("BT_CRASH_CASE") {
            let mut parts =
                text.split(':').map(|part| part.parse::<u64>().expect("BT_CRASH_CASE is SEED[:POINT[:DISK]]"));
            let seed = parts.next().expect("BT_CRASH_CASE has a seed");
            return vec![Self { seed, point: parts.next().map(|point| point as usize), disk: parts.next(), test }];
        }
        let count = if is_long() { long } else { seeds };
        (1..=count).map(|seed| Self { seed, point: None, disk: None, test }).collect()
    }

    /// A case without a crash.
    pub(super) fn of_seed(seed: u64) -> Self {
        Self { seed, point: None, disk: None, test: "" }
    }

    pub(super) fn at(self, point: usize, disk: u64) -> Self {
        Self { point: Some(point), disk: Some(disk), ..self }
    }

    /// The points to try among `count`: all in a long run, else about `wanted`.
    pub(super) fn points(&self, count: usize, wanted: usize) -> Vec<usize> {
        match self.point {
            Some(point) => vec![point.min(count.saturating_sub(1))],
            None if is_long() => (0..count).collect(),
            // A stride that is no multiple of a habit of the workload.
            None => (0..count).step_by((count / wanted).max(1) | 1).chain(count.checked_sub(1)).collect(),
        }
    }

    /// An empty tree.
    pub(super) fn tree(&self) -> MemoryStorage {
        TREES[self.seed as usize % TREES.len()].deep_copy()
    }

    /// Says how to run the case again when the test panics while this lives.
    pub(super) fn watched(self) -> Watched {
        Watched(self)
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BT_CRASH_CASE={}", self.seed)?;
        if let Some(point) = self.point {
            write!(f, ":{point}")?;
        }
        if let (Some(_), Some(disk)) = (self.point, self.disk) {
            write!(f, ":{disk}")?;
        }
        write!(f, " cargo test -p bt-node --lib {}", self.test)
    }
}

pub(super) struct Watched(Case);

impl Drop for Watched {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("run this case again:\n  {}", self.0);
        }
    }
}

pub(super) fn is_long() -> bool {
    std::env::var_os("BT_CRASH_LONG").is_some()
}

/// Opens a zone on a storage.
pub(super) fn open(storage: &FaultStorage) -> Result<Arc<Engine>, String> {
    let identity = load_top(storage).map_err(|failure| failure.to_string())?;
    Engine::open(Arc::new(storage.clone()), identity, &OpenOptions::default()).map_err(|failure| failure.to_string())
}
