//! Streams that read and write a file.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::super::channel::Reply;
use super::descriptor::OpenFile;
use crate::limits::{READ_AHEAD, WRITE_SIZE};
use crate::protocol::message::{FromGuest, FromNode};
use crate::protocol::{FileError, FileReply, FileRequest};

/// Reads a file from some place on. The next piece is asked for while the guest takes the one before.
pub(super) struct ReadStream {
    file: Arc<OpenFile>,
    next: u64,
    read: Bytes,
    asked: Option<Reply>,
    end: Option<End>,
}

#[derive(Clone, Copy)]
enum End {
    /// The file ends here.
    Reached,
    /// It cannot be read; the guest was not told yet.
    Failed(FileError),
}

impl ReadStream {
    pub fn new(file: Arc<OpenFile>, offset: u64) -> Self {
        Self { file, next: offset, read: Bytes::new(), asked: None, end: None }
    }

    fn ask(&mut self) {
        let request = FileRequest::Read { file: self.file.id(), offset: self.next, length: READ_AHEAD as u32 };
        self.asked = Some(self.file.channel().ask(&FromGuest::File(request)));
    }

    fn take(&mut self, reply: Result<FromNode, impl Sized>) {
        self.asked = None;
        match reply {
            Ok(FromNode::File(FileReply::Data(data))) => {
                self.next += data.len() as u64;
                let last = data.len() < READ_AHEAD;
                self.read = data;
                if last {
                    self.end = Some(End::Reached);
                } else {
                    self.ask();
                }
            }
            Ok(FromNode::File(FileReply::Failed(error))) => self.end = Some(End::Failed(error)),
            _ => self.end = Some(End::Failed(FileError::Io)),
        }
    }
}

#[async_trait]
impl Pollable for ReadStream {
    async fn ready(&mut self) {
        if !self.read.is_empty() || self.end.is_some() {
            return;
        }
        if self.asked.is_none() {
            self.ask();
        }
        let reply = self.asked.as_mut().expect("just asked").await;
        self.take(reply);
    }
}

#[async_trait]
impl InputStream for ReadStream {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if self.read.is_empty() {
            match self.end {
                Some(End::Reached) => return Err(StreamError::Closed),
                Some(End::Failed(error)) => {
                    self.end = Some(End::Reached);
                    return Err(StreamError::LastOperationFailed(error.into()));
                }
                // A guest that never waits must get something some day.
                None if self.asked.is_none() => self.ask(),
                None => {}
            }
            if let Some(Ok(reply)) = self.asked.as_mut().map(tokio::sync::oneshot::Receiver::try_recv) {
                self.take(Ok::<_, ()>(reply));
            }
        }
        let length = size.min(self.read.len());
        Ok(self.read.split_to(length))
    }
}

/// Writes to a file: from some place on, or at its end.
pub(super) struct WriteStream {
    file: Arc<OpenFile>,
    next: Option<u64>,
    state: Writing,
}

enum Writing {
    Idle,
    Waiting(Reply),
    Failed(FileError),
    Closed,
}

impl WriteStream {
    /// `None` writes at the end.
    pub fn new(file: Arc<OpenFile>, offset: Option<u64>) -> Self {
        Self { file, next: offset, state: Writing::Idle }
    }

    fn take(&mut self, reply: Result<FromNode, impl Sized>) {
        self.state = match reply {
            Ok(FromNode::File(FileReply::Written { .. })) => Writing::Idle,
            Ok(FromNode::File(FileReply::Failed(error))) => Writing::Failed(error),
            _ => Writing::Failed(FileError::Io),
        };
    }

    /// Takes the answer if it is there, and says whether the stream still works.
    fn settled(&mut self) -> StreamResult<bool> {
        if let Writing::Waiting(reply) = &mut self.state
            && let Ok(reply) = reply.try_recv()
        {
            self.take(Ok::<_, ()>(reply));
        }
        match mem::replace(&mut self.state, Writing::Closed) {
            Writing::Failed(error) => Err(StreamError::LastOperationFailed(error.into())),
            Writing::Closed => Err(StreamError::Closed),
            state => {
                let idle = matches!(state, Writing::Idle);
                self.state = state;
                Ok(idle)
            }
        }
    }
}

#[async_trait]
impl Pollable for WriteStream {
    async fn ready(&mut self) {
        if let Writing::Waiting(reply) = &mut self.state {
            let reply = reply.await;
            self.take(reply);
        }
    }
}

#[async_trait]
impl OutputStream for WriteStream {
    fn write(&mut self, data: Bytes) -> StreamResult<()> {
        if data.len() > WRITE_SIZE || !self.settled()? {
            return Err(StreamError::trap("more was written than check-write allowed"));
        }
        let length = data.len() as u64;
        if length > 0 {
            let request = FileRequest::Write { file: self.file.id(), offset: self.next, data };
            self.state = Writing::Waiting(self.file.channel().ask(&FromGuest::File(request)));
            self.next = self.next.map(|next| next.saturating_add(length));
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.settled().map(drop)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(if self.settled()? { WRITE_SIZE } else { 0 })
    }
}
