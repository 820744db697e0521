//! Keeping cores from halting while programs wait for the disk in a row.
//!
//! On a virtual machine, most of what a small durable write takes is waking a halted core: once for the disk's
//! answer and once for the program that waits. While fsyncs follow each other, the kernel is asked (by
//! `/dev/cpu_dma_latency`, root only) not to halt; a few milliseconds after the last one it may again.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const DEVICE: &str = "/dev/cpu_dma_latency";
/// After this long without an fsync, cores may halt again.
const QUIET: Duration = Duration::from_millis(2);
/// Microseconds of latency that are always fine: the kernel's default.
const ANY_LATENCY: i32 = 2_000_000_000;

/// Keeps cores awake while it is touched again and again. Does nothing where the kernel does not permit it.
pub(crate) struct Awake {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    touches: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    awake: bool,
    ending: bool,
    device: Option<File>,
}

impl Awake {
    pub(crate) fn new() -> Self {
        let device = OpenOptions::new().write(true).open(DEVICE).ok();
        let permitted = device.is_some();
        let mut state = State { device, ..State::default() };
        if let Err(error) = state.allow(ANY_LATENCY) {
            tracing::debug!(%error, "cores are left to halt");
        }
        let shared = Arc::new(Shared { touches: AtomicU64::new(0), state: Mutex::new(state), changed: Condvar::new() });
        let own = shared.clone();
        let start = || std::thread::Builder::new().name("bt-awake".into()).spawn(move || own.run()).ok();
        let thread = if permitted { start() } else { None };
        Self { shared, thread }
    }

    /// Somebody is about to wait for the disk.
    pub(crate) fn touch(&self) {
        if self.thread.is_none() {
            return;
        }
        self.shared.touches.fetch_add(1, Ordering::Relaxed);
        let mut state = self.shared.state.lock().expect("no panic under this lock");
        if !state.awake && state.allow(0).is_ok() {
            state.awake = true;
            self.shared.changed.notify_one();
        }
    }
}

impl State {
    fn allow(&mut self, latency_us: i32) -> std::io::Result<()> {
        self.device.as_mut().map_or(Ok(()), |device| device.write_all(&latency_us.to_ne_bytes()))
    }
}

impl Shared {
    fn run(&self) {
        let mut seen = 0;
        let mut state = self.state.lock().expect("no panic under this lock");
        while !state.ending {
            if !state.awake {
                state = self.changed.wait(state).expect("no panic under this lock");
                continue;
            }
            let (again, _) = self.changed.wait_timeout(state, QUIET).expect("no panic under this lock");
            state = again;
            let touches = self.touches.load(Ordering::Relaxed);
            if std::mem::replace(&mut seen, touches) == touches && state.awake {
                state.awake = false;
                if let Err(error) = state.allow(ANY_LATENCY) {
                    tracing::debug!(%error, "the wish for awake cores could not be withdrawn");
                }
            }
        }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.shared.state.lock().expect("no panic under this lock").ending = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that lets cores halt again panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lets_go_and_ends_also_where_it_is_not_permitted() {
        let awake = Awake::new();
        for _ in 0..100 {
            awake.touch();
        }
        let shared = awake.shared.clone();
        drop(awake);
        assert!(shared.state.lock().unwrap().ending);
    }
}
