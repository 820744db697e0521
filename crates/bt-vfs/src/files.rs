//! Changing the content of files: write, truncate, allocate. All of it stays in the dirty layer.

use std::sync::Arc;

use bt_base::Timestamp;
use bt_base::limits::{BLOCK_SIZE, FILE_SIZE, PAGE_SIZE};

use crate::content::{FileState, page_of, pages_in};
use crate::error::{Refusal, Result};
use crate::op::{Change, Op};
use crate::pages::Bytes;
use crate::vfs::Vfs;
use crate::view::{self, Source, is_directory, is_regular};

const PAGE: u64 = PAGE_SIZE as u64;
const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o010;

/// What fallocate(2) asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocate {
    /// Make sure that the range is within the file, unless the size is to be kept.
    Reserve {
        /// Whether the size stays.
        keep_size: bool,
    },
    /// Make a hole; the size stays.
    PunchHole,
    /// Make the range read as zero.
    ZeroRange {
        /// Whether the size stays.
        keep_size: bool,
    },
}

impl Vfs {
    /// The dirty layer of a regular file, made when there is none.
    pub(crate) fn file_mut(&mut self, source: &dyn Source, inode: u64) -> Result<&mut FileState> {
        if !self.files.contains_key(&inode) {
            let record = view::inode(self.zone.tree(), source, inode)?;
            if !is_regular(record.mode) {
                let refusal = if is_directory(record.mode) { Refusal::IsDirectory } else { Refusal::Invalid };
                return Err(refusal.into());
            }
            self.files.insert(inode, FileState::new(record.size));
        }
        Ok(self.files.get_mut(&inode).expect("present or just inserted"))
    }

    /// Writes `data` at `offset`, growing the file where needed.
    pub fn write(
        &mut self,
        source: &dyn Source,
        inode: u64,
        offset: u64,
        data: &[u8],
        kill_privileges: bool,
        now: Timestamp,
    ) -> Result<()> {
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= FILE_SIZE).ok_or(Refusal::TooLarge)?;
        let first_touch = self.files.get(&inode).is_none_or(|file| file.mtime.is_none());
        if first_touch || kill_privileges {
            self.drop_privileges(source, inode, kill_privileges, now)?;
        }
        self.file_mut(source, inode)?;
        let mut at = offset;
        while at < end {
            let stop = end.min((at / BLOCK_SIZE as u64 + 1) * BLOCK_SIZE as u64);
            self.write_in_block(source, inode, at, &data[(at - offset) as usize..(stop - offset) as usize])?;
            at = stop;
        }
        let file = self.files.get_mut(&inode).expect("made above");
        file.size = file.size.max(end);
        file.touch(now);
        Ok(())
    }

    /// Writes `data`, which lies in one block, at `offset`. Its pages share their memory.
    fn write_in_block(&mut self, source: &dyn Source, inode: u64, offset: u64, data: &[u8]) -> Result<()> {
        let memory: Arc<[u8]> = Arc::from(data);
        let end = offset + data.len() as u64;
        let mut at = offset;
        while at < end {
            let page = page_of(at);
            let stop = end.min((page + 1) * PAGE);
            let data = Bytes::part(&memory, (at - offset) as usize..(stop - offset) as usize);
            self.write_page(source, inode, page, (at - page * PAGE) as usize, data)?;
            at = stop;
        }
        Ok(())
    }

    /// Puts `data` at byte `start` of a page; what surrounds it stays.
    fn write_page(&mut self, source: &dyn Source, inode: u64, page: u64, start: usize, data: Bytes) -> Result<()> {
        let size = self.files[&inode].size;
        let old_end = size.saturating_sub(page * PAGE).min(PAGE) as usize;
        let content = if start == 0 && data.len() >= old_end {
            data
        } else {
            let mut whole = self.page_content(source, inode, page)?;
            whole.truncate(old_end);
            whole.resize(whole.len().max(start + data.len()), 0);
            whole[start..start + data.len()].copy_from_slice(&data);
            Bytes::from(whole)
        };
        let file = self.files.get_mut(&inode).expect("the caller made it");
        self.dirty_bytes = self.dirty_bytes.strict_add_signed(file.put_page(page, content));
        Ok(())
    }

    /// A page's bytes as they are now, at most 4 KiB; what is missing at the end is zero.
    pub(crate) fn page_content(&self, source: &dyn Source, inode: u64, page: u64) -> Result<Vec<u8>> {
        if let Some(file) = self.files.get(&inode) {
            if let Some(page) = file.pages.get(page) {
                return Ok(page.data.to_vec());
            }
            if !file.shows_zone(page) {
                return Ok(Vec::new());
            }
        }
        crate::read::zone_page(self.zone.tree(), source, inode, page)
    }

    /// Sets a file's size. What is cut off is gone; what is added reads as zero.
    pub fn truncate(
        &mut self,
        source: &dyn Source,
        inode: u64,
        size: u64,
        kill_privileges: bool,
        now: Timestamp,
    ) -> Result<()> {
        if size > FILE_SIZE {
            return Err(Refusal::TooLarge.into());
        }
        self.drop_privileges(source, inode, kill_privileges, now)?;
        let old = self.file_mut(source, inode)?.size;
        if size < old {
            self.cut(source, inode, size)?;
        }
        let file = self.files.get_mut(&inode).expect("made above");
        file.size = size;
        file.touch(now);
        Ok(())
    }

    /// Drops the content from `size` on.
    fn cut(&mut self, source: &dyn Source, inode: u64, size: u64) -> Result<()> {
        let keep = (size % PAGE) as usize;
        if keep > 0 {
            let mut last = self.page_content(source, inode, page_of(size))?;
            if last.len() > keep {
                last.truncate(keep);
                let file = self.files.get_mut(&inode).expect("the caller made it");
                self.dirty_bytes = self.dirty_bytes.strict_add_signed(file.put_page(page_of(size), last.into()));
            }
        }
        self.clear_range(inode, pages_in(size)..pages_in(FILE_SIZE));
        Ok(())
    }

    fn clear_range(&mut self, inode: u64, pages: std::ops::Range<u64>) {
        let file = self.files.get_mut(&inode).expect("the caller made it");
        let shrunk = file.clear_pages(pages);
        self.dirty_bytes = self.dirty_bytes.strict_add_signed(-shrunk);
    }

    /// fallocate(2).
    #[expect(clippy::too_many_arguments, reason = "the operation has this many parts")]
    pub fn allocate(
        &mut self,
        source: &dyn Source,
        inode: u64,
        offset: u64,
        len: u64,
        how: Allocate,
        kill_privileges: bool,
        now: Timestamp,
    ) -> Result<()> {
        let end = offset.checked_add(len).filter(|end| *end <= FILE_SIZE).ok_or(Refusal::TooLarge)?;
        if len == 0 {
            return Err(Refusal::Invalid.into());
        }
        self.drop_privileges(source, inode, kill_privileges, now)?;
        let size = self.file_mut(source, inode)?.size;
        match how {
            Allocate::Reserve { keep_size } => {
                if !keep_size && end > size {
                    self.files.get_mut(&inode).expect("made above").size = end;
                }
            }
            Allocate::PunchHole => self.zero(source, inode, offset, end.min(size))?,
            Allocate::ZeroRange { keep_size } => {
                self.zero(source, inode, offset, end.min(size))?;
                if !keep_size && end > size {
                    self.files.get_mut(&inode).expect("made above").size = end;
                }
            }
        }
        self.files.get_mut(&inode).expect("made above").touch(now);
        Ok(())
    }

    /// Makes a range within the file read as zero.
    fn zero(&mut self, source: &dyn Source, inode: u64, start: u64, end: u64) -> Result<()> {
        if start >= end {
            return Ok(());
        }
        let (first_whole, end_whole) = (pages_in(start), page_of(end));
        if first_whole > end_whole {
            return self.zero_in_page(source, inode, start, end);
        }
        self.zero_in_page(source, inode, start, first_whole * PAGE)?;
        self.zero_in_page(source, inode, end_whole * PAGE, end)?;
        if first_whole < end_whole {
            self.clear_range(inode, first_whole..end_whole);
        }
        Ok(())
    }

    fn zero_in_page(&mut self, source: &dyn Source, inode: u64, start: u64, end: u64) -> Result<()> {
        if start >= end {
            return Ok(());
        }
        let page = page_of(start);
        let mut content = self.page_content(source, inode, page)?;
        let from = ((start - page * PAGE) as usize).min(content.len());
        let to = ((end - page * PAGE) as usize).min(content.len());
        if from == to {
            return Ok(());
        }
        content[from..to].fill(0);
        let file = self.files.get_mut(&inode).expect("the caller made it");
        self.dirty_bytes = self.dirty_bytes.strict_add_signed(file.put_page(page, content.into()));
        Ok(())
    }

    /// What a change of the content does to set-id bits, where the caller has no right to keep them, and to file
    /// capabilities.
    pub fn drop_privileges(
        &mut self,
        source: &dyn Source,
        inode: u64,
        set_id_bits: bool,
        now: Timestamp,
    ) -> Result<()> {
        let record = view::inode(self.zone.tree(), source, inode)?;
        if record.has_attributes {
            self.drop_capability(source, inode, now)?;
        }
        let kept = without_set_id(record.mode);
        if set_id_bits && kept != record.mode && is_regular(record.mode) {
            let change = Change { mode: Some(kept & 0o7777), ctime: Some(now), ..Change::default() };
            self.edit_inode(source, inode, |inode| inode.mode = kept)?;
            self.log.append(&Op::Change { inode, change });
        }
        Ok(())
    }
}

/// A mode without set-user-id, and without set-group-id where it means one (with group execute).
pub(crate) fn without_set_id(mode: u32) -> u32 {
    let group = if mode & GROUP_EXECUTE != 0 { SET_GID } else { 0 };
    mode & !(SET_UID | group)
}
