//! Directory entries as the kernel reads them.

use zerocopy::IntoBytes;

use crate::dispatch::entry_out;
use crate::limits::NAME_SIZE;
use crate::wire::{Dirent, EntryOut};
use crate::{DirSink, Entry};

/// Records begin at multiples of this.
const ALIGNMENT: usize = 8;

/// Lays entries into a reply until the next does not fit.
pub(crate) struct DirWriter<'a> {
    out: &'a mut [u8],
    used: usize,
    plus: bool,
}

impl<'a> DirWriter<'a> {
    /// `plus`: with attributes, as READDIRPLUS wants.
    pub(crate) fn new(out: &'a mut [u8], plus: bool) -> DirWriter<'a> {
        DirWriter { out, used: 0, plus }
    }

    /// Bytes laid out.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    fn append(&mut self, bytes: &[u8]) {
        self.out[self.used..self.used + bytes.len()].copy_from_slice(bytes);
        self.used += bytes.len();
    }
}

impl DirSink for DirWriter<'_> {
    fn add(&mut self, node: u64, cookie: u64, file_type: u32, name: &[u8], entry: Option<&Entry>) -> bool {
        let attributes = if self.plus { size_of::<EntryOut>() } else { 0 };
        let size = (attributes + size_of::<Dirent>() + name.len()).next_multiple_of(ALIGNMENT);
        if name.is_empty() || name.len() > NAME_SIZE {
            // The kernel would refuse the whole listing. Such an entry cannot be reached by any call; it is skipped.
            return true;
        }
        if self.used + size > self.out.len() {
            return false;
        }
        let end = self.used + size;
        if self.plus {
            // All zero: no lookup, only the name.
            let entry = entry.map(entry_out).unwrap_or_default();
            self.append(entry.as_bytes());
        }
        let file_type = (file_type & libc::S_IFMT) >> 12;
        self.append(Dirent { node, cookie, name_size: name.len() as u32, file_type }.as_bytes());
        self.append(name);
        self.out[self.used..end].fill(0);
        self.used = end;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromBytes;

    #[test]
    fn lays_out_aligned_records_until_full() {
        let mut out = [0xff; 70];
        let mut writer = DirWriter::new(&mut out, false);
        assert!(writer.add(5, 9, libc::S_IFDIR, b"abc", None));
        assert_eq!(writer.used(), 32);
        assert!(writer.add(6, 10, libc::S_IFREG, b"12345678", None));
        assert_eq!(writer.used(), 64);
        assert!(!writer.add(7, 11, libc::S_IFREG, b"x", None));
        assert_eq!(writer.used(), 64);
        let (first, rest) = Dirent::read_from_prefix(&out).unwrap();
        assert_eq!(first, Dirent { node: 5, cookie: 9, name_size: 3, file_type: 4 });
        assert_eq!(&rest[..8], b"abc\0\0\0\0\0");
    }

    #[test]
    fn names_alone_are_no_lookups() {
        let mut out = [0xff; 256];
        let mut writer = DirWriter::new(&mut out, true);
        assert!(writer.add(5, 9, libc::S_IFDIR, b".", None));
        assert_eq!(writer.used(), 160);
        assert_eq!(EntryOut::read_from_prefix(&out).unwrap().0, EntryOut::default());
    }
}
