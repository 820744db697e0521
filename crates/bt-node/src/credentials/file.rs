//! Reading and writing files with keys.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::control::Failure;

/// The largest file that is read, in bytes.
const LIMIT: u64 = 64 * 1024;

/// The content of a file.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)
        .and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes))
        .map_err(|error| Failure::io(format_args!("reading {}", path.display()), &error))?;
    if bytes.len() as u64 > LIMIT {
        let what = format!("{} is larger than any file with keys", path.display());
        return Err(Failure::usage(what, "check the path"));
    }
    Ok(bytes)
}

/// Refuses a path at which something exists.
pub(super) fn refuse_existing(path: &Path) -> Result<(), Failure> {
    match path.symlink_metadata() {
        Ok(_) => Err(exists(path)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::io(format_args!("looking at {}", path.display()), &error)),
    }
}

/// Writes a new file; it is durable when this returns, and nothing is left of it when this fails.
pub(super) fn create(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::io(format_args!("writing {}", path.display()), &error);
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(exists(path)),
        Err(error) => return Err(failed(error)),
    };
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| sync_directory(path));
    written.map_err(|error| {
        // What is left of it is useless; that it could not be written is what matters.
        let _ = std::fs::remove_file(path);
        failed(error)
    })
}

/// Puts a file with new content in the place of one that exists, or of what it links to; whatever happens, one of the
/// two is there.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::io(format_args!("replacing {}", path.display()), &error);
    let path = path.canonicalize().map_err(failed)?;
    let mut name = path.clone().into_os_string();
    name.push(".new");
    let new = PathBuf::from(name);
    // One that a crash left is worth nothing: what it was to replace is still there.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => create(&new, bytes)?,
    }
    std::fs::rename(&new, &path).and_then(|()| sync_directory(&path)).map_err(failed)
}

/// Puts the file `new` in the place of `path`, and what was there at `aside`, where nothing else must exist. Run again
/// after a crash it goes on.
pub(super) fn exchange(path: &Path, new: &Path, aside: &Path) -> Result<(), Failure> {
    let old = read(path)?;
    match refuse_existing(aside) {
        Ok(()) => create(aside, &old)?,
        Err(_) if read(aside)? == old => {}
        Err(failure) => return Err(failure),
    }
    std::fs::rename(new, path)
        .and_then(|()| sync_directory(path))
        .map_err(|error| Failure::io(format_args!("renaming {}", new.display()), &error))
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.map_or_else(|| PathBuf::from("."), Path::to_owned))?.sync_all()
}

fn exists(path: &Path) -> Failure {
    Failure::refused(
        format!("{} exists already", path.display()),
        "choose another name: a file with keys is never overwritten",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::control::FailureKind;

    #[test]
    fn a_file_is_made_once_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        refuse_existing(&path).unwrap();
        create(&path, b"keys").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(create(&path, b"other").unwrap_err().kind, FailureKind::Refused);
        assert_eq!(refuse_existing(&path).unwrap_err().kind, FailureKind::Refused);
        assert_eq!(*read(&path).unwrap(), b"keys");
        let dangling = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &dangling).unwrap();
        assert_eq!(refuse_existing(&dangling).unwrap_err().kind, FailureKind::Refused);
        assert_eq!(create(&dangling, b"other").unwrap_err().kind, FailureKind::Refused);
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_where_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("key"), dir.path().join("link"));
        create(&path, b"keys").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        std::fs::write(dir.path().join("key.new"), b"left by a crash").unwrap();
        replace(&link, b"other").unwrap();
        assert_eq!(*read(&path).unwrap(), b"other");
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!dir.path().join("key.new").exists());
        assert_eq!(replace(&dir.path().join("missing"), b"").unwrap_err().kind, FailureKind::Io);
    }

    #[test]
    fn two_files_change_places_also_after_a_crash_between() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        create(&path("key"), b"old").unwrap();
        create(&path("next"), b"new").unwrap();
        create(&path("aside"), b"other").unwrap();
        let refused = exchange(&path("key"), &path("next"), &path("aside")).unwrap_err();
        assert_eq!(refused.kind, FailureKind::Refused);
        std::fs::write(path("aside"), b"old").unwrap();
        exchange(&path("key"), &path("next"), &path("aside")).unwrap();
        assert_eq!((&**read(&path("key")).unwrap(), &**read(&path("aside")).unwrap()), (&b"new"[..], &b"old"[..]));
        assert!(!path("next").exists());
    }

    #[test]
    fn endless_and_missing_files_are_refused() {
        assert_eq!(read(Path::new("/dev/zero")).unwrap_err().kind, FailureKind::Usage);
        assert_eq!(read(Path::new("/no/such/file")).unwrap_err().kind, FailureKind::Io);
        assert_eq!(create(Path::new("/no/such/file"), b"").unwrap_err().kind, FailureKind::Io);
    }
}
