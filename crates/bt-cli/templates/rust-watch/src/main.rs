//! A watcher: it runs when something changed in the directory of its permission, and looks what is there now.

use std::fs;
use std::process::ExitCode;

/// The directory of the permission `files`, as the app sees it: a slash and the permission's name.
const DIRECTORY: &str = "/files";
/// What it keeps there.
const LIST: &str = "LIST";

fn main() -> ExitCode {
    match keep_list() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the list could not be kept: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the list only where it is not current: writing is a change, too, and would run this app again.
fn keep_list() -> std::io::Result<()> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(DIRECTORY)? {
        let entry = entry?;
        let (name, bytes) = (entry.file_name(), entry.metadata()?.len());
        if name != LIST {
            lines.push(format!("{bytes:>12} {}\n", name.to_string_lossy()));
        }
    }
    lines.sort();
    let (path, list) = (format!("{DIRECTORY}/{LIST}"), lines.concat());
    match fs::read_to_string(&path) {
        Ok(before) if before == list => Ok(()),
        _ => fs::write(path, list),
    }
}
