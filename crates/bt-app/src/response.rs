//! What a call answers.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame};
use tokio::sync::mpsc;

use crate::error::{AppError, GuestFailure};

/// What a request's body may fail with.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request, or the standard input of a job. It is read as the guest asks for it.
pub type RequestBody = Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send>>;

/// The answer of `wasi:http/incoming-handler`.
#[derive(Debug)]
pub struct Response {
    /// The status, 200 to 599.
    pub status: StatusCode,
    /// The header fields, without those of the connection.
    pub headers: HeaderMap,
    /// The body. To drop it ends the call.
    pub body: ResponseBody,
}

/// A part of a response's body.
#[derive(Debug)]
pub(crate) enum Part {
    Frame(Frame<Bytes>),
    End,
    Failed(AppError),
}

/// The body of a [`Response`] as it comes. One that was cut short ends with an error, never as if it were whole.
#[derive(Debug)]
pub struct ResponseBody {
    parts: mpsc::Receiver<Part>,
    ended: bool,
}

impl ResponseBody {
    pub(crate) fn new(parts: mpsc::Receiver<Part>) -> Self {
        Self { parts, ended: false }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = AppError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AppError>>> {
        let body = self.get_mut();
        if body.ended {
            return Poll::Ready(None);
        }
        let part = ready!(body.parts.poll_recv(context));
        if let Some(Part::Frame(frame)) = part {
            return Poll::Ready(Some(Ok(frame)));
        }
        body.ended = true;
        Poll::Ready(match part {
            Some(Part::Failed(error)) => Some(Err(error)),
            None => Some(Err(AppError::Guest(GuestFailure::Unfinished))),
            _ => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
