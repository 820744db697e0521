//! Giving space back: dropping segments, and moving the live blocks of poor ones.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bt_base::SegmentId;

use super::Containers;
use super::locations::Location;
use super::read::no_segment;
use super::scan::{Found, container_numbers, scan_container};
use super::segment::{BlockPlace, MAGIC, SegmentHeader, placed_bytes};
use crate::error::{Result, StoreError};
use crate::storage::{AlignedBuffer, StorageFile, WriteMode};

/// What compacting a segment did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compaction {
    /// Live blocks that moved.
    pub blocks: u32,
    /// Bytes that the copy takes.
    pub copied_bytes: u64,
    /// Bytes that the segment took before.
    pub freed_bytes: u64,
}

/// What [`Containers::sweep`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Segments that the location map did not know, and knows now.
    pub adopted: u64,
    /// Bytes that old copies of moved segments took, and that are free now.
    pub freed_bytes: u64,
}

impl Containers {
    /// Gives the space of a segment back at once; when this was the last segment of a full container, its file goes.
    ///
    /// Call it only when nothing durable needs the segment any more. A crash may bring it back, whole or not: drop
    /// at each start what no head knows.
    pub fn drop_segment(&self, id: &SegmentId) -> Result<()> {
        let _maintenance = self.maintenance.lock().expect("no panic under this lock");
        let location = {
            let mut placement = self.placement.lock().expect("no panic under this lock");
            let mut map = self.map.write().expect("no panic under this lock");
            let location = map.remove(id).ok_or_else(|| no_segment(id))?;
            placement.note_dropped(*id);
            location
        };
        self.give_up_place(location)
    }

    /// Copies the blocks for which `live` is true to the current container, their bytes unchanged, makes the copy
    /// durable, reads it back, and only then gives the old place up. A segment without live blocks is dropped; one
    /// with live blocks only is moved all the same.
    ///
    /// Blocks keep their names, and can be read at any moment. A crash leaves the old place or the new one.
    pub fn compact_segment(&self, id: &SegmentId, live: &dyn Fn(u32) -> bool) -> Result<Compaction> {
        self.check_writable()?;
        // Reading may find the segment elsewhere than the map said; if it moves after this, nothing is done below.
        self.blocks(id)?;
        let from = self.locate(id).ok_or_else(|| no_segment(id))?;
        let (blocks, bytes) = self.read_segment(id)?;
        let kept: Vec<BlockPlace> = blocks.iter().filter(|block| live(block.index)).copied().collect();
        let freed_bytes = placed_bytes(from.total);
        if kept.is_empty() {
            self.drop_segment(id)?;
            return Ok(Compaction { blocks: 0, copied_bytes: 0, freed_bytes });
        }
        let generation = from.generation.checked_add(1).ok_or_else(|| {
            StoreError::refused(&self.home.containers(), format!("segment {id} was moved 65535 times already"))
        })?;
        let lengths = kept.iter().map(|block| (block.index, block.len));
        let header = SegmentHeader::new((*id, from.zone, from.epoch, generation), lengths);
        let copy = gather(&blocks, &kept, &bytes);

        let _maintenance = self.maintenance.lock().expect("no panic under this lock");
        let to = self.place(&header, &[&copy])?;
        self.sync()?;
        if let Err(error) = self.verify_copy(&header, &copy, to) {
            self.unreserve(to.container);
            self.give_up_place(to)?;
            return Err(error);
        }
        if !self.enter_moved(*id, from, to) {
            // The segment was dropped or moved meanwhile.
            self.give_up_place(to)?;
            return Ok(Compaction::default());
        }
        self.give_up_copied_place(from)?;
        Ok(Compaction { blocks: kept.len() as u32, copied_bytes: placed_bytes(to.total), freed_bytes })
    }

    /// Finds what crashes left behind in full containers: old copies of segments that were being moved, whose space it
    /// gives back, and dropped segments that came back, which it makes known, so that they can be dropped again.
    ///
    /// It reads every header: run it in the background, seldom.
    pub fn sweep(&self) -> Result<Sweep> {
        self.check_writable()?;
        let mut sweep = Sweep::default();
        for number in container_numbers(&self.home)? {
            let _maintenance = self.maintenance.lock().expect("no panic under this lock");
            if !self.placement.lock().expect("no panic under this lock").is_closed(number) {
                continue;
            }
            let mut found = Found::default();
            scan_container(&self.home.open_container(number)?, number, 0, &mut found)?;
            for (id, location) in found.segments {
                self.sweep_place(&id, location, &mut sweep)?;
            }
        }
        Ok(sweep)
    }

    fn sweep_place(&self, id: &SegmentId, location: Location, sweep: &mut Sweep) -> Result<()> {
        match self.locate(id) {
            Some(known) if known == location => {}
            Some(known) if self.open_segment(id, known).is_ok() => {
                self.give_up_copied_place(location)?;
                sweep.freed_bytes += placed_bytes(location.total);
            }
            _ => {
                self.adopt(&[(*id, location)]);
                sweep.adopted += 1;
            }
        }
        Ok(())
    }

    /// Reads every header of every container, and returns an error for each that is damaged and for each segment of
    /// the location map that is not where it says. Blocks are not verified: their hashes are not known here.
    pub fn check(&self) -> Result<Vec<StoreError>> {
        let mut found = Found::default();
        for number in container_numbers(&self.home)? {
            scan_container(&self.home.open_container(number)?, number, 0, &mut found)?;
        }
        let mut errors = found.damaged;
        for info in self.segments() {
            match self.blocks(&info.id) {
                Err(error) if self.contains(&info.id) => errors.push(error),
                _ => errors.extend(self.check_length(&info.id)?),
            }
        }
        Ok(errors)
    }

    /// A segment that its container's file ends within.
    fn check_length(&self, id: &SegmentId) -> Result<Option<StoreError>> {
        let Some(location) = self.locate(id) else { return Ok(None) };
        let file = self.file(location.container)?;
        let (len, end) = (file.len()?, u64::from(location.offset) + u64::from(location.total));
        let what = || format!("the file ends within segment {id}, which ends at {end}");
        Ok((len < end).then(|| StoreError::damaged(what(), file.name(), len)))
    }

    /// Reads a copy back from the disk, past the cache where that can be done.
    fn verify_copy(&self, header: &SegmentHeader, copy: &[u8], place: Location) -> Result<()> {
        let name = self.home.container(place.container);
        let file = match self.home.storage.open_with(&name, false, WriteMode::Direct) {
            Err(StoreError::Refused { .. }) => self.home.storage.open(&name, false)?,
            opened => opened?,
        };
        let mut back = AlignedBuffer::zeroed(placed_bytes(place.total) as usize);
        let read = file.read_at(&mut back, place.offset.into())?;
        let expected = header.encode();
        let (head, rest) = back[..read].split_at(expected.len().min(read));
        if head == expected && rest.starts_with(copy) {
            return Ok(());
        }
        let what = format!("the copy of segment {} is not what was written; the old one stays", header.id);
        Err(StoreError::damaged(what, &name, place.offset.into()))
    }

    /// Gives a place up whose header would still be good after a crash: the header goes first, durably, so that a
    /// copy with a good header is always whole.
    fn give_up_copied_place(&self, place: Location) -> Result<()> {
        self.moves.fetch_add(1, Ordering::SeqCst);
        let file = self.file(place.container)?;
        // No more than the first bytes: they lie in one sector, so the header goes without taking a byte of a block.
        file.write_at(&[0; MAGIC.len()], place.offset.into())?;
        file.sync_data().map_err(|error| self.fail(error))?;
        self.give_up_place(place)
    }

    /// Punches a place that is not in the map, and removes its container if nothing is left in it.
    pub(super) fn give_up_place(&self, place: Location) -> Result<()> {
        self.moves.fetch_add(1, Ordering::SeqCst);
        self.tables.remove(&(place.container, place.offset));
        if self.remove_if_empty(place.container)? {
            return Ok(());
        }
        let file: Arc<dyn StorageFile> = self.file(place.container)?;
        file.punch(place.offset.into(), placed_bytes(place.total))
    }

    /// Removes the file of a container in which nothing is left and nothing is written; returns whether it is gone.
    pub(super) fn remove_if_empty(&self, number: u32) -> Result<bool> {
        {
            let mut placement = self.placement.lock().expect("no panic under this lock");
            let mut map = self.map.write().expect("no panic under this lock");
            if map.container(number).segments > 0 || !placement.can_remove(number) {
                return Ok(false);
            }
            map.remove_container(number);
            placement.note_removed(number);
        }
        self.files.remove(&number);
        match self.home.storage.remove(&self.home.container(number)) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(true),
        }
    }
}

/// The bytes of the blocks in `kept`, back to back.
fn gather(blocks: &[BlockPlace], kept: &[BlockPlace], bytes: &[u8]) -> Vec<u8> {
    let start = blocks.first().map_or(0, |block| block.offset);
    let mut copy = Vec::with_capacity(kept.iter().map(|block| block.len as usize).sum());
    for block in kept {
        let at = (block.offset - start) as usize;
        copy.extend_from_slice(&bytes[at..at + block.len as usize]);
    }
    copy
}
