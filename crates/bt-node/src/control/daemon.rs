//! Serving a mounted node: every request goes to the node, but unmounting also waits for the last commit.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::{Failure, OnProgress, Request, Response, Service};

/// Detaches the mount; with `true` even while programs use it.
pub type Detach = Box<dyn Fn(bool) -> Result<(), Failure> + Send + Sync>;

/// A [`Service`] around the node of a mount.
///
/// The thread that owns the mount waits until the kernel lets it go, closes the node and calls
/// [`Daemon::closed`]; until then a client's `Unmount` waits for the outcome, which may be a failed last commit.
pub struct Daemon {
    node: Arc<dyn Service>,
    detach: Detach,
    outcome: Mutex<Option<Result<(), Failure>>>,
    closed: Condvar,
}

impl Daemon {
    /// Serves `node`, whose mount `detach` detaches.
    pub fn new(node: Arc<dyn Service>, detach: Detach) -> Self {
        Self { node, detach, outcome: Mutex::new(None), closed: Condvar::new() }
    }

    /// The node is closed, with this outcome of its last commit: answers everyone who waits for the unmount.
    pub fn closed(&self, outcome: Result<(), Failure>) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.closed.notify_all();
    }

    fn wait_closed(&self) -> Result<(), Failure> {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = self.closed.wait_while(outcome, |outcome| outcome.is_none());
        outcome.unwrap_or_else(PoisonError::into_inner).clone().expect("waited until there is one")
    }
}

impl Service for Daemon {
    fn handle(&self, request: Request, progress: OnProgress<'_>) -> Result<Response, Failure> {
        let Request::Unmount { lazy } = request else {
            return self.node.handle(request, progress);
        };
        (self.detach)(lazy)?;
        self.wait_closed()?;
        Ok(Response::Done)
    }
}
