//! A few threads for the calls that may wait.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use crate::limits::{WORKER_QUEUE, WORKERS};
use crate::system;

/// One call with its reply.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs on threads of its own, which end when it is closed.
pub(crate) struct Workers {
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Syncs under way, whoever makes them.
    syncs: Arc<AtomicUsize>,
}

/// A sync under way, until it is dropped.
pub(crate) struct Sync(Arc<AtomicUsize>);

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Workers {
    /// Starts the threads.
    pub(crate) fn start() -> std::io::Result<Workers> {
        let workers = Workers { queue: Arc::default(), threads: Mutex::default(), syncs: Arc::default() };
        for number in 0..WORKERS {
            let queue = workers.queue.clone();
            let thread = std::thread::Builder::new().name(format!("bt-fuse-wait-{number}")).spawn(move || {
                system::become_io_flusher();
                while let Some(job) = queue.next() {
                    // The job has answered its request by the time it panics; the thread goes on with the next.
                    let _ = catch_unwind(AssertUnwindSafe(job));
                }
            })?;
            workers.threads.lock().expect("no holder panics").push(thread);
        }
        Ok(workers)
    }

    /// Has the job run by a worker, or runs it now when too many wait.
    pub(crate) fn run(&self, job: Job) {
        if let Err(job) = self.queue.push(job) {
            job();
        }
    }

    /// To be called before a sync is made, and kept while it is.
    pub(crate) fn begin_sync(&self) -> Sync {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Sync(self.syncs.clone())
    }

    /// Whether a sync is under way now. One more is then better made by a worker: the thread that received it stays
    /// free to receive others, and they can all share what the file system does next.
    pub(crate) fn is_syncing(&self) -> bool {
        self.syncs.load(Ordering::Relaxed) > 0
    }

    /// Finishes the jobs that wait and ends the threads. Later jobs are run by their caller.
    pub(crate) fn close(&self) {
        self.queue.state.lock().expect("no holder panics").closed = true;
        self.queue.changed.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().expect("no holder panics"));
        for thread in threads {
            thread.join().expect("workers catch panics");
        }
    }
}

impl Drop for Sync {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.close();
    }
}

impl Queue {
    fn push(&self, job: Job) -> Result<(), Job> {
        let mut state = self.state.lock().expect("no holder panics");
        if state.closed || state.jobs.len() >= WORKER_QUEUE {
            return Err(job);
        }
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock().expect("no holder panics");
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).expect("no holder panics");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_every_job_before_it_ends() {
        let ran = Arc::new(AtomicUsize::new(0));
        let workers = Workers::start().unwrap();
        for _ in 0..3 * WORKER_QUEUE {
            let ran = ran.clone();
            workers.run(Box::new(move || {
                ran.fetch_add(1, Ordering::SeqCst);
            }));
        }
        workers.close();
        assert_eq!(ran.load(Ordering::SeqCst), 3 * WORKER_QUEUE);
        let late = ran.clone();
        workers.run(Box::new(move || {
            late.fetch_add(1, Ordering::SeqCst);
        }));
        assert_eq!(ran.load(Ordering::SeqCst), 3 * WORKER_QUEUE + 1);
    }
}
