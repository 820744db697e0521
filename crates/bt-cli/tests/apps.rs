//! What an author sees: from an app's folder to a signed package.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use tempfile::TempDir;

/// A core module for WASI preview 1 with a memory and a main function that does nothing.
const MODULE: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x05\x03\x01\0\x01\
    \x07\x13\x02\x06memory\x02\0\x06_start\0\0\x0a\x04\x01\x02\0\x0b";

const APP: &str = r#"
name = "tidy"
version = "1.0.0"
about = "Tidies up."
entries = ["job"]
[build]
command = "cp ../module.wasm built.wasm"
component = "built.wasm"
[permissions.files]
files = "/desk"
write = true
why = "What lies there is put away."
[permissions.token]
secret = true
why = "To open the drawer."
"#;

/// A scratch directory with an author, another principal, and the folder of an app.
struct Scene {
    dir: TempDir,
}

/// The credential files of both, made once: their passphrase is made costly to guess.
static KEYS: LazyLock<Vec<(&str, Vec<u8>)>> = LazyLock::new(|| {
    let scene = Scene { dir: tempfile::tempdir().unwrap() };
    fs::write(scene.path("passphrase"), "correct horse\n").unwrap();
    let make = |name| {
        scene.fine(&["principal", "create", name]);
        (name, fs::read(scene.path(name)).unwrap())
    };
    ["me.key", "other.key"].map(make).to_vec()
});

impl Scene {
    fn new() -> Self {
        let scene = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(scene.path("passphrase"), "correct horse\n").unwrap();
        fs::write(scene.path("module.wasm"), MODULE).unwrap();
        fs::create_dir(scene.path("tidy")).unwrap();
        fs::write(scene.path("tidy/app.toml"), APP).unwrap();
        for (name, file) in KEYS.iter() {
            fs::write(scene.path(name), file).unwrap();
        }
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn output(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("bt"));
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null());
        command
            .env("BT_PASSPHRASE_FILE", "passphrase")
            .env("BT_NEW_PASSPHRASE_FILE", "passphrase")
            .env_remove("BT_LOG");
        command.output().unwrap()
    }

    fn fine(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.fine(&[arguments, &["--output", "json"]].concat())).unwrap()
    }

    /// Exit code and standard error of a command that fails.
    fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.output(arguments);
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn change(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("tidy/app.toml")).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(self.path("tidy/app.toml"), text.replace(from, to)).unwrap();
    }
}

#[test]
fn an_app_is_built_packed_and_signed() {
    let scene = Scene::new();
    let built = scene.fine(&["app", "build", "tidy"]);
    assert!(built.starts_with("built a component of ") && built.ends_with(", made from a module\n"), "{built}");
    let packed = scene.json(&["app", "pack", "tidy", "--author", "me.key"]);
    assert_eq!(packed["package"], "tidy/tidy-1.0.0.btpkg");
    let before = scene.json(&["app", "info", "tidy"]);
    assert_eq!((&before["signed"], &before["id"]), (&false.into(), &packed["id"]));
    let signed = scene.json(&["app", "sign", "tidy/tidy-1.0.0.btpkg", "--as", "me.key"]);
    assert_eq!(signed["id"], packed["id"], "signing does not change the id");
    let info = scene.json(&["app", "info", "tidy/tidy-1.0.0.btpkg"]);
    assert_eq!((&info["signed"], &info["author"]), (&true.into(), &signed["author"]));
    assert_eq!(info["permissions"][0]["allows"], "read, change and delete what is in /desk of the tree");
    let text = scene.fine(&["app", "info", "tidy"]);
    assert!(text.contains("called  as a job\n") && text.contains("signed  yes\n"), "{text}");
    let asks = "It asks to:\n  files: read, change and delete what is in /desk of the tree\n      the author says: What lies \
                there is put away.\n  token: be given a secret that you enter, TOKEN\n";
    assert!(text.contains(asks), "{text}");
    let again = scene.json(&["app", "pack", "tidy", "--author", "me.key"]);
    assert_eq!(again, packed, "the same folder gives the same package");
}

#[test]
fn what_an_author_forgets_is_said() {
    let scene = Scene::new();
    let (code, said) = scene.fails(&["app", "pack", "tidy", "--author", "me.key"]);
    assert!(code == 3 && said.contains("the app is not built") && said.contains("bt app build"), "{said}");
    scene.fine(&["app", "build", "tidy"]);
    let (code, said) = scene.fails(&["app", "pack", "tidy"]);
    assert!(code == 2 && said.contains("nobody is named as author of tidy"), "{said}");
    scene.fine(&["app", "pack", "tidy", "--author", "me.key"]);
    let (code, said) = scene.fails(&["app", "sign", "tidy", "--as", "other.key"]);
    assert!(code == 1 && said.contains("pack it with the author that signs it"), "{said}");
    scene.change("[\"job\"]", "[\"http\"]");
    let (code, said) = scene.fails(&["app", "build", "tidy"]);
    let missing = "does not export wasi:http/incoming-handler@0.2, only wasi:cli/run@0.2.";
    assert!(code == 2 && said.contains(missing), "{said}");
    scene.change("cp ../module.wasm built.wasm", "echo from the compiler; exit 7");
    let (code, said) = scene.fails(&["app", "build", "tidy"]);
    assert!(code == 1 && said.contains("from the compiler\n") && said.contains("ended with exit status: 7"), "{said}");
    scene.change("echo from the compiler; exit 7", "echo text > built.wasm");
    let (code, said) = scene.fails(&["app", "build", "tidy"]);
    assert!(code == 2 && said.contains("is no WebAssembly component or module"), "{said}");
}

#[test]
fn a_damaged_package_is_not_shown() {
    let scene = Scene::new();
    scene.fine(&["app", "build", "tidy"]);
    scene.fine(&["app", "pack", "tidy", "--author", "me.key"]);
    scene.fine(&["app", "sign", "tidy", "--as", "me.key"]);
    let path = scene.path("tidy/tidy-1.0.0.btpkg");
    let whole = fs::read(&path).unwrap();
    let said = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let (code, said) = scene.fails(&["app", "info", "tidy"]);
        assert_eq!(code, 1, "{said}");
        said
    };
    assert!(said(&whole[..whole.len() - 1]).contains("it was cut or added to"));
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert!(said(&changed).contains("the component of the package is not what its manifest names"));
    let (code, said) = scene.fails(&["app", "info", "nowhere.btpkg"]);
    assert!(code == 2 && said.contains("there is no package nowhere.btpkg"), "{said}");
}

#[test]
fn an_author_hands_over_to_another_key() {
    let scene = Scene::new();
    let handed = scene.json(&["app", "handover", "tidy/handover", "--from", "me.key", "--to", "other.key"]);
    scene.change("[build]", "handovers = [\"handover\"]\n[build]");
    scene.fine(&["app", "build", "tidy"]);
    let (code, said) = scene.fails(&["app", "pack", "tidy", "--author", "me.key"]);
    assert!(code == 2 && said.contains("do not lead to its author"), "{said}");
    scene.fine(&["app", "pack", "tidy", "--author", "other.key"]);
    scene.fine(&["app", "sign", "tidy", "--as", "other.key"]);
    let info = scene.json(&["app", "info", "tidy"]);
    assert_eq!((&info["authors_before"][0], &info["author"]), (&handed["from"], &handed["to"]));
    let (code, said) = scene.fails(&["app", "handover", "tidy/handover", "--from", "me.key", "--to", "other.key"]);
    assert!(code == 3 && said.contains("exists already"), "{said}");
}

#[test]
fn a_new_app_has_a_folder_of_its_name() {
    let scene = Scene::new();
    let said = scene.fine(&["app", "new", "my-app", "--author", "me.key", "--template", "watch", "--lang", "c"]);
    assert_eq!(said, "made my-app/; next: cd my-app && bt app build\n");
    let key = scene.json(&["principal", "show", "me.key"])["public"].as_str().unwrap().to_owned();
    let text = fs::read_to_string(scene.path("my-app/app.toml")).unwrap();
    assert!(text.contains(&format!("author = \"{key}\"")) && text.contains("watch = [\"files\"]"), "{text}");
    let (code, said) = scene.fails(&["app", "new", "my-app"]);
    assert!(code == 3 && said.contains("my-app exists already"), "{said}");
    assert_eq!(scene.fails(&["app", "new", "My App"]).0, 2);
}
