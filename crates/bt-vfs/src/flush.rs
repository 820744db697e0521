//! Moving dirty content into the zone (flush) and into the journal (sync).
//!
//! A flush has three parts, so that sealing happens without the lock around the state: [`Vfs::begin_flush`] takes
//! the files as they are at this instant, the caller seals the blocks that they name, [`Vfs::finish_flush`] puts the
//! references into the index. A file that was cut in between is left for the next flush.

use std::ops::{ControlFlow, Range};

use bt_base::Timestamp;
use bt_base::limits::{BLOCK_SIZE, EXTENT_BLOCKS, INLINE_SIZE, PAGE_SIZE, PAGES_PER_BLOCK};
use bt_tree::head::SegmentSummary;
use bt_tree::schema::{Content, Extent, Inode, Key, KeyKind, Slot, parse_key};

use crate::content::{FileState, slot_of};
use crate::error::Result;
use crate::op::{Data, Op, SlotRecord};
use crate::pages::Bytes;
use crate::ranges::Ranges;
use crate::vfs::Vfs;
use crate::view::{self, Source};

/// Where a page of a block to seal comes from.
#[derive(Debug, Clone)]
pub enum PageSource {
    /// These bytes, and zeros where they end early.
    Dirty(Bytes),
    /// The block that the slot had.
    Old,
    /// Zeros.
    Zero,
}

/// A block to seal.
#[derive(Debug, Clone)]
pub struct SlotJob {
    /// Which 16 KiB of the file.
    pub slot: u64,
    /// Bytes of the block.
    pub len: usize,
    /// Its pages.
    pub pages: [PageSource; PAGES_PER_BLOCK],
    /// The block that the slot had, when one of the pages comes from it.
    pub old: Option<Slot>,
}

/// A file to flush, as it was when the flush began.
#[derive(Debug)]
pub struct FlushFile {
    /// The file.
    pub inode: u64,
    /// Blocks to seal.
    pub jobs: Vec<SlotJob>,
    size: u64,
    mtime: Option<Timestamp>,
    masked: Ranges,
    generation: u32,
    inline: Option<Vec<u8>>,
    /// The inline record's content moves into slot 0.
    leaves_inline: bool,
}

/// What a flush does.
#[derive(Debug, Default)]
pub struct FlushPlan {
    /// The files, in no order.
    pub files: Vec<FlushFile>,
    number: u32,
}

/// A block that was sealed for a job.
#[derive(Debug, Clone, Copy)]
pub struct SealedSlot {
    /// Which 16 KiB of the file.
    pub slot: u64,
    /// What the slot holds now.
    pub block: Slot,
}

/// A file whose jobs are done.
#[derive(Debug)]
pub struct FlushedFile {
    /// As planned.
    pub file: FlushFile,
    /// One for each job.
    pub sealed: Vec<SealedSlot>,
}

/// What a step of freeing an inode did.
#[derive(Debug, Default)]
pub struct Freed {
    /// Nothing is left of the inode.
    pub done: bool,
    /// Inodes that lost their last name: to be freed next.
    pub nameless: Vec<u64>,
}

impl Vfs {
    /// Takes the given files as they are now.
    pub fn begin_flush(&mut self, source: &dyn Source, inodes: &[u64]) -> Result<FlushPlan> {
        self.flushes += 1;
        let number = self.flushes;
        let mut files = Vec::with_capacity(inodes.len());
        for &inode in inodes {
            let Some(file) = self.files.get_mut(&inode).filter(|file| file.is_dirty()) else { continue };
            let record = view::inode(self.zone.tree(), source, inode)?;
            let planned = plan_file(self.zone.tree(), source, inode, file, &record)?;
            file.pages.values_mut().for_each(|page| page.flush = number);
            files.push(planned);
        }
        Ok(FlushPlan { files, number })
    }

    /// Puts flushed files into the index. `segments` are those that the blocks were sealed into.
    pub fn finish_flush(
        &mut self,
        source: &dyn Source,
        number: u32,
        segments: &[SegmentSummary],
        files: Vec<FlushedFile>,
    ) -> Result<()> {
        for summary in segments {
            self.changed = true;
            self.zone.add_segment(source, summary)?;
            self.log.append(&Op::Segment(*summary));
        }
        for flushed in files {
            self.finish_file(source, number, flushed)?;
        }
        Ok(())
    }

    fn finish_file(&mut self, source: &dyn Source, number: u32, flushed: FlushedFile) -> Result<()> {
        let FlushedFile { file: planned, sealed } = flushed;
        let inode = planned.inode;
        let current = self.files.get(&inode).is_some_and(|file| file.generation == planned.generation);
        if !current {
            for slot in sealed {
                self.zone.drop_reference(source, slot.block.block)?;
            }
            return Ok(());
        }
        let mut record = view::inode(self.zone.tree(), source, inode)?;
        self.clear_stored(source, inode, &mut record, &planned.masked)?;
        match &planned.inline {
            Some(content) => self.store_inline(source, inode, &mut record, content)?,
            None if !sealed.is_empty() => self.store_slots(source, inode, &mut record, &sealed)?,
            None => {}
        }
        record.size = planned.size;
        // A time set since the flush began is in the record already.
        let is_newest_time = self.files.get(&inode).is_some_and(|file| file.mtime.is_some());
        if let Some(mtime) = planned.mtime.filter(|_| is_newest_time) {
            record.mtime = mtime;
            record.ctime = record.ctime.max(mtime);
        }
        self.put_inode(source, inode, &record)?;
        self.settle(number, &planned, &sealed);
        Ok(())
    }

    /// Updates the dirty layer after its flushed part moved into the index.
    fn settle(&mut self, number: u32, planned: &FlushFile, sealed: &[SealedSlot]) {
        let next = self.zone.next_revision();
        let file = self.files.get_mut(&planned.inode).expect("its generation was compared");
        let mut freed = 0;
        let journaled = |file: &FileState, slot: u64| {
            file.pages.range(pages_of(slot)).filter(|(_, page)| page.flush == number).all(|(_, page)| page.journaled)
                && file.undurable_mask.is_empty()
                && (slot > 0 || file.recent_inline.is_none() && !planned.leaves_inline)
        };
        let unknown = sealed.iter().map(|sealed| sealed.slot).filter(|slot| !journaled(file, *slot));
        let recent: Vec<_> = unknown.map(|slot| (slot, next)).collect();
        if planned.inline.is_some() && !journaled(file, 0) {
            file.recent_inline = Some(next);
            file.undurable_mask.remove(0..1);
        }
        for (slot, _) in &recent {
            // What was gone is gone from the new block: once that is published, the journal must not clear it.
            file.undurable_mask.remove(slot * PAGES_PER_BLOCK as u64..(slot + 1) * PAGES_PER_BLOCK as u64);
        }
        file.recent_slots.extend(recent);
        file.mask_flushed.get_or_insert(next);
        file.pages.drop_if(0..u64::MAX, |page| {
            let done = page.flush == number;
            freed += if done { page.data.len() } else { 0 };
            done
        });
        file.fresh.keep_those_of(&file.pages);
        file.masked.clear();
        file.changed = file.size != planned.size || file.mtime.is_some() && file.mtime != planned.mtime;
        if file.mtime == planned.mtime {
            file.mtime = None;
        }
        // What the journal was told since the flush began may be all that is dirty. A rename goes on waiting: the
        // content is in the zone now, but durable only with the next commit.
        file.journaled &= file.is_dirty();
        if !file.is_dirty() {
            file.clean_at = Some(next);
            self.cleaning.push((next, planned.inode));
        }
        self.dirty_bytes -= freed;
    }

    /// Drops stored content that a mask hides. Partly hidden blocks were sealed anew.
    fn clear_stored(&mut self, source: &dyn Source, inode: u64, record: &mut Inode, masked: &Ranges) -> Result<()> {
        if masked.is_empty() || record.content == Content::None {
            return Ok(());
        }
        if record.content == Content::Inline {
            if masked.contains(0) {
                self.zone.remove(source, &Key::inline(inode))?;
                (record.content, record.stored) = (Content::None, 0);
            }
            return Ok(());
        }
        for range in masked.iter() {
            let first = range.start.div_ceil(PAGES_PER_BLOCK as u64);
            let end = range.end / PAGES_PER_BLOCK as u64;
            self.clear_slots(source, inode, record, first, end)?;
        }
        if record.stored == 0 {
            record.content = Content::None;
        }
        Ok(())
    }

    fn clear_slots(&mut self, source: &dyn Source, inode: u64, record: &mut Inode, first: u64, end: u64) -> Result<()> {
        let mut extents = Vec::new();
        view::for_extents(self.zone.tree(), source, inode, first, &mut |start, extent| {
            if start >= end {
                return std::ops::ControlFlow::Break(());
            }
            extents.push((start, extent));
            std::ops::ControlFlow::Continue(())
        })?;
        for (start, mut extent) in extents {
            for (i, slot) in extent.slots.iter_mut().enumerate() {
                let number = start + i as u64;
                if (first..end).contains(&number)
                    && let Some(old) = slot.take()
                {
                    self.zone.drop_reference(source, old.block)?;
                    record.stored = record.stored.saturating_sub(BLOCK_SIZE as u64);
                }
            }
            self.put_extent(source, inode, start, &extent)?;
        }
        Ok(())
    }

    pub(crate) fn put_extent(&mut self, source: &dyn Source, inode: u64, first: u64, extent: &Extent) -> Result<()> {
        self.changed = true;
        let key = Key::extent(inode, first);
        if extent.is_hole() {
            self.zone.remove(source, &key)?;
        } else {
            self.zone.put(source, &key, &extent.encode())?;
        }
        Ok(())
    }

    fn store_inline(&mut self, source: &dyn Source, inode: u64, record: &mut Inode, content: &[u8]) -> Result<()> {
        if record.content == Content::Extents {
            self.clear_slots(source, inode, record, 0, u64::MAX)?;
        }
        self.zone.put(source, &Key::inline(inode), content)?;
        (record.content, record.stored) = (Content::Inline, content.len() as u64);
        Ok(())
    }

    pub(crate) fn store_slots(
        &mut self,
        source: &dyn Source,
        inode: u64,
        record: &mut Inode,
        sealed: &[SealedSlot],
    ) -> Result<()> {
        if record.content != Content::Extents {
            self.zone.remove(source, &Key::inline(inode))?;
            (record.content, record.stored) = (Content::Extents, 0);
        }
        for group in sealed.chunk_by(|a, b| a.slot / EXTENT_BLOCKS as u64 == b.slot / EXTENT_BLOCKS as u64) {
            let mut extent = view::extent(self.zone.tree(), source, inode, group[0].slot)?;
            for sealed in group {
                let slot = &mut extent.slots[sealed.slot as usize % EXTENT_BLOCKS];
                match slot.replace(sealed.block) {
                    Some(old) => self.zone.drop_reference(source, old.block)?,
                    None => record.stored += BLOCK_SIZE as u64,
                }
            }
            self.put_extent(source, inode, group[0].slot, &extent)?;
        }
        Ok(())
    }

    /// Appends what makes a file's content durable to the log: its data record, and those of files that renames
    /// wait for. Returns the number that must be durable before fsync(2) answers.
    pub fn sync_file(&mut self, source: &dyn Source, inode: Option<u64>) -> Result<u64> {
        let ordered: Vec<u64> = std::mem::take(&mut self.ordered).into_iter().collect();
        for inode in ordered.into_iter().chain(inode) {
            self.append_data(source, inode)?;
        }
        Ok(self.log.last())
    }

    /// Bytes that [`Vfs::sync_file`] would put into the journal.
    pub fn sync_bytes(&self, inode: Option<u64>) -> usize {
        let of = |inode: &u64| self.files.get(inode).map_or(0, undurable_bytes);
        let ordered: usize = self.ordered.iter().filter(|ordered| Some(**ordered) != inode).map(of).sum();
        ordered + inode.as_ref().map_or(0, of)
    }

    /// The files whose content [`Vfs::sync_file`] would put into the journal.
    pub fn sync_files(&self, inode: Option<u64>) -> Vec<u64> {
        self.ordered.iter().copied().filter(|ordered| Some(*ordered) != inode).chain(inode).collect()
    }

    pub(crate) fn append_data(&mut self, source: &dyn Source, inode: u64) -> Result<()> {
        let Some(file) = self.files.get(&inode) else { return Ok(()) };
        if !file.undurable || self.is_orphan(inode) {
            return Ok(());
        }
        let mut data = Data { inode, size: file.size, mtime: file.mtime, ..Data::default() };
        data.clear = file.undurable_mask.iter().map(|range| (range.start, range.end)).collect();
        let mut recent: Vec<u64> = file.recent_slots.iter().map(|(slot, _)| *slot).collect();
        recent.sort_unstable();
        recent.dedup();
        for slot in &recent {
            let pages = pages_of(*slot);
            let gone = |page: &u64| !file.shows_zone(*page) && !file.pages.contains(*page);
            let stored = match pages.clone().all(|page| !file.shows_zone(page)) {
                true => None,
                false => view::slot(self.zone.tree(), source, inode, *slot)?,
            };
            data.slots.push(SlotRecord {
                slot: *slot,
                block: stored.map(|slot| slot.block),
                compression: stored.map_or(0, |slot| slot.compression as u8),
            });
            // The block still has what was cut off or punched since it was sealed.
            data.pages.extend(pages.filter(|page| stored.is_some() && gone(page)).map(|page| (page, Vec::new())));
        }
        if file.recent_inline.is_some() && file.shows_zone(0) && !file.pages.contains(0) {
            // Where there is none any more, it is in a recent slot.
            let content = view::inline(self.zone.tree(), source, inode)?;
            data.pages.extend(content.map(|content| (0, content)));
        }
        let mut fresh = file.fresh.clone();
        fresh.extend(recent.iter().flat_map(|slot| file.pages.range(pages_of(*slot)).map(|(number, _)| number)));
        let told = fresh.iter().filter_map(|number| Some((number, file.pages.get(number)?.data.to_vec())));
        data.pages.extend(told);
        if data.mtime.is_none() {
            data.mtime = Some(view::inode(self.zone.tree(), source, inode)?.mtime);
        }
        self.log_names_blocks |= !data.slots.is_empty();
        self.log.append(&Op::Data(data));
        let file = self.files.get_mut(&inode).expect("looked up above");
        for number in fresh.iter() {
            if let Some(page) = file.pages.get_mut(number) {
                page.journaled = true;
            }
        }
        file.fresh.clear();
        file.undurable_mask.clear();
        file.recent_slots.clear();
        file.recent_inline = None;
        (file.undurable, file.ordered) = (false, false);
        file.journaled = file.is_dirty();
        Ok(())
    }

    /// One step of freeing an inode without a name: its content, attributes and record. Large files take several
    /// steps, and so do directories that made way for another zone, whose entries lose their names here.
    pub fn free(&mut self, source: &dyn Source, inode: u64) -> Result<Freed> {
        const SLOTS_AT_ONCE: u64 = 64 * EXTENT_BLOCKS as u64;
        self.forget_content(inode);
        let mut record = view::inode(self.zone.tree(), source, inode)?;
        if record.entries > 0 {
            return Ok(Freed { done: false, nameless: self.empty(source, inode)? });
        }
        match record.content {
            Content::None => {}
            Content::Inline => {
                self.zone.remove(source, &Key::inline(inode))?;
            }
            Content::Extents => {
                if let Some(first) = view::next_stored_slot(self.zone.tree(), source, inode, 0)? {
                    self.clear_slots(source, inode, &mut record, first, first + SLOTS_AT_ONCE)?;
                    self.put_inode(source, inode, &record)?;
                    if record.stored > 0 {
                        return Ok(Freed::default());
                    }
                }
            }
        }
        if record.has_attributes {
            for name in view::attribute_names(self.zone.tree(), source, inode)? {
                self.zone.remove(source, &Key::attribute(inode, &name))?;
            }
        }
        if record.is_entrance {
            self.zone.remove(source, &Key::entrance(inode))?;
            self.entrances.remove(&inode);
        }
        self.zone.remove(source, &Key::inode(inode))?;
        if self.orphans.remove(&inode) == Some(true) {
            self.zone.remove(source, &Key::orphan(inode))?;
        }
        self.record.inodes = self.record.inodes.saturating_sub(1);
        (self.record_changed, self.changed) = (true, true);
        Ok(Freed { done: true, nameless: Vec::new() })
    }

    /// Takes over the orphans that an earlier mount left, which nobody uses any more.
    pub fn adopt_orphans(&mut self, source: &dyn Source) -> Result<Vec<u64>> {
        let mut found = Vec::new();
        self.zone.tree().scan(source, Key::orphan(0).as_bytes(), &mut |key, _| match parse_key(key) {
            Ok(KeyKind::Orphan(inode)) => {
                found.push(inode);
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(()),
        })?;
        self.orphans.extend(found.iter().map(|inode| (*inode, true)));
        Ok(found)
    }

    /// Drops the dirty layer of a file that is gone.
    fn forget_content(&mut self, inode: u64) {
        if let Some(file) = self.files.remove(&inode) {
            self.dirty_bytes -= file.pages.values().map(|page| page.data.len()).sum::<usize>();
            self.ordered.remove(&inode);
        }
    }
}

fn undurable_bytes(file: &FileState) -> usize {
    if !file.undurable {
        return 0;
    }
    file.fresh.len() * (PAGE_SIZE + 16)
}

/// The pages of a slot.
fn pages_of(slot: u64) -> Range<u64> {
    slot * PAGES_PER_BLOCK as u64..(slot + 1) * PAGES_PER_BLOCK as u64
}

fn plan_file(
    tree: &bt_tree::index::Tree,
    source: &dyn Source,
    inode: u64,
    file: &FileState,
    record: &Inode,
) -> Result<FlushFile> {
    let mut planned = FlushFile {
        inode,
        jobs: Vec::new(),
        size: file.size,
        mtime: file.mtime,
        masked: file.masked.clone(),
        generation: file.generation,
        inline: None,
        leaves_inline: false,
    };
    let shown_inline = record.content == Content::Inline && file.shows_zone(0);
    let touches_first = file.pages.contains(0);
    let fits = file.size <= INLINE_SIZE as u64;
    if fits && (touches_first || shown_inline) {
        let mut content = match file.pages.get(0) {
            Some(page) => page.data.to_vec(),
            None => view::inline(tree, source, inode)?.unwrap_or_default(),
        };
        content.resize(file.size as usize, 0);
        planned.inline = (!content.is_empty()).then_some(content);
        if planned.inline.is_none() {
            planned.masked.add(0..1);
        }
        return Ok(planned);
    }
    planned.leaves_inline = shown_inline;
    for slot in slots_to_seal(file, shown_inline) {
        planned.jobs.extend(plan_slot(tree, source, inode, file, record, slot)?);
    }
    Ok(planned)
}

/// Slots with a dirty page, at an end of the mask, or with content that must leave the inline record.
fn slots_to_seal(file: &FileState, shown_inline: bool) -> Vec<u64> {
    let per_block = PAGES_PER_BLOCK as u64;
    let mut slots: Vec<u64> = file.pages.slots().collect();
    for range in file.masked.iter() {
        slots.extend((range.start % per_block != 0).then(|| slot_of(range.start)));
        slots.extend((range.end % per_block != 0).then(|| slot_of(range.end)));
    }
    slots.extend(shown_inline.then_some(0));
    slots.sort_unstable();
    slots.dedup();
    slots
}

fn plan_slot(
    tree: &bt_tree::index::Tree,
    source: &dyn Source,
    inode: u64,
    file: &FileState,
    record: &Inode,
    slot: u64,
) -> Result<Option<SlotJob>> {
    let start = slot * BLOCK_SIZE as u64;
    let len = file.size.saturating_sub(start).min(BLOCK_SIZE as u64) as usize;
    if len == 0 {
        return Ok(None);
    }
    let inline = match record.content {
        Content::Inline if slot == 0 && file.shows_zone(0) => view::inline(tree, source, inode)?,
        _ => None,
    };
    let covered = pages_of(slot).take(len.div_ceil(PAGE_SIZE)).all(|number| file.pages.contains(number));
    let old = match record.content {
        Content::Extents if !covered => view::slot(tree, source, inode, slot)?,
        _ => None,
    };
    let pages = std::array::from_fn(|i| {
        let number = slot * PAGES_PER_BLOCK as u64 + i as u64;
        match file.pages.get(number) {
            Some(page) => PageSource::Dirty(page.data.clone()),
            None if i == 0 && inline.is_some() => PageSource::Dirty(Bytes::from(inline.as_deref().unwrap_or_default())),
            None if old.is_some() && file.shows_zone(number) && i * PAGE_SIZE < len => PageSource::Old,
            None => PageSource::Zero,
        }
    });
    let stored = old.is_some() || pages.iter().any(|page| matches!(page, PageSource::Dirty(_)));
    Ok(stored.then_some(SlotJob { slot, len, pages, old }))
}

impl FlushPlan {
    /// The number to give to [`Vfs::finish_flush`].
    pub fn number(&self) -> u32 {
        self.number
    }
}
