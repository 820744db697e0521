//! Where a serving process writes what happened.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bt_node::control::Failure;
use tracing::level_filters::LevelFilter;

/// The size at which the log becomes `log.1` and a new one begins, in bytes.
const LIMIT: u64 = 4 << 20;

/// The variable that names the least important level that is logged.
const VARIABLE: &str = "BT_LOG";

/// Logs to standard error.
pub fn to_stderr() -> Result<(), Failure> {
    let builder = tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    builder.with_max_level(level()?).with_target(false).init();
    log_panics();
    Ok(())
}

/// Logs to the file `log` in `dir`, which with its predecessor `log.1` never takes more than 8 MiB.
pub fn to_file(dir: &Path) -> Result<(), Failure> {
    let path = dir.join("log");
    let log = BoundedLog::open(path.clone(), LIMIT)
        .map_err(|error| Failure::io(format!("opening the log {}", path.display()), &error))?;
    let builder = tracing_subscriber::fmt().with_writer(Arc::new(log)).with_ansi(false);
    builder.with_max_level(level()?).with_target(false).init();
    log_panics();
    Ok(())
}

fn level() -> Result<LevelFilter, Failure> {
    let Some(value) = std::env::var_os(VARIABLE) else { return Ok(LevelFilter::INFO) };
    value.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
        let what = format!("the variable {VARIABLE} is {}", value.display());
        Failure::usage(what, "set it to error, warn, info, debug or trace, or unset it")
    })
}

fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let trace = std::backtrace::Backtrace::capture();
        tracing::error!("{panic}\n{trace}");
    }));
}

/// A file that starts anew when it is full, keeping its predecessor.
struct BoundedLog {
    path: PathBuf,
    limit: u64,
    open: Mutex<(File, u64)>,
}

impl BoundedLog {
    fn open(path: PathBuf, limit: u64) -> io::Result<Self> {
        let file = append_to(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, limit, open: Mutex::new((file, size)) })
    }
}

impl Write for &BoundedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.1 > 0 && open.1 + bytes.len() as u64 > self.limit {
            fs::rename(&self.path, self.path.with_extension("1"))?;
            *open = (append_to(&self.path)?, 0);
        }
        let written = open.0.write(bytes)?;
        open.1 += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens a log; the file is private like all of a node's directory.
pub fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_never_outgrows_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = BoundedLog::open(path.clone(), 100).unwrap();
        for i in 0..50 {
            writeln!(&log, "line {i:02}").unwrap();
            assert!(fs::metadata(&path).unwrap().len() <= 100);
        }
        let old = fs::read_to_string(path.with_extension("1")).unwrap();
        let new = fs::read_to_string(&path).unwrap();
        assert!(old.len() <= 100 && format!("{old}{new}").ends_with("line 48\nline 49\n"));
        drop(log);
        BoundedLog::open(path.clone(), 100).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), new, "opening it again keeps what it holds");
    }
}
