//! The bytes of a file in memory, with real holes.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

const PAGE: u64 = 4096;

/// A page as it was allocated.
static ZEROS: LazyLock<Page> = LazyLock::new(|| Arc::new([0; PAGE as usize]));

/// Copies of a file share its pages until one of them writes.
type Page = Arc<[u8; PAGE as usize]>;

/// A sparse file: pages that were never written, or were punched, take no room and read as zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    len: u64,
    pages: BTreeMap<u64, Page>,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes that the pages take.
    pub(super) fn allocated(&self) -> u64 {
        self.pages.len() as u64 * PAGE
    }

    /// The bytes that pages for the range would take beyond those that exist.
    pub(super) fn missing(&self, offset: u64, len: u64) -> u64 {
        if len == 0 {
            return 0;
        }
        let (first, last) = (offset / PAGE, (offset + len - 1) / PAGE);
        (last - first + 1 - self.pages.range(first..=last).count() as u64) * PAGE
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let count = (buf.len() as u64).min(self.len.saturating_sub(offset)) as usize;
        for_pages(offset, count, |page, within, range| match self.pages.get(&page) {
            Some(bytes) => buf[range.clone()].copy_from_slice(&bytes[within..within + range.len()]),
            None => buf[range].fill(0),
        });
        count
    }

    pub(super) fn write(&mut self, buf: &[u8], offset: u64) {
        for_pages(offset, buf.len(), |page, within, range| {
            let bytes = Arc::make_mut(self.pages.entry(page).or_insert_with(|| ZEROS.clone()));
            bytes[within..within + range.len()].copy_from_slice(&buf[range]);
        });
        if !buf.is_empty() {
            self.len = self.len.max(offset + buf.len() as u64);
        }
    }

    pub(super) fn allocate(&mut self, offset: u64, len: u64) {
        if len == 0 {
            return;
        }
        for page in offset / PAGE..=(offset + len - 1) / PAGE {
            self.pages.entry(page).or_insert_with(|| ZEROS.clone());
        }
        self.len = self.len.max(offset + len);
    }

    pub(super) fn punch(&mut self, offset: u64, len: u64) {
        let end = offset + len;
        let whole = offset.div_ceil(PAGE)..end / PAGE;
        if whole.start < whole.end {
            let emptied: Vec<u64> = self.pages.range(whole).map(|(page, _)| *page).collect();
            emptied.iter().for_each(|page| drop(self.pages.remove(page)));
        }
        let mut zero = |from: u64, to: u64| {
            if from < to
                && let Some(bytes) = self.pages.get_mut(&(from / PAGE))
            {
                Arc::make_mut(bytes)[(from % PAGE) as usize..][..(to - from) as usize].fill(0);
            }
        };
        zero(offset, end.min(offset.next_multiple_of(PAGE)));
        zero((end - end % PAGE).max(offset), end);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.punch(len, self.len.next_multiple_of(PAGE) - len);
        }
        self.len = len;
    }
}

/// Calls `visit` with each page of a range: its number, the offset in it, and the range of the buffer it covers.
fn for_pages(offset: u64, len: usize, mut visit: impl FnMut(u64, usize, std::ops::Range<usize>)) {
    let mut at = 0;
    while at < len {
        let position = offset + at as u64;
        let within = (position % PAGE) as usize;
        let part = (PAGE as usize - within).min(len - at);
        visit(position / PAGE, within, at..at + part);
        at += part;
    }
}
