//! What a user sees of commands on a mounted tree. Needs /dev/fuse, and root or fusermount3.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A tree and a mount point; whatever is mounted there is taken away in the end.
struct Scene {
    dir: TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(scene.path("passphrase"), "correct horse\n").unwrap();
        fs::create_dir(scene.path("mnt")).unwrap();
        scene.fine(&["init", "tree", "--passphrase-file", "passphrase"]);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn output(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("bt"));
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env_remove("BT_PASSPHRASE_FILE").env_remove("BT_LOG");
        command.output().unwrap()
    }

    /// Standard output of a command that succeeds.
    fn fine(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}\nlog: {}", self.log());
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command that fails with this exit code says, the scratch path and process ids taken out.
    fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let said = String::from_utf8_lossy(&output.stderr).replace(&*self.dir.path().to_string_lossy(), "SCENE");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}\nlog: {}", self.log());
        said
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("tree/log")).unwrap_or_default()
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.fine(&["status", "mnt", "--output", "json"])).unwrap()
    }

    fn pid(&self) -> Pid {
        let pid = self.status()["pid"].as_i64().unwrap();
        Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
    }

    fn is_mounted(&self) -> bool {
        is_mounted(&self.path("mnt"))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for _ in (0..3).take_while(|_| self.is_mounted()) {
            let mountpoint = self.path("mnt");
            if rustix::mount::unmount(&mountpoint, rustix::mount::UnmountFlags::DETACH).is_err() {
                let _ = Command::new("fusermount3").arg("-uz").arg(&mountpoint).status();
            }
        }
    }
}

fn is_mounted(mountpoint: &Path) -> bool {
    let mountpoint = fs::canonicalize(mountpoint.parent().unwrap()).unwrap().join(mountpoint.file_name().unwrap());
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| line.split(' ').nth(4) == mountpoint.to_str())
}

#[test]
fn a_tree_is_mounted_used_and_unmounted() {
    let scene = Scene::new();
    scene.fine(&["mount", "tree", "mnt"]);
    assert!(scene.is_mounted(), "mount returns when the mount is up");
    fs::write(scene.path("mnt/file"), "content").unwrap();
    let status = scene.status();
    assert!(status["mount"]["mountpoint"].as_str().unwrap().ends_with("/mnt"));
    assert_ne!(status["pid"], std::process::id());
    scene.fine(&["sync", "mnt"]);
    scene.fine(&["unmount", "mnt"]);
    assert!(!scene.is_mounted());
    assert!(!scene.path("tree/socket").exists());
    assert!(scene.log().contains("everything is committed"), "{}", scene.log());
    // The lock is free as soon as unmount has returned.
    scene.fine(&["check", "tree"]);
    scene.fine(&["mount", "tree", "mnt"]);
    assert_eq!(fs::read(scene.path("mnt/file")).unwrap(), b"content");
    scene.fine(&["unmount", "tree"]);
    assert!(!scene.is_mounted(), "the directory names the mount too");
}

#[test]
fn everyday_work_never_needs_the_root_file() {
    let scene = Scene::new();
    fs::rename(scene.path("tree/root.key"), scene.path("root.key")).unwrap();
    scene.fine(&["mount", "tree", "mnt"]);
    fs::write(scene.path("mnt/file"), "content").unwrap();
    scene.fine(&["snapshot", "create", "mnt", "one"]);
    let rotate = ["root", "rotate", "tree", "--root", "root.key", "--passphrase-file", "passphrase"];
    let said = scene.refused(3, &rotate);
    assert!(said.ends_with("hint: unmount it first: every zone needs new keys\n"), "{said}");
    scene.fine(&["unmount", "mnt"]);
    scene.fine(&[&rotate[..], &["--new-passphrase-file", "passphrase"]].concat());
    assert!(!scene.path("tree/root.key").exists(), "the new file lies where the old one did");
    scene.fine(&["mount", "tree", "mnt"]);
    assert_eq!(fs::read(scene.path("mnt/file")).unwrap(), b"content");
    assert_eq!(fs::read(scene.path("mnt/.snapshots/one/file")).unwrap(), b"content");
    fs::write(scene.path("mnt/file"), "changed").unwrap();
    scene.fine(&["sync", "mnt"]);
    assert_eq!(scene.status()["epoch"], 2);
    scene.fine(&["unmount", "mnt"]);
    scene.fine(&["check", "tree"]);
}

#[test]
fn a_second_mount_is_refused() {
    let scene = Scene::new();
    fs::create_dir(scene.path("other")).unwrap();
    scene.fine(&["mount", "tree", "mnt"]);
    let said = scene.refused(3, &["mount", "tree", "other"]);
    assert!(said.starts_with("error: SCENE/tree is mounted already: at SCENE/mnt, by process "), "{said}");
    assert!(said.ends_with("unmount it first with `bt unmount SCENE/mnt`\n"), "{said}");
    assert!(scene.is_mounted());
    scene.fine(&["unmount", "mnt"]);
}

#[test]
fn a_mount_in_use_stays_unless_lazy() {
    let scene = Scene::new();
    scene.fine(&["mount", "tree", "mnt"]);
    let file = File::create(scene.path("mnt/file")).unwrap();
    let said = scene.refused(3, &["unmount", "mnt"]);
    assert!(said.starts_with("error: SCENE/mnt is in use by mounted"), "{said}");
    assert!(scene.is_mounted());
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("bt"));
    let mut lazy = command.args(["unmount", "--lazy", "mnt"]).current_dir(scene.dir.path()).spawn().unwrap();
    while scene.is_mounted() {
        std::thread::yield_now();
    }
    assert!(lazy.try_wait().unwrap().is_none(), "it waits for the last user");
    drop(file);
    assert!(lazy.wait().unwrap().success());
    scene.fine(&["check", "tree"]);
}

#[test]
fn a_killed_process_is_not_in_the_way() {
    let scene = Scene::new();
    scene.fine(&["mount", "tree", "mnt"]);
    let file = File::create(scene.path("mnt/synced")).unwrap();
    file.sync_all().unwrap();
    drop(file);
    let pid = scene.pid();
    let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    rustix::event::poll(&mut [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)], None).unwrap();
    assert!(scene.is_mounted(), "a dead mount is left");
    scene.fine(&["mount", "tree", "mnt"]);
    assert!(scene.path("mnt/synced").exists());
    scene.fine(&["unmount", "mnt"]);
    assert!(!scene.is_mounted());
}

#[test]
fn a_dead_mount_can_be_unmounted() {
    let scene = Scene::new();
    scene.fine(&["mount", "tree", "mnt"]);
    kill_process(scene.pid(), Signal::KILL).unwrap();
    while std::os::unix::net::UnixStream::connect(scene.path("tree/socket")).is_ok() {
        std::thread::yield_now();
    }
    scene.fine(&["unmount", "mnt"]);
    assert!(!scene.is_mounted());
}

#[test]
fn a_signal_ends_the_process_in_order() {
    let scene = Scene::new();
    scene.fine(&["mount", "tree", "mnt"]);
    fs::write(scene.path("mnt/file"), "content").unwrap();
    let pid = scene.pid();
    let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    rustix::event::poll(&mut [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)], None).unwrap();
    assert!(!scene.is_mounted());
    assert!(scene.log().contains("everything is committed"), "{}", scene.log());
}

#[test]
fn nobody_else_reads_what_the_process_keeps() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    scene.fine(&["mount", "tree", "mnt"]);
    let mode = |name: &str| fs::metadata(scene.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("tree"), mode("tree/socket"), mode("tree/log")), (0o700, 0o600, 0o600));
    let limits = fs::read_to_string(format!("/proc/{}/limits", scene.pid().as_raw_nonzero())).unwrap();
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(cores.split_whitespace().nth(4), Some("0"), "{cores}");
    scene.fine(&["unmount", "mnt"]);
}

#[test]
fn snapshots_are_made_listed_compared_and_deleted() {
    let scene = Scene::new();
    scene.fine(&["mount", "tree", "mnt"]);
    fs::write(scene.path("mnt/old"), "old").unwrap();
    scene.fine(&["snapshot", "create", "mnt", "first"]);
    fs::write(scene.path("mnt/new"), "new").unwrap();
    fs::remove_file(scene.path("mnt/old")).unwrap();
    let list: serde_json::Value =
        serde_json::from_str(&scene.fine(&["snapshot", "list", "mnt", "--output", "json"])).unwrap();
    assert_eq!(list[0]["name"], "first");
    let diff = scene.fine(&["snapshot", "diff", "mnt", "first"]);
    assert!(diff.contains("+ /new\n") && diff.contains("- /old\n"), "{diff}");
    assert_eq!(fs::read(scene.path("mnt/.snapshots/first/old")).unwrap(), b"old");
    assert!(scene.refused(3, &["snapshot", "create", "mnt", "first"]).starts_with("error: "));
    scene.fine(&["snapshot", "delete", "mnt", "first"]);
    assert!(!scene.path("mnt/.snapshots/first").exists());
    scene.refused(3, &["snapshot", "delete", "mnt", "first"]);
    scene.fine(&["unmount", "mnt"]);
}

#[test]
fn what_is_stored_can_be_looked_at() {
    let scene = Scene::new();
    scene.fine(&["mount", "tree", "mnt"]);
    fs::write(scene.path("mnt/file"), vec![7; 100_000]).unwrap();
    scene.fine(&["sync", "mnt"]);
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&scene.fine(&[arguments, &["--output", "json"]].concat())).unwrap()
    };
    let head = json(&["inspect", "head", "mnt"]);
    let (segment, index) = (head["root"]["segment"].as_str().unwrap(), head["root"]["index"].to_string());
    let segments = json(&["inspect", "segment", "mnt"]);
    assert!(segments.as_array().unwrap().iter().any(|found| found["id"] == segment));
    assert_eq!(json(&["inspect", "segment", "mnt", segment])[0]["id"], segment);
    let block = json(&["inspect", "block", "mnt", segment, &index]);
    assert!(block["kind"].as_str().unwrap().starts_with("index"), "{block}");
    let unknown = scene.refused(3, &["inspect", "block", "mnt", &"0".repeat(64), "0"]);
    assert!(unknown.starts_with("error: "), "{unknown}");
    assert!(scene.fine(&["reclaim", "mnt", "--all"]).contains("given back"));
    let check = json(&["check", "mnt"]);
    assert_eq!((&check["problem_count"], &check["deep"]), (&0.into(), &true.into()));
    scene.fine(&["unmount", "mnt"]);
}
