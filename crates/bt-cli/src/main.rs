//! The `bt` command; everything is in the library, so that tests can look at it.

use std::process::ExitCode;

fn main() -> ExitCode {
    bt_cli::run()
}
