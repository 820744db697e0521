//! The thread that looks after open zones: it closes those that nobody uses, and has the kernel write out what it holds
//! of one for which the right to write ends soon.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;

use super::ending::Endings;
use super::{IDLE, Zones};

/// Looks after zones until it is stopped.
pub(crate) struct Keeper {
    /// Nothing is ever sent: letting it go ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn start(zones: Arc<Zones>) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name("bt-zones".into()).spawn(move || {
            bt_fuse::become_io_flusher();
            let mut endings = Endings::default();
            let mut pause = IDLE / 4;
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(pause) {
                zones.close_idle(IDLE);
                pause = endings.look(&zones).min(IDLE / 4);
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    /// Ends the thread; no zone is closed by it after this.
    pub(crate) fn stop(mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that looks after zones panicked");
        }
    }
}
