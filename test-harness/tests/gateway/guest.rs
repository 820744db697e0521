//! Guests written as text, and packages of them: no compiler for guests is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use harness::{COMMAND_TIMEOUT, bt_binary, run_checked};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The texts that all guests have in common, and the interfaces.
const BT_APP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/bt-app");

/// A component that answers each request with a text.
pub fn says(text: &str) -> Result<Vec<u8>> {
    let length = text.len();
    http(
        &format!(
            "(call $begin (local.get $out) (i32.const 200)) (call $send (i32.const 0) (i32.const {length})) (call $end)"
        ),
        &format!("(data (i32.const 0) {text:?})"),
    )
}

/// A component that never answers.
pub fn hangs() -> Result<Vec<u8>> {
    http("(loop $forever (br $forever))", "")
}

fn http(handle: &str, more: &str) -> Result<Vec<u8>> {
    let guests = Path::new(BT_APP).join("tests/apps/guests");
    let part = |name: &str| fs::read_to_string(guests.join(name)).with_context(|| format!("guests/{name}"));
    let module = format!(
        "(module {} {} {} {more}
           (func (export \"wasi:http/incoming-handler@0.2.12#handle\") (param $request i32) (param $out i32) {handle}))",
        part("http.wat")?,
        part("shared.wat")?,
        part("http_shared.wat")?,
    );
    let mut module = wat::parse_str(module)?;
    let mut resolve = Resolve::default();
    for file in ["io", "clocks", "random", "sockets", "filesystem", "cli", "http"] {
        resolve.push_file(Path::new(BT_APP).join(format!("wit/host/deps/{file}.wit")))?;
    }
    let package = resolve.push_file(guests.join("world.wit"))?;
    let world = resolve.select_world(&[package], Some("http"))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    ComponentEncoder::default().validate(true).module(&module)?.encode()
}

/// Someone who signs packages, in a directory of the test.
pub struct Author {
    directory: PathBuf,
    key: PathBuf,
    passphrase: PathBuf,
}

impl Author {
    /// Makes an author with a key of its own.
    pub fn new(directory: &Path, passphrase: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let author =
            Self { directory: directory.to_owned(), key: directory.join("key"), passphrase: passphrase.to_owned() };
        author.bt(&["principal", "create"], &[&author.key])?;
        Ok(author)
    }

    /// The public key, as people hand it out.
    pub fn public(&self) -> Result<String> {
        let shown = self.bt(&["principal", "show"], &[&self.key])?;
        let key = shown.split_whitespace().find(|word| word.starts_with("btp1"));
        Ok(key.context("bt principal show prints a public key")?.to_owned())
    }

    /// Packs and signs a version of an app; `more` is the rest of its app.toml.
    pub fn package(&self, name: &str, version: &str, component: &[u8], more: &str) -> Result<PathBuf> {
        let folder = self.directory.join(format!("{name}-{version}"));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("app.wasm"), component)?;
        let manifest = format!(
            "name = {name:?}\nversion = {version:?}\nabout = \"A test.\"\nauthor = {:?}\nentries = [\"http\"]\n\n[build]\ncomponent = \"app.wasm\"\n{more}",
            self.public()?
        );
        fs::write(folder.join("app.toml"), manifest)?;
        self.bt(&["app", "pack"], &[&folder])?;
        self.bt(&["app", "sign", "--as"], &[&self.key, &folder])?;
        let package = folder.join(format!("{name}-{version}.btpkg"));
        ensure!(package.exists(), "{} was not made", package.display());
        Ok(package)
    }

    fn bt(&self, words: &[&str], paths: &[&PathBuf]) -> Result<String> {
        let mut command = Command::new(bt_binary()?);
        command.args(words).args(paths).env("BT_PASSPHRASE_FILE", &self.passphrase);
        Ok(run_checked(&mut command, COMMAND_TIMEOUT)?.stdout)
    }
}
