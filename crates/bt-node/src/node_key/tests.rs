//! Keys and counters in a software TPM, through a node that is opened and closed.

use std::path::Path;

use bt_crypto::PassphraseCost;
use bt_fuse::{Caller, FileSystem};
use bt_store::{FileStorage, Storage};
use bt_tpm::Uses;
use bt_tree::{AccessLog, Action, Birth, Rights};
use harness::{Scratch, SoftwareTpm};

use super::*;
use crate::layout::ZoneLayout;
use crate::mountfs::MountedTree;
use crate::node::Node;
use crate::options::{InitOptions, OpenOptions};
use crate::zones::NewZone;

fn make_tree(dir: &Path, node_key: NodeKeyOptions) -> Result<(), Failure> {
    let storage: Arc<dyn Storage> = Arc::new(FileStorage::open(dir).unwrap());
    let options = InitOptions { passphrase: b"secret".to_vec().into(), compression: None, node_key };
    crate::init::make(storage, &options, PassphraseCost::LEAST).map(drop)
}

fn uses(node: &Node) -> Uses {
    match &node.engine.identity.node.key {
        NodeKey::Tpm(store) => store.uses(),
        NodeKey::Software(_) => panic!("the key is in the TPM"),
    }
}

#[test]
fn a_mount_asks_the_tpm_for_one_signature_and_one_agreement() {
    let scratch = Scratch::new("node-key").unwrap();
    let tpm = SoftwareTpm::start(&scratch, "tpm").unwrap();
    let dir = scratch.path().join("node");
    std::fs::create_dir(&dir).unwrap();
    let key = NodeKeyOptions::Tpm { tcti: tpm.tcti(), binding: None, with_counter: false };
    make_tree(&dir, key).unwrap();

    let node = Node::open(&dir, &OpenOptions::default()).unwrap();
    let once = Uses { signatures: 1, agreements: 1, ..Uses::default() };
    assert_eq!(uses(&node), once, "a session is certified, the zone's keys are opened");
    for name in [b"one", b"two"] {
        node.engine.create_snapshot(name).unwrap();
        node.engine.commit().unwrap();
    }
    node.close().unwrap();
    assert_eq!(uses(&node), once, "commits are signed by the session");
    drop(node);
    assert_eq!(tpm.loaded().unwrap(), 0, "nothing stays in the TPM");
}

/// A tree whose node has a counter in a software TPM.
struct Counted {
    scratch: Scratch,
    tpm: SoftwareTpm,
}

impl Counted {
    fn new() -> Self {
        let scratch = Scratch::new("node-key").unwrap();
        let tpm = SoftwareTpm::start(&scratch, "tpm").unwrap();
        let counted = Self { scratch, tpm };
        std::fs::create_dir(counted.dir()).unwrap();
        let key = NodeKeyOptions::Tpm { tcti: counted.tpm.tcti(), binding: None, with_counter: true };
        make_tree(&counted.dir(), key).unwrap();
        counted
    }

    fn dir(&self) -> std::path::PathBuf {
        self.scratch.path().join("node")
    }

    fn open(&self) -> Result<Arc<Node>, Failure> {
        Node::open(&self.dir(), &OpenOptions::default())
    }

    /// Opens the tree, has a head published, closes it unless it is to crash.
    fn use_once(&self, name: &[u8], crash: bool) {
        let node = self.open().unwrap();
        node.engine.create_snapshot(name).unwrap();
        node.engine.commit().unwrap();
        if !crash {
            node.close().unwrap();
        }
    }

    fn save(&self, part: &str, to: &str) {
        copy(&self.dir().join(part), &self.scratch.path().join(to));
    }

    fn put_back(&self, from: &str, part: &str) {
        copy(&self.scratch.path().join(from), &self.dir().join(part));
    }

    fn problems(&self) -> Vec<String> {
        let report = Node::check(&self.dir(), true, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
        report.problems.into_iter().map(|problem| problem.what).collect()
    }
}

fn copy(from: &Path, to: &Path) {
    drop(std::fs::remove_dir_all(to));
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

fn refusal(tree: &Counted) -> String {
    tree.open().err().expect("an older copy must be refused").what
}

#[test]
fn an_older_copy_of_the_whole_directory_is_refused() {
    let tree = Counted::new();
    tree.use_once(b"one", false);
    tree.save("", "old");
    tree.use_once(b"two", false);
    tree.save("", "new");
    tree.put_back("old", "");
    assert!(refusal(&tree).contains("is an older copy"), "{}", refusal(&tree));
    let problems = tree.problems();
    assert!(problems.iter().any(|what| what.contains("is an older copy")), "{problems:?}");
    tree.put_back("new", "");
    assert_eq!(tree.problems(), [""; 0]);
    tree.use_once(b"three", false);
}

#[test]
fn a_zone_that_was_put_back_beside_the_newest_record_is_refused() {
    let tree = Counted::new();
    tree.use_once(b"one", false);
    tree.save("zones", "old");
    tree.use_once(b"two", false);
    tree.save("zones", "new");
    tree.put_back("old", "zones");
    assert!(refusal(&tree).contains("was put back to an earlier state"), "{}", refusal(&tree));
    let problems = tree.problems();
    assert!(problems.iter().any(|what| what.contains("was put back")), "{problems:?}");
    tree.put_back("new", "zones");
    assert_eq!(tree.problems(), [""; 0]);
    tree.use_once(b"three", false);
}

#[test]
fn a_crash_is_no_older_copy() {
    let tree = Counted::new();
    tree.use_once(b"one", true);
    tree.use_once(b"two", true);
    // Between the record and the step of the counter: the record is ahead by one.
    let node = tree.open().unwrap();
    let NodeKey::Tpm(store) = &node.engine.identity.node.key else { panic!("the key is in the TPM") };
    let before = store.read_counter().unwrap().unwrap();
    node.close().unwrap();
    let storage = FileStorage::open(tree.dir()).unwrap();
    let bytes = crate::identity::read(&storage, layout::COUNTER).unwrap();
    let (tree_id, counter) = (*node.engine.identity.tree(), *store.counter().unwrap().id());
    let mut record = bt_tree::CounterRecord::decode(&tree_id, store.credential(), &counter, &bytes).unwrap();
    assert_eq!(record.value, before, "nothing was published");
    record.value += 1;
    crate::identity::write(&storage, layout::COUNTER, &record.sign(&**store).unwrap()).unwrap();
    drop(node);
    tree.use_once(b"three", false);
    assert_eq!(tree.problems(), [""; 0]);
}

#[test]
fn a_record_that_is_missing_forged_or_beyond_the_counter_is_refused() {
    let tree = Counted::new();
    tree.use_once(b"one", false);
    let file = tree.dir().join(layout::COUNTER);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(refusal(&tree).contains("cannot read counter"), "{}", refusal(&tree));
    let mut forged = bytes.clone();
    forged[80] ^= 1;
    std::fs::write(&file, &forged).unwrap();
    assert!(refusal(&tree).contains("counter record"), "{}", refusal(&tree));
    std::fs::write(&file, &bytes).unwrap();
    tree.use_once(b"two", false);
}

#[test]
fn reading_steps_nothing_and_refuses_as_well() {
    let tree = Counted::new();
    tree.save("", "old");
    let read_only = OpenOptions { read_only: true, ..OpenOptions::default() };
    let node = Node::open(&tree.dir(), &read_only).unwrap();
    assert_eq!((uses(&node).counter_reads, uses(&node).counter_steps), (1, 0));
    node.close().unwrap();
    drop(node);
    tree.use_once(b"one", false);
    tree.put_back("old", "");
    assert!(Node::open(&tree.dir(), &read_only).err().unwrap().what.contains("is an older copy"));
}

#[test]
fn a_tree_that_could_not_be_made_leaves_no_counter_in_the_tpm() {
    let scratch = Scratch::new("node-key").unwrap();
    let tpm = SoftwareTpm::start(&scratch, "tpm").unwrap();
    let dir = scratch.path().join("node");
    std::fs::create_dir(&dir).unwrap();
    // A file where a directory has to be.
    std::fs::write(dir.join("zones"), "").unwrap();
    let key = NodeKeyOptions::Tpm { tcti: tpm.tcti(), binding: None, with_counter: true };
    make_tree(&dir, key).unwrap_err();
    assert_eq!(tpm.counters().unwrap(), 0);
}

/// A new tree in a directory, and its root.
fn rooted(scratch: &Path) -> (std::path::PathBuf, Arc<dyn KeyStore>) {
    let dir = scratch.join("node");
    std::fs::create_dir(&dir).unwrap();
    make_tree(&dir, NodeKeyOptions::File).unwrap();
    let root = crate::credentials::open_root(&dir.join(layout::ROOT_KEY), b"secret").unwrap();
    (dir, Arc::new(root.key_store()))
}

#[test]
fn an_interrupted_migration_goes_on_with_the_key_that_it_made() {
    let scratch = Scratch::new("node-key").unwrap();
    let (dir, root) = rooted(scratch.path());
    let (file, next) = (dir.join(layout::NODE_KEY), dir.join(layout::NEXT_NODE_KEY));
    let old = std::fs::read(&file).unwrap();
    let migrate = || crate::credentials::migrate_node_key(&dir, root.clone(), &NodeKeyOptions::File).unwrap();
    let done = migrate();
    assert!(done.before.is_some() && done.zones == 1 && !next.exists());
    let new = std::fs::read(&file).unwrap();
    // Everything but the last steps was done.
    std::fs::write(&file, &old).unwrap();
    std::fs::write(&next, &new).unwrap();
    let refused = Node::open(&dir, &OpenOptions::default()).err().expect("the old key is revoked");
    assert!(refused.what.contains("do not open"), "{refused:?}");
    assert_eq!(migrate().node, done.node);
    assert_eq!(std::fs::read(&file).unwrap(), new);
    assert!(!next.exists());
    Node::open(&dir, &OpenOptions::default()).unwrap().close().unwrap();
    // Before the first grant.
    let third = SoftwareKeyStore::generate(&mut SystemEntropy);
    std::fs::write(&next, &*third.encode()).unwrap();
    assert_eq!(migrate().node, third.credential().id());
    Node::open(&dir, &OpenOptions::default()).unwrap().close().unwrap();
}

#[test]
fn a_node_whose_key_file_is_lost_gets_a_new_key() {
    let scratch = Scratch::new("node-key").unwrap();
    let (dir, root) = rooted(scratch.path());
    std::fs::remove_file(dir.join(layout::NODE_KEY)).unwrap();
    let done = crate::credentials::migrate_node_key(&dir, root, &NodeKeyOptions::File).unwrap();
    assert_eq!((done.before, done.zones), (None, 1));
    Node::open(&dir, &OpenOptions::default()).unwrap().close().unwrap();
}

#[test]
fn only_the_root_or_an_admin_migrates() {
    let scratch = Scratch::new("node-key").unwrap();
    let (dir, _) = rooted(scratch.path());
    let before = std::fs::read(dir.join(layout::NODE_KEY)).unwrap();
    // The node may write, and no more.
    let own = Arc::new(SoftwareKeyStore::decode(&before).unwrap());
    let refused = crate::credentials::migrate_node_key(&dir, own, &NodeKeyOptions::File).unwrap_err();
    assert!(refused.what.contains("not an admin"), "{refused:?}");
    assert_eq!(std::fs::read(dir.join(layout::NODE_KEY)).unwrap(), before);
    Node::open(&dir, &OpenOptions::default()).unwrap().close().unwrap();
}

/// Makes the directory `/work` a zone with a file `f` in it, as `bt share` does.
fn add_zone(node: &Node, root: &dyn KeyStore) {
    let caller = Caller { uid: 0, gid: 0, pid: 1 };
    let mount = MountedTree::new(node.zones.clone(), false);
    let work = mount.mkdir(&caller, 1, b"work", 0o755, 0).unwrap().attr.node;
    mount.mknod(&caller, work, b"f", 0o100_644, 0, 0).unwrap();
    let identity = &node.engine.identity;
    let birth = Birth::create(root, &identity.node.genesis, Some(identity.zone()), &mut SystemEntropy).unwrap();
    let mut access = AccessLog::new(&identity.node.genesis, &birth).unwrap();
    let own = *identity.node.who.credential();
    let grant = Action::Grant { principal: own, rights: Rights::Write, until: None };
    access.decide(root, crate::system::now(), grant).unwrap();
    let (slot, parent, inode) = node.zones.resolve(b"work").unwrap();
    let new = NewZone::decode(&parent, birth.as_bytes(), &access.to_bytes()).unwrap();
    node.zones.make(slot, &parent, inode, &new, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
}

/// Whether `/work/f` is found.
fn finds_file(node: &Node) -> bool {
    let caller = Caller { uid: 0, gid: 0, pid: 1 };
    let mount = MountedTree::new(node.zones.clone(), false);
    let Ok(work) = mount.lookup(&caller, 1, b"work") else { return false };
    mount.lookup(&caller, work.attr.node, b"f").is_ok_and(|entry| entry.attr.node != 0)
}

#[test]
fn a_new_key_is_admitted_to_every_zone_of_the_node() {
    let scratch = Scratch::new("node-key").unwrap();
    let (dir, root) = rooted(scratch.path());
    let node = Node::open(&dir, &OpenOptions::default()).unwrap();
    add_zone(&node, &*root);
    node.close().unwrap();
    drop(node);
    let done = crate::credentials::migrate_node_key(&dir, root, &NodeKeyOptions::File).unwrap();
    assert_eq!(done.zones, 2);
    let node = Node::open(&dir, &OpenOptions::default()).unwrap();
    assert!(finds_file(&node));
    node.close().unwrap();
}

#[test]
fn a_lower_zone_that_was_put_back_is_not_entered() {
    let tree = Counted::new();
    let root = crate::credentials::open_root(&tree.dir().join(layout::ROOT_KEY), b"secret").unwrap().key_store();
    let node = tree.open().unwrap();
    add_zone(&node, &root);
    let zone = node.zones.resolve(b"work").unwrap().1.identity.zone();
    node.close().unwrap();
    drop(node);
    let part = ZoneLayout::new(&zone).directory;
    tree.save(&part, "old");
    let node = tree.open().unwrap();
    assert!(finds_file(&node));
    let engine = node.zones.resolve(b"work").unwrap().1;
    engine.create_snapshot(b"later").unwrap();
    engine.commit().unwrap();
    drop(engine);
    node.close().unwrap();
    drop(node);
    assert_eq!(tree.problems(), [""; 0]);
    tree.save(&part, "new");
    tree.put_back("old", &part);
    let node = tree.open().unwrap();
    assert!(!finds_file(&node), "the zone was put back");
    node.close().unwrap();
    drop(node);
    let problems = tree.problems();
    assert!(problems.iter().any(|what| what.contains("was put back")), "{problems:?}");
    tree.put_back("new", &part);
    let node = tree.open().unwrap();
    assert!(finds_file(&node));
    node.close().unwrap();
}
