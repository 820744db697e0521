//! Messages of a call's channel: what a frame's kind and body mean.
//!
//! | kind | from | body |
//! |---|---|---|
//! | 1 | node | postcard of [`Start`]; the first frame, and the only of its kind |
//! | 2 | node | postcard of [`FileReply`], answers 17 |
//! | 3 | node | content of a file, answers 17 |
//! | 4 | node | a piece of the request's body, never empty, answers 19 |
//! | 5 | node | the body ends, answers 19: postcard of the trailers |
//! | 6 | node | the body failed, answers 19: postcard of a sentence |
//! | 17 | guest | postcard of [`FileRequest`] |
//! | 19 | guest | asks for a piece of the body: the most bytes wanted, u32 |
//! | 20 | guest | standard output, raw |
//! | 21 | guest | standard error, raw |
//! | 22 | guest | head of the response: status u16, then postcard of the header fields |
//! | 23 | guest | a piece of the response's body, never empty |
//! | 24 | guest | the end of the response: postcard of the trailers |
//! | 25 | guest | the end of a job: its exit code, u8 |
//! | 26 | guest | the guest failed, postcard of [`GuestFailure`] |

use bytes::{Buf, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

use super::frame::{self, Frame, FrameError};
use super::{Fields, FileReply, FileRequest, Start};
use crate::error::GuestFailure;
use crate::services::OutputStream;

const START: u8 = 1;
const FILE_REPLY: u8 = 2;
const FILE_DATA: u8 = 3;
const BODY_DATA: u8 = 4;
const BODY_END: u8 = 5;
const BODY_FAILED: u8 = 6;
const FILE_REQUEST: u8 = 17;
const READ_BODY: u8 = 19;
const STANDARD_OUTPUT: u8 = 20;
const STANDARD_ERROR: u8 = 21;
const HEAD: u8 = 22;
const RESPONSE_DATA: u8 = 23;
const RESPONSE_END: u8 = 24;
const EXIT: u8 = 25;
const FAILED: u8 = 26;

/// What a node sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromNode {
    /// The call begins.
    Start(Start),
    /// Answers a request for files.
    File(FileReply),
    /// Answers a request for the body: a piece of it.
    Body(Bytes),
    /// Answers a request for the body: there is no more of it.
    BodyEnd(Fields),
    /// Answers a request for the body: it cannot be read.
    BodyFailed(String),
}

/// What the process of an app sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromGuest {
    /// Asks for files.
    File(FileRequest),
    /// Asks for at most so many bytes of the body.
    ReadBody(u32),
    /// Something was written to an output.
    Output(OutputStream, Bytes),
    /// The response begins.
    Head {
        /// Its status.
        status: u16,
        /// Its header fields.
        headers: Fields,
    },
    /// A piece of the response's body.
    Body(Bytes),
    /// The response is complete.
    End(Fields),
    /// The job is done.
    Exit(u8),
    /// The guest failed.
    Failed(GuestFailure),
}

impl FromNode {
    /// Appends the message as a frame.
    pub fn write(&self, out: &mut BytesMut, request: u32) {
        match self {
            Self::Start(start) => encoded(out, request, START, start),
            Self::File(FileReply::Data(data)) => frame::write(out, request, FILE_DATA, &[data]),
            Self::File(reply) => encoded(out, request, FILE_REPLY, reply),
            Self::Body(data) => frame::write(out, request, BODY_DATA, &[data]),
            Self::BodyEnd(trailers) => encoded(out, request, BODY_END, trailers),
            Self::BodyFailed(why) => encoded(out, request, BODY_FAILED, why),
        }
    }

    /// Reads the message of a frame.
    ///
    /// # Errors
    /// When the frame is none that a node sends.
    pub fn read(frame: Frame) -> Result<Self, FrameError> {
        let kind = frame.kind;
        Ok(match kind {
            START => Self::Start(decoded(kind, &frame.body)?),
            FILE_REPLY => Self::File(decoded(kind, &frame.body)?),
            FILE_DATA => Self::File(FileReply::Data(frame.body)),
            BODY_DATA => Self::Body(nonempty(kind, frame.body)?),
            BODY_END => Self::BodyEnd(decoded(kind, &frame.body)?),
            BODY_FAILED => Self::BodyFailed(decoded(kind, &frame.body)?),
            _ => return Err(FrameError::Kind(kind)),
        })
    }
}

impl FromGuest {
    /// Appends the message as a frame.
    pub fn write(&self, out: &mut BytesMut, request: u32) {
        match self {
            Self::File(asked) => encoded(out, request, FILE_REQUEST, asked),
            Self::ReadBody(most) => frame::write(out, request, READ_BODY, &[&most.to_le_bytes()]),
            Self::Output(OutputStream::Standard, data) => frame::write(out, request, STANDARD_OUTPUT, &[data]),
            Self::Output(OutputStream::Error, data) => frame::write(out, request, STANDARD_ERROR, &[data]),
            Self::Head { status, headers } => encoded(out, request, HEAD, &(*status, headers)),
            Self::Body(data) => frame::write(out, request, RESPONSE_DATA, &[data]),
            Self::End(trailers) => encoded(out, request, RESPONSE_END, trailers),
            Self::Exit(code) => frame::write(out, request, EXIT, &[&[*code]]),
            Self::Failed(failure) => encoded(out, request, FAILED, failure),
        }
    }

    /// Reads the message of a frame. It comes from a process that may be hostile.
    ///
    /// # Errors
    /// When the frame is none that the process of an app sends.
    pub fn read(frame: Frame) -> Result<Self, FrameError> {
        let (kind, mut body) = (frame.kind, frame.body);
        Ok(match kind {
            FILE_REQUEST => Self::File(decoded(kind, &body)?),
            READ_BODY if body.len() == 4 => Self::ReadBody(body.get_u32_le()),
            STANDARD_OUTPUT => Self::Output(OutputStream::Standard, nonempty(kind, body)?),
            STANDARD_ERROR => Self::Output(OutputStream::Error, nonempty(kind, body)?),
            HEAD => {
                let (status, headers) = decoded(kind, &body)?;
                Self::Head { status, headers }
            }
            RESPONSE_DATA => Self::Body(nonempty(kind, body)?),
            RESPONSE_END => Self::End(decoded(kind, &body)?),
            EXIT if body.len() == 1 => Self::Exit(body.get_u8()),
            FAILED => Self::Failed(decoded(kind, &body)?),
            READ_BODY | EXIT => return Err(FrameError::Body(kind)),
            _ => return Err(FrameError::Kind(kind)),
        })
    }
}

fn encoded(out: &mut BytesMut, request: u32, kind: u8, value: &impl Serialize) {
    let body = postcard::to_stdvec(value).expect("values of the protocol can be encoded");
    frame::write(out, request, kind, &[&body]);
}

fn decoded<T: DeserializeOwned>(kind: u8, body: &[u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        _ => Err(FrameError::Body(kind)),
    }
}

fn nonempty(kind: u8, body: Bytes) -> Result<Bytes, FrameError> {
    if body.is_empty() { Err(FrameError::Body(kind)) } else { Ok(body) }
}
