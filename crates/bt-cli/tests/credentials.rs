//! What a user sees of credentials: making, showing, and who acts where.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A scratch directory and the commands run in it. Nothing inherits a terminal or a passphrase.
struct Scene {
    dir: TempDir,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("passphrase"), "correct horse\n").unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn output(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("bt"));
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null());
        command
            .env_remove("BT_PASSPHRASE_FILE")
            .env_remove("BT_NEW_PASSPHRASE_FILE")
            .env_remove("BT_LOG")
            .env("RUST_BACKTRACE", "0");
        command.output().unwrap()
    }

    /// Exit code, then standard output and standard error with the scratch path taken out.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let clean = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&*self.dir.path().to_string_lossy(), "SCENE");
        format!("exit {}\n{}{}", output.status.code().unwrap(), clean(&output.stdout), clean(&output.stderr))
    }

    /// Standard output of a command that succeeds.
    fn fine(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.fine(&[arguments, &["--output", "json"]].concat())).unwrap()
    }

    fn create(&self, name: &str) -> serde_json::Value {
        self.json(&["principal", "create", name, "--passphrase-file", "passphrase"])
    }
}

#[test]
fn a_principal_is_made_once_and_shown_without_its_passphrase() {
    let scene = Scene::new();
    let made = scene.create("alice.key");
    let public = made["public"].as_str().unwrap();
    assert!(public.starts_with("btp1") && public.len() == 124, "{public}");
    assert_eq!(fs::metadata(scene.path("alice.key")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(scene.json(&["principal", "show", "alice.key"]), made);
    assert_eq!(scene.json(&["principal", "show", public]), made);
    fs::write(scene.path("alice.public"), format!("{public}\n")).unwrap();
    assert_eq!(scene.json(&["principal", "show", "alice.public"]), made);
    let text = scene.fine(&["principal", "show", "alice.key"]);
    assert_eq!(text, format!("principal   {}\npublic key  {public}\n", made["id"].as_str().unwrap()));
    insta::assert_snapshot!(scene.run(&["principal", "create", "alice.key"]), @r"
    exit 3
    error: alice.key exists already
      hint: choose another name: a file with keys is never overwritten
    ");
    assert_eq!(scene.json(&["principal", "show", "alice.key"]), made);
}

#[test]
fn making_a_principal_never_waits_without_a_terminal() {
    let scene = Scene::new();
    insta::assert_snapshot!(scene.run(&["principal", "create", "alice.key"]), @r"
    exit 2
    error: a passphrase is needed, and there is no terminal to ask on
      hint: give --passphrase-file FILE, or set BT_PASSPHRASE_FILE
    ");
    assert!(!scene.path("alice.key").exists());
}

#[test]
fn what_is_no_principal_is_named() {
    let scene = Scene::new();
    insta::assert_snapshot!(scene.run(&["principal", "show", "passphrase"]), @r"
    exit 2
    error: passphrase is neither the credential file of a principal nor holds a public key
      hint: name a file that `bt principal create` made, or one with the text (btp1...) of `bt principal show`
    ");
    insta::assert_snapshot!(scene.run(&["principal", "show", "btp1qq"]), @r"
    exit 2
    error: the public key has 6 characters, a whole one has 124: copy all of it
    ");
    scene.create("alice.key");
    let mut bytes = fs::read(scene.path("alice.key")).unwrap();
    bytes[60] ^= 1;
    fs::write(scene.path("alice.key"), bytes).unwrap();
    insta::assert_snapshot!(scene.run(&["principal", "show", "alice.key"]), @r"
    exit 1
    error: alice.key: the credential file is damaged: take another copy of it
    ");
}

#[test]
fn whoami_says_who_acts_and_what_it_may_do() {
    let scene = Scene::new();
    scene.fine(&["init", "tree", "--passphrase-file", "passphrase"]);
    let alice = scene.create("alice.key");
    let node = scene.json(&["whoami", "tree"]);
    let status = scene.json(&["status", "tree"]);
    assert_eq!((&node["id"], &node["tree"]), (&status["node"], &status["tree"]));
    assert_eq!((&node["is_root"], &node["zones"][0]["rights"]), (&false.into(), &"write".into()));
    assert_eq!(node["zones"][0]["zone"], status["zone"]);
    let stranger = scene.json(&["whoami", "tree", "--as", "alice.key"]);
    assert_eq!((&stranger["id"], &stranger["public"]), (&alice["id"], &alice["public"]));
    assert_eq!(stranger["zones"][0]["rights"], serde_json::Value::Null);
    let text = scene.fine(&["whoami", "tree", "--as", "alice.key"]);
    assert!(text.ends_with("may         do nothing in the top zone\n"), "{text}");
    insta::assert_snapshot!(scene.run(&["whoami", "passphrase"]), @r"
    exit 3
    error: SCENE/passphrase is not the directory of a node
      hint: make a tree there with `bt init SCENE/passphrase`, or name another directory
    ");
}

/// The words in what a command shows: "  1 abandon  2 ...".
fn words(shown: &str) -> String {
    let mut words = Vec::new();
    let mut tokens = shown.split_whitespace().peekable();
    while let Some(token) = tokens.next() {
        if token == (words.len() + 1).to_string() {
            words.push(tokens.next().unwrap());
        }
    }
    assert_eq!(words.len(), 24, "{shown}");
    words.join(" ")
}

#[test]
fn a_root_is_exported_restored_and_given_another_passphrase() {
    let scene = Scene::new();
    let shown = scene.fine(&["init", "tree", "--passphrase-file", "passphrase"]);
    assert!(shown.contains("Who loses both never shares, revokes or admits a node as the\nroot again"), "{shown}");
    fs::write(scene.path("words"), words(&shown)).unwrap();
    fs::write(scene.path("other"), "battery staple\n").unwrap();
    let root = fs::read(scene.path("tree/root.key")).unwrap();

    let wrong = scene.run(&["root", "export", "tree", "copy", "--passphrase-file", "other"]);
    assert!(
        wrong.starts_with("exit 3\nerror: SCENE/tree/root.key: the passphrase does not open the root file"),
        "{wrong}"
    );
    assert!(!scene.path("copy").exists());
    scene.fine(&["root", "export", "tree", "copy", "--passphrase-file", "passphrase"]);
    assert_eq!(fs::read(scene.path("copy")).unwrap(), root);
    assert_eq!(fs::metadata(scene.path("copy")).unwrap().permissions().mode() & 0o777, 0o600);
    insta::assert_snapshot!(scene.run(&["root", "restore", "tree", "--from", "copy"]), @r"
    exit 3
    error: SCENE/tree/root.key exists already
      hint: choose another name: a file with keys is never overwritten
    ");

    fs::remove_file(scene.path("tree/root.key")).unwrap();
    insta::assert_snapshot!(scene.run(&["root", "change-passphrase", "tree"]), @r"
    exit 3
    error: the root file is not at SCENE/tree/root.key
      hint: name it with --root FILE, or bring it back with `bt root restore`
    ");
    insta::assert_snapshot!(scene.run(&["root", "restore", "tree"]), @r"
    exit 2
    error: the 24 words are needed, and there is no terminal to ask on
      hint: give --words-file FILE, or --from FILE with a copy of the root file
    ");
    scene.fine(&["root", "restore", "tree", "--from", "copy", "--passphrase-file", "passphrase"]);
    assert_eq!(fs::read(scene.path("tree/root.key")).unwrap(), root);

    fs::remove_file(scene.path("tree/root.key")).unwrap();
    scene.fine(&["root", "restore", "tree", "--words-file", "words", "--passphrase-file", "other"]);
    let change = ["root", "change-passphrase", "tree", "--passphrase-file", "other"];
    insta::assert_snapshot!(scene.run(&change), @r"
    exit 2
    error: a passphrase is needed, and there is no terminal to ask on
      hint: give --new-passphrase-file FILE, or set BT_NEW_PASSPHRASE_FILE
    ");
    scene.fine(&[&change[..], &["--new-passphrase-file", "passphrase"]].concat());
    assert!(scene.run(&change).starts_with("exit 3\n"), "the old passphrase opens it no longer");
    scene.fine(&["root", "export", "tree", "again", "--passphrase-file", "passphrase"]);
}

#[test]
fn a_new_root_succeeds_and_the_old_one_counts_no_more() {
    let scene = Scene::new();
    let old = words(&scene.fine(&["init", "tree", "--passphrase-file", "passphrase"]));
    fs::write(scene.path("old"), old).unwrap();
    fs::write(scene.path("other"), "battery staple\n").unwrap();
    let before = scene.json(&["status", "tree"]);
    let rotate = ["root", "rotate", "tree", "--passphrase-file", "passphrase", "--new-passphrase-file", "other"];
    let shown = scene.fine(&rotate);
    fs::write(scene.path("new"), words(&shown)).unwrap();
    assert!(shown.contains("1 zones obey it"), "{shown}");
    let after = scene.json(&["status", "tree"]);
    assert_eq!((&after["tree"], &after["zone"]), (&before["tree"], &before["zone"]));
    assert_eq!(scene.json(&["check", "tree"])["problem_count"], 0);

    fs::remove_file(scene.path("tree/root.key")).unwrap();
    let restore = |words| scene.run(&["root", "restore", "tree", "--words-file", words, "--passphrase-file", "other"]);
    let refused = restore("old");
    assert!(refused.contains("but another succeeded it\n  hint: use the root file or the words of root "), "{refused}");
    assert!(restore("new").starts_with("exit 0\n"));

    scene.fine(&["init", "second", "--passphrase-file", "passphrase"]);
    let other = ["root", "rotate", "tree", "--root", "second/root.key", "--passphrase-file", "passphrase"];
    assert!(scene.run(&other).contains("error: this is the root of another tree, not of "));
    fs::write(scene.path("tree/succession"), b"damaged").unwrap();
    let damaged = scene.run(&["status", "tree"]);
    assert!(damaged.starts_with("exit 1\nerror: succession is damaged: "), "{damaged}");
    assert_ne!(scene.output(&["check", "tree"]).status.code(), Some(0));
}
