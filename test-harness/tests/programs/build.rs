//! A cargo build: many small files, linking, time stamps that decide what is built again.

use anyhow::{Result, ensure};
use test_harness::subject::Mounted;

use super::script;

const CRATE: &str = r#"
export CARGO_NET_OFFLINE=true
cargo new --quiet --vcs none --name small small
cd small
for module in $(seq 1 20); do
  echo "pub fn value() -> u64 { $module }" > "src/m$module.rs"
done
{
  for module in $(seq 1 20); do echo "mod m$module;"; done
  echo 'fn sum() -> u64 { [' ; for module in $(seq 1 20); do echo "m$module::value(),"; done; echo '].iter().sum() }'
  echo 'fn main() { println!("{}", sum()); }'
  echo '#[test] fn the_sum() { assert_eq!(sum(), 210); }'
} > src/main.rs
CARGO_TARGET_DIR=target cargo build --quiet
target/debug/small
CARGO_TARGET_DIR=target cargo test --quiet >/dev/null
# Nothing changed: nothing is built.
CARGO_TARGET_DIR=target cargo build 2>&1 | grep -q Compiling && { echo "built again without a change"; exit 1; }
# One file changed: it is built and the new value is there.
echo "pub fn value() -> u64 { 1000 }" > src/m1.rs
CARGO_TARGET_DIR=target cargo build 2>&1 | grep -q Compiling
target/debug/small
"#;

#[test]
fn cargo_builds_a_small_crate() -> Result<()> {
    let mut mounted = Mounted::new("cargo")?;
    let done = script(mounted.directory(), CRATE)?;
    ensure!(done.stdout == "210\n1209\n", "the program said {:?}", done.stdout);
    mounted.remount()?;
    let again = "cd small; CARGO_NET_OFFLINE=true CARGO_TARGET_DIR=target cargo build 2>&1; target/debug/small";
    let done = script(mounted.directory(), again)?;
    ensure!(!done.stdout.contains("Compiling"), "built again after a mount: {}", done.stdout);
    ensure!(done.stdout.ends_with("1209\n"), "the program said {:?}", done.stdout);
    mounted.finish()
}
