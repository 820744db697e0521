//! The speed of the index: `cargo bench -p bt-tree --bench index`.
//!
//! Records are like inodes: a 9-byte key and 72 bytes. "Warm" means that all nodes are in memory: dirty, or
//! written and in the source's cache, as noted.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use bt_base::{BlockHash, Revision, SegmentId};
use bt_tree::BlockRef;
use bt_tree::index::{IndexError, Node, NodeSink, NodeSource, Tree};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const RECORDS: u64 = 1_000_000;

/// Takes eight bytes of a hash for a hash.
#[derive(Default)]
struct Take8(u64);

impl Hasher for Take8 {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(bytes) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*bytes);
        }
    }

    fn write_usize(&mut self, _: usize) {}
}

/// All nodes that were written, never forgotten.
#[derive(Default)]
struct Cache {
    nodes: RefCell<HashMap<[u8; 32], Arc<Node>, BuildHasherDefault<Take8>>>,
    written: u64,
}

impl NodeSource for Cache {
    fn load(&self, block: &BlockRef) -> Result<Arc<Node>, IndexError> {
        Ok(self.nodes.borrow()[&block.hash.0].clone())
    }
}

impl NodeSink for Cache {
    fn write(&mut self, encoded: &[u8]) -> Result<BlockRef, IndexError> {
        self.written += 1;
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&mix(self.written).to_le_bytes());
        let (index, len) = ((self.written % 4096) as u32, encoded.len() as u32);
        Ok(BlockRef { segment: SegmentId([1; 32]), index, len, epoch: 1, birth: Revision(1), hash: BlockHash(hash) })
    }

    fn sealed(&mut self, block: &BlockRef, node: &Arc<Node>) {
        self.nodes.get_mut().insert(block.hash.0, node.clone());
    }
}

fn mix(number: u64) -> u64 {
    let z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn key(number: u64) -> [u8; 9] {
    let mut key = [0x10; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

fn value(number: u64) -> [u8; 72] {
    [number as u8; 72]
}

fn filled(source: &dyn NodeSource, keys: impl Iterator<Item = u64>) -> Tree {
    let mut tree = Tree::empty();
    for number in keys {
        tree.insert(source, &key(number), &value(number)).unwrap();
    }
    tree
}

/// Time for `count` inserts into a tree that then has a million records, without that for the ones before.
fn time_inserts(count: u64, spread: impl Fn(u64) -> u64) -> std::time::Duration {
    let cache = Cache::default();
    let mut tree = filled(&cache, (0..RECORDS).map(&spread));
    let start = Instant::now();
    for number in RECORDS..RECORDS + count {
        tree.insert(&cache, &key(spread(number)), &value(number)).unwrap();
    }
    start.elapsed()
}

fn insert(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("insert into 1M dirty");
    group.sample_size(10).throughput(Throughput::Elements(1));
    group.bench_function("rising", |bencher| bencher.iter_custom(|count| time_inserts(count, |number| number)));
    group.bench_function("random", |bencher| bencher.iter_custom(|count| time_inserts(count, mix)));
    group.finish();
}

fn lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("in 1M");
    group.throughput(Throughput::Elements(1));
    let mut cache = Cache::default();
    let mut tree = filled(&cache, 0..RECORDS);
    let look = |tree: &Tree, cache: &Cache, number: u64| {
        let found = tree.get(cache, &key(mix(number) % RECORDS), |value| value[0]).unwrap();
        assert!(black_box(found).is_some());
    };
    let mut number = 0;
    let mut next = || {
        number += 1;
        number
    };
    group.bench_function("lookup, dirty", |bencher| bencher.iter(|| look(&tree, &cache, next())));
    tree.seal(&mut cache).unwrap();
    tree.release_clean();
    group.bench_function("lookup, cached", |bencher| bencher.iter(|| look(&tree, &cache, next())));
    group.bench_function("lookup of what is absent, cached", |bencher| {
        bencher.iter(|| {
            let mut key = [0; 10];
            key[..9].copy_from_slice(&self::key(mix(next()) % RECORDS));
            assert!(!tree.contains(&cache, black_box(&key)).unwrap());
        });
    });
    group.bench_function("update, first 100k after a commit", |bencher| {
        bencher.iter_custom(|count| {
            let mut tree = tree.clone();
            let start = Instant::now();
            for number in 0..count {
                tree.update(&cache, &key(mix(number) % RECORDS), |value| value[1] += 1).unwrap();
                if number % 100_000 == 99_999 {
                    tree = tree.clone();
                }
            }
            start.elapsed()
        });
    });
    group.throughput(Throughput::Elements(RECORDS));
    group.sample_size(10);
    group.bench_function("scan, cached", |bencher| {
        bencher.iter(|| {
            let mut sum = 0;
            let mut add = |_: &[u8], value: &[u8]| {
                sum += u64::from(value[0]);
                ControlFlow::Continue(())
            };
            tree.scan(&cache, &[], &mut add).unwrap();
            sum
        });
    });
    group.bench_function("remove all in order", |bencher| {
        bencher.iter_batched(
            || filled(&cache, 0..RECORDS),
            |mut tree| {
                (0..RECORDS).for_each(|number| assert!(tree.remove(&cache, &key(number)).unwrap()));
                tree
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    group.sample_size(10);
    let empty = Cache::default();
    let tree = filled(&empty, 0..100_000);
    group.throughput(Throughput::Elements(tree.dirty_nodes() as u64));
    group.bench_function("nodes of 100k records", |bencher| {
        bencher.iter_batched(
            || (filled(&empty, 0..100_000), Cache::default()),
            |(tree, mut cache)| {
                tree.seal(&mut cache).unwrap();
                (tree, cache)
            },
            BatchSize::PerIteration,
        );
    });
    let bytes: Vec<_> = encoded(&tree);
    group.throughput(Throughput::Elements(bytes.len() as u64));
    group.bench_function("decode those nodes", |bencher| {
        bencher.iter(|| bytes.iter().map(|bytes| Node::decode(bytes.clone()).unwrap().len()).sum::<usize>());
    });
    group.finish();
}

fn encoded(tree: &Tree) -> Vec<Vec<u8>> {
    struct Bytes(Vec<Vec<u8>>, Cache);
    impl NodeSink for Bytes {
        fn write(&mut self, encoded: &[u8]) -> Result<BlockRef, IndexError> {
            self.0.push(encoded.to_vec());
            self.1.write(encoded)
        }

        fn sealed(&mut self, _: &BlockRef, _: &Arc<Node>) {}
    }
    let mut bytes = Bytes(Vec::new(), Cache::default());
    tree.clone().seal(&mut bytes).unwrap();
    bytes.0
}

criterion_group!(benches, insert, lookup, seal);
criterion_main!(benches);
