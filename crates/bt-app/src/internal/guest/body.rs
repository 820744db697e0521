//! What a guest reads from its caller: the body of a request, or standard input.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, ReadBuf};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdinStream};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi_http::Error;

use super::channel::{Channel, Reply};
use crate::fields;
use crate::limits::READ_AHEAD;
use crate::protocol::message::{FromGuest, FromNode};

/// The body of the request. It is asked for piece by piece, when the guest reads.
pub(crate) struct ChannelBody {
    channel: Channel,
    asked: Option<Reply>,
    ended: bool,
}

impl ChannelBody {
    pub fn new(channel: Channel, exists: bool) -> Self {
        Self { channel, asked: None, ended: !exists }
    }

    fn end(&mut self, last: Option<Result<Frame<Bytes>, Error>>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.ended = true;
        Poll::Ready(last)
    }
}

impl Body for ChannelBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let body = self.get_mut();
        if body.ended {
            return Poll::Ready(None);
        }
        let channel = &body.channel;
        let asked = body.asked.get_or_insert_with(|| channel.ask(&FromGuest::ReadBody(READ_AHEAD as u32)));
        let answer = ready!(Pin::new(asked).poll(context));
        body.asked = None;
        match answer {
            Ok(FromNode::Body(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Ok(FromNode::BodyEnd(trailers)) if trailers.is_empty() => body.end(None),
            Ok(FromNode::BodyEnd(trailers)) => {
                let trailers = fields::checked(trailers).map_err(|_| Error::HttpProtocolError);
                body.end(Some(trailers.map(Frame::trailers)))
            }
            Ok(FromNode::BodyFailed(why)) => body.end(Some(Err(Error::InternalError(Some(why))))),
            _ => body.end(Some(Err(Error::ConnectionTerminated))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

/// Standard input. All streams of it share what was read.
#[derive(Clone)]
pub(crate) struct Input(Arc<Mutex<InputState>>);

struct InputState {
    body: ChannelBody,
    read: Bytes,
    failed: Option<String>,
}

impl Input {
    pub fn new(channel: Channel) -> Self {
        let body = ChannelBody::new(channel, true);
        Self(Arc::new(Mutex::new(InputState { body, read: Bytes::new(), failed: None })))
    }

    fn lock(&self) -> MutexGuard<'_, InputState> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

impl InputState {
    /// Waits until there is something to read, or never will be.
    fn poll_filled(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.read.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => self.read = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => self.failed = Some(format!("standard input cannot be read: {error:?}")),
                None => break,
            }
        }
        Poll::Ready(())
    }
}

#[async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        std::future::poll_fn(|context| self.lock().poll_filled(context)).await;
    }
}

#[async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut state = self.lock();
        if state.read.is_empty() {
            if let Some(why) = state.failed.take() {
                return Err(StreamError::LastOperationFailed(wasmtime::Error::msg(why)));
            }
            if state.body.ended {
                return Err(StreamError::Closed);
            }
        }
        let length = size.min(state.read.len());
        Ok(state.read.split_to(length))
    }
}

impl AsyncRead for Input {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut state = self.lock();
        ready!(state.poll_filled(context));
        if let Some(why) = state.failed.take() {
            return Poll::Ready(Err(std::io::Error::other(why)));
        }
        let length = buffer.remaining().min(state.read.len());
        buffer.put_slice(&state.read.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Input {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}
