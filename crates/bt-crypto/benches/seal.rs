//! What sealing, opening, hashing and signing cost: `cargo bench -p bt-crypto`.
//!
//! "raw" is the primitive alone, on a context that is already keyed: the floor under what the crate adds.

use std::hint::black_box;

use bt_base::label::{HEAD, SEGMENT_KEY};
use bt_base::limits::SEGMENT_BLOCKS;
use bt_base::{Entropy, JournalId, SegmentId, TreeId, ZoneId};
use bt_crypto::{
    BlockHasher, EpochKey, JournalCipher, KeyStore, NO_TREE, PassphraseCost, RootSeed, SegmentCipher, SegmentContext,
    SigningKey, SoftwareKeyStore, derive_key, hpke,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use openssl::cipher::Cipher;
use openssl::cipher_ctx::CipherCtx;

const SIZES: [usize; 2] = [4096, 16384];

struct Counter(u8);

impl Entropy for Counter {
    fn fill(&mut self, out: &mut [u8]) {
        self.0 = self.0.wrapping_add(1);
        out.fill(self.0);
    }
}

fn context(segment: u64) -> SegmentContext {
    let mut id = [3; 32];
    id[..8].copy_from_slice(&segment.to_le_bytes());
    SegmentContext { tree: TreeId([1; 32]), zone: ZoneId([2; 32]), segment: SegmentId(id), epoch: 4 }
}

fn key() -> EpochKey {
    EpochKey::from_bytes([9; 32])
}

fn blocks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("block");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        let plaintext = vec![7; size];
        let mut buffer = Vec::with_capacity(size + 16);

        // A fresh cipher whenever the indices are used up, as a writer has one for each segment.
        let mut sealed_blocks = 0_u64;
        let mut cipher = SegmentCipher::new(&key(), &context(0));
        group.bench_function(BenchmarkId::new("seal", size), |bencher| {
            bencher.iter(|| {
                let index = (sealed_blocks % SEGMENT_BLOCKS as u64) as u32;
                if index == 0 {
                    cipher = SegmentCipher::new(&key(), &context(sealed_blocks));
                }
                sealed_blocks += 1;
                buffer.clear();
                cipher.seal(index, black_box(&plaintext), &mut buffer)
            });
        });

        let cipher = SegmentCipher::new(&key(), &context(0));
        buffer.clear();
        let hash = cipher.seal(1, &plaintext, &mut buffer);
        let mut out = vec![0; size];
        group.bench_function(BenchmarkId::new("open", size), |bencher| {
            bencher.iter(|| cipher.open(1, &hash, black_box(&buffer), &mut out).unwrap());
        });

        let hasher = BlockHasher::new(&context(0));
        group.bench_function(BenchmarkId::new("hash", size), |bencher| {
            bencher.iter(|| hasher.hash(1, black_box(&buffer)));
        });

        group.bench_function(BenchmarkId::new("raw hash", size), |bencher| {
            bencher.iter(|| blake3::hash(black_box(&plaintext)));
        });

        let aes = Cipher::fetch(None, "AES-256-GCM", None).unwrap();
        let mut raw = CipherCtx::new().unwrap();
        raw.encrypt_init(Some(&aes), Some(&[9; 32]), Some(&[0; 12])).unwrap();
        group.bench_function(BenchmarkId::new("raw seal", size), |bencher| {
            bencher.iter(|| {
                raw.encrypt_init(None, None, Some(&[1; 12])).unwrap();
                raw.cipher_update(black_box(&plaintext), Some(&mut out)).unwrap();
                raw.cipher_final(&mut []).unwrap();
                let mut tag = [0; 16];
                raw.tag(&mut tag).unwrap();
                tag
            });
        });
    }
    group.finish();
}

fn keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("key");
    group.bench_function("derive", |bencher| {
        bencher.iter(|| derive_key(black_box(&[1; 32]), SEGMENT_KEY, &NO_TREE, &[&[2; 32], &[3; 32]]));
    });
    group.bench_function("segment cipher and first open of 4096", |bencher| {
        let mut sealed = Vec::new();
        let hash = SegmentCipher::new(&key(), &context(0)).seal(0, &[7; 4096], &mut sealed);
        let mut out = vec![0; 4096];
        bencher.iter(|| SegmentCipher::new(black_box(&key()), &context(0)).open(0, &hash, &sealed, &mut out).unwrap());
    });
    group.bench_function("journal record of 200", |bencher| {
        let cipher = JournalCipher::new(&key(), &NO_TREE, &ZoneId([2; 32]), &JournalId([3; 32]));
        let mut out = Vec::with_capacity(216);
        let mut number = 0;
        bencher.iter(|| {
            out.clear();
            number += 1;
            cipher.seal(number, b"associated", black_box(&[7; 200]), &mut out);
        });
    });
    group.finish();
}

fn signatures(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("signature");
    let key = SigningKey::from_seed(&[5; 32]);
    let message = [7; 200];
    group.bench_function("sign", |bencher| bencher.iter(|| key.sign(HEAD, &NO_TREE, black_box(&message))));
    let signature = key.sign(HEAD, &NO_TREE, &message);
    let prepared = key.verifying_key().prepare().unwrap();
    group.bench_function("verify prepared", |bencher| {
        bencher.iter(|| prepared.verify(HEAD, &NO_TREE, black_box(&message), &signature).unwrap());
    });
    let public = key.verifying_key();
    group.bench_function("verify", |bencher| {
        bencher.iter(|| public.verify(HEAD, &NO_TREE, black_box(&message), &signature).unwrap());
    });
    let store = SoftwareKeyStore::from_seed(&[6; 32]);
    group.bench_function("agree", |bencher| {
        bencher.iter(|| store.agree(black_box(&store.credential().agreement_public)).unwrap());
    });
    let mut entropy = Counter(0);
    let recipient = store.credential().agreement_public;
    group.bench_function("hpke seal", |bencher| {
        bencher.iter(|| hpke::seal(black_box(&recipient), b"info", b"", &[7; 32], &mut entropy).unwrap());
    });
    let (enc, sealed) = hpke::seal(&recipient, b"info", b"", &[7; 32], &mut entropy).unwrap();
    group.bench_function("hpke open", |bencher| {
        bencher.iter(|| hpke::open(black_box(&store), &enc, b"info", b"", &sealed).unwrap());
    });
    group.finish();
}

fn root(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("root");
    group.sample_size(10);
    let seed = RootSeed::generate(&mut Counter(0));
    group.bench_function("seal file at the standard cost", |bencher| {
        bencher.iter(|| seed.seal_file(b"passphrase", PassphraseCost::STANDARD, &mut Counter(0)));
    });
    group.finish();
}

criterion_group!(benches, blocks, keys, signatures, root);
criterion_main!(benches);
