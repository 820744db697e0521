//! The guest's end of a call's channel.
//!
//! What is sent is put into a buffer, never half; [`Driver`] writes it and hands out the answers. So whoever waits for an
//! answer may stop waiting at any time without harm to the channel.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::ReadHalf;
use tokio::sync::{Notify, oneshot};

use crate::error::GuestFailure;
use crate::limits::{FAILURE_SIZE, READ_BUFFER, SEND_BUFFER};
use crate::protocol::frame::{self, Frame};
use crate::protocol::message::{FromGuest, FromNode};
use crate::services::OutputStream;

/// What arrives when the node has answered; an error when it never will.
pub(crate) type Reply = oneshot::Receiver<FromNode>;

/// The sending side. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Channel(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// There is something to send, or nothing more will come.
    more: Notify,
    /// There is room in the buffer.
    room: Notify,
}

#[derive(Default)]
struct State {
    unsent: BytesMut,
    replies: HashMap<u32, oneshot::Sender<FromNode>>,
    last: u32,
    finished: bool,
}

impl Channel {
    /// Sends a request.
    pub fn ask(&self, message: &FromGuest) -> Reply {
        let (sender, reply) = oneshot::channel();
        let mut state = self.0.lock();
        state.last = state.last.wrapping_add(1).max(1);
        let number = state.last;
        state.replies.insert(number, sender);
        message.write(&mut state.unsent, number);
        drop(state);
        self.0.more.notify_one();
        reply
    }

    /// Sends what is not answered.
    pub fn tell(&self, message: &FromGuest) {
        message.write(&mut self.0.lock().unsent, 0);
        self.0.more.notify_one();
    }

    /// Sends that the guest failed, and what a developer needs to see why.
    pub fn tell_failure(&self, failure: &GuestFailure, details: &str) {
        let end = details.floor_char_boundary(FAILURE_SIZE);
        if end > 0 {
            let text = format!("{}\n", &details[..end]);
            self.tell(&FromGuest::Output(OutputStream::Error, text.into()));
        }
        self.tell(&FromGuest::Failed(failure.clone()));
    }

    /// Whether there is room to send content.
    pub fn has_room(&self) -> bool {
        self.0.lock().unsent.len() < SEND_BUFFER
    }

    /// Waits until there is.
    pub async fn room(&self) {
        loop {
            let mut freed = pin!(self.0.room.notified());
            freed.as_mut().enable();
            if self.has_room() {
                return;
            }
            freed.await;
        }
    }

    /// Nothing more will be sent; the driver ends when all was.
    pub fn finish(&self) {
        self.0.lock().finished = true;
        self.0.more.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }
}

/// The receiving side, and what sends. The channel is closed when this is dropped.
pub(crate) struct Driver {
    stream: UnixStream,
    inbox: BytesMut,
    sending: BytesMut,
    shared: Arc<Shared>,
}

/// Reads the first message of a channel and makes its two sides.
///
/// Nothing when the node closed it, or sent what it never sends: then there is nobody to tell.
pub(crate) async fn open(mut stream: UnixStream) -> Option<(FromNode, Channel, Driver)> {
    let mut inbox = BytesMut::with_capacity(READ_BUFFER);
    let (mut reading, _) = stream.split();
    let start = FromNode::read(next_frame(&mut reading, &mut inbox).await?).ok()?;
    let shared = Arc::new(Shared { state: Mutex::default(), more: Notify::new(), room: Notify::new() });
    Some((start, Channel(Arc::clone(&shared)), Driver { stream, inbox, sending: BytesMut::new(), shared }))
}

impl Driver {
    /// Sends and receives until the node closes the channel, or all was sent after [`Channel::finish`]. It may be dropped
    /// and called again: what was half sent or read is kept.
    pub async fn drive(&mut self) {
        let Self { stream, inbox, sending, shared } = self;
        let (mut reading, mut writing) = stream.split();
        loop {
            if sending.is_empty() && shared.refill(sending) {
                break;
            }
            tokio::select! {
                biased;
                written = writing.write(sending), if !sending.is_empty() => match written {
                    Ok(length) => sending.advance(length),
                    Err(_) => return,
                },
                frame = next_frame(&mut reading, inbox) => {
                    if frame.and_then(|frame| shared.answer(frame)).is_none() {
                        return;
                    }
                }
                () = shared.more.notified(), if sending.is_empty() => {}
            }
        }
        // The node still answers what was asked last; closing before it did would take from it what it has not read.
        if writing.shutdown().await.is_ok() {
            while next_frame(&mut reading, inbox).await.is_some() {}
        }
    }
}

impl Shared {
    /// Takes what is to be sent; answers whether all is done.
    fn refill(&self, sending: &mut BytesMut) -> bool {
        sending.clear();
        let mut state = self.lock();
        std::mem::swap(sending, &mut state.unsent);
        let done = sending.is_empty() && state.finished;
        drop(state);
        self.room.notify_waiters();
        done
    }

    /// Hands an answer to whoever waits for it. Nothing if it makes no sense.
    fn answer(&self, frame: Frame) -> Option<()> {
        let sender = self.lock().replies.remove(&frame.request)?;
        let message = FromNode::read(frame).ok()?;
        // Nobody need wait for it any more.
        let _ = sender.send(message);
        Some(())
    }
}

/// Reads the next frame. It may be dropped at any time: what was read is in `inbox`.
async fn next_frame(reading: &mut ReadHalf<'_>, inbox: &mut BytesMut) -> Option<Frame> {
    loop {
        if let Some(frame) = frame::take(inbox).ok()? {
            return Some(frame);
        }
        inbox.reserve(READ_BUFFER);
        match reading.read_buf(inbox).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}
