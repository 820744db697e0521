//! What a user sees without a mount: results, errors with hints, exit codes.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
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

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("bt"));
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env_remove("BT_PASSPHRASE_FILE").env_remove("BT_LOG").env("RUST_BACKTRACE", "0");
        command
    }

    /// Exit code, then standard output and standard error with the scratch path taken out.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let clean = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&*self.dir.path().to_string_lossy(), "SCENE");
        format!("exit {}\n{}{}", output.status.code().unwrap(), clean(&output.stdout), clean(&output.stderr))
    }

    fn init(&self) {
        let out = self.run(&["init", "tree", "--passphrase-file", "passphrase"]);
        assert!(out.starts_with("exit 0\n"), "{out}");
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.command(arguments).args(["--output", "json"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

#[test]
fn a_passphrase_is_never_waited_for_without_a_terminal() {
    insta::assert_snapshot!(Scene::new().run(&["init", "tree"]), @r"
    exit 2
    error: a passphrase is needed, and there is no terminal to ask on
      hint: give --passphrase-file FILE, or set BT_PASSPHRASE_FILE
    ");
}

#[test]
fn bad_passphrase_files_are_named() {
    let scene = Scene::new();
    fs::write(scene.path("empty"), "\n").unwrap();
    insta::assert_snapshot!(scene.run(&["init", "tree", "--passphrase-file", "empty"]), @r"
    exit 2
    error: the passphrase file empty is empty
      hint: write a passphrase into it
    ");
    insta::assert_snapshot!(scene.run(&["init", "tree", "--passphrase-file", "nothing"]), @r"
    exit 4
    error: reading the passphrase from nothing: No such file or directory (os error 2)
      hint: check the path
    ");
    assert!(!scene.path("tree").exists());
}

#[test]
fn a_tree_is_made_only_in_an_empty_directory() {
    let scene = Scene::new();
    insta::assert_snapshot!(scene.run(&["init", ".", "--passphrase-file", "passphrase"]), @r"
    exit 3
    error: SCENE is not empty
      hint: choose an empty or a new directory
    ");
    insta::assert_snapshot!(scene.run(&["init", "passphrase", "--passphrase-file", "passphrase"]), @r"
    exit 3
    error: SCENE/passphrase is not a directory
      hint: choose an empty or a new directory
    ");
}

#[test]
fn init_shows_twenty_four_words_and_what_to_do_next() {
    let scene = Scene::new();
    let out = scene.run(&["init", "tree", "--passphrase-file", "passphrase"]);
    assert!(out.starts_with("exit 0\nmade tree "), "{out}");
    assert!(out.ends_with("next: bt mount SCENE/tree MOUNTPOINT\n"), "{out}");
    for number in 1..=24 {
        assert!(out.contains(&format!("{number:2} ")), "word {number} is missing in {out}");
    }
    let again = scene.run(&["init", "tree", "--passphrase-file", "passphrase"]);
    assert!(again.starts_with("exit 3\nerror: SCENE/tree is not empty"), "{again}");
}

#[test]
fn the_variable_names_a_passphrase_file_too() {
    let scene = Scene::new();
    let output = scene.command(&["init", "tree"]).env("BT_PASSPHRASE_FILE", "passphrase").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_command_refuses_a_directory_without_a_tree() {
    let scene = Scene::new();
    fs::create_dir(scene.path("other")).unwrap();
    fs::create_dir(scene.path("mnt")).unwrap();
    let id = "0".repeat(64);
    let commands: [&[&str]; 13] = [
        &["status", "other"],
        &["sync", "other"],
        &["check", "other"],
        &["snapshot", "create", "other", "name"],
        &["snapshot", "list", "other"],
        &["snapshot", "delete", "other", "name"],
        &["snapshot", "diff", "other", "name"],
        &["inspect", "head", "other"],
        &["inspect", "segment", "other"],
        &["inspect", "block", "other", &id, "0"],
        &["reclaim", "other"],
        &["mount", "other", "mnt"],
        &["mount", "other", "mnt", "--foreground"],
    ];
    for command in commands {
        insta::allow_duplicates! {
            insta::assert_snapshot!(scene.run(command), @r"
            exit 3
            error: SCENE/other is not the directory of a node
              hint: make a tree there with `bt init SCENE/other`, or name another directory
            ");
        }
    }
    assert_eq!(fs::read_dir(scene.path("other")).unwrap().count(), 0, "nothing is made there");
}

#[test]
fn a_mount_point_is_an_existing_directory_elsewhere() {
    let scene = Scene::new();
    scene.init();
    insta::assert_snapshot!(scene.run(&["mount", "tree", "missing"]), @r"
    exit 3
    error: the mount point SCENE/missing does not exist
      hint: make it with `mkdir SCENE/missing`
    ");
    insta::assert_snapshot!(scene.run(&["mount", "tree", "passphrase"]), @r"
    exit 3
    error: SCENE/passphrase is not a directory
      hint: choose a directory as mount point
    ");
    fs::create_dir(scene.path("tree/mnt")).unwrap();
    insta::assert_snapshot!(scene.run(&["mount", "tree", "tree/mnt"]), @r"
    exit 3
    error: the mount point SCENE/tree/mnt and the node's directory SCENE/tree contain each other
      hint: choose a mount point elsewhere
    ");
    insta::assert_snapshot!(scene.run(&["mount", "tree", "."]), @r"
    exit 3
    error: the mount point SCENE and the node's directory SCENE/tree contain each other
      hint: choose a mount point elsewhere
    ");
}

#[test]
fn unknown_options_are_usage_errors() {
    let scene = Scene::new();
    insta::assert_snapshot!(scene.run(&["mount", "tree", "mnt", "-o", "ro,fast"]), @r"
    exit 2
    error: invalid value 'fast' for '-o <OPTIONS>': no such option; see `bt mount --help`

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(scene.run(&["inspect", "segment", "tree", "12"]), @r#"
    exit 2
    error: invalid value '12' for '[ID]': an id is 64 hexadecimal digits, this has 2: "12"

    For more information, try '--help'.
    "#);
    insta::assert_snapshot!(scene.run(&["bench", ".", "--size", "1"]), @r"
    exit 2
    error: invalid value '1' for '--size <SIZE>': at least 1M is needed

    For more information, try '--help'.
    ");
    assert!(scene.run(&["frobnicate"]).starts_with("exit 2\nerror: unrecognized subcommand"));
    assert!(scene.run(&[]).starts_with("exit 2\n"));
}

#[test]
fn unmounting_what_is_not_mounted_is_refused() {
    insta::assert_snapshot!(Scene::new().run(&["unmount", "mnt"]), @r"
    exit 3
    error: no tree is mounted at mnt
      hint: `findmnt -t fuse.blocktree` lists those that are
    ");
}

#[test]
fn a_fresh_tree_is_in_order() {
    let scene = Scene::new();
    scene.init();
    let status = scene.json(&["status", "tree"]);
    assert_eq!(status["mount"], serde_json::Value::Null);
    assert_eq!(status["snapshots"], 0);
    let check = scene.json(&["check", "tree"]);
    assert_eq!((&check["problem_count"], &check["deep"]), (&0.into(), &true.into()));
    assert_eq!(scene.json(&["check", "tree", "--quick"])["deep"], false);
    assert_eq!(scene.json(&["snapshot", "list", "tree"]), serde_json::json!([]));
    assert_eq!(scene.run(&["sync", "tree"]), "exit 0\n");
}

#[test]
fn output_that_cannot_be_written_is_an_error_and_a_closed_pipe_is_not() {
    let scene = Scene::new();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = scene.command(&["man"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));

    let mut child =
        scene.command(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
}

#[test]
fn completions_and_manual_pages_cover_every_command() {
    let scene = Scene::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(scene.run(&["completions", shell]).contains("unmount"), "{shell}");
    }
    insta::assert_snapshot!(scene.run(&["man", "no/such/dir"]), @r"
    exit 4
    error: writing no/such/dir/bt.1: No such file or directory (os error 2)
      hint: check the path
    ");
    fs::create_dir(scene.path("man")).unwrap();
    assert_eq!(scene.run(&["man", "man"]), "exit 0\n");
    for page in ["bt.1", "bt-mount.1", "bt-snapshot-create.1", "bt-inspect-block.1"] {
        assert!(scene.path("man").join(page).is_file(), "{page} is missing");
    }
}

#[test]
fn measuring_shows_every_row_and_leaves_nothing_behind() {
    let scene = Scene::new();
    let rows = scene.json(&["bench", ".", "--files", "100", "--size", "1M"]);
    assert_eq!(rows.as_array().unwrap().len(), 10);
    assert!(!left_behind(scene.dir.path()));
}

#[test]
fn an_interrupted_command_cleans_up() {
    let scene = Scene::new();
    let mut command = scene.command(&["bench", ".", "--files", "1000000", "--size", "1M"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let scratch = scene.path(&format!("bt-bench.{}", child.id())).join("00001");
    // The directory of the second hundred small files is the event that says: signals are handled by now.
    while !scratch.exists() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let mut said = String::new();
    child.stderr.unwrap().read_to_string(&mut said).unwrap();
    assert!(said.starts_with("error: interrupted before the end\n  hint: "), "{said}");
    assert!(!left_behind(scene.dir.path()));
}

fn left_behind(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("bt-bench"))
}
