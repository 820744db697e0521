//! Keeping cores from halting while requests follow each other.
//!
//! Most of what a request costs on a virtual machine is waking a halted core. A program whose request was answered is
//! often woken on another core than the one that answered, which has halted since; its next request is then served
//! there, and the answer wakes it on the first core again: 23 us a request instead of 7, and as much again for each of
//! the disk's answers to an fsync. While requests are dense the kernel is asked (by `/dev/cpu_dma_latency`, root only)
//! not to halt; a few milliseconds after the last one it may again. `doc/decisions/0001` has the figures.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::limits::{AWAKE_AFTER, AWAKE_CORES, AWAKE_DENSE_US, AWAKE_QUIET_MS};

const DEVICE: &str = "/dev/cpu_dma_latency";
/// Microseconds of latency that are always fine: the kernel's default.
const ANY_LATENCY: i32 = 2_000_000_000;

/// Keeps cores awake while requests are dense. Does nothing where the kernel does not permit it, nor on machines of so
/// many cores that keeping all of them awake would cost more than it brings.
pub(crate) struct Awake {
    shared: Arc<Shared>,
    permitted: bool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    began: Instant,
    awake: AtomicBool,
    /// Something came since the thread last looked.
    touched: AtomicBool,
    /// Microseconds from `began` to the last request that came while cores could halt.
    last_us: AtomicU64,
    /// Requests that followed each other closely while cores could halt.
    dense: AtomicU32,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ending: bool,
    device: Option<File>,
}

impl Awake {
    pub(crate) fn new() -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let device = if cores <= AWAKE_CORES { OpenOptions::new().write(true).open(DEVICE).ok() } else { None };
        let permitted = device.is_some();
        let mut state = State { device, ..State::default() };
        if let Err(error) = state.allow(ANY_LATENCY) {
            tracing::debug!(%error, "cores are left to halt");
        }
        let shared = Arc::new(Shared {
            began: Instant::now(),
            awake: AtomicBool::new(false),
            touched: AtomicBool::new(false),
            last_us: AtomicU64::new(0),
            dense: AtomicU32::new(0),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let own = shared.clone();
        let start = || std::thread::Builder::new().name("bt-fuse-awake".into()).spawn(move || own.run()).ok();
        let thread = if permitted { start() } else { None };
        Arc::new(Self { shared, permitted: thread.is_some(), thread: Mutex::new(thread) })
    }

    /// A request has come; `waits` when its answer will wait for the disk.
    pub(crate) fn request(&self, waits: bool) {
        if !self.permitted {
            return;
        }
        if self.shared.awake.load(Ordering::Relaxed) {
            self.shared.touched.store(true, Ordering::Relaxed);
        } else if waits || self.shared.is_dense() {
            self.shared.wake();
        }
    }
}

impl Awake {
    /// Lets cores halt from now on, and ends the thread.
    pub(crate) fn close(&self) {
        let mut state = self.shared.state.lock().expect("no panic under this lock");
        (state.ending, state.device) = (true, None);
        drop(state);
        self.shared.changed.notify_all();
        let thread = self.thread.lock().expect("no panic under this lock").take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that lets cores halt again panicked");
        }
    }
}

impl State {
    fn allow(&mut self, latency_us: i32) -> std::io::Result<()> {
        self.device.as_mut().map_or(Ok(()), |device| device.write_all(&latency_us.to_ne_bytes()))
    }
}

impl Shared {
    /// Whether enough requests have come in close succession. Threads may count past each other: it is only a hint.
    fn is_dense(&self) -> bool {
        let now = self.began.elapsed().as_micros() as u64;
        let before = self.last_us.swap(now, Ordering::Relaxed);
        if now.saturating_sub(before) > AWAKE_DENSE_US {
            self.dense.store(0, Ordering::Relaxed);
            return false;
        }
        self.dense.fetch_add(1, Ordering::Relaxed) >= AWAKE_AFTER
    }

    fn wake(&self) {
        let mut state = self.state.lock().expect("no panic under this lock");
        if !state.ending && !self.awake.load(Ordering::Relaxed) && state.allow(0).is_ok() {
            self.touched.store(true, Ordering::Relaxed);
            self.awake.store(true, Ordering::Relaxed);
            self.changed.notify_one();
        }
    }

    fn run(&self) {
        let quiet = Duration::from_millis(AWAKE_QUIET_MS);
        let mut state = self.state.lock().expect("no panic under this lock");
        while !state.ending {
            if !self.awake.load(Ordering::Relaxed) {
                state = self.changed.wait(state).expect("no panic under this lock");
                continue;
            }
            (state, _) = self.changed.wait_timeout(state, quiet).expect("no panic under this lock");
            if !self.touched.swap(false, Ordering::Relaxed) {
                self.dense.store(0, Ordering::Relaxed);
                self.awake.store(false, Ordering::Relaxed);
                if let Err(error) = state.allow(ANY_LATENCY) {
                    tracing::debug!(%error, "the wish for awake cores could not be withdrawn");
                }
            }
        }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lets_go_and_ends_also_where_it_is_not_permitted() {
        let awake = Awake::new();
        for number in 0..100 {
            awake.request(number == 50);
        }
        let shared = awake.shared.clone();
        drop(awake);
        assert!(shared.state.lock().unwrap().ending);
    }

    #[test]
    fn only_requests_in_close_succession_are_dense() {
        let awake = Awake::new();
        let shared = &awake.shared;
        shared.last_us.store(0, Ordering::Relaxed);
        let far = || shared.last_us.fetch_sub(10 * AWAKE_DENSE_US, Ordering::Relaxed);
        while shared.began.elapsed().as_micros() < 20 * u128::from(AWAKE_DENSE_US) {
            std::hint::spin_loop();
        }
        for _ in 0..10 * AWAKE_AFTER {
            assert!(!shared.is_dense());
            far();
        }
        shared.is_dense();
        assert!((0..10 * AWAKE_AFTER).any(|_| shared.is_dense()));
    }
}
