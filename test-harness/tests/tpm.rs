//! A node whose key is in a TPM, from outside: the command line, the mount, and a software TPM in place of the machine's.

use std::fs;
use std::path::{Path, PathBuf};

use harness::{MountOptions, Node, Scratch, SoftwareTpm, Tree};

const PASSPHRASE: &str = "recovery\n";

/// A machine with a TPM and a tree.
struct Machine {
    tree: Tree,
    mountpoint: PathBuf,
    tpm: SoftwareTpm,
    scratch: Scratch,
}

impl Machine {
    /// Makes a tree with `bt init --tpm TCTI ARGUMENTS`.
    fn new(name: &str, arguments: &[&str]) -> Self {
        harness::require_root_and_fuse().unwrap();
        let scratch = Scratch::new(name).unwrap();
        let tpm = SoftwareTpm::start(&scratch, "tpm").unwrap();
        let mountpoint = scratch.directory("mnt").unwrap();
        let recovery = scratch.path().join("recovery");
        fs::write(&recovery, PASSPHRASE).unwrap();
        let mut all = vec!["--tpm".to_owned(), tpm.tcti()];
        all.extend(arguments.iter().map(|argument| argument.to_string()));
        if arguments.contains(&"--tpm-pcrs") {
            all.extend(["--recovery-passphrase-file".to_owned(), recovery.display().to_string()]);
        }
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let tree = Tree::init_with(&scratch, &scratch.path().join("node"), &all).unwrap();
        Self { tree, mountpoint, tpm, scratch }
    }

    fn mount(&self) -> Node {
        self.tree.mount(&self.mountpoint, &MountOptions::for_tests()).unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.mountpoint.join(name)
    }

    /// Runs `bt node key rebind` with a passphrase.
    fn rebind(&self, passphrase: &str, arguments: &[&str]) -> harness::Finished {
        let file = self.scratch.path().join("given");
        fs::write(&file, passphrase).unwrap();
        let mut all = vec!["--recovery-passphrase-file", file.to_str().unwrap()];
        all.extend(arguments);
        self.tree.run(&["node", "key", "rebind"], &all).unwrap()
    }

    /// Runs `bt node key migrate` as the root.
    fn migrate(&self, arguments: &[&str]) {
        migrate(&self.tree, arguments);
    }

    /// What `bt mount` says when it refuses.
    fn refusal(&self) -> String {
        refusal(&self.tree, &self.mountpoint)
    }
}

fn refusal(tree: &Tree, mountpoint: &Path) -> String {
    let finished = tree.run(&["mount"], &[mountpoint.to_str().unwrap()]).unwrap();
    assert_eq!(finished.code(), 3, "bt mount must refuse: {}", finished.stderr);
    let is_ours = |line: &str| line.is_empty() || line.starts_with("error: ") || line.starts_with("  hint: ");
    assert!(finished.stderr.lines().all(is_ours), "words of the library, not for people: {}", finished.stderr);
    finished.stderr
}

fn migrate(tree: &Tree, arguments: &[&str]) {
    let finished = tree.run(&["node", "key", "migrate"], arguments).unwrap();
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    assert!(finished.stdout.contains("which may do nothing any more"), "{}", finished.stdout);
}

#[test]
fn a_tree_whose_node_key_is_in_a_tpm_works_and_says_so() {
    let mut machine = Machine::new("tpm-mount", &[]);
    let node = machine.mount();
    fs::write(machine.file("f"), "content").unwrap();
    let status = machine.tree.status().unwrap();
    assert_eq!(status["node_key"]["tpm"]["tcti"], machine.tpm.tcti());
    assert_eq!(status["node_key"]["tpm"]["is_software"], true);
    let shown = machine.tree.run(&["status"], &[]).unwrap().stdout;
    assert!(shown.contains("software TPM (for tests)"), "{shown}");
    node.unmount().unwrap();
    machine.tpm.reboot().unwrap();
    let node = machine.mount();
    assert_eq!(fs::read_to_string(machine.file("f")).unwrap(), "content");
    node.unmount().unwrap();
    machine.tree.check_clean().unwrap();
    let key = fs::read(machine.tree.directory().join("node.key")).unwrap();
    assert!(key.starts_with(b"BT-TPMK\n"));
}

#[test]
fn a_mounted_tree_needs_its_tpm_no_more_for_a_while() {
    let mut machine = Machine::new("tpm-off", &[]);
    let node = machine.mount();
    machine.tpm.switch_off().unwrap();
    fs::write(machine.file("f"), "content").unwrap();
    machine.tree.sync().unwrap();
    node.unmount().unwrap();
    let refused = machine.refusal();
    assert!(refused.contains("no TPM answers at swtpm:"), "{refused}");
    machine.tpm.switch_on().unwrap();
    let node = machine.mount();
    assert_eq!(fs::read_to_string(machine.file("f")).unwrap(), "content");
    node.unmount().unwrap();
}

#[test]
fn a_copy_of_the_directory_is_of_no_use_on_another_machine() {
    let mut machine = Machine::new("tpm-copy", &["--tpm-pcrs", "0,7"]);
    let copy = machine.tree.copy_to(&machine.scratch.path().join("stolen")).unwrap();
    machine.tpm.exchange("other-tpm").unwrap();
    let refused = refusal(&copy, &machine.mountpoint);
    assert!(refused.contains("made in another TPM"), "{refused}");
    machine.tpm.exchange("tpm").unwrap();
    machine.mount().unmount().unwrap();
}

#[test]
fn a_machine_that_is_started_otherwise_needs_the_recovery_passphrase_once() {
    let machine = Machine::new("tpm-pcr", &["--tpm-pcrs", "0,7"]);
    let node = machine.mount();
    fs::write(machine.file("f"), "content").unwrap();
    node.unmount().unwrap();
    // As a new boot loader would.
    machine.tpm.extend_pcr(7, &[1; 32]).unwrap();
    let refused = machine.refusal();
    for part in ["PCR 7 changed", "bound to PCR 0,7", "bt node key rebind"] {
        assert!(refused.contains(part), "{refused}");
    }
    let wrong = machine.rebind("guess", &[]);
    assert_eq!(wrong.code(), 3, "{}", wrong.stderr);
    assert!(wrong.stderr.contains("refused the recovery passphrase"), "{}", wrong.stderr);
    assert!(machine.refusal().contains("PCR 7 changed"), "a wrong passphrase changes nothing");
    let rebound = machine.rebind(PASSPHRASE, &["--tpm-pcrs", "0"]);
    assert!(rebound.stdout.contains("bound to PCR 0\n"), "{} {}", rebound.stdout, rebound.stderr);
    machine.tpm.extend_pcr(7, &[2; 32]).unwrap();
    let node = machine.mount();
    assert_eq!(fs::read_to_string(machine.file("f")).unwrap(), "content");
    // While it is mounted, too.
    let rebound = machine.rebind(PASSPHRASE, &["--tpm-pcrs", "0,7"]);
    assert_eq!(rebound.code(), 0, "{}", rebound.stderr);
    node.unmount().unwrap();
    machine.mount().unmount().unwrap();
}

#[test]
fn a_key_moves_from_its_file_into_a_tpm() {
    harness::require_root_and_fuse().unwrap();
    let scratch = Scratch::new("tpm-migrate").unwrap();
    let tpm = SoftwareTpm::start(&scratch, "tpm").unwrap();
    let tree = Tree::init(&scratch, &scratch.path().join("node")).unwrap();
    let mountpoint = scratch.directory("mnt").unwrap();
    let mount = || tree.mount(&mountpoint, &MountOptions::for_tests()).unwrap();
    let node = mount();
    fs::write(mountpoint.join("f"), "content").unwrap();
    let busy = tree.run(&["node", "key", "migrate"], &["--tpm", &tpm.tcti()]).unwrap();
    assert_eq!(busy.code(), 3, "a mounted tree keeps its key: {}", busy.stderr);
    node.unmount().unwrap();

    let key = tree.directory().join("node.key");
    let old = fs::read(&key).unwrap();
    let before = tree.status().unwrap();
    migrate(&tree, &["--tpm", &tpm.tcti(), "--tpm-counter"]);
    let after = tree.status().unwrap();
    assert_ne!(before["node"], after["node"]);
    assert_eq!(after["node_key"]["tpm"]["has_counter"], true);
    assert!(after["epoch"].as_u64() > before["epoch"].as_u64(), "the zone has new keys");
    tree.check_clean().unwrap();
    let node = mount();
    assert_eq!(fs::read_to_string(mountpoint.join("f")).unwrap(), "content");
    fs::write(mountpoint.join("g"), "later").unwrap();
    node.unmount().unwrap();

    let new = fs::read(&key).unwrap();
    fs::write(&key, old).unwrap();
    assert!(refusal(&tree, &mountpoint).contains("do not open for node"));
    fs::write(&key, new).unwrap();
    mount().unmount().unwrap();
}

#[test]
fn a_node_whose_tpm_died_is_admitted_anew_and_keeps_what_was_durable() {
    let mut machine = Machine::new("tpm-died", &["--tpm-pcrs", "0", "--tpm-counter"]);
    let node = machine.mount();
    fs::write(machine.file("f"), "content").unwrap();
    fs::File::open(machine.file("f")).unwrap().sync_all().unwrap();
    // The file is only in the journal when the machine dies, and its board with the TPM is replaced.
    node.kill().unwrap();
    machine.tpm.exchange("new-board").unwrap();
    assert!(machine.refusal().contains("made in another TPM"));
    machine.migrate(&["--tpm", &machine.tpm.tcti()]);
    let node = machine.mount();
    assert_eq!(fs::read_to_string(machine.file("f")).unwrap(), "content");
    node.unmount().unwrap();
    machine.tree.check_clean().unwrap();

    // And out of the TPM, while it is gone.
    machine.tpm.switch_off().unwrap();
    machine.migrate(&["--file"]);
    let node = machine.mount();
    assert_eq!(fs::read_to_string(machine.file("f")).unwrap(), "content");
    assert!(machine.tree.status().unwrap()["node_key"]["tpm"].is_null());
    node.unmount().unwrap();
    machine.tree.check_clean().unwrap();
}

#[test]
fn an_older_copy_of_the_directory_is_refused_and_checked_as_such() {
    let machine = Machine::new("tpm-rollback", &["--tpm-counter"]);
    let write = |content: &str| {
        let node = machine.mount();
        fs::write(machine.file("f"), content).unwrap();
        node.unmount().unwrap();
    };
    write("one");
    assert_eq!(machine.tpm.loaded().unwrap(), 0, "a process that ends leaves nothing in the TPM");
    let old = machine.tree.copy_to(&machine.scratch.path().join("old")).unwrap();
    write("two");
    let refused = refusal(&old, &machine.mountpoint);
    assert!(refused.contains("this directory is an older copy"), "{refused}");
    let checked = old.check().unwrap();
    assert_eq!(checked.code(), 1, "{}", checked.stderr);
    assert!(checked.stdout.contains("is an older copy"), "{}", checked.stdout);
    machine.tree.check_clean().unwrap();
    assert_eq!(machine.tpm.loaded().unwrap(), 0, "nor does one that refuses");
    // Who means to go on from the copy gives it a key of its own.
    migrate(&old, &["--file"]);
    let node = old.mount(&machine.mountpoint, &MountOptions::for_tests()).unwrap();
    assert_eq!(fs::read_to_string(machine.file("f")).unwrap(), "one");
    node.unmount().unwrap();
}
