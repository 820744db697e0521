//! Guests written as text, so that no compiler for guests is needed: a core module with the interfaces' functions as
//! imports, made a component by wit-component.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A component with `wasi:http/incoming-handler`: `handle` is the body of `(func (param $request i32) (param $out i32) ...)`,
/// `more` stands beside it.
pub fn http(handle: &str, more: &str) -> Vec<u8> {
    http_module("", handle, more)
}

/// As [`http`], with more imports.
pub fn http_with(imports: &str, handle: &str) -> Vec<u8> {
    http_module(imports, handle, "")
}

fn http_module(imports: &str, handle: &str, more: &str) -> Vec<u8> {
    let text = format!(
        "(module {} {imports} {} {} {more}
           (func (export \"wasi:http/incoming-handler@0.2.12#handle\") (param $request i32) (param $out i32) {handle}))",
        include_str!("http.wat"),
        include_str!("shared.wat"),
        include_str!("http_shared.wat"),
    );
    component(&text, "http")
}

/// A component with `wasi:cli/run`: `run` is the body of `(func (result i32) ...)`, `imports` stand before it.
pub fn command(run: &str, imports: &str) -> Vec<u8> {
    let text = format!(
        "(module {imports} {} (func (export \"wasi:cli/run@0.2.12#run\") (result i32) {run}))",
        include_str!("shared.wat"),
    );
    component(&text, "command")
}

/// Answers with a text.
pub fn hello() -> Vec<u8> {
    http(
        "(call $begin (local.get $out) (i32.const 200)) (call $send (i32.const 0) (i32.const 6)) (call $end)",
        "(data (i32.const 0) \"hello\\n\")",
    )
}

fn component(text: &str, world: &str) -> Vec<u8> {
    let mut module = wat::parse_str(text).expect("the text is a module");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut resolve = Resolve::default();
    for file in ["io", "clocks", "random", "sockets", "filesystem", "cli", "http"] {
        resolve.push_file(manifest.join(format!("wit/host/deps/{file}.wit"))).expect("the interface can be read");
    }
    let package = resolve.push_file(manifest.join("tests/apps/guests/world.wit")).expect("the world can be read");
    let world = resolve.select_world(&[package], Some(world)).expect("there is such a world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("the module can be described");
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .expect("a component")
}
