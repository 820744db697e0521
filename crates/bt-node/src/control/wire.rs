//! Bytes on the socket: the handshake and framed messages.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The newest protocol version, the only one this program speaks.
pub const VERSION: u16 = 3;

const MAGIC: [u8; 8] = *b"btctrl\r\n";

/// The first 16 bytes from each side; this layout never changes.
///
/// | bytes | what |
/// |---|---|
/// | 0..8 | `btctrl\r\n` |
/// | 8..10 | protocol version, little-endian |
/// | 10..16 | zero |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The protocol version of the side that sends it.
    pub version: u16,
}

impl Hello {
    /// Its bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.version.to_le_bytes());
        bytes
    }

    /// Reads the other side's; `None` when the other side speaks something else.
    pub fn from_bytes(bytes: &[u8; 16]) -> Option<Self> {
        (bytes[..8] == MAGIC).then(|| Self { version: u16::from_le_bytes([bytes[8], bytes[9]]) })
    }
}

/// Sends our greeting, then reads the other's. Both sides send first, so neither waits for the other.
pub fn greet(stream: &mut (impl Read + Write)) -> io::Result<Hello> {
    stream.write_all(&Hello { version: VERSION }.to_bytes())?;
    let mut bytes = [0; 16];
    stream.read_exact(&mut bytes)?;
    Hello::from_bytes(&bytes).ok_or_else(|| invalid("the other side of the socket is no bt"))
}

/// Sends one message. A message beyond `limit` bytes is an error of kind `InvalidData`.
pub fn send<T: Serialize>(stream: &mut impl Write, message: &T, limit: usize) -> io::Result<()> {
    let mut frame = postcard::to_extend(message, vec![0; 4]).map_err(invalid)?;
    let len = frame.len() - 4;
    if len > limit {
        return Err(invalid(format!("a message of {len} bytes is longer than the limit of {limit}")));
    }
    frame[..4].copy_from_slice(&u32::try_from(len).expect("limits are below 4 GiB").to_le_bytes());
    stream.write_all(&frame)
}

/// Receives one message of at most `limit` bytes; `None` when the other side has hung up between messages.
pub fn receive<T: DeserializeOwned>(stream: &mut impl Read, limit: usize) -> io::Result<Option<T>> {
    let mut first = [0; 1];
    if stream.read(&mut first)? == 0 {
        return Ok(None);
    }
    let mut rest = [0; 3];
    stream.read_exact(&mut rest)?;
    let len = u32::from_le_bytes([first[0], rest[0], rest[1], rest[2]]) as usize;
    if len > limit {
        return Err(invalid(format!("a message of {len} bytes is longer than the limit of {limit}")));
    }
    let mut bytes = Vec::new();
    if stream.take(len as u64).read_to_end(&mut bytes)? != len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match postcard::take_from_bytes(&bytes).map_err(invalid)? {
        (message, []) => Ok(Some(message)),
        (_, rest) => Err(invalid(format!("{} bytes follow the message", rest.len()))),
    }
}

fn invalid(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Request;

    fn framed(request: &Request) -> Vec<u8> {
        let mut bytes = Vec::new();
        send(&mut bytes, request, 1000).unwrap();
        bytes
    }

    #[test]
    fn a_message_survives_the_wire_and_the_end_is_seen() {
        let request = Request::SnapshotDiff { from: "a".into(), to: Some("ü".into()) };
        let bytes = framed(&request);
        let mut stream = &bytes[..];
        assert_eq!(receive(&mut stream, 1000).unwrap(), Some(request));
        assert_eq!(receive::<Request>(&mut stream, 1000).unwrap(), None);
    }

    #[test]
    fn cut_oversized_and_padded_messages_are_errors() {
        let bytes = framed(&Request::SnapshotCreate { name: "a name".into() });
        for len in 1..bytes.len() {
            assert!(receive::<Request>(&mut &bytes[..len], 1000).is_err(), "{len} bytes were accepted");
        }
        assert!(receive::<Request>(&mut &bytes[..], 4).is_err());
        let mut padded = bytes;
        padded[0] += 1;
        padded.push(0);
        assert!(receive::<Request>(&mut &padded[..], 1000).is_err());
    }

    #[test]
    fn any_flipped_bit_gives_another_message_or_an_error_but_no_panic() {
        let bytes = framed(&Request::SnapshotDiff { from: "from".into(), to: None });
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = receive::<Request>(&mut &flipped[..], 1000);
        }
    }

    #[test]
    fn random_bytes_are_judged_without_a_panic() {
        let mut state = 88_172_645_463_325_252_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..50_000 {
            let len = (random() % 64) as usize;
            let mut bytes = u32::try_from(len).unwrap().to_le_bytes().to_vec();
            // Small first bytes, so that every variant is met.
            bytes.extend((0..len).map(|at| if at == 0 { random() as u8 % 16 } else { random() as u8 }));
            let _ = receive::<Request>(&mut &bytes[..], 1000);
            let _ = receive::<crate::control::message::Reply>(&mut &bytes[..], 1000);
        }
    }

    #[test]
    fn the_greeting_is_frozen() {
        assert_eq!(Hello { version: 0x0102 }.to_bytes(), *b"btctrl\r\n\x02\x01\0\0\0\0\0\0");
        assert_eq!(Hello::from_bytes(b"btctrl\r\n\x02\x01\0\0\0\0\0\0"), Some(Hello { version: 0x0102 }));
        assert_eq!(Hello::from_bytes(b"GET / HTTP/1.1\r\n"), None);
    }
}
