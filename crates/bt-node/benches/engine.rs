//! What the engine costs, as a program on a mount sees it: `BENCH_DIR=/some/disk cargo bench -p bt-node`.
//!
//! Each group runs on `/dev/shm` and on `BENCH_DIR` (the temporary directory when it is not set). Needs the right to mount
//! with FUSE; `bt-fuse` has a benchmark of the requests alone, `bt-store` one of the files alone.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bt_node::control::{Request, Response, Service};
use bt_node::options::{InitOptions, MountOptions, NodeKeyOptions, OpenOptions};
use bt_node::{Mounted, Node};
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;

const SMALL_FILES: usize = 1000;
const RECOVERED_NAMES: usize = 10_000;
const BLOCK: usize = 16 << 10;
/// Blocks that one step of the sealing benchmark writes.
const SEALED_BLOCKS: usize = 512;

/// A mounted node in a directory of its own.
struct Bed {
    base: TempDir,
    node: Arc<Node>,
    mounted: Option<Mounted>,
}

impl Bed {
    fn new(place: &Path) -> Self {
        let base = tempfile::tempdir_in(place).expect("the place can be written");
        let options =
            InitOptions { passphrase: b"benchmark".to_vec().into(), compression: None, node_key: NodeKeyOptions::File };
        bt_node::init(&base.path().join("node"), &options).expect("a tree can be made");
        fs::create_dir(base.path().join("mount")).expect("the place can be written");
        let node = Node::open(&base.path().join("node"), &OpenOptions::default()).expect("it was just made");
        let mounted = node.mount(&base.path().join("mount"), &MountOptions::default()).expect("FUSE is allowed");
        Self { base, node, mounted: Some(mounted) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.base.path().join("mount").join(name)
    }

    fn ask(&self, request: Request) -> Response {
        self.node.handle(request, &mut |_| ControlFlow::Continue(())).expect("the node works")
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(self.base.path().join("mount")).status();
        assert!(status.is_ok_and(|status| status.success()), "the mount ends");
        self.mounted.take().expect("dropped once").wait();
        self.node.close().expect("the last commit succeeds");
    }
}

/// Memory and a disk.
fn places() -> [(&'static str, PathBuf); 2] {
    let disk = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    [("tmpfs", PathBuf::from("/dev/shm")), ("disk", disk)]
}

fn on_each_place(
    criterion: &mut Criterion,
    name: &str,
    bench: impl Fn(&mut BenchmarkGroup<'_, WallTime>, &str, &Path),
) {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10);
    for (place, path) in places() {
        bench(&mut group, place, &path);
    }
    group.finish();
}

fn commit(criterion: &mut Criterion) {
    on_each_place(criterion, "commit of 1,000 small changed files", |group, place, path| {
        let bed = Bed::new(path);
        group.throughput(Throughput::Elements(SMALL_FILES as u64));
        group.bench_function(BenchmarkId::from_parameter(place), |bencher| {
            let change = || {
                for i in 0..SMALL_FILES {
                    fs::write(bed.path(&format!("file {i}")), [7; 1000]).expect("there is room");
                }
                // The kernel keeps written pages back: what it has not sent is not part of a commit.
                assert!(Command::new("sync").arg("-f").arg(bed.path("")).status().expect("it is installed").success());
            };
            bencher.iter_custom(|times| {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    change();
                    let start = Instant::now();
                    black_box(bed.ask(Request::Sync));
                    total += start.elapsed();
                }
                total
            });
        });
    });
}

fn append(criterion: &mut Criterion) {
    on_each_place(criterion, "write and fsync of 4 KiB", |group, place, path| {
        let bed = Bed::new(path);
        let mut file = File::create(bed.path("file")).expect("there is room");
        group.throughput(Throughput::Bytes(4096));
        group.bench_function(BenchmarkId::from_parameter(place), |bencher| {
            bencher.iter(|| {
                file.seek(SeekFrom::Start(0)).expect("a file can be sought");
                file.write_all(&[7; 4096]).expect("there is room");
                file.sync_data().expect("the node works");
            });
        });
        drop(file);
    });
}

/// A copy of a node's directory whose journal holds the making of many names.
fn crashed(place: &Path) -> TempDir {
    for _ in 0..5 {
        let bed = Bed::new(place);
        for i in 0..RECOVERED_NAMES {
            let file = File::create(bed.path(&format!("file {i}"))).expect("there is room");
            if i % 100 == 99 {
                file.sync_all().expect("the node works");
            }
        }
        let Response::Status(status) = bed.ask(Request::Status) else { panic!("another answer") };
        let copy = tempfile::tempdir_in(place).expect("the place can be written");
        copy_directory(&bed.base.path().join("node"), &copy.path().join("node"));
        // A commit by time in between leaves little in the journal.
        if status.journal_bytes as usize > RECOVERED_NAMES * 50 {
            return copy;
        }
    }
    panic!("making {RECOVERED_NAMES} names takes longer than a commit waits");
}

fn copy_directory(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg("--sparse=always").arg(from).arg(to).status();
    assert!(copied.expect("cp is installed").success());
    // A socket or lock of the running node is of no use to the copy.
    drop(fs::remove_file(to.join("socket")));
}

fn recovery(criterion: &mut Criterion) {
    on_each_place(criterion, "recovery of 10,000 names from the journal", |group, place, path| {
        let template = crashed(path);
        group.throughput(Throughput::Elements(RECOVERED_NAMES as u64));
        group.bench_function(BenchmarkId::from_parameter(place), |bencher| {
            let copy = || {
                let copy = tempfile::tempdir_in(path).expect("the place can be written");
                copy_directory(&template.path().join("node"), &copy.path().join("node"));
                copy
            };
            let open = |copy: TempDir| {
                let node = Node::open(&copy.path().join("node"), &OpenOptions::default()).expect("it recovers");
                (node, copy)
            };
            bencher.iter_batched(copy, open, BatchSize::PerIteration);
        });
    });
}

fn seal(criterion: &mut Criterion) {
    on_each_place(criterion, "write, seal and commit of blocks of 16 KiB", |group, place, path| {
        let bed = Bed::new(path);
        let content = vec![7; SEALED_BLOCKS * BLOCK];
        let mut file = File::create(bed.path("file")).expect("there is room");
        group.throughput(Throughput::Bytes(content.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(place), |bencher| {
            bencher.iter(|| {
                file.seek(SeekFrom::Start(0)).expect("a file can be sought");
                file.write_all(&content).expect("there is room");
                file.sync_data().expect("the node works");
                black_box(bed.ask(Request::Sync));
            });
        });
        drop(file);
    });
}

criterion_group!(benches, commit, append, recovery, seal);
criterion_main!(benches);
