//! What a call answers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

use crate::error::AppError;
use crate::protocol::Fields;

/// What a request's body may fail with.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request, or the standard input of a job. It is read as the guest asks for it.
pub type RequestBody = Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send>>;

/// The answer of `wasi:http/incoming-handler`.
#[derive(Debug)]
pub struct Response {
    /// The status, 200 to 599.
    pub status: u16,
    /// The header fields, without those of the connection.
    pub headers: Fields,
    /// The body. To drop it ends the call.
    pub body: ResponseBody,
}

/// The body of a [`Response`] as it comes.
#[derive(Debug)]
pub struct ResponseBody {
    pub(crate) frames: mpsc::Receiver<Result<Frame<Bytes>, AppError>>,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = AppError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AppError>>> {
        self.get_mut().frames.poll_recv(context)
    }
}
