//! What one group commit costs besides the disk: making a journal batch, and reading it again.
//!
//! `cargo bench -p bt-tree --bench batch`

use std::hint::black_box;
use std::sync::Arc;

use bt_base::{Entropy, JournalId, Timestamp};
use bt_crypto::{EpochKey, JournalCipher, KeyStore, SoftwareKeyStore};
use bt_tree::{AccessLog, BatchReader, BatchWriter, Birth, Genesis, JournalPosition, SessionKey};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const NOW: Timestamp = Timestamp::new(1_790_000_000, 0);
const JOURNAL: JournalId = JournalId([4; 32]);

struct Counter(u8);

impl Entropy for Counter {
    fn fill(&mut self, out: &mut [u8]) {
        self.0 += 1;
        out.fill(self.0);
    }
}

struct Zone {
    birth: Birth,
    log: AccessLog,
    session: Arc<SessionKey>,
}

impl Zone {
    fn new() -> Self {
        let (root, mut entropy) = (SoftwareKeyStore::from_seed(&[1; 32]), Counter(0));
        let genesis = Genesis::create(&root, NOW, &mut entropy).expect("the root signs");
        let birth = Birth::create(&root, &genesis, None, &mut entropy).expect("the root signs");
        let log = AccessLog::new(&genesis, &birth).expect("both are of one tree");
        let session = SessionKey::issue(&root as &dyn KeyStore, genesis.tree(), NOW, 3600, &mut entropy);
        Self { birth, log, session: Arc::new(session.expect("the root signs")) }
    }

    fn cipher(&self) -> JournalCipher {
        JournalCipher::new(&EpochKey::from_bytes([3; 32]), self.birth.tree(), self.birth.zone(), &JOURNAL)
    }

    fn writer(&self) -> BatchWriter {
        BatchWriter::new(self.cipher(), Arc::clone(&self.session), *self.birth.zone(), JOURNAL, 0)
    }

    fn reader(&self) -> BatchReader<'_> {
        let start = JournalPosition { id: JOURNAL, covered: 0, next_batch: 0, previous_batch_hash: [0; 32], offset: 0 };
        BatchReader::new(self.cipher(), &self.log, self.log.newest(), &start)
    }
}

fn seal(criterion: &mut Criterion) {
    let zone = Zone::new();
    let mut group = criterion.benchmark_group("seal");
    for size in [256, 4096, 65536, 1 << 20] {
        let (mut writer, payload, mut out) = (zone.writer(), vec![7; size], Vec::new());
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{size}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                writer.seal(NOW, writer.next_record(), 1, black_box(&payload), &mut out).expect("the batch is sealed")
            });
        });
    }
    group.finish();
}

fn open(criterion: &mut Criterion) {
    let zone = Zone::new();
    let (mut writer, mut file) = (zone.writer(), Vec::new());
    for record in 0..100 {
        writer.seal(NOW, record, 1, &[7; 4096], &mut file).expect("the batch is sealed");
    }
    criterion.bench_function("open/100 batches of 4096", |bencher| {
        bencher.iter(|| {
            let (mut reader, mut at) = (zone.reader(), 0);
            while at < file.len() {
                at += reader.open(black_box(&file[at..])).expect("the batch is good").len;
            }
        });
    });
}

criterion_group!(benches, seal, open);
criterion_main!(benches);
