//! Recovery: applying journal records above the newest head.

use std::collections::{BTreeMap, BTreeSet};

use bt_base::SegmentId;
use bt_tree::block::BlockRef;
use bt_tree::head::SegmentSummary;
use bt_tree::schema::{Compression, Death, Slot};
use bt_tree::zone::ZoneError;

use crate::error::{Refusal, Result, VfsError};
use crate::flush::SealedSlot;
use crate::op::{Data, Op, SlotRecord};
use crate::vfs::Vfs;
use crate::view::{self, Source};

/// What recovery learns while it applies records.
#[derive(Default)]
pub struct Replay {
    /// Segments that the records announce.
    announced: BTreeMap<SegmentId, SegmentSummary>,
    /// Announced segments with a block in use, and which.
    used: BTreeMap<SegmentId, BTreeSet<u32>>,
    /// Inodes that lost their last name.
    nameless: Vec<u64>,
}

/// Gives index and plaintext length of each block of a segment in the store.
pub type BlocksOf<'a> = dyn Fn(&SegmentId) -> std::result::Result<Vec<(u32, u32)>, ZoneError> + 'a;

impl Vfs {
    /// Applies one record. Records must come in order, from the first above the head's number.
    pub fn replay(&mut self, source: &dyn Source, replay: &mut Replay, number: u64, op: Op) -> Result<()> {
        self.log.skip_to(number);
        self.changed = true;
        match op {
            Op::Make { directory, name, inode } => {
                if view::inode(self.zone.tree(), source, inode.inode).is_ok() {
                    return Err(contradiction(format!("inode {} is made, but exists", inode.inode)));
                }
                if directory != 0 {
                    self.expect_no_name(source, directory, &name)?;
                }
                self.apply_make(source, directory, &name, &inode)?;
            }
            Op::Link { inode, directory, name, time } => {
                self.expect_no_name(source, directory, &name)?;
                if view::is_directory(view::inode(self.zone.tree(), source, inode)?.mode) {
                    return Err(contradiction(format!("directory {inode} gets a second name")));
                }
                self.apply_link(source, inode, directory, &name, time)?;
            }
            Op::Unlink { directory, name, time } => {
                let found = self.expect_name(source, directory, &name)?;
                replay.nameless.extend(self.apply_unlink(source, directory, &name, &found, time)?);
            }
            Op::Rename { from, name, to, new_name, exchange, time } => {
                let old = self.expect_name(source, from, &name)?;
                view::directory(self.zone.tree(), source, to)?;
                let new = view::name(self.zone.tree(), source, to, &new_name)?;
                let new = new.as_ref();
                if exchange && new.is_none() {
                    return Err(contradiction(format!("{:?} is exchanged with nothing", name.escape_ascii())));
                }
                let lost = self.apply_rename(source, (from, &name, &old), (to, &new_name, new), exchange, time)?;
                replay.nameless.extend(lost);
            }
            Op::Change { inode, change } => self.apply_change(source, inode, &change)?,
            Op::Attribute { inode, name, value, time } => {
                self.apply_attribute(source, inode, &name, value.as_deref(), time)?;
            }
            Op::Segment(summary) => {
                replay.announced.insert(summary.id, summary);
            }
            Op::Data(data) => self.replay_data(source, replay, data)?,
            Op::Share(data) => self.replay_share(source, replay, data)?,
            Op::Enter { directory, name, placeholder, zone } => {
                let found = self.expect_name(source, directory, &name)?;
                if view::inode(self.zone.tree(), source, placeholder.inode).is_ok() {
                    return Err(contradiction(format!("inode {} is made, but exists", placeholder.inode)));
                }
                let lost = self.apply_enter(source, directory, &name, &found, &placeholder, &zone)?;
                replay.nameless.extend(lost);
            }
        }
        Ok(())
    }

    fn expect_name(&self, source: &dyn Source, directory: u64, name: &[u8]) -> Result<bt_tree::schema::Name> {
        let found = view::name(self.zone.tree(), source, directory, name)?;
        found.ok_or_else(|| missing(format!("the name {:?} that a journal record removes", name.escape_ascii())))
    }

    fn expect_no_name(&self, source: &dyn Source, directory: u64, name: &[u8]) -> Result<()> {
        view::directory(self.zone.tree(), source, directory)?;
        match view::name(self.zone.tree(), source, directory, name)? {
            None => Ok(()),
            Some(_) => Err(contradiction(format!("the name {:?} is given, but exists", name.escape_ascii()))),
        }
    }

    fn replay_data(&mut self, source: &dyn Source, replay: &mut Replay, data: Data) -> Result<()> {
        match view::inode(self.zone.tree(), source, data.inode) {
            Err(VfsError::Refused(Refusal::Stale)) => return Ok(()),
            other => other?,
        };
        let inode = data.inode;
        let file = self.file_mut(source, inode)?;
        let mut shrunk = 0;
        for (start, end) in data.clear {
            shrunk += file.clear_pages(start..end);
        }
        self.dirty_bytes = self.dirty_bytes.strict_add_signed(-shrunk);
        self.replay_slots(source, replay, inode, &data.slots)?;
        for (number, bytes) in data.pages {
            let grown = self.file_mut(source, inode)?.put_page(number, bytes.into());
            self.dirty_bytes = self.dirty_bytes.strict_add_signed(grown);
        }
        let file = self.file_mut(source, inode)?;
        file.size = data.size;
        file.mtime = data.mtime;
        (file.changed, file.undurable, file.journaled, file.clean_at) = (true, true, true, None);
        Ok(())
    }

    /// Puts blocks of announced segments into a file, over whatever pages it has there.
    fn replay_slots(
        &mut self,
        source: &dyn Source,
        replay: &mut Replay,
        inode: u64,
        slots: &[SlotRecord],
    ) -> Result<()> {
        let per_block = bt_base::limits::PAGES_PER_BLOCK as u64;
        let mut sealed = Vec::new();
        for slot in slots {
            let pages = slot.slot * per_block..(slot.slot + 1) * per_block;
            let file = self.file_mut(source, inode)?;
            let shrunk = file.clear_pages(pages.clone());
            let Some(block) = slot.block else {
                self.dirty_bytes = self.dirty_bytes.strict_add_signed(-shrunk);
                continue;
            };
            file.masked.remove(pages);
            self.dirty_bytes = self.dirty_bytes.strict_add_signed(-shrunk);
            let now = view::slot(self.zone.tree(), source, inode, slot.slot)?;
            if now.is_some_and(|now| (now.block.segment, now.block.index) == (block.segment, block.index)) {
                continue;
            }
            let block = self.take_block(source, replay, block)?;
            let compression = Compression::from_code(slot.compression).ok_or(Refusal::Invalid)?;
            sealed.push(SealedSlot { slot: slot.slot, block: Slot { block, compression } });
        }
        if !sealed.is_empty() {
            let mut record = view::inode(self.zone.tree(), source, inode)?;
            self.store_slots(source, inode, &mut record, &sealed)?;
            self.put_inode(source, inode, &record)?;
        }
        Ok(())
    }

    /// A reference to a block: the first to a block of an announced segment, one more to any other.
    fn take_block(&mut self, source: &dyn Source, replay: &mut Replay, block: BlockRef) -> Result<BlockRef> {
        if let Some(summary) = replay.announced.get(&block.segment) {
            if !replay.used.contains_key(&block.segment) {
                if self.zone.account(source, &block.segment)?.is_some() {
                    return Err(contradiction(format!("segment {} is announced, but exists", block.segment)));
                }
                self.zone.add_segment(source, summary)?;
            }
            if replay.used.entry(block.segment).or_default().insert(block.index) {
                return Ok(BlockRef { birth: self.zone.next_revision(), ..block });
            }
        }
        if self.zone.account(source, &block.segment)?.is_none_or(|account| !account.is_live(block.index)) {
            return Err(missing(format!("block {} of segment {}", block.index, block.segment)));
        }
        Ok(self.zone.share(source, block)?)
    }

    fn replay_share(&mut self, source: &dyn Source, replay: &mut Replay, data: Data) -> Result<()> {
        self.apply_share(source, &data, &mut |vfs, block| vfs.take_block(source, replay, block))
    }

    /// After the last record: frees what has no name, and gives back blocks of announced segments that nobody
    /// uses. `blocks_of` gives index and plaintext length of each block of a segment in the store. Returns the
    /// announced segments that are in use, for the next head to list.
    pub fn finish_replay(
        &mut self,
        source: &dyn Source,
        replay: Replay,
        blocks_of: &BlocksOf<'_>,
    ) -> Result<Vec<SegmentSummary>> {
        let Replay { announced, used, nameless } = replay;
        let recovered = used.keys().map(|segment| announced[segment]).collect();
        for (segment, used) in used {
            for (index, len) in blocks_of(&segment)? {
                if !used.contains(&index) {
                    let birth = self.zone.next_revision();
                    self.zone.drop_death(source, Death { segment, index, len, birth })?;
                }
            }
        }
        // Those that the head's index has a record of are left to be freed in the background.
        let made = self.orphans.iter().filter(|(_, recorded)| !**recorded).map(|(inode, _)| *inode);
        let nameless: Vec<u64> = made.chain(nameless).collect();
        for inode in nameless {
            // What made way for another zone is freed in the background, with all that is below it.
            if self.orphans.contains_key(&inode) && view::inode(self.zone.tree(), source, inode)?.entries == 0 {
                while !self.free(source, inode)?.done {}
            }
        }
        Ok(recovered)
    }
}

/// A record that does not follow from the state that the records before it made.
fn contradiction(why: String) -> VfsError {
    bt_base::codec::DecodeError::malformed("journal record", why).into()
}

fn missing(what: String) -> VfsError {
    VfsError::Zone(ZoneError::Missing { what })
}
