//! Frames of a call's channel.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of the body, little endian, at most [`FRAME_SIZE`] |
//! | 4 | number of the request that is asked or answered, little endian; 0 where none is |
//! | 1 | kind, see [`super::message`] |
//! | length | body |

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::limits::FRAME_SIZE;

/// Bytes before the body.
pub const HEADER_SIZE: usize = 9;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Which request is asked or answered.
    pub request: u32,
    /// What the body is.
    pub kind: u8,
    /// The body.
    pub body: Bytes,
}

/// Why bytes are no frame, or a frame no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It is too long.
    #[error("a frame of {0} bytes, which is more than a frame may have")]
    TooLong(usize),
    /// Its kind is not known, or not from this side.
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
    /// Its body is not what its kind says.
    #[error("a frame of kind {0} whose body makes no sense")]
    Body(u8),
}

/// Appends a frame whose body is the parts after each other.
///
/// # Panics
/// If the body is longer than a frame may be: what is sent is limited by whoever makes it.
pub fn write(out: &mut BytesMut, request: u32, kind: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    assert!(length <= FRAME_SIZE, "a frame of {length} bytes was made");
    out.reserve(HEADER_SIZE + length);
    out.put_u32_le(length as u32);
    out.put_u32_le(request);
    out.put_u8(kind);
    for part in parts {
        out.put_slice(part);
    }
}

/// Takes the first frame of `buffer`, if all of it is there.
///
/// # Errors
/// When the frame is longer than one may be; nothing can be read after it.
pub fn take(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some(header) = buffer.get(..HEADER_SIZE) else { return Ok(None) };
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let request = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let kind = header[8];
    if length > FRAME_SIZE {
        return Err(FrameError::TooLong(length));
    }
    if buffer.len() < HEADER_SIZE + length {
        buffer.reserve(HEADER_SIZE + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(HEADER_SIZE);
    Ok(Some(Frame { request, kind, body: buffer.split_to(length).freeze() }))
}
