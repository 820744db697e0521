//! The thread that closes zones which nobody uses.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;

use super::{IDLE, Zones};

/// Closes idle zones until it is stopped.
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
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(IDLE / 4) {
                zones.close_idle(IDLE);
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
            tracing::error!("the thread that closes idle zones panicked");
        }
    }
}
