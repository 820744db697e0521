//! A directory for one test that removes itself and what was mounted in it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, process, thread};

use anyhow::{Context, Result};
use rustix::mount::{UnmountFlags, unmount};

use crate::limits::LOG_TAIL_LINES;
use crate::mounts::mounted_under;
use crate::process::{kill_recorded, start_time};

/// First part of the name of every scratch directory: `bt-test.PID.START.NUMBER.NAME`.
const PREFIX: &str = "bt-test.";
/// File in a scratch directory that lists the processes started in it, a line `PID START` each.
const PROCESSES: &str = "processes";

/// A private directory under `$BT_TEST_DIR` (or the system's temporary directory).
///
/// Dropping it unmounts what is mounted in it and removes it; while a test panics it prints the ends of its logs
/// first. With `BT_TEST_KEEP=1` the files stay (the mounts do not).
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    logs: AtomicU32,
}

impl Scratch {
    /// Makes a scratch directory; the first one of a process also removes what dead test processes left behind.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        static SWEEP: Once = Once::new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let base = env::var_os("BT_TEST_DIR").map_or_else(env::temp_dir, PathBuf::from);
        SWEEP.call_once(|| sweep(&base));
        let started = start_time(process::id()).context("/proc has no entry for this process")?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("{PREFIX}{}.{started}.{number}.{name}", process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        // Other users must be able to walk to a mount point in here.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        let path = path.canonicalize()?;
        fs::create_dir(path.join("logs"))?;
        Ok(Self { path, logs: AtomicU32::new(1) })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a new directory in it.
    ///
    /// # Errors
    /// When there is one already, or none can be made.
    pub fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// A path for a new log file, which is printed when the test panics.
    #[must_use]
    pub fn log_path(&self, name: &str) -> PathBuf {
        let number = self.logs.fetch_add(1, Ordering::Relaxed);
        self.path.join("logs").join(format!("{number:04}-{name}.log"))
    }

    /// All logs so far, joined.
    #[must_use]
    pub fn logs(&self) -> String {
        log_files(&self.path)
            .iter()
            .map(|path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned())
            .collect()
    }

    /// Remembers a process that was started for this test, so that it can be ended if this process is killed.
    ///
    /// # Errors
    /// When the list cannot be written.
    pub(crate) fn record_process(scratch: &Path, id: u32) -> Result<()> {
        let started = start_time(id).unwrap_or_default();
        let mut list = fs::File::options().create(true).append(true).open(scratch.join(PROCESSES))?;
        writeln!(list, "{id} {started}")?;
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if thread::panicking() {
            print_logs(&self.path);
        }
        let keep = env::var_os("BT_TEST_KEEP").is_some_and(|value| value == "1");
        remove(&self.path, keep);
        if keep {
            eprintln!("kept {}", self.path.display());
        }
    }
}

fn log_files(scratch: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(scratch.join("logs")).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn print_logs(scratch: &Path) {
    for path in log_files(scratch) {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        eprintln!("--- end of {}", path.display());
        for line in &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..] {
            eprintln!("{line}");
        }
    }
}

/// Ends recorded processes, detaches mounts, and removes the files unless `keep`.
fn remove(scratch: &Path, keep: bool) {
    for line in fs::read_to_string(scratch.join(PROCESSES)).unwrap_or_default().lines() {
        if let Some((Ok(id), Ok(started))) = line.split_once(' ').map(|(id, start)| (id.parse(), start.parse())) {
            kill_recorded(id, started);
        }
    }
    for mountpoint in mounted_under(scratch).unwrap_or_default() {
        let _ = unmount(&mountpoint, UnmountFlags::DETACH);
    }
    // A mount that could not be detached must not be emptied from here.
    if !keep && mounted_under(scratch).is_ok_and(|left| left.is_empty()) {
        let _ = fs::remove_dir_all(scratch);
    }
}

/// Removes the scratch directories in `base` whose test process no longer runs.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let mut parts = rest.split('.');
        let owner = parts.next().and_then(|id| id.parse::<u32>().ok());
        let started = parts.next().and_then(|start| start.parse::<u64>().ok());
        if let (Some(owner), Some(started)) = (owner, started)
            && start_time(owner) != Some(started)
        {
            remove(&entry.path(), false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_area_is_gone_after_its_guard() {
        let scratch = Scratch::new("gone").unwrap();
        let path = scratch.path().to_path_buf();
        fs::write(scratch.directory("d").unwrap().join("f"), "x").unwrap();
        fs::write(scratch.log_path("one"), "line\n").unwrap();
        assert_eq!(scratch.logs(), "line\n");
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_process_left_behind_is_swept() {
        let scratch = Scratch::new("sweep").unwrap();
        // No process has this start time.
        let left = scratch.directory(&format!("{PREFIX}{}.1.0.left", process::id())).unwrap();
        let alive = start_time(process::id()).unwrap();
        let live = scratch.directory(&format!("{PREFIX}{}.{alive}.0.live", process::id())).unwrap();
        sweep(scratch.path());
        assert!(!left.exists() && live.exists());
    }
}
