//! A tree changes its root, also where a crash comes between.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bt_base::ZoneId;
use bt_crypto::{KeyStore, PassphraseCost, RootSeed, SoftwareKeyStore};
use bt_store::{FileStorage, Heads, Storage};
use bt_tree::{AccessLog, Action, Birth, EpochList, Genesis, Keyring, Rights, SessionKey};
use tempfile::TempDir;

use super::*;
use crate::control::FailureKind;
use crate::engine::Engine;
use crate::engine::testing::{ROOT, go_on};
use crate::identity;
use crate::layout::ZoneLayout;
use crate::options::{InitOptions, NodeKeyOptions, OpenOptions};
use crate::system::now;

const PASSPHRASE: &[u8] = b"secret";

/// A directory with a tree: its top zone with a file that only the journal holds, and a zone born in it.
struct Scene {
    dir: TempDir,
    old: RootSeed,
    child: ZoneId,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options =
            InitOptions { passphrase: PASSPHRASE.to_vec().into(), compression: None, node_key: NodeKeyOptions::File };
        crate::init::make(storage(dir.path()), &options, PassphraseCost::LEAST).unwrap();
        let old = open_root(&dir.path().join(ROOT_FILE), PASSPHRASE).unwrap();
        let child = bear(dir.path());
        let engine = open(dir.path());
        let (file, _) = engine.make(ROOT, b"file", 0o100644, 0, b"", (0, 0, 0)).unwrap();
        engine.write_file(file, 0, b"content", false).unwrap();
        engine.sync_file(Some(file)).unwrap();
        Self { dir, old, child }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn begin(&self) -> Result<Rotation, Failure> {
        Rotation::begin(self.dir.path(), &self.path(ROOT_FILE), &self.old)
    }

    /// As `make_root` does, with a passphrase that costs nothing.
    fn next(&self) -> RootSeed {
        let seed = RootSeed::generate(&mut SystemEntropy);
        let file = seed.seal_file(PASSPHRASE, PassphraseCost::LEAST, &mut SystemEntropy);
        fs::write(self.path("root.key.next"), file).unwrap();
        seed
    }

    fn rotate(&self) -> RootSeed {
        let rotation = self.begin().unwrap();
        assert!(!rotation.is_resumed());
        let new = self.next();
        let report = rotation.finish(&new).unwrap();
        assert_eq!((report.root, report.zones), (new.key_store().credential().id(), 2));
        new
    }

    fn genesis(&self) -> Genesis {
        identity::read_genesis(&*storage(self.dir.path())).unwrap()
    }

    fn log(&self, zone: &ZoneId) -> (AccessLog, EpochList) {
        let (storage, layout, genesis) = (storage(self.dir.path()), ZoneLayout::new(zone), self.genesis());
        let read = |name: &str| identity::read(&*storage, name).unwrap();
        let birth = Birth::decode(genesis.tree(), &read(&layout.birth())).unwrap();
        let access = AccessLog::decode(&genesis, &birth, &read(&layout.access())).unwrap();
        let epochs = EpochList::decode(&access, &read(&layout.epochs())).unwrap();
        (access, epochs)
    }

    /// Everything is handed over, nothing is lost, and the tree can be used.
    fn expect_rotated(&self, new: &RootSeed) {
        let (old, new) = (self.old.key_store(), new.key_store());
        let root_file = open_root(&self.path(ROOT_FILE), PASSPHRASE).unwrap();
        assert_eq!(root_file.key_store().credential(), new.credential());
        let aside = self.path(&format!("root.key.{}", old.credential().id().short()));
        assert_eq!(open_root(&aside, PASSPHRASE).unwrap(), self.old);
        assert!(!self.path("root.key.next").exists());
        let top = identity::find_top(&*storage(self.dir.path())).unwrap();
        for zone in [top, self.child] {
            let (access, epochs) = self.log(&zone);
            assert_eq!(access.root(), new.credential());
            assert!(epochs.is_current(&access, now()));
            assert_eq!(epochs.newest_number(), 2, "one more epoch, and no more than one");
            assert_eq!(epochs.open_with(&new).unwrap().iter().count(), 2);
            assert!(epochs.open_with(&old).is_err());
            assert!(access.clone().decide(&old, now(), revoke(&node(self.dir.path()))).is_err());
        }
        let engine = open(self.dir.path());
        let (file, _) = engine.lookup(ROOT, b"file").unwrap().unwrap();
        let mut content = [0; 7];
        engine.read_file(file, 0, &mut content).unwrap();
        assert_eq!(content, *b"content");
        engine.write_file(file, 0, b"changed", false).unwrap();
        engine.sync_file(Some(file)).unwrap();
        engine.commit().unwrap();
        assert_eq!(engine.check(true, &mut go_on).unwrap().report.problems, []);
        assert_eq!(engine.source.epoch(), 2);
        engine.close().unwrap();
    }
}

fn storage(dir: &Path) -> Arc<dyn Storage> {
    Arc::new(FileStorage::open(dir).unwrap())
}

fn open(dir: &Path) -> Arc<Engine> {
    let storage = storage(dir);
    let identity = identity::load_top(&*storage).unwrap();
    Engine::open(storage, identity, &OpenOptions::default()).unwrap()
}

fn node(dir: &Path) -> SoftwareKeyStore {
    SoftwareKeyStore::decode(&fs::read(dir.join(layout::NODE_KEY)).unwrap()).unwrap()
}

fn revoke(store: &dyn KeyStore) -> Action {
    Action::Revoke { principal: store.credential().id(), last: None }
}

/// A zone of the node's, with records and one epoch.
fn bear(dir: &Path) -> ZoneId {
    let (storage, node) = (storage(dir), node(dir));
    let genesis = identity::read_genesis(&*storage).unwrap();
    let parent = identity::find_top(&*storage).unwrap();
    let birth = Birth::create(&node, &genesis, Some(parent), &mut SystemEntropy).unwrap();
    let mut access = AccessLog::new(&genesis, &birth).unwrap();
    let reader = SoftwareKeyStore::generate(&mut SystemEntropy);
    let grant = Action::Grant { principal: *reader.credential(), rights: Rights::Read, until: None };
    access.decide(&node, now(), grant).unwrap();
    let mut epochs = EpochList::new(&access);
    let session = SessionKey::issue(&node, genesis.tree(), now(), 60, &mut SystemEntropy).unwrap();
    epochs.advance(&access, &mut Keyring::default(), &session, now(), &mut SystemEntropy).unwrap();
    let layout = ZoneLayout::new(birth.zone());
    storage.create_dir(&layout.directory).unwrap();
    identity::write(&*storage, &layout.birth(), birth.as_bytes()).unwrap();
    identity::write(&*storage, &layout.access(), &access.to_bytes()).unwrap();
    identity::write(&*storage, &layout.epochs(), &epochs.to_bytes()).unwrap();
    Heads::new(storage.clone(), &layout.directory).create().unwrap();
    *birth.zone()
}

#[test]
fn a_tree_changes_its_root_and_keeps_everything_else() {
    let scene = Scene::new();
    let before = scene.genesis();
    let new = scene.rotate();
    scene.expect_rotated(&new);
    let after = scene.genesis();
    assert_eq!((after.tree(), after.founder()), (before.tree(), before.root()));
    let me = whoami(scene.dir.path(), Some(*new.key_store().credential())).unwrap();
    assert!(me.is_root && me.zones.iter().all(|zone| zone.rights == Some("admin")));
    let was = whoami(scene.dir.path(), Some(*scene.old.key_store().credential())).unwrap();
    assert!(!was.is_root && was.zones.iter().all(|zone| zone.rights.is_none()));
    refuse_other_root(scene.dir.path(), new.key_store().credential()).unwrap();
    let refused = refuse_other_root(scene.dir.path(), scene.old.key_store().credential()).unwrap_err();
    assert!(refused.what.ends_with("but another succeeded it"), "{refused}");
}

#[test]
fn a_rotation_goes_on_where_a_crash_stopped_it() {
    let files = |scene: &Scene, zone: &ZoneId| {
        let layout = ZoneLayout::new(zone);
        [layout.access(), layout.epochs()].map(|name| (scene.path(&name), fs::read(scene.path(&name)).unwrap()))
    };
    // How much of the end is undone: the exchange of files; an epoch; also an access record; both zones.
    for undone in 0..5 {
        let scene = Scene::new();
        let top = identity::find_top(&*storage(scene.dir.path())).unwrap();
        let (of_child, of_top) = (files(&scene, &scene.child), files(&scene, &top));
        let root_file = fs::read(scene.path(ROOT_FILE)).unwrap();
        let new = scene.rotate();
        let aside = scene.path(&format!("root.key.{}", scene.old.key_store().credential().id().short()));
        fs::rename(scene.path(ROOT_FILE), scene.path("root.key.next")).unwrap();
        fs::write(scene.path(ROOT_FILE), root_file).unwrap();
        if undone > 0 {
            fs::remove_file(aside).unwrap();
        }
        let [child_access, child_epochs] = of_child;
        let earlier = [Some(child_epochs), Some(child_access), None];
        for (path, bytes) in earlier.into_iter().flatten().take((undone as usize).saturating_sub(1)) {
            fs::write(path, bytes).unwrap();
        }
        if undone == 4 {
            of_top.into_iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
        }
        let again = scene.begin().unwrap();
        assert!(again.is_resumed(), "{undone} undone");
        assert_eq!(open_root(&again.new_file(), PASSPHRASE).unwrap(), new);
        again.finish(&new).unwrap();
        scene.expect_rotated(&new);
    }
}

#[test]
fn what_cannot_be_rotated_is_refused_before_anything_changes() {
    let scene = Scene::new();
    let refused = |scene: &Scene, seed: &RootSeed| {
        let failure = Rotation::begin(scene.dir.path(), &scene.path(ROOT_FILE), seed).map(|_| ()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Refused);
        failure.what
    };
    let stranger = RootSeed::generate(&mut SystemEntropy);
    assert!(refused(&scene, &stranger).starts_with("this is the root of another tree"));
    let lock = bt_store::DirLock::acquire(scene.dir.path()).unwrap();
    assert!(refused(&scene, &scene.old).contains("stop it first"));
    drop(lock);
    scene.next();
    assert!(refused(&scene, &scene.old).ends_with("is left of a rotation that changed nothing"));
    assert!(!scene.path("succession").exists());
    let unfinished = scene.path(&format!("zones/{}", ZoneId([7; 32])));
    fs::create_dir(&unfinished).unwrap();
    scene.begin().map(|_| ()).unwrap_err();
    fs::remove_file(scene.path("root.key.next")).unwrap();
    scene.rotate();
    assert!(refused(&scene, &scene.old).ends_with("but another succeeded it"));
    // The file beside it must hold the root that the succession names.
    let scene = Scene::new();
    let root_file = fs::read(scene.path(ROOT_FILE)).unwrap();
    let new = scene.rotate();
    fs::write(scene.path(ROOT_FILE), root_file).unwrap();
    fs::write(scene.path("root.key.next"), b"").unwrap();
    let wrong = scene.begin().unwrap().finish(&stranger).unwrap_err();
    assert!(wrong.what.ends_with("does not hold the root that the succession names"), "{wrong}");
    assert_eq!(scene.genesis().root(), new.key_store().credential());
}

#[test]
fn a_root_file_is_copied_and_takes_another_passphrase() {
    let scene = Scene::new();
    let copy = scene.path("copy");
    export_root(&scene.path(ROOT_FILE), &copy).unwrap();
    assert_eq!(fs::read(&copy).unwrap(), fs::read(scene.path(ROOT_FILE)).unwrap());
    assert_eq!(export_root(&scene.path(ROOT_FILE), &copy).unwrap_err().kind, FailureKind::Refused);
    replace_root(&copy, &scene.old, b"other").unwrap();
    assert_eq!(open_root(&copy, b"other").unwrap(), scene.old);
    assert_eq!(open_root(&copy, PASSPHRASE).unwrap_err().kind, FailureKind::Refused);
    assert_eq!(create_root(&copy, &scene.old, b"third").unwrap_err().kind, FailureKind::Refused);
}
