//! What a compiler made, as a component.
//!
//! Compilers for WASI preview 1 (C with wasi-libc) make core modules; those become components with the adapter that
//! wasmtime is released with. Components are taken as they are.

use std::path::{Path, PathBuf};

use bt_node::control::Failure;
use bt_tree::app::Entry;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::{ComponentEncoder, DecodedWasm};

/// `\0asm`, then the version and layer of a core module.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";
/// The same of a component.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A WebAssembly component, and what it exports.
#[derive(Debug)]
pub struct Component {
    path: PathBuf,
    bytes: Vec<u8>,
    exports: Vec<String>,
    was_module: bool,
}

impl Component {
    /// Makes a component of what was read from `path`.
    pub fn new(path: &Path, bytes: Vec<u8>) -> Result<Self, Failure> {
        let was_module = bytes.starts_with(MODULE);
        let bytes = match was_module {
            true => adapted(path, &bytes)?,
            false if bytes.starts_with(COMPONENT) => bytes,
            false => {
                let what = format!("{} is no WebAssembly component or module", path.display());
                return Err(Failure::usage(what, "look at [build] in app.toml: component is what command makes"));
            }
        };
        let exports = exports(path, &bytes)?;
        Ok(Self { path: path.to_owned(), bytes, exports, was_module })
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether a core module was made into it.
    pub fn was_module(&self) -> bool {
        self.was_module
    }

    /// Checks that it exports what the entries are called by.
    pub fn check_entries(&self, entries: &[Entry]) -> Result<(), Failure> {
        for entry in entries {
            let needed = match entry {
                Entry::Http => "wasi:http/incoming-handler",
                Entry::Job | Entry::Watch { .. } => "wasi:cli/run",
            };
            let is = |export: &String| export.strip_prefix(needed).is_some_and(|version| version.starts_with("@0.2."));
            if !self.exports.iter().any(is) {
                let exports = if self.exports.is_empty() { "nothing".to_owned() } else { self.exports.join(", ") };
                return Err(Failure::usage(
                    format!("{} does not export {needed}@0.2, only {exports}", self.path.display()),
                    "its entries in app.toml are what it can be called by: http needs a handler, job and watch a main function",
                ));
            }
        }
        Ok(())
    }
}

fn adapted(path: &Path, module: &[u8]) -> Result<Vec<u8>, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        let what = format!("{} cannot be made a component: {error}", path.display());
        Failure::usage(what, "compile it for WASI preview 1 (wasm32-wasip1) or as a component (wasm32-wasip2)")
    };
    let adapter = match has_start(module) {
        true => WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        false => WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
    };
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|encoder| encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter))
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| failed(&format_args!("{error:#}")))
}

/// Whether a module has a main function.
fn has_start(module: &[u8]) -> bool {
    wasmparser::Parser::new(0).parse_all(module).any(|part| match part {
        Ok(wasmparser::Payload::ExportSection(exports)) => {
            exports.into_iter().any(|export| export.is_ok_and(|export| export.name == "_start"))
        }
        _ => false,
    })
}

fn exports(path: &Path, component: &[u8]) -> Result<Vec<String>, Failure> {
    let broken = |error: &dyn std::fmt::Display| {
        Failure::usage(
            format!("{} is no whole component: {error}", path.display()),
            "build it again with `bt app build`",
        )
    };
    wasmparser::Validator::new().validate_all(component).map_err(|error| broken(&error))?;
    match wit_component::decode(component).map_err(|error| broken(&format_args!("{error:#}")))? {
        DecodedWasm::Component(resolve, world) => {
            Ok(resolve.worlds[world].exports.keys().map(|key| resolve.name_world_key(key)).collect())
        }
        DecodedWasm::WitPackage(..) => Err(broken(&"it describes interfaces and has no code")),
    }
}
