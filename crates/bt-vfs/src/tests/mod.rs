//! Tests of whole sequences of operations against simple models.

mod bed;
mod content;
mod durability;
mod entrance;
mod names;
mod records;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// What a run did, printed when it fails.
struct EventLog {
    test: &'static str,
    seed: u64,
    events: Vec<String>,
}

impl EventLog {
    fn push(&mut self, event: String) {
        self.events.push(event);
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { test, seed, events } = self;
            let skipped = events.len().saturating_sub(200);
            eprintln!("the run with seed {seed} failed; the last of its {} events:", events.len());
            events[skipped..].iter().for_each(|event| eprintln!("  {event}"));
            eprintln!("run it again: BT_SEED={seed} cargo test -p bt-vfs {test}");
        }
    }
}

/// Runs `run` with fixed seeds and one that is new each time, or with that of `BT_SEED` alone; `BT_RUNS` asks for more.
fn with_seeds(test: &'static str, runs: u64, mut run: impl FnMut(Random, &mut EventLog)) {
    let variable = |name| std::env::var(name).ok().and_then(|value: String| value.parse().ok());
    let seeds: Vec<u64> = match variable("BT_SEED") {
        Some(seed) => vec![seed],
        None => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the clock is set");
            (0..variable("BT_RUNS").unwrap_or(runs)).chain([now.as_nanos() as u64]).collect()
        }
    };
    for seed in seeds {
        run(Random(seed), &mut EventLog { test, seed, events: Vec::new() });
    }
}
