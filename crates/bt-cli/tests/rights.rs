//! Sharing and revoking, on a tree that is mounted and on one that is not. Needs /dev/fuse, and root or fusermount3.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A tree, a mount point, and credentials of people.
struct Scene {
    dir: TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(scene.path("passphrase"), "correct horse\n").unwrap();
        fs::create_dir(scene.path("mnt")).unwrap();
        scene.fine(&["init", "tree"]);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn output(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("bt"));
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null()).env_remove("BT_LOG");
        command.env("BT_PASSPHRASE_FILE", "passphrase").output().unwrap()
    }

    /// Standard output of a command that succeeds.
    fn fine(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command says that is refused.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {said}");
        said
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.fine(&[arguments, &["--output", "json"]].concat())).unwrap()
    }

    /// Makes a person and gives the id.
    fn person(&self, name: &str) -> String {
        self.json(&["principal", "create", name])["id"].as_str().unwrap().to_owned()
    }

    /// What the list says of a principal.
    fn may(&self, id: &str) -> Option<Value> {
        let list = self.json(&["access", "list", "tree"]);
        list["grants"].as_array().unwrap().iter().find(|grant| grant["principal"] == id).cloned()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.output(&["unmount", "mnt", "--lazy"]);
    }
}

#[test]
fn what_is_shared_is_listed_and_revoked_again() {
    let scene = Scene::new();
    let (anna, bob) = (scene.person("anna"), scene.person("bob"));
    assert_eq!(scene.may(&anna), None);
    scene.fine(&["share", "tree", "--with", "anna", "--admin"]);
    let said = scene.fine(&["share", "tree", "--with", "bob", "--read", "--expires", "90d", "--as", "anna"]);
    assert!(said.starts_with(&format!("{} may read the zone at / until ", &bob[..8])), "{said}");
    let may = scene.may(&bob).unwrap();
    assert_eq!((&may["right"], &may["granted_by"]), (&Value::from("read"), &Value::from(anna.clone())));
    assert!(may["until"].is_object() || may["until"].is_string(), "{may}");
    let said = scene.refused(&["share", "tree", "--with", "anna", "--read"]);
    assert!(said.contains("revoke them first"), "{said}");
    let said = scene.fine(&["revoke", "tree", "--from", &bob[..12], "--as", "anna"]);
    assert!(said.contains("may do nothing in the zone at / any more"), "{said}");
    assert_eq!(scene.may(&bob), None);
    let listed = scene.fine(&["access", "list", "tree"]);
    assert!(listed.lines().any(|line| line.starts_with(&bob[..8]) && line.contains("revoked")), "{listed}");
    scene.refused(&["revoke", "tree", "--from", "bob"]);
}

#[test]
fn who_is_no_admin_shares_nothing_and_what_is_no_zone_has_no_rights() {
    let scene = Scene::new();
    let bob = scene.person("bob");
    scene.fine(&["share", "tree", "--with", "bob", "--write"]);
    let said = scene.refused(&["share", "tree", "--with", "bob", "--admin", "--as", "bob"]);
    assert!(said.contains("not an admin"), "{said}");
    assert_eq!(scene.may(&bob).unwrap()["right"], "write");
    let said = scene.refused(&["access", "list", "tree", "/no/zone"]);
    assert!(said.contains("/no/zone does not exist"), "{said}");
}

#[test]
fn mistakes_are_told_with_what_to_do_instead() {
    let scene = Scene::new();
    for arguments in [&["share", "tree", "--read", "--with", "zzzz"][..], &["revoke", "tree", "--from", "zzzz"]] {
        let output = scene.output(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("zzzz is no principal") && said.contains("hint: a public key is btp1"), "{said}");
    }
    assert_eq!(scene.output(&["log", "tree", "--last", "0"]).status.code(), Some(2));
    scene.fine(&["snapshot", "create", "tree", "one"]);
    let said = scene.refused(&["snapshot", "create", "tree", "one"]);
    assert!(said.contains("there is one of this name already") && said.contains("hint: take another"), "{said}");
}

#[test]
fn rights_change_under_a_mount() {
    let scene = Scene::new();
    let bob = scene.person("bob");
    scene.fine(&["mount", "tree", "mnt"]);
    fs::write(scene.path("mnt/file"), "before").unwrap();
    let epoch = |scene: &Scene| scene.json(&["status", "tree"])["epoch"].as_u64().unwrap();
    assert_eq!(epoch(&scene), 1);
    scene.fine(&["share", "mnt", "--with", "bob", "--write"]);
    assert_eq!(epoch(&scene), 2);
    fs::write(scene.path("mnt/file"), "while").unwrap();
    let large: Vec<u8> = (0..60_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(scene.path("mnt/large"), &large).unwrap();
    scene.fine(&["snapshot", "create", "mnt", "kept"]);
    scene.fine(&["revoke", "mnt", "--from", &bob]);
    assert_eq!(epoch(&scene), 3);
    fs::write(scene.path("mnt/file"), "after").unwrap();
    let said = scene.fine(&["rekey", "mnt", "--now"]);
    assert!(said.ends_with("nothing is left under earlier keys\n"), "{said}");
    assert_eq!(fs::read_to_string(scene.path("mnt/.snapshots/kept/file")).unwrap(), "while");
    assert!(fs::read(scene.path("mnt/.snapshots/kept/large")).unwrap() == large);
    let log = scene.json(&["log", "mnt"]);
    assert!(log["heads"].as_array().unwrap().iter().any(|head| head["epoch"] == 3), "{log}");
    assert!(scene.fine(&["log", "mnt", "--last", "2"]).contains("earlier heads are kept"));
    scene.fine(&["unmount", "mnt"]);
    scene.fine(&["check", "tree"]);
    scene.fine(&["mount", "tree", "mnt"]);
    assert_eq!(fs::read_to_string(scene.path("mnt/file")).unwrap(), "after");
}

#[test]
fn figures_are_of_the_zones_that_are_open_and_say_so() {
    let scene = Scene::new();
    scene.person("bob");
    scene.fine(&["mount", "tree", "mnt"]);
    fs::create_dir(scene.path("mnt/below")).unwrap();
    for name in ["one", "two", "three"] {
        fs::write(scene.path("mnt/below").join(name), [7; 20_000]).unwrap();
    }
    scene.fine(&["share", "mnt", "/below", "--with", "bob", "--read"]);
    scene.fine(&["sync", "mnt"]);
    let status = scene.json(&["status", "mnt"]);
    // Two roots, the directory that the zone is entered through, and the files.
    assert_eq!((&status["open_zones"], &status["inodes"]), (&Value::from(1), &Value::from(6)), "{status}");
    let segments = scene.fine(&["inspect", "segment", "mnt"]);
    assert!(segments.contains(" zones/") && segments.contains(" containers/"), "{segments}");
    scene.fine(&["unmount", "mnt"]);
    let said = scene.fine(&["status", "tree"]);
    assert!(said.contains("1, 0 of them open; what is in the other 1 is not counted here"), "{said}");
    let output = scene.output(&["snapshot", "create", "tree", "one"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("the zones below it (1) are not part of them"), "{said}");
}

/// A node whose key is lost for good: the root admits another, or works on itself.
#[test]
fn the_root_changes_rights_where_the_node_has_none() {
    let scene = Scene::new();
    let bob = scene.person("bob");
    let node = scene.json(&["whoami", "tree"])["id"].as_str().unwrap().to_owned();
    scene.fine(&["revoke", "tree", "--from", &node]);
    assert_eq!(scene.output(&["mount", "tree", "mnt"]).status.code(), Some(3));
    scene.fine(&["share", "tree", "--with", "bob", "--read"]);
    let key = scene.json(&["whoami", "tree"])["public"].as_str().unwrap().to_owned();
    let report = scene.json(&["share", "tree", "--with", &key, "--write"]);
    let grants = report["grants"].as_array().unwrap();
    assert!([&bob, &node].iter().all(|id| grants.iter().any(|grant| grant["principal"] == ***id)), "{report}");
    scene.fine(&["mount", "tree", "mnt"]);
    fs::write(scene.path("mnt/file"), "again").unwrap();
}
