//! What pure crates get as arguments: time and randomness of the system.

use bt_base::{Entropy, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// getrandom(2): no generator in user space, which a cloned machine would repeat.
pub(crate) struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        let mut filled = 0;
        while filled < out.len() {
            match rustix::rand::getrandom(&mut out[filled..], rustix::rand::GetRandomFlags::empty()) {
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("the kernel gives no random bytes: {error}"),
            }
        }
    }
}

#[cfg(test)]
thread_local! {
    /// How far the clock of this thread is ahead of the real one, in seconds.
    pub(crate) static CLOCK_AHEAD: std::cell::Cell<i64> = const { std::cell::Cell::new(0) };
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    timestamp(ClockId::Realtime)
}

/// The wall clock as the kernel stamps files with it: cheap, a few milliseconds coarse, never ahead of [`now`].
pub(crate) fn file_time() -> Timestamp {
    timestamp(ClockId::RealtimeCoarse)
}

fn timestamp(clock: ClockId) -> Timestamp {
    let time = clock_gettime(clock);
    #[cfg(test)]
    let time = rustix::time::Timespec { tv_sec: time.tv_sec + CLOCK_AHEAD.get(), ..time };
    Timestamp { seconds: time.tv_sec, nanos: time.tv_nsec as u32 }
}
