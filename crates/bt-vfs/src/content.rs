//! The content of a file that changed since it was last written to the zone: its dirty pages.
//!
//! The zone's index holds the file as it was at its last flush. Over it lie, in this order: pages whose older
//! content is gone (`masked`), dirty pages, and the size. Writing and truncating touch only this layer; a flush
//! moves it into the zone, an fsync copies it into the journal.

use bt_base::limits::{PAGE_SIZE, PAGES_PER_BLOCK};
use bt_base::{Revision, Timestamp};

use crate::pages::{Bytes, Page, PageSet, Pages};
use crate::ranges::Ranges;

/// A file that changed since the last commit.
pub(crate) struct FileState {
    /// The size in bytes.
    pub(crate) size: u64,
    /// When the content changed, if it did since the inode was written.
    pub(crate) mtime: Option<Timestamp>,
    /// Dirty pages by number.
    pub(crate) pages: Pages,
    /// Pages whose content the journal does not have: those in `pages` with `journaled` unset, and some that a flush
    /// took since. What an fsync takes must not depend on how much of the file is dirty.
    pub(crate) fresh: PageSet,
    /// Pages whose content in the zone is gone.
    pub(crate) masked: Ranges,
    /// The size, the mask or the time differ from the zone's.
    pub(crate) changed: bool,
    /// Something of the file is neither in the journal nor in a published head.
    pub(crate) undurable: bool,
    /// The journal holds something of the file that the zone does not: the next commit must flush it.
    pub(crate) journaled: bool,
    /// A rename waits for this content: both become durable together.
    pub(crate) ordered: bool,
    /// Raised by each truncation and hole: a flush that began before does not apply.
    pub(crate) generation: u32,
    /// Masked since the journal was last told.
    pub(crate) undurable_mask: Ranges,
    /// The revision that the mask was flushed into.
    pub(crate) mask_flushed: Option<Revision>,
    /// Slots flushed into the zone that the journal does not have, with the revision that publishes them.
    pub(crate) recent_slots: Vec<(u64, Revision)>,
    /// The content was flushed into the inline record, which the journal does not have; published by this revision.
    pub(crate) recent_inline: Option<Revision>,
    /// The revision whose commit makes all of the file durable.
    pub(crate) clean_at: Option<Revision>,
}

impl FileState {
    pub(crate) fn new(size: u64) -> Self {
        Self {
            size,
            mtime: None,
            pages: Pages::default(),
            fresh: PageSet::default(),
            masked: Ranges::default(),
            changed: false,
            undurable: false,
            journaled: false,
            ordered: false,
            generation: 0,
            undurable_mask: Ranges::default(),
            mask_flushed: None,
            recent_slots: Vec::new(),
            recent_inline: None,
            clean_at: None,
        }
    }

    /// Whether a flush has something to do.
    pub(crate) fn is_dirty(&self) -> bool {
        self.changed || !self.pages.is_empty()
    }

    /// Notes a change that neither the zone nor the journal has.
    pub(crate) fn touch(&mut self, now: Timestamp) {
        self.mtime = Some(now);
        self.changed = true;
        self.undurable = true;
        self.clean_at = None;
    }

    /// Puts a page; returns how many bytes of memory the file's pages grew by.
    pub(crate) fn put_page(&mut self, number: u64, data: Bytes) -> isize {
        let grown = data.len() as isize;
        let page = Page { data, journaled: false, flush: 0 };
        self.fresh.insert(number);
        let before = self.pages.insert(number, page).map_or(0, |page| page.data.len() as isize);
        grown - before
    }

    /// Forgets the content of pages in a range; returns by how many bytes the pages shrank.
    pub(crate) fn clear_pages(&mut self, range: std::ops::Range<u64>) -> isize {
        let mut shrunk = 0;
        self.pages.drop_if(range.clone(), |page| {
            shrunk += page.data.len() as isize;
            true
        });
        self.masked.add(range.clone());
        self.undurable_mask.add(range);
        self.mask_flushed = None;
        self.generation += 1;
        shrunk
    }

    /// A head with this revision is durable.
    pub(crate) fn published(&mut self, revision: Revision) {
        self.recent_slots.retain(|(_, at)| *at > revision);
        self.recent_inline = self.recent_inline.filter(|at| *at > revision);
        if self.mask_flushed.is_some_and(|at| at <= revision) {
            self.undurable_mask.clear();
        }
    }

    /// Whether the zone's content of a page still counts.
    pub(crate) fn shows_zone(&self, page: u64) -> bool {
        !self.masked.contains(page)
    }
}

/// The page that holds byte `offset`.
pub(crate) fn page_of(offset: u64) -> u64 {
    offset / PAGE_SIZE as u64
}

/// The slot that holds page `page`.
pub(crate) fn slot_of(page: u64) -> u64 {
    page / PAGES_PER_BLOCK as u64
}

/// The least number of pages that hold `size` bytes.
pub(crate) fn pages_in(size: u64) -> u64 {
    size.div_ceil(PAGE_SIZE as u64)
}
