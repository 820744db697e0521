//! Eight programs at once, for some seconds.

mod support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bt_fuse::MountOptions;
use support::{with_each_transport, with_each_transport_valid};

const CLIENTS: u64 = 8;

/// xorshift64*: enough to vary what is done, and the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}

fn content(number: u64, size: usize) -> Vec<u8> {
    let mut random = Random(number + 1);
    (0..size).map(|_| random.below(256) as u8).collect()
}

/// Makes, checks, moves and removes files of its own until the time is over; returns how many rounds it made.
fn client(root: &Path, client: u64, until: Instant) -> u64 {
    let own = root.join(format!("client{client}"));
    fs::create_dir(&own).unwrap();
    let mut random = Random(client + 99);
    let mut rounds = 0;
    while Instant::now() < until {
        rounds += 1;
        let bytes = content(client << 32 | rounds, random.below(200_000) as usize);
        let (path, moved) = (own.join("file"), own.join(format!("moved{}", rounds % 7)));
        let mut file = File::create(&path).unwrap();
        file.write_all(&bytes).unwrap();
        if random.below(4) == 0 {
            file.sync_all().unwrap();
        }
        drop(file);
        fs::rename(&path, &moved).unwrap();
        let mut read = Vec::new();
        File::open(&moved).unwrap().read_to_end(&mut read).unwrap();
        assert!(read == bytes, "client {client}, round {rounds}");
        if !bytes.is_empty() {
            let at = random.below(bytes.len() as u64);
            let mut byte = [0];
            File::open(&moved).unwrap().read_exact_at(&mut byte, at).unwrap();
            assert_eq!(byte[0], bytes[at as usize]);
        }
        // Names that all clients fight for: whatever happens, it is one of these.
        let shared = root.join(format!("shared{}", random.below(3)));
        match random.below(3) {
            0 => drop(fs::hard_link(&moved, &shared)),
            1 => drop(fs::remove_file(&shared)),
            _ => drop(fs::rename(&moved, &shared)),
        }
        fs::read_dir(root).unwrap().for_each(|entry| drop(entry.unwrap().metadata()));
        let _ = fs::remove_file(&moved);
    }
    rounds
}

fn stress(root: &Path) -> u64 {
    let until = Instant::now() + Duration::from_secs(3);
    let rounds = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let rounds = &rounds;
            scope.spawn(move || rounds.fetch_add(client(root, number, until), Ordering::SeqCst));
        }
    });
    rounds.into_inner()
}

#[test]
fn eight_clients_with_long_times() {
    with_each_transport(&MountOptions::default(), |mounted| {
        mounted.fs.slow.store(true, Ordering::SeqCst);
        eprintln!("{} rounds", stress(mounted.root()));
        mounted.drop_caches();
        assert_eq!(mounted.fs.lookups(), 0);
        assert_eq!(mounted.fs.excess_forgets.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn eight_clients_without_caching() {
    let options = MountOptions { writeback: false, ..MountOptions::default() };
    with_each_transport_valid(Duration::ZERO, &options, |mounted| {
        eprintln!("{} rounds", stress(mounted.root()));
        mounted.drop_caches();
        assert_eq!(mounted.fs.lookups(), 0);
        assert_eq!(mounted.fs.excess_forgets.load(Ordering::SeqCst), 0);
    });
}
