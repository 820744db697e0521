//! How workers give places back to the thread of their queue.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

use rustix::event::{EventfdFlags, eventfd};

use super::entry::Place;

/// A place whose request a worker has answered.
pub(super) struct Answered {
    pub(super) number: usize,
    pub(super) place: Place,
    pub(super) result: crate::Result<usize>,
}

/// Answers on their way from workers to one queue's thread.
pub(super) struct Mailbox {
    answered: Mutex<Vec<Answered>>,
    bell: OwnedFd,
}

impl Mailbox {
    pub(super) fn new() -> std::io::Result<Mailbox> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Mailbox { answered: Mutex::default(), bell })
    }

    /// Leaves an answer and wakes the queue's thread.
    pub(super) fn put(&self, answered: Answered) {
        self.answered.lock().expect("no holder panics").push(answered);
        // Fails only when the counter is full, and then the bell rings anyway.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Takes all answers. The bell is silenced first: what comes later rings again.
    pub(super) fn take(&self) -> Vec<Answered> {
        // EAGAIN when it has not rung, which is as good.
        let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
        std::mem::take(&mut *self.answered.lock().expect("no holder panics"))
    }

    /// What to poll for reading.
    pub(super) fn bell(&self) -> RawFd {
        self.bell.as_raw_fd()
    }
}
