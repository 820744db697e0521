//! Memory that begins at a page, which writes past the page cache need.

use std::ops::{Deref, DerefMut};

use crate::limits::ALIGNMENT;

/// Zeroed bytes whose first one lies at a multiple of 4096.
#[derive(Debug)]
pub struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        let memory = vec![0; len + ALIGNMENT as usize];
        let start = memory.as_ptr().align_offset(ALIGNMENT as usize);
        Self { memory, start, len }
    }

    /// A copy of `parts`, one after the other, padded with zeros to a multiple of 4096 bytes.
    pub fn padded(parts: &[&[u8]]) -> Self {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let mut buffer = Self::zeroed(len.next_multiple_of(ALIGNMENT as usize));
        let mut at = 0;
        for part in parts {
            buffer[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        buffer
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_begins_at_a_page_and_keeps_its_parts() {
        for len in [0, 1, 4095, 4096, 4097, 1 << 20] {
            let bytes = vec![7; len];
            let buffer = AlignedBuffer::padded(&[&bytes[..len / 2], &bytes[len / 2..]]);
            assert_eq!(buffer.as_ptr() as usize % 4096, 0);
            assert_eq!(buffer.len() % 4096, 0);
            assert_eq!(&buffer[..len], &bytes[..]);
            assert!(buffer[len..].iter().all(|byte| *byte == 0));
        }
    }
}
