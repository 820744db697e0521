//! What a guest writes to its outputs.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream as WasiOutput, Pollable, StreamError, StreamResult};

use super::channel::Channel;
use crate::limits::WRITE_SIZE;
use crate::protocol::message::FromGuest;
use crate::services::OutputStream;

/// Standard output or standard error.
#[derive(Clone)]
pub(crate) struct Output {
    channel: Channel,
    stream: OutputStream,
}

impl Output {
    pub fn new(channel: Channel, stream: OutputStream) -> Self {
        Self { channel, stream }
    }

    fn send(&self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.channel.tell(&FromGuest::Output(self.stream, bytes));
        }
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        self.channel.room().await;
    }
}

#[async_trait]
impl WasiOutput for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > WRITE_SIZE {
            return Err(StreamError::trap("more was written than check-write allowed"));
        }
        self.send(bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(if self.channel.has_room() { WRITE_SIZE } else { 0 })
    }
}

/// An output as tokio has them.
struct Writer {
    output: Output,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let writer = self.get_mut();
        let channel = writer.output.channel.clone();
        let waiting = writer.waiting.get_or_insert_with(|| Box::pin(async move { channel.room().await }));
        ready!(waiting.as_mut().poll(context));
        writer.waiting = None;
        let length = bytes.len().min(WRITE_SIZE);
        writer.output.send(Bytes::copy_from_slice(&bytes[..length]));
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Writer { output: self.clone(), waiting: None })
    }

    fn p2_stream(&self) -> Box<dyn WasiOutput> {
        Box::new(self.clone())
    }
}
