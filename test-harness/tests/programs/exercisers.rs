//! Programs made to find faults of file systems: fsx, fio with verification, stress-ng.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use harness::run;
use test_harness::model::{compare_trees, tree};
use test_harness::subject::Mounted;

use super::{LIMIT, program};

/// Where `tools/test` puts fsx, beside what is on PATH.
fn fsx() -> Result<std::path::PathBuf> {
    let own = harness::target_directory()?.parent().map(|target| target.join("tools/bin/fsx"));
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&on_path).map(|directory| directory.join("fsx")).chain(own);
    candidates.find(|path| path.is_file()).context("fsx is not installed: run `cargo install fsx`, or tools/test")
}

/// Beside reads and writes: mapped ones, truncation, punching, allocation, copies, syncs, closing and reopening.
const WEIGHTS: &str = "
flen = 262144
[weights]
close_open = 1
invalidate = 1
read = 10
write = 10
mapread = 10
mapwrite = 10
truncate = 5
fsync = 1
fdatasync = 1
punch_hole = 4
posix_fallocate = 2
copy_file_range = 3
sendfile = 2
posix_fadvise = 1
[opsize]
max = 65536
";

#[test]
fn fsx_makes_a_hundred_thousand_operations() -> Result<()> {
    // Ten times 10,000: fsx leaves its mappings behind, and the kernel's time for each grows with their number.
    run_fsx("fsx", "nomsyncafterwrite = true", 10)
}

#[test]
fn fsx_with_msync_after_each_mapped_write() -> Result<()> {
    run_fsx("fsx-msync", "nomsyncafterwrite = false", 1)
}

fn run_fsx(name: &str, msync: &str, runs: u32) -> Result<()> {
    let mut mounted = Mounted::new(name)?;
    let config = mounted.scratch().path().join("fsx.toml");
    std::fs::write(&config, format!("{msync}\n{WEIGHTS}"))?;
    let fsx = fsx()?;
    for run in 0..runs {
        let seed = fastrand::u32(..).to_string();
        let arguments = ["-q", "-N", "10000", "-S", &seed, "-f"].map(std::ffi::OsString::from);
        let arguments = arguments.into_iter().chain([config.clone().into_os_string(), format!("file{run}").into()]);
        program(mounted.directory(), fsx.to_str().context("the path of fsx is text")?, arguments)
            .with_context(|| format!("fsx -S {seed}"))?;
    }
    let before = tree::describe(mounted.directory())?;
    mounted.remount()?;
    compare_trees(&before, &tree::describe(mounted.directory())?).context("mounted again")?;
    mounted.finish()
}

#[test]
fn fio_reads_back_what_it_wrote() -> Result<()> {
    let mut mounted = Mounted::new("fio")?;
    let jobs = [
        ("psync", "randwrite", "4k", "fsync=64"),
        ("psync", "write", "1m", "end_fsync=1"),
        ("mmap", "randwrite", "16k", "end_fsync=1"),
        ("libaio", "randwrite", "8k", "iodepth=16"),
        ("psync", "randrw", "12k", "direct=1"),
    ];
    for (engine, pattern, size, extra) in jobs {
        let name = format!("{engine}-{pattern}-{size}");
        let common = ["--size=24m", "--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--numjobs=2"];
        let own = [format!("--ioengine={engine}"), format!("--rw={pattern}"), format!("--bs={size}")];
        let arguments = [format!("--name={name}"), format!("--{extra}")];
        let all = arguments.iter().chain(&own).map(String::as_str).chain(common);
        program(mounted.directory(), "fio", all).with_context(|| name.clone())?;
    }
    mounted.remount()?;
    // What was written before the mount is verified from the disk.
    let again = ["--name=psync-write-1m", "--rw=write", "--bs=1m", "--verify_only=1", "--ioengine=psync"];
    let common = ["--size=24m", "--verify=crc32c", "--verify_fatal=1", "--numjobs=2"];
    program(mounted.directory(), "fio", again.iter().chain(&common))?;
    mounted.finish()
}

/// Stressors of stress-ng that work on any file system, with the operations (at most; two seconds are the other limit).
const STRESSORS: &[(&str, u32)] = &[
    ("access", 100),
    ("aio", 300),
    ("chmod", 200),
    ("chown", 200),
    ("copy-file", 20),
    ("dentry", 2000),
    ("dir", 1000),
    ("dirdeep", 1000),
    ("dirmany", 500),
    ("fallocate", 20),
    ("fcntl", 1000),
    ("filename", 300),
    ("flock", 1000),
    ("fpunch", 5),
    ("fstat", 500),
    ("getdent", 200),
    ("hdd", 300),
    ("iomix", 300),
    ("link", 300),
    ("locka", 1000),
    ("lockf", 1000),
    ("lockofd", 1000),
    ("mknod", 300),
    ("msync", 50),
    ("open", 1000),
    ("readahead", 100),
    ("rename", 1000),
    ("revio", 200),
    ("seek", 500),
    ("sendfile", 100),
    ("splice", 200),
    ("symlink", 100),
    ("sync-file", 20),
    ("utime", 2000),
    ("xattr", 100),
];

#[test]
fn stress_ng_verifies_its_work() -> Result<()> {
    let mounted = Mounted::new("stress-ng")?;
    let failures: Vec<String> = STRESSORS
        .iter()
        .filter_map(|(name, operations)| stress(mounted.directory(), name, *operations).err())
        .map(|error| format!("{error:#}"))
        .collect();
    ensure!(failures.is_empty(), "{} stressors failed:\n{}", failures.len(), failures.join("\n"));
    let left = std::fs::read_dir(mounted.directory())?.count();
    ensure!(left == 0, "stress-ng left {left} entries that it could not remove");
    mounted.finish()
}

fn stress(directory: &Path, name: &str, operations: u32) -> Result<()> {
    let mut command = Command::new("stress-ng");
    command.args([format!("--{name}"), "2".into(), format!("--{name}-ops"), operations.to_string()]);
    command.args(["--verify", "--timeout", "2", "--hdd-bytes", "16m", "--fallocate-bytes", "16m"]);
    command.args(["--iomix-bytes", "16m", "--readahead-bytes", "16m", "--seek-size", "16m", "--sync-file-bytes", "8m"]);
    command.arg("--temp-path").arg(directory);
    let done = run(&mut command, LIMIT)?;
    ensure!(done.code() == 0, "{name} ended with {}:\n{}{}", done.status, done.stdout, done.stderr);
    let text = done.stdout + &done.stderr;
    ensure!(!text.contains("fail:") && !text.contains("skipped"), "{name}:\n{text}");
    Ok(())
}
