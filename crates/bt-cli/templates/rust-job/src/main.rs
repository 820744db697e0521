//! A job: it is given its input on standard input, what it prints is its result, and its exit code says whether it is done.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// The directory of the permission `files`, as the app sees it: a slash and the permission's name.
const DIRECTORY: &str = "/files";

fn main() -> ExitCode {
    match count(Path::new(DIRECTORY)) {
        Ok(files) => {
            println!("{files} files");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{DIRECTORY} could not be read: {error}");
            ExitCode::FAILURE
        }
    }
}

fn count(directory: &Path) -> std::io::Result<u64> {
    let mut files = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        files += if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 };
    }
    Ok(files)
}
