//! `bt bench`: how fast a directory is, whatever file system it lies on.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bt_node::control::{Failure, Progress};
use serde::Serialize;

use crate::Outcome;
use crate::arguments::OutputOption;
use crate::output::{show, table};
use crate::progress::Bar;
use crate::units::parse_bytes;

/// Measure how fast a directory is.
///
/// Works in a new directory inside of DIR and removes it again. Reads are answered from the kernel's cache where it
/// has what was just written; for a comparison of file systems with cold caches use the project's tools/bench.
#[derive(Debug, clap::Args)]
pub struct Bench {
    /// A directory on the file system to measure
    dir: PathBuf,
    /// Small files (4 KiB) to create, stat, read and remove
    #[arg(long, default_value_t = 2000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    files: u32,
    /// Size of the large file
    #[arg(long, default_value = "256M", value_name = "SIZE", value_parser = large_size)]
    size: u64,
    #[command(flatten)]
    output: OutputOption,
}

fn large_size(text: &str) -> Result<u64, String> {
    match parse_bytes(text)? {
        size if size < CHUNK as u64 => Err("at least 1M is needed".into()),
        size => Ok(size / CHUNK as u64 * CHUNK as u64),
    }
}

/// Bytes of one request to the large file.
const CHUNK: usize = 1 << 20;
/// Bytes of a small file.
const SMALL: usize = 4096;
/// Files and writes that are synced one by one.
const SYNCED: u32 = 200;
/// Files in one directory.
const PER_DIR: u32 = 100;

/// One measured row.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    value: f64,
    unit: &'static str,
}

/// Runs the command.
pub fn run(arguments: &Bench) -> Outcome {
    let scratch = Scratch::new(&arguments.dir)?;
    let mut bench = Running { dir: &scratch.0, bar: Bar::new(), step: 0, rows: Vec::new() };
    bench.large(arguments.size)?;
    bench.small(arguments.files)?;
    bench.synced()?;
    let rows = bench.rows;
    drop(bench.bar);
    show(arguments.output.output, &rows, |rows| text(rows))
}

fn text(rows: &[Row]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| vec![row.name.to_owned(), format!("{:.0}", row.value), row.unit.to_owned()]).collect();
    table(&["what", "speed", ""], &[false, true, false], &rows)
}

/// A new directory, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(parent: &Path) -> Result<Self, Failure> {
        let dir = parent.join(format!("bt-bench.{}", std::process::id()));
        fs::create_dir(&dir).map_err(|error| Failure::io(format!("making {}", dir.display()), &error))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            crate::output::note(&format!("warning: {} could not be removed: {error}", self.0.display()));
        }
    }
}

struct Running<'a> {
    dir: &'a Path,
    bar: Bar,
    step: u64,
    rows: Vec<Row>,
}

impl Running<'_> {
    /// Times `count` calls of `work` and notes `count * amount` per second.
    fn row(
        &mut self,
        (name, unit, amount): (&'static str, &'static str, f64),
        count: u32,
        mut work: impl FnMut(u32) -> io::Result<()>,
    ) -> Result<(), Failure> {
        const STEPS: u64 = 10;
        self.step += 1;
        let begin = Instant::now();
        for i in 0..count {
            if i % 64 == 0 && self.bar.step(Progress { done: self.step, total: STEPS, what: name.into() }).is_break() {
                return Err(Failure::interrupted());
            }
            work(i).map_err(|error| Failure::io(format!("{name} in {}", self.dir.display()), &error))?;
        }
        let value = f64::from(count) * amount / begin.elapsed().as_secs_f64();
        self.rows.push(Row { name, value, unit });
        Ok(())
    }

    fn large(&mut self, size: u64) -> Result<(), Failure> {
        let path = self.dir.join("large");
        let chunk = noise(CHUNK);
        let chunks = u32::try_from(size / CHUNK as u64).unwrap_or(u32::MAX);
        let failed = |error: io::Error| Failure::io(format!("working on {}", path.display()), &error);
        let mut file = File::options().create_new(true).read(true).write(true).open(&path).map_err(failed)?;
        self.row(("sequential write, 1 MiB, fsync at the end", "MiB/s", 1.0), chunks, |i| {
            file.write_all(&chunk)?;
            if i + 1 == chunks { file.sync_all() } else { Ok(()) }
        })?;
        let mut buffer = vec![0; CHUNK];
        let mut reader = File::open(&path).map_err(failed)?;
        self.row(("sequential read, 1 MiB", "MiB/s", 1.0), chunks, |_| reader.read_exact(&mut buffer))?;
        let page = &chunk[..SMALL];
        let pages = size / SMALL as u64;
        self.row(("random write, 4 KiB, fsync each", "writes/s", 1.0), SYNCED, |i| {
            file.write_all_at(page, scattered(i, pages) * SMALL as u64)?;
            file.sync_data()
        })?;
        self.row(("random read, 4 KiB", "reads/s", 1.0), 20_000, |i| {
            reader.read_exact_at(&mut buffer[..SMALL], scattered(i, pages) * SMALL as u64)
        })
    }

    fn small(&mut self, files: u32) -> Result<(), Failure> {
        let dir = self.dir.to_owned();
        let content = noise(SMALL);
        let path = |i: u32| dir.join(format!("{:05}/{i:07}", i / PER_DIR));
        self.row(("create, 4 KiB files", "files/s", 1.0), files, |i| {
            if i % PER_DIR == 0 {
                fs::create_dir(path(i).parent().expect("files are in directories"))?;
            }
            File::create_new(path(i))?.write_all(&content)
        })?;
        self.row(("stat", "files/s", 1.0), files, |i| fs::metadata(path(i)).map(drop))?;
        self.row(("read, 4 KiB files", "files/s", 1.0), files, |i| fs::read(path(i)).map(drop))?;
        self.row(("unlink", "files/s", 1.0), files, |i| fs::remove_file(path(i)))
    }

    fn synced(&mut self) -> Result<(), Failure> {
        let dir = self.dir.to_owned();
        let content = noise(SMALL);
        self.row(("create + fsync, 4 KiB files", "files/s", 1.0), SYNCED, |i| {
            let mut file = File::create_new(dir.join(format!("synced-{i}")))?;
            file.write_all(&content)?;
            file.sync_all()
        })?;
        let (old, new) = (self.dir.join("replaced"), self.dir.join("replacing"));
        self.row(("replace by rename + fsync", "files/s", 1.0), SYNCED, |_| {
            let mut file = File::create(&new)?;
            file.write_all(&content)?;
            file.sync_all()?;
            fs::rename(&new, &old)
        })
    }
}

/// Bytes that do not compress: xorshift64 by Marsaglia.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The `i`-th of positions spread over `0..pages` without an order.
fn scattered(i: u32, pages: u64) -> u64 {
    u64::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) % pages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rows_are_measured_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(dir.path()).unwrap();
        let mut bench = Running { dir: &scratch.0, bar: Bar::new(), step: 0, rows: Vec::new() };
        bench.large(1 << 20).unwrap();
        bench.small(150).unwrap();
        bench.synced().unwrap();
        assert_eq!(bench.rows.len(), 10);
        assert!(bench.rows.iter().all(|row| row.value > 0.0 && row.value.is_finite()));
        drop(scratch);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
