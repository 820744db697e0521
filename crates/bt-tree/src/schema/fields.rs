//! Fields of records.

use bt_base::Timestamp;
use bt_base::codec::DecodeError;

use super::NUMBER_LIMIT;

/// Reads fixed-width little-endian fields; running out of bytes is an error.
pub(crate) struct Reader<'a> {
    what: &'static str,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes }
    }

    pub(crate) fn error(&self, why: &str) -> DecodeError {
        DecodeError::malformed(self.what, why)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn slice(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.bytes.split_at_checked(len).ok_or_else(|| self.error("it is too short"))?;
        self.bytes = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(self.slice(N)?.try_into().expect("a slice of N bytes"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn u64_be(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp, DecodeError> {
        let seconds = self.array().map(i64::from_le_bytes)?;
        let nanos = self.u32()?;
        if nanos >= 1_000_000_000 {
            return Err(self.error("nanoseconds out of range"));
        }
        Ok(Timestamp { seconds, nanos })
    }

    /// A byte that is 0 or 1.
    pub(crate) fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.error("a yes or no that is neither")),
        }
    }

    /// A number of an inode, a snapshot or an entry.
    pub(super) fn number(&mut self) -> Result<u64, DecodeError> {
        let number = self.u64()?;
        if number < NUMBER_LIMIT { Ok(number) } else { Err(self.error("a number out of range")) }
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(self.error("bytes are left over")) }
    }
}

/// Writes fixed-width little-endian fields into an array of exactly their size.
pub(super) struct Writer<const N: usize> {
    at: usize,
    bytes: [u8; N],
}

impl<const N: usize> Writer<N> {
    pub(super) fn new() -> Self {
        Self { at: 0, bytes: [0; N] }
    }

    fn put(&mut self, part: &[u8]) -> &mut Self {
        self.bytes[self.at..self.at + part.len()].copy_from_slice(part);
        self.at += part.len();
        self
    }

    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.put(&[value])
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    pub(super) fn time(&mut self, time: Timestamp) -> &mut Self {
        self.put(&time.seconds.to_le_bytes()).u32(time.nanos)
    }

    pub(super) fn finish(&self) -> [u8; N] {
        assert_eq!(self.at, N, "a record is written in full");
        self.bytes
    }
}
