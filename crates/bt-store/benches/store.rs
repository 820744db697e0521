//! What the store costs on a real directory: `BENCH_DIR=/some/disk cargo bench -p bt-store`.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

use bt_base::{SegmentId, ZoneId};
use bt_store::{Containers, FileStorage, Heads, JournalFile, SegmentWrite, Storage, StoreError, WriteMode};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;

const MODES: [WriteMode; 4] =
    [WriteMode::Buffered, WriteMode::Direct, WriteMode::BufferedDurable, WriteMode::DirectDurable];

fn directory() -> (TempDir, FileStorage) {
    let base = std::env::var_os("BENCH_DIR").unwrap_or_else(|| std::env::temp_dir().into());
    let directory = tempfile::tempdir_in(base).expect("BENCH_DIR is a directory that can be written");
    let storage = FileStorage::open(directory.path()).expect("it was just made");
    (directory, storage)
}

fn journal(criterion: &mut Criterion) {
    let (_directory, storage) = directory();
    JournalFile::create(&storage, "journal", 16 << 20).expect("there is room");
    let mut group = criterion.benchmark_group("journal append and sync");
    for mode in MODES {
        let journal = match JournalFile::open_with(&storage, "journal", mode) {
            Err(StoreError::Refused { .. }) => continue,
            opened => opened.expect("it was just made"),
        };
        for len in [4096usize, 8192, 65536] {
            let batch = vec![0x5a; len];
            group.bench_function(BenchmarkId::new(format!("{mode:?}"), len), |bencher| {
                bencher.iter(|| {
                    let offset = journal.append_sync(&batch).expect("the ring is empty");
                    journal.release_up_to(offset + len as u64).expect("it was just written");
                });
            });
        }
    }
    group.finish();
}

fn heads(criterion: &mut Criterion) {
    let (_directory, storage) = directory();
    storage.create_dir("zone").expect("there is room");
    let heads = Heads::new(Arc::new(storage), "zone");
    heads.create().expect("there is room");
    let mut revision = bt_base::Revision(0);
    criterion.bench_function("head of 2 KiB", |bencher| {
        bencher.iter(|| {
            revision = revision.next();
            heads.publish(revision, &[7; 2048]).expect("there is room");
        });
    });
}

/// A segment of blocks of 16 KiB and a tag.
struct Blocks {
    ranges: Vec<(u32, Range<usize>)>,
    bytes: Vec<u8>,
}

const SEALED: usize = (16 << 10) + 16;

fn blocks(count: usize) -> Blocks {
    let range = |index: usize| (index as u32, index * SEALED..(index + 1) * SEALED);
    Blocks { ranges: (0..count).map(range).collect(), bytes: vec![0xa5; count * SEALED] }
}

fn write(containers: &Containers, number: u64, blocks: &Blocks) -> SegmentId {
    let mut id = SegmentId([3; 32]);
    id.0[..8].copy_from_slice(&number.to_le_bytes());
    let write = SegmentWrite { zone: ZoneId([1; 32]), id, epoch: 1, blocks: &blocks.ranges, bytes: &blocks.bytes };
    containers.write_segment(write).expect("there is room");
    id
}

fn segments(criterion: &mut Criterion) {
    let (_directory, storage) = directory();
    let containers = Containers::open(Arc::new(storage)).expect("it is empty");
    let mut group = criterion.benchmark_group("segment write, sync and drop");
    group.sample_size(20);
    let mut number = 0;
    for count in [1, 8, 64, 500] {
        let blocks = blocks(count);
        group.throughput(Throughput::Bytes(blocks.bytes.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(blocks.bytes.len()), |bencher| {
            bencher.iter(|| {
                number += 1;
                let id = write(&containers, number, &blocks);
                containers.sync().expect("the disk is well");
                containers.drop_segment(&id).expect("it was just written");
            });
        });
    }
    group.finish();
}

fn reads(criterion: &mut Criterion) {
    let (_directory, storage) = directory();
    let containers = Containers::open(Arc::new(storage)).expect("it is empty");
    let blocks = blocks(500);
    let ids: Vec<SegmentId> = (0..20).map(|number| write(&containers, number, &blocks)).collect();
    containers.sync().expect("the disk is well");
    let (mut out, mut lens) = (Vec::new(), Vec::new());
    let mut at = 0usize;
    let mut group = criterion.benchmark_group("warm read");
    for count in [1u32, 16, 64] {
        group.throughput(Throughput::Bytes(u64::from(count) * SEALED as u64));
        group.bench_function(BenchmarkId::new("run", count), |bencher| {
            bencher.iter(|| {
                at += 7919;
                let first = (at % (500 - count as usize)) as u32;
                containers.read_run(&ids[at % ids.len()], first, count, &mut out, &mut lens).expect("it is there");
                black_box(&out);
            });
        });
    }
    group.throughput(Throughput::Bytes(SEALED as u64));
    group.bench_function("block", |bencher| {
        bencher.iter(|| {
            at += 7919;
            containers.read_block(&ids[at % ids.len()], (at % 500) as u32, &mut out).expect("it is there");
            black_box(&out);
        });
    });
    group.finish();
}

criterion_group!(benches, journal, heads, segments, reads);
criterion_main!(benches);
