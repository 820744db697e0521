//! Keys and counters in a software TPM, through a node that is opened and closed.

use std::path::Path;

use bt_crypto::PassphraseCost;
use bt_store::{FileStorage, Storage};
use bt_tpm::Uses;
use harness::SoftwareTpm;

use super::*;
use crate::node::Node;
use crate::options::{InitOptions, OpenOptions};

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
    let scratch = tempfile::tempdir().unwrap();
    let tpm = SoftwareTpm::start(&scratch.path().join("tpm")).unwrap();
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
    scratch: tempfile::TempDir,
    tpm: SoftwareTpm,
}

impl Counted {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let tpm = SoftwareTpm::start(&scratch.path().join("tpm")).unwrap();
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
    let scratch = tempfile::tempdir().unwrap();
    let tpm = SoftwareTpm::start(&scratch.path().join("tpm")).unwrap();
    let dir = scratch.path().join("node");
    std::fs::create_dir(&dir).unwrap();
    // A file where a directory has to be.
    std::fs::write(dir.join("zones"), "").unwrap();
    let key = NodeKeyOptions::Tpm { tcti: tpm.tcti(), binding: None, with_counter: true };
    make_tree(&dir, key).unwrap_err();
    assert_eq!(tpm.counters().unwrap(), 0);
}
