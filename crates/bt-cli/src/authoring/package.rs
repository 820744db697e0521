//! Package files on an author's or an owner's disk.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use bt_node::control::Failure;
use bt_tree::app::{PackageError, limits};

use super::project::Project;

/// The package file that is meant by `path`: itself, or that of the app whose folder it is.
pub fn file_of(path: &Path) -> Result<PathBuf, Failure> {
    match path.is_dir() {
        true => Ok(Project::open(path)?.package_path()),
        false => Ok(path.to_owned()),
    }
}

/// Reads a package file.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let opened = fs::File::open(path);
    if opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        let what = format!("there is no package {}", path.display());
        return Err(Failure::usage(what, "check the path; `bt app pack` makes the package of an app"));
    }
    opened
        .and_then(|file| file.take(limits::PACKAGE_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| Failure::io(format_args!("reading {}", path.display()), &error))?;
    Ok(bytes)
}

/// Writes a package file; whatever happens, the old one or the new one is there.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let beside = path.with_extension("btpkg.new");
    let written = fs::File::create(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| {
        // What is left of it is useless; that it could not be written is what matters.
        let _ = fs::remove_file(&beside);
        Failure::io(format_args!("writing {}", path.display()), &error)
    })
}

/// What a user is told of a file that is no good package.
pub fn refused(path: &Path, error: &PackageError) -> Failure {
    Failure::problem(format!("{}: {error}", path.display()), "")
}
