//! The thread that owns the TPM: calls wait in a bounded queue, each with its own time limit.
//!
//! The library below waits for a TPM without limit, so a call that takes too long is left to the thread, and its caller
//! gets [`TpmError::Busy`]. What waits behind it ends the same way, without being begun.

use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::error::TpmError;
use crate::limits::{FULL_PAUSE, IDLE, QUEUE, RELEASE_TIMEOUT};
use crate::tcti::Tcti;

type Job = Box<dyn FnOnce(&mut Owner) + Send>;

/// A TPM, to be called from any thread.
pub(crate) struct Tpm {
    tcti: Tcti,
    timeout: Duration,
    /// None while this is dropped.
    jobs: Option<SyncSender<Job>>,
    /// Ends when the thread does.
    ended: Mutex<Receiver<()>>,
}

/// What the thread has: the connection, while there is one.
struct Owner {
    tcti: Tcti,
    connection: Option<Connection>,
}

impl Tpm {
    pub(crate) fn new(tcti: Tcti, timeout: Duration) -> Self {
        let (jobs, queue) = mpsc::sync_channel(QUEUE);
        let (end, ended) = mpsc::sync_channel(0);
        let mut owner = Owner { tcti: tcti.clone(), connection: None };
        let serve = move || {
            owner.serve(&queue);
            drop((owner, end));
        };
        // Without the thread every call answers `Gone`.
        drop(thread::Builder::new().name("bt-tpm".into()).spawn(serve));
        Self { tcti, timeout, jobs: Some(jobs), ended: Mutex::new(ended) }
    }

    pub(crate) fn tcti(&self) -> &Tcti {
        &self.tcti
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Has `work` done with a connection to the TPM; again, where the TPM had no room or lost what was loaded.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Connection) -> Result<T, TpmError> + Send + 'static,
    ) -> Result<T, TpmError> {
        let (answer, answered) = mpsc::sync_channel(1);
        let deadline = Instant::now() + self.timeout;
        let job = Box::new(move |owner: &mut Owner| {
            if Instant::now() < deadline {
                // A caller that gave up takes no answer.
                drop(answer.send(owner.work_until(deadline, work)));
            }
        });
        let jobs = self.jobs.as_ref().expect("it is there until this is dropped");
        match jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(self.busy()),
            Err(TrySendError::Disconnected(_)) => return Err(TpmError::Gone),
        }
        match answered.recv_timeout(self.timeout) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(self.busy()),
            // The thread ended, or saw that the time had passed just before this did.
            Err(RecvTimeoutError::Disconnected) if Instant::now() >= deadline => Err(self.busy()),
            Err(RecvTimeoutError::Disconnected) => Err(TpmError::Gone),
        }
    }

    /// Has the thread flush what is loaded and let the TPM go, until it is used again. Waits for that, but not for a TPM
    /// that does not answer.
    pub(crate) fn release(&self) {
        let (answer, answered) = mpsc::sync_channel(1);
        let job = Box::new(move |owner: &mut Owner| {
            owner.connection = None;
            let _ = answer.send(());
        });
        let jobs = self.jobs.as_ref().expect("it is there until this is dropped");
        if jobs.try_send(job).is_ok() {
            let _ = answered.recv_timeout(RELEASE_TIMEOUT.min(self.timeout));
        }
    }

    fn busy(&self) -> TpmError {
        TpmError::Busy { tcti: self.tcti.as_str().to_owned(), seconds: self.timeout.as_secs() }
    }
}

/// Waits until what is loaded was flushed: the process may end next, and a TPM without a resource manager keeps it.
impl Drop for Tpm {
    fn drop(&mut self) {
        self.jobs = None;
        if let Ok(ended) = self.ended.get_mut() {
            // Nothing comes but the end; a TPM that does not answer is left to itself.
            let _ = ended.recv_timeout(RELEASE_TIMEOUT.min(self.timeout));
        }
    }
}

impl Owner {
    fn serve(&mut self, queue: &Receiver<Job>) {
        loop {
            let next = match self.connection {
                Some(_) => queue.recv_timeout(IDLE),
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match next {
                Ok(job) => job(self),
                Err(RecvTimeoutError::Timeout) => self.connection = None,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn work_until<T>(
        &mut self,
        deadline: Instant,
        work: impl Fn(&mut Connection) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        loop {
            let result = self.work(&work);
            let again = match &result {
                // Other programs, without a resource manager between them and this one: they let go again.
                Err(TpmError::Full { .. }) => true,
                // It was restarted, or the machine slept.
                Err(TpmError::Forgot) => true,
                Err(TpmError::NotNow) => true,
                _ => false,
            };
            if !again || Instant::now() + FULL_PAUSE >= deadline {
                return result;
            }
            self.connection = None;
            thread::sleep(FULL_PAUSE);
        }
    }

    fn work<T>(&mut self, work: impl Fn(&mut Connection) -> Result<T, TpmError>) -> Result<T, TpmError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(&self.tcti)?),
        };
        let result = work(connection);
        if connection.is_broken() {
            self.connection = None;
        }
        result
    }
}
