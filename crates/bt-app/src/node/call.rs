//! One call as the node sees it: the channel's other end.
//!
//! The process may be hostile. It gets what [`Services`] gives it for this call, and can do nothing but ask: each frame is
//! checked for what may come at this point, and a process that sends another is killed.

use std::future::Future;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body::Frame as BodyFrame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{sleep_until, timeout, timeout_at};

use super::clock::{Clock, Turn};
use super::running::Running;
use crate::error::{AppError, GuestFailure};
use crate::fields;
use crate::limits::{CHUNK_SIZE, READ_BUFFER, RESPONSE_PARTS, SETTLE};
use crate::options::Limits;
use crate::protocol::frame::{self, Frame, FrameError};
use crate::protocol::message::{FromGuest, FromNode};
use crate::protocol::{Fields, FileRequest, Start};
use crate::response::{BodyError, Part, RequestBody, Response, ResponseBody};
use crate::services::{OutputStream, Services};

/// A call whose channel the process has, and whose start it has not been told.
pub(crate) struct Prepared {
    pub channel: UnixStream,
    pub start: Start,
    pub body: RequestBody,
    pub services: Arc<dyn Services>,
    pub running: Arc<Running>,
    pub place: OwnedSemaphorePermit,
    pub limits: Limits,
}

impl Prepared {
    /// What serves the call, and what gives the response when it begins.
    pub fn http(self) -> (impl Future<Output = ()> + Send, impl Future<Output = Result<Response, AppError>> + Send) {
        let (head, answer) = oneshot::channel();
        (self.serve(Answer::Head(head)), answered(answer))
    }

    /// What serves the job, and what gives its exit code.
    pub fn job(self) -> (impl Future<Output = ()> + Send, impl Future<Output = Result<u8, AppError>> + Send) {
        let (exit, answer) = oneshot::channel();
        (self.serve(Answer::Exit(exit)), answered(answer))
    }

    async fn serve(self, answer: Answer) {
        let Self { channel, start, body, services, running, place, limits } = self;
        let clock = Clock::new(limits.time, limits.patience);
        let mut call = Call {
            channel,
            inbox: BytesMut::with_capacity(READ_BUFFER),
            outbox: BytesMut::new(),
            body: Some(body),
            rest: Bytes::new(),
            asked: None,
            services,
            answer,
            clock,
            limits,
            response_size: 0,
            output_size: 0,
        };
        if let Err(stop) = call.converse(start).await {
            call.end(stop, &running).await;
        }
        drop(place);
    }
}

async fn answered<T>(answer: oneshot::Receiver<Result<T, AppError>>) -> Result<T, AppError> {
    answer.await.unwrap_or_else(|_| Err(AppError::Ended("this node is stopping".to_owned())))
}

/// Who waits for what.
enum Answer {
    Head(oneshot::Sender<Result<Response, AppError>>),
    Body(mpsc::Sender<Part>),
    Exit(oneshot::Sender<Result<u8, AppError>>),
    /// All was answered; the guest may still be doing something.
    Given,
}

impl Answer {
    /// Waits until nobody waits for the answer any more.
    async fn abandoned(&mut self) {
        match self {
            Self::Head(head) => head.closed().await,
            Self::Body(parts) => parts.closed().await,
            Self::Exit(exit) => exit.closed().await,
            Self::Given => std::future::pending().await,
        }
    }

    async fn fail(self, error: AppError) {
        // Whoever is gone, or takes nothing, need not be told.
        match self {
            Self::Head(head) => drop(head.send(Err(error))),
            Self::Body(parts) => drop(timeout(SETTLE, parts.send(Part::Failed(error))).await),
            Self::Exit(exit) => drop(exit.send(Err(error))),
            Self::Given => {}
        }
    }
}

/// Why a call ends before all was said.
enum Stop {
    /// The channel is closed.
    Closed,
    /// The process broke a rule.
    Rule(String),
    /// The call failed; the process is fine as far as is known.
    Failed(AppError),
}

impl From<FrameError> for Stop {
    fn from(error: FrameError) -> Self {
        Self::Rule(format!("it sent {error}"))
    }
}

enum Event {
    Frame(Frame),
    Closed,
    Part(Option<Result<BodyFrame<Bytes>, BodyError>>),
}

struct Call {
    channel: UnixStream,
    inbox: BytesMut,
    outbox: BytesMut,
    body: Option<RequestBody>,
    /// What came of the body and was not asked for yet.
    rest: Bytes,
    /// The request for the body that is to be answered, and how much it wants.
    asked: Option<(u32, usize)>,
    services: Arc<dyn Services>,
    answer: Answer,
    clock: Clock,
    limits: Limits,
    response_size: u64,
    output_size: u64,
}

impl Call {
    async fn converse(&mut self, start: Start) -> Result<(), Stop> {
        self.send(0, &FromNode::Start(start)).await?;
        loop {
            match self.next().await? {
                Event::Frame(frame) => self.take(frame).await?,
                Event::Part(part) => self.answer_body(part).await?,
                Event::Closed if matches!(self.answer, Answer::Given) => return Ok(()),
                Event::Closed => return Err(Stop::Closed),
            }
        }
    }

    async fn next(&mut self) -> Result<Event, Stop> {
        let turn = if self.asked.is_some() { Turn::Client } else { Turn::App };
        let deadline = self.clock.deadline(turn);
        let event = tokio::select! {
            biased;
            event = next_frame(&mut self.channel, &mut self.inbox) => event,
            part = next_part(&mut self.body), if self.asked.is_some() => Ok(Event::Part(part)),
            () = self.answer.abandoned() => Err(Stop::Failed(AppError::ClientGone)),
            () = sleep_until(deadline) => Err(Stop::Failed(self.clock.error(turn))),
        };
        self.clock.count(turn);
        event
    }

    async fn take(&mut self, frame: Frame) -> Result<(), Stop> {
        let number = frame.request;
        match FromGuest::read(frame)? {
            FromGuest::File(request) => self.files(number, request).await,
            FromGuest::ReadBody(most) => self.read_body(number, most).await,
            FromGuest::Output(stream, bytes) => self.output(stream, &bytes),
            FromGuest::Head { status, headers } => self.head(status, headers),
            FromGuest::Body(bytes) => self.response_data(bytes).await,
            FromGuest::End(trailers) => self.response_end(trailers).await,
            FromGuest::Exit(code) => self.exit(code),
            FromGuest::Failed(failure) => self.failed(failure),
        }
    }

    async fn files(&mut self, number: u32, request: FileRequest) -> Result<(), Stop> {
        let services = Arc::clone(&self.services);
        let deadline = self.clock.deadline(Turn::App);
        // What has begun is finished, whether or not anyone still waits for it.
        let reply = timeout_at(deadline, tokio::task::spawn_blocking(move || services.files(request))).await;
        self.clock.count(Turn::App);
        match reply {
            Ok(Ok(reply)) => self.send(number, &FromNode::File(reply)).await,
            Ok(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            Err(_) => Err(Stop::Failed(self.clock.error(Turn::App))),
        }
    }

    async fn read_body(&mut self, number: u32, most: u32) -> Result<(), Stop> {
        if self.asked.is_some() || most == 0 {
            return Err(Stop::Rule("it asked for the body in a way that none may".to_owned()));
        }
        self.asked = Some((number, (most as usize).min(CHUNK_SIZE)));
        if self.rest.is_empty() { Ok(()) } else { self.send_rest().await }
    }

    async fn answer_body(&mut self, part: Option<Result<BodyFrame<Bytes>, BodyError>>) -> Result<(), Stop> {
        let message = match part {
            None => FromNode::BodyEnd(Fields::new()),
            Some(Err(error)) => FromNode::BodyFailed(error.to_string()),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    self.rest = data;
                    // An empty piece says nothing; the next one is waited for.
                    return if self.rest.is_empty() { Ok(()) } else { self.send_rest().await };
                }
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => FromNode::BodyEnd(fields::listed(&trailers)),
                    Err(_) => return Ok(()),
                },
            },
        };
        self.body = None;
        let (number, _) = self.asked.take().expect("a part is read only when it was asked for");
        self.send(number, &message).await
    }

    async fn send_rest(&mut self) -> Result<(), Stop> {
        let (number, most) = self.asked.take().expect("sent when it was asked for");
        let piece = self.rest.split_to(self.rest.len().min(most));
        self.clock.moved(piece.len());
        self.send(number, &FromNode::Body(piece)).await
    }

    fn output(&mut self, stream: OutputStream, bytes: &[u8]) -> Result<(), Stop> {
        self.output_size += bytes.len() as u64;
        if self.output_size > self.limits.output {
            return Err(Stop::Failed(AppError::OutputTooLarge { limit: self.limits.output }));
        }
        self.services.output(stream, bytes);
        Ok(())
    }

    fn head(&mut self, status: u16, headers: Fields) -> Result<(), Stop> {
        let head = match std::mem::replace(&mut self.answer, Answer::Given) {
            Answer::Head(head) => head,
            other => {
                self.answer = other;
                return Err(Stop::Rule("it sent a response where none was due".to_owned()));
            }
        };
        let checked = fields::status(status).and_then(|status| Ok((status, fields::checked(headers)?)));
        let (status, headers) = match checked {
            Ok(checked) => checked,
            Err(why) => {
                self.answer = Answer::Head(head);
                return Err(Stop::Failed(AppError::Guest(GuestFailure::Response(why.to_owned()))));
            }
        };
        let (parts, received) = mpsc::channel(RESPONSE_PARTS);
        // If nobody waits for it any more, that is noticed at the next turn.
        let _ = head.send(Ok(Response { status, headers, body: ResponseBody::new(received) }));
        self.answer = Answer::Body(parts);
        Ok(())
    }

    async fn response_data(&mut self, bytes: Bytes) -> Result<(), Stop> {
        self.response_size += bytes.len() as u64;
        if self.response_size > self.limits.response {
            return Err(Stop::Failed(AppError::OutputTooLarge { limit: self.limits.response }));
        }
        let length = bytes.len();
        self.pass(Part::Frame(BodyFrame::data(bytes))).await?;
        self.clock.moved(length);
        Ok(())
    }

    async fn response_end(&mut self, trailers: Fields) -> Result<(), Stop> {
        if !trailers.is_empty() {
            let trailers = fields::checked(trailers)
                .map_err(|why| Stop::Failed(AppError::Guest(GuestFailure::Response(why.to_owned()))))?;
            self.pass(Part::Frame(BodyFrame::trailers(trailers))).await?;
        }
        self.pass(Part::End).await?;
        self.answer = Answer::Given;
        Ok(())
    }

    async fn pass(&mut self, part: Part) -> Result<(), Stop> {
        let Answer::Body(parts) = &self.answer else {
            return Err(Stop::Rule("it sent a body where none was due".to_owned()));
        };
        let deadline = self.clock.deadline(Turn::Client);
        let passed = timeout_at(deadline, parts.send(part)).await;
        self.clock.count(Turn::Client);
        match passed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Stop::Failed(AppError::ClientGone)),
            Err(_) => Err(Stop::Failed(self.clock.error(Turn::Client))),
        }
    }

    fn exit(&mut self, code: u8) -> Result<(), Stop> {
        match std::mem::replace(&mut self.answer, Answer::Given) {
            Answer::Exit(exit) => {
                // If nobody waits for it any more, nobody needs it.
                let _ = exit.send(Ok(code));
                Ok(())
            }
            other => {
                self.answer = other;
                Err(Stop::Rule("it sent an exit code where none was due".to_owned()))
            }
        }
    }

    fn failed(&mut self, failure: GuestFailure) -> Result<(), Stop> {
        if matches!(self.answer, Answer::Given) {
            return self.output(OutputStream::Error, format!("after its response: {failure}\n").as_bytes());
        }
        Err(Stop::Failed(AppError::Guest(failure)))
    }

    async fn send(&mut self, number: u32, message: &FromNode) -> Result<(), Stop> {
        self.outbox.clear();
        message.write(&mut self.outbox, number);
        let deadline = self.clock.deadline(Turn::App);
        let sent = timeout_at(deadline, self.channel.write_all(&self.outbox)).await;
        self.clock.count(Turn::App);
        match sent {
            // Closed at the other end; what was said before that is still to be read.
            Ok(Ok(()) | Err(_)) => Ok(()),
            Err(_) => Err(Stop::Failed(self.clock.error(Turn::App))),
        }
    }

    /// Says why, and sees to it that the process lets go of the call.
    async fn end(mut self, stop: Stop, running: &Running) {
        let answer = std::mem::replace(&mut self.answer, Answer::Given);
        match stop {
            Stop::Rule(what) => {
                running.kill();
                answer.fail(AppError::Misbehaved(what)).await;
            }
            Stop::Closed => match timeout(SETTLE, running.ended()).await {
                Ok(how) => answer.fail(AppError::Ended(how)).await,
                Err(_) => {
                    running.kill();
                    let how = running.ended().await;
                    answer.fail(AppError::Misbehaved(format!("it closed a call without an answer; {how}"))).await;
                }
            },
            Stop::Failed(error) => {
                let told = answer.fail(error);
                let settled = self.settle();
                let ((), settled) = tokio::join!(told, settled);
                if !settled {
                    tracing::warn!("an app's process did not let go of a call and is killed");
                    running.kill();
                }
            }
        }
    }

    /// Closes this end, and waits for the process to close the other.
    async fn settle(&mut self) -> bool {
        let Self { channel, inbox, .. } = self;
        timeout(SETTLE, async {
            // The other end may be closed already.
            let _ = channel.shutdown().await;
            loop {
                inbox.clear();
                match channel.read_buf(inbox).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        })
        .await
        .is_ok()
    }
}

/// Reads the next frame. It may be dropped at any time: what was read is in `inbox`.
async fn next_frame(channel: &mut UnixStream, inbox: &mut BytesMut) -> Result<Event, Stop> {
    loop {
        if let Some(frame) = frame::take(inbox)? {
            return Ok(Event::Frame(frame));
        }
        inbox.reserve(READ_BUFFER);
        match channel.read_buf(inbox).await {
            Ok(0) | Err(_) => return Ok(Event::Closed),
            Ok(_) => {}
        }
    }
}

/// Reads the next part of the body. It may be dropped at any time.
async fn next_part(body: &mut Option<RequestBody>) -> Option<Result<BodyFrame<Bytes>, BodyError>> {
    match body {
        Some(body) => std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await,
        None => None,
    }
}
