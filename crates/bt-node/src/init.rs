//! Making a tree: root credential, node credential, root zone.

use std::path::Path;
use std::sync::Arc;

use bt_base::TreeId;
use bt_base::limits::SESSION_SECONDS;
use bt_crypto::{KeyStore, PassphraseCost, RootSeed};
use bt_store::{Ballast, DirLock, FileStorage, Heads, JournalFile, Storage};
use bt_tree::{AccessLog, Action, Birth, EpochList, Genesis, Keyring, Rights, SessionKey};

use crate::control::{Failure, FailureKind};
use crate::engine::Engine;
use crate::identity;
use crate::layout::{self, ZoneLayout};
use crate::node_key::NodeKey;
use crate::options::{Compression, InitOptions, InitReport, OpenOptions};
use crate::rollback;
use crate::system::{SystemEntropy, now};

/// Makes a tree in `dir`, which must not exist or be empty. The 24 words in the report exist nowhere else.
pub fn init(dir: &Path, options: &InitOptions) -> Result<InitReport, Failure> {
    prepare_directory(dir)?;
    let storage: Arc<dyn Storage> = Arc::new(FileStorage::open(dir).map_err(io)?);
    let _lock = DirLock::acquire(dir).map_err(io)?;
    make(storage, options, PassphraseCost::STANDARD)
}

/// Makes a tree in an empty storage.
pub(crate) fn make(
    storage: Arc<dyn Storage>,
    options: &InitOptions,
    cost: PassphraseCost,
) -> Result<InitReport, Failure> {
    let key = NodeKey::create(&options.node_key)?;
    let made = make_with(storage, options, cost, &key);
    if made.is_err() {
        key.discard();
    }
    made
}

fn make_with(
    storage: Arc<dyn Storage>,
    options: &InitOptions,
    cost: PassphraseCost,
    key: &NodeKey,
) -> Result<InitReport, Failure> {
    let entropy = &mut SystemEntropy;
    let seed = RootSeed::generate(entropy);
    let root = seed.key_store();
    let node = key.store();
    let genesis = Genesis::create(&root, now(), entropy).map_err(problem)?;
    let tree = *genesis.tree();
    let birth = Birth::create(&root, &genesis, None, entropy).map_err(problem)?;
    let zone = *birth.zone();
    let layout = ZoneLayout::top(&zone);
    storage.create_dir(&layout.directory).map_err(io)?;
    let mut access = AccessLog::new(&genesis, &birth).map_err(problem)?;
    let grant = Action::Grant { principal: *node.credential(), rights: Rights::Write, until: None };
    access.decide(&root, now(), grant).map_err(problem)?;
    let epochs = first_epoch(&*node, &tree, &access)?;
    let write = |name: &str, bytes: &[u8]| identity::write(&*storage, name, bytes);
    write(layout::GENESIS, genesis.as_bytes())?;
    write(layout::ROOT_KEY, &seed.seal_file(&options.passphrase, cost, entropy))?;
    write(layout::NODE_KEY, &key.encode())?;
    write(&layout.birth(), birth.as_bytes())?;
    write(&layout.access(), &access.to_bytes())?;
    write(&layout.epochs(), &epochs.to_bytes())?;
    write(&format!("{}/root", layout::ZONES), zone.to_string().as_bytes())?;
    Heads::new(storage.clone(), &layout.directory).create().map_err(io)?;
    JournalFile::create(&*storage, &layout.journal(), bt_store::limits::JOURNAL_BYTES).map_err(io)?;
    let ballast = Ballast::open(storage.clone(), layout::BALLAST, bt_store::limits::BALLAST_BYTES).map_err(io)?;
    ballast.restore().map_err(io)?;
    storage.sync_dir(layout::ZONES).map_err(io)?;
    let format = format!(
        "{}{}\nDo not change files here by hand. `bt --help` tells what can be done with this directory.\n",
        layout::FORMAT_PREFIX,
        layout::FORMAT_VERSION
    );
    write(layout::FORMAT, format.as_bytes())?;
    let compression = match options.compression {
        None => bt_tree::schema::Compression::None,
        Some(Compression::Lz4) => bt_tree::schema::Compression::Lz4,
        Some(Compression::Zstd) => bt_tree::schema::Compression::Zstd,
    };
    let identity = identity::load_top(&*storage)?;
    let own = identity.node.clone();
    Engine::create(storage.clone(), identity, &OpenOptions::default(), compression)?.close()?;
    rollback::step(&*storage, &own)?;
    Ok(InitReport {
        tree,
        zone,
        node: node.credential().id(),
        root: root.credential().id(),
        node_key: key.status(),
        words: seed.to_words(),
    })
}

fn first_epoch(node: &dyn KeyStore, tree: &TreeId, access: &AccessLog) -> Result<EpochList, Failure> {
    let session = SessionKey::issue(node, tree, now(), SESSION_SECONDS, &mut SystemEntropy).map_err(problem)?;
    let mut epochs = EpochList::new(access);
    epochs.advance(access, &mut Keyring::default(), &session, now(), &mut SystemEntropy).map_err(problem)?;
    Ok(epochs)
}

fn prepare_directory(dir: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;

    let reading = |error: &std::io::Error| Failure::io(format_args!("reading {}", dir.display()), error);
    match std::fs::read_dir(dir).map(Iterator::count) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Failure::refused(
            format!("{} is not empty", dir.display()),
            "choose a directory that does not exist or is empty",
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| Failure::io(format_args!("making {}", dir.display()), &error)),
        Err(error) => Err(reading(&error)),
    }
}

fn io(error: bt_store::StoreError) -> Failure {
    Failure { kind: FailureKind::Io, what: error.to_string(), hint: String::new() }
}

fn problem(error: impl std::fmt::Display) -> Failure {
    Failure::problem(error.to_string(), "")
}
