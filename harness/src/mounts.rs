//! The mount table of this process, its change event, and guards that undo a mount.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags};
use rustix::mount::{UnmountFlags, unmount};

use crate::process::poll_until;

/// One line of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// The kernel's name of the file system's type.
    pub kind: String,
    /// What is mounted, as the one who mounted it named it.
    pub source: String,
    /// Options of this mount and of the file system, comma-separated.
    pub options: String,
}

/// The mount table, opened: changes after the opening (or the last wait) can be waited for without missing one.
#[derive(Debug)]
pub struct MountTable {
    file: File,
}

impl MountTable {
    /// Opens the table.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn open() -> Result<Self> {
        Ok(Self { file: File::open("/proc/self/mountinfo").context("/proc/self/mountinfo")? })
    }

    /// What is mounted now, oldest first.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn entries(&mut self) -> Result<Vec<MountEntry>> {
        let mut text = Vec::new();
        self.file.rewind()?;
        self.file.read_to_end(&mut text)?;
        Ok(text.split(|&byte| byte == b'\n').filter_map(parse_line).collect())
    }

    /// The newest mount at `mountpoint`.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn find(&mut self, mountpoint: &Path) -> Result<Option<MountEntry>> {
        Ok(self.entries()?.into_iter().rev().find(|entry| entry.mountpoint == mountpoint))
    }

    /// Waits until `mountpoint` is mounted (or, with `present` false, is not).
    ///
    /// Returns true when that is so, false when `or_event` became readable first.
    ///
    /// # Errors
    /// When `deadline` passes before either.
    pub fn wait_for(
        &mut self,
        mountpoint: &Path,
        present: bool,
        or_event: BorrowedFd<'_>,
        deadline: Instant,
    ) -> Result<bool> {
        loop {
            if self.find(mountpoint)?.is_some() == present {
                return Ok(true);
            }
            let mut fds = [
                PollFd::new(&self.file, PollFlags::PRI | PollFlags::ERR),
                PollFd::from_borrowed_fd(or_event, PollFlags::IN),
            ];
            if !poll_until(&mut fds, deadline)? {
                let wanted = if present { "mounted" } else { "unmounted" };
                bail!("{} was not {wanted} in time", mountpoint.display());
            }
            if !fds[1].revents().is_empty() {
                return Ok(self.find(mountpoint)?.is_some() == present);
            }
        }
    }
}

impl AsFd for MountTable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whether something is mounted at exactly `path`.
///
/// # Errors
/// When the mount table cannot be read.
pub fn is_mounted(path: &Path) -> Result<bool> {
    Ok(MountTable::open()?.find(path)?.is_some())
}

/// Undoes every mount at one path when dropped, also one whose process is dead or whose files are still open.
#[derive(Debug)]
pub struct MountGuard {
    mountpoint: PathBuf,
}

impl MountGuard {
    /// Guards `mountpoint`, whether or not anything is mounted there yet.
    #[must_use]
    pub fn new(mountpoint: &Path) -> Self {
        Self { mountpoint: mountpoint.to_path_buf() }
    }

    /// Where the guarded mount is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mountpoint
    }

    /// Detaches everything that is mounted there now.
    pub fn detach(&self) {
        while is_mounted(&self.mountpoint).unwrap_or(false) {
            if unmount(&self.mountpoint, UnmountFlags::DETACH).is_err() {
                return;
            }
        }
    }
}

impl Drop for MountGuard {
    fn drop(&mut self) {
        self.detach();
    }
}

/// Parses one line (proc(5)): fields, any number of optional ones, " - ", type, source, options.
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let separator = fields.iter().position(|field| *field == b"-")?;
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    Some(MountEntry {
        mountpoint: PathBuf::from(std::ffi::OsString::from_vec(unescape(fields.get(4)?))),
        kind: text(fields.get(separator + 1)?),
        source: text(fields.get(separator + 2)?),
        options: format!("{},{}", text(fields.get(5)?), text(fields.get(separator + 3)?)),
    })
}

/// Undoes the octal escapes of space, tab, newline and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let escape = std::str::from_utf8(tail.get(..3).unwrap_or_default()).ok();
        match escape.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}

/// Paths of everything mounted at or under `directory`, deepest first.
pub(crate) fn mounted_under(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = MountTable::open()?
        .entries()?
        .into_iter()
        .map(|entry| entry.mountpoint)
        .filter(|path| path.starts_with(directory))
        .collect();
    paths.sort_by_key(|path| std::cmp::Reverse(path.as_os_str().as_bytes().len()));
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_escapes_and_optional_fields_is_parsed() {
        let line = br"36 35 98:0 /mnt1 /mnt\040two rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue";
        let entry = parse_line(line).unwrap();
        assert_eq!(entry.mountpoint, Path::new("/mnt two"));
        assert_eq!((entry.kind.as_str(), entry.source.as_str()), ("ext3", "/dev/root"));
        assert_eq!(entry.options, "rw,noatime,rw,errors=continue");
    }

    #[test]
    fn the_root_is_mounted() {
        assert!(is_mounted(Path::new("/")).unwrap());
        assert!(!is_mounted(Path::new("/no/such/place")).unwrap());
    }
}
