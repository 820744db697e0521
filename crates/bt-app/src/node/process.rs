//! An installed app's process, kept warm and started again when it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::call;
use super::code::Code;
use super::running::Running;
use crate::error::AppError;
use crate::limits::{ENDS_IN_A_ROW, REST, ROOTS, WAITING_CALLS};
use crate::options::{Entry, Limits, Program};
use crate::outgoing::OutgoingRule;
use crate::packets;
use crate::protocol::{Start, What};
use crate::response::{RequestBody, Response};
use crate::services::Services;

/// What an app's process is started with.
#[derive(Clone, Debug)]
pub struct ProcessOptions {
    /// How processes are started.
    pub program: Program,
    /// What runs.
    pub code: Code,
    /// Which entry is called.
    pub entry: Entry,
    /// What it may use.
    pub limits: Limits,
    /// Which other hosts it may reach.
    pub outgoing: Vec<OutgoingRule>,
}

/// An installed app that can be called. Its process is started by the first call, kept, and started again by the next call
/// when it ended. It is killed when this is dropped.
#[derive(Debug)]
pub struct AppProcess {
    options: ProcessOptions,
    state: Mutex<State>,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    running: Option<Arc<Running>>,
    ends: u32,
    last: Option<(Instant, String)>,
}

impl AppProcess {
    /// Nothing is started yet.
    pub fn new(options: ProcessOptions) -> Self {
        let places = Arc::new(Semaphore::new(options.limits.calls as usize));
        Self { options, state: Mutex::default(), places, waiting: AtomicUsize::new(0) }
    }

    /// Starts the process, if it is not running.
    ///
    /// # Errors
    /// When it cannot be started, or ended too often.
    pub async fn start(&self) -> Result<(), AppError> {
        self.running().await.map(drop)
    }

    /// Kills the process. The next call starts it again.
    pub async fn stop(&self) {
        *self.state.lock().await = State::default();
    }

    /// The id of the process, if it is running.
    pub async fn id(&self) -> Option<u32> {
        let state = self.state.lock().await;
        state.running.as_ref().filter(|running| !running.has_ended()).map(|running| running.id())
    }

    /// Calls `wasi:http/incoming-handler`. It returns when the response begins; the call goes on until its body ended.
    ///
    /// # Errors
    /// What failed before the response began; later failures come out of its body.
    pub async fn call(
        &self,
        start: Start,
        body: RequestBody,
        services: Arc<dyn Services>,
    ) -> Result<Response, AppError> {
        if !matches!(start.what, What::Http(_)) || self.options.entry != Entry::Http {
            return Err(AppError::Call("it is no HTTP request, or the app takes none"));
        }
        let (call, answer) = self.begin(start, body, services).await?.http();
        tokio::spawn(call);
        answer.await
    }

    /// Calls `wasi:cli/run`, and gives back its exit code. To drop the future ends the job.
    ///
    /// # Errors
    /// What failed.
    pub async fn run(&self, start: Start, input: RequestBody, services: Arc<dyn Services>) -> Result<u8, AppError> {
        if !matches!(start.what, What::Run { .. }) || self.options.entry != Entry::Run {
            return Err(AppError::Call("it is no job, or the app takes none"));
        }
        let (call, answer) = self.begin(start, input, services).await?.job();
        tokio::spawn(call);
        answer.await
    }

    async fn begin(
        &self,
        start: Start,
        body: RequestBody,
        services: Arc<dyn Services>,
    ) -> Result<call::Prepared, AppError> {
        if start.roots.len() > ROOTS {
            return Err(AppError::Call("it has too many directories"));
        }
        let place = self.place().await?;
        let running = self.running().await?;
        let (ours, theirs) = packets::stream_pair().map_err(AppError::Process)?;
        let channel = UnixStream::from_std(ours.into()).map_err(AppError::Process)?;
        if running.hand_over(theirs).await.is_err() {
            running.kill();
            return Err(AppError::Ended(running.ended().await));
        }
        Ok(call::Prepared { channel, start, body, services, running, place, limits: self.options.limits.clone() })
    }

    /// Waits until fewer calls run than may.
    async fn place(&self) -> Result<OwnedSemaphorePermit, AppError> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let busy = AppError::Busy { limit: self.options.limits.calls };
        let _counted = Waiting::enter(&self.waiting).ok_or(AppError::Busy { limit: self.options.limits.calls })?;
        match tokio::time::timeout(self.options.limits.time, Arc::clone(&self.places).acquire_owned()).await {
            Ok(place) => Ok(place.expect("places are never closed")),
            Err(_) => Err(busy),
        }
    }

    async fn running(&self) -> Result<Arc<Running>, AppError> {
        let mut state = self.state.lock().await;
        if let Some(running) = &state.running {
            if !running.has_ended() {
                return Ok(Arc::clone(running));
            }
            let how = running.ended().await;
            state.note_end(how);
        }
        if let Some(error) = state.resting() {
            return Err(error);
        }
        match Running::start(&self.options).await {
            Ok(running) => {
                let running = Arc::new(running);
                state.running = Some(Arc::clone(&running));
                Ok(running)
            }
            Err(error) => {
                state.note_end(error.to_string());
                Err(error)
            }
        }
    }
}

impl State {
    fn note_end(&mut self, how: String) {
        self.running = None;
        let recent = self.last.as_ref().is_some_and(|(when, _)| when.elapsed() < REST);
        self.ends = if recent { self.ends + 1 } else { 1 };
        self.last = Some((Instant::now(), how));
    }

    /// Whether it is left alone for now.
    fn resting(&self) -> Option<AppError> {
        let (when, last) = self.last.as_ref()?;
        let wait = REST.checked_sub(when.elapsed())?;
        (self.ends >= ENDS_IN_A_ROW && wait > Duration::ZERO).then(|| AppError::KeepsEnding {
            times: self.ends,
            last: last.clone(),
            wait,
        })
    }
}

/// One of those that wait for a place.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a AtomicUsize) -> Option<Self> {
        let entered = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING_CALLS).then_some(entered)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
