//! One process at a time in a node's directory.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags};

use crate::error::{Result, StoreError};

/// The name of the lock in a node's directory.
pub const LOCK_FILE: &str = "lock";

/// The lock on a node's directory, held until this is dropped or the process ends, however it ends.
///
/// The file holds the decimal process id of the holder, for people. What locks is flock(2): a file that is left
/// behind is not in the way.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes the lock in `directory`, or is refused with the id of the process that has it.
    pub fn acquire(directory: &Path) -> Result<Self> {
        let failed = |op| move |error| StoreError::io(op, LOCK_FILE, 0, error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(directory.join(LOCK_FILE))
            .map_err(failed("open"))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(held_by_another(directory, &mut file)),
            Err(error) => return Err(failed("lock")(error.into())),
        }
        file.set_len(0).map_err(failed("resize"))?;
        file.rewind().map_err(failed("write"))?;
        writeln!(file, "{}", std::process::id()).map_err(failed("write"))?;
        Ok(Self { _file: file })
    }
}

fn held_by_another(directory: &Path, file: &mut File) -> StoreError {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    let holder = match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!("process {pid}"),
        _ => "another process".to_owned(),
    };
    StoreError::refused(LOCK_FILE, format!("{holder} uses {}; stop it first", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_with_the_holder_until_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let lock = DirLock::acquire(directory.path()).unwrap();
        let error = DirLock::acquire(directory.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {} ", std::process::id())), "{error}");
        drop(lock);
        DirLock::acquire(directory.path()).unwrap();
    }

    #[test]
    fn a_file_left_behind_is_not_in_the_way() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(LOCK_FILE), "4194304\nleft by a much longer text").unwrap();
        let _lock = DirLock::acquire(directory.path()).unwrap();
        let text = std::fs::read_to_string(directory.path().join(LOCK_FILE)).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
    }
}
