//! Placing segments, and making them durable.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bt_base::SegmentId;

use super::locations::{Entry, Location, LocationFile, LocationMap};
use super::scan::LAST_CONTAINER;
use super::segment::{SegmentHeader, SegmentWrite, placed_bytes};
use super::{Containers, Home};
use crate::error::{Result, StoreError};
use crate::limits::{ALIGNMENT, DIRECT_WRITE_BYTES};
use crate::storage::{StorageFile, WriteMode};

/// Where the next segment goes, and what the next sync has to do.
#[derive(Debug, Default)]
pub(super) struct Placement {
    current: Option<Current>,
    /// The highest number of a container so far.
    last_number: u32,
    /// Containers with places that are reserved and not in the map yet, and how many.
    reserved: HashMap<u32, usize>,
    /// Containers that were written since the last sync.
    dirty: HashMap<u32, Arc<dyn StorageFile>>,
    /// A container was made or removed since the last sync.
    directory_changed: bool,
    /// Containers that were filled since the last sync: they go then if nothing in them is left.
    filled: Vec<u32>,
    /// Containers with damaged headers: they are never removed, since something may be saved from them.
    suspect: HashSet<u32>,
    /// Entries for the location map's file.
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Current {
    number: u32,
    files: WriteFiles,
    end: u64,
}

/// The two ways to write a container.
#[derive(Clone, Debug)]
struct WriteFiles {
    buffered: Arc<dyn StorageFile>,
    /// Past the page cache, where the file system can do that.
    direct: Option<Arc<dyn StorageFile>>,
}

/// A place that belongs to one writer.
struct Reserved {
    number: u32,
    offset: u32,
    files: WriteFiles,
}

impl Placement {
    /// Placement goes on in the newest container of `map`, if it has room.
    pub(super) fn after(map: &LocationMap, suspect: HashSet<u32>) -> Self {
        let last_number = map.containers().map(|(number, _)| number).max().unwrap_or(0);
        Self { last_number, suspect, ..Self::default() }
    }

    /// Whether no place in this container is being written, nor can be from now on.
    pub(super) fn is_closed(&self, number: u32) -> bool {
        number != self.last_number && !self.reserved.contains_key(&number)
    }

    /// Whether a container without segments can be removed: nothing is written to it any more.
    pub(super) fn can_remove(&self, number: u32) -> bool {
        !self.reserved.contains_key(&number)
            && !self.suspect.contains(&number)
            && self.current.as_ref().is_none_or(|current| current.number != number)
    }

    /// Remembers for the next sync that a segment was dropped.
    pub(super) fn note_dropped(&mut self, id: SegmentId) {
        self.entries.push(Entry::Dropped(id));
    }

    /// Remembers for the next sync that a container was removed.
    pub(super) fn note_removed(&mut self, number: u32) {
        self.dirty.remove(&number);
        self.directory_changed = true;
    }
}

impl Containers {
    /// Places a segment. It can be read at once, and is durable after [`Containers::sync`].
    ///
    /// A segment that is there already is left alone if it has the same bytes, else refused. After an error nothing
    /// of the segment can be read; after a failed sync all further writes are refused, since what the disk holds is
    /// unknown then.
    pub fn write_segment(&self, write: SegmentWrite<'_>) -> Result<()> {
        let header = write.header().map_err(|why| StoreError::refused(&self.home.containers(), why))?;
        self.check_writable()?;
        if self.contains(&write.id) {
            return self.require_same(&write, &header);
        }
        let location = self.place(&header, &[write.bytes])?;
        if self.enter_new(write.id, location) {
            return Ok(());
        }
        // Another thread wrote the same segment meanwhile.
        self.give_up_place(location)?;
        self.require_same(&write, &header)
    }

    /// Makes everything that was written so far durable, with the names of new containers.
    ///
    /// The file of the location map is written and not waited for: what a crash takes of it is found again by
    /// scanning, so it costs no sync. A failure is final: see [`Containers::write_segment`].
    pub fn sync(&self) -> Result<()> {
        self.check_writable()?;
        // Taken before the placement's lock, so that entries reach the file in their order.
        let mut log = self.log.lock().expect("no panic under this lock");
        for number in self.take_filled() {
            self.remove_if_empty(number)?;
        }
        let (dirty, directory_changed, entries) = {
            let mut placement = self.placement.lock().expect("no panic under this lock");
            let dirty = std::mem::take(&mut placement.dirty);
            let directory_changed = std::mem::take(&mut placement.directory_changed);
            (dirty, directory_changed, std::mem::take(&mut placement.entries))
        };
        for file in dirty.values() {
            file.sync_data().map_err(|error| self.fail(error))?;
        }
        if directory_changed {
            self.home.storage.sync_dir(&self.home.containers()).map_err(|error| self.fail(error))?;
        }
        self.record(&mut log, &entries);
        Ok(())
    }

    fn take_filled(&self) -> Vec<u32> {
        std::mem::take(&mut self.placement.lock().expect("no panic under this lock").filled)
    }

    /// Writes entries to the file of the location map; where that fails, it is written anew at the next sync.
    fn record(&self, log: &mut Option<LocationFile>, entries: &[Entry]) {
        let appended = log.as_mut().map_or(Ok(()), |log| log.append(entries));
        if let Err(error) = appended {
            tracing::warn!(%error, "the location map could not be written; it is written anew at the next sync");
            *log = None;
            return;
        }
        let map = self.map.read().expect("no panic under this lock");
        if log.as_ref().is_none_or(|log| log.wants_rewrite(&map)) {
            match LocationFile::rewrite(&self.home, &map) {
                Ok(new) => *log = Some(new),
                Err(error) => tracing::warn!(%error, "the location map could not be written anew; the next sync tries"),
            }
        }
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        self.failure.get().cloned().map_or(Ok(()), Err)
    }

    pub(super) fn fail(&self, error: StoreError) -> StoreError {
        tracing::error!(%error, "containers take no more writes");
        self.failure.get_or_init(|| error).clone()
    }

    /// Writes a segment to a new place, which is not in the map yet and stays reserved until [`Containers::enter_new`].
    pub(super) fn place(&self, header: &SegmentHeader, blocks: &[&[u8]]) -> Result<Location> {
        let place = self.reserve(placed_bytes(header.total()))?;
        let location = Location::of(header, place.number, place.offset);
        match place.files.write(u64::from(place.offset), header, blocks) {
            Ok(()) => {
                let mut placement = self.placement.lock().expect("no panic under this lock");
                placement.dirty.insert(place.number, place.files.buffered);
                Ok(location)
            }
            Err(error) => {
                // Whatever reached the disk must not pass for a segment, and need not stay.
                if let Err(error) = place.files.buffered.punch(location.offset.into(), placed_bytes(location.total)) {
                    tracing::warn!(%error, "a segment that could not be written leaves its space used");
                }
                self.unreserve(place.number);
                Err(error)
            }
        }
    }

    fn reserve(&self, bytes: u64) -> Result<Reserved> {
        let mut placement = self.placement.lock().expect("no panic under this lock");
        let has_room = |current: &Current| current.end + bytes <= self.container_bytes;
        if !placement.current.as_ref().is_some_and(has_room) {
            self.next_container(&mut placement, bytes)?;
        }
        let current = placement.current.as_mut().expect("one was just opened");
        let (number, files) = (current.number, current.files.clone());
        let offset = u32::try_from(current.end).expect("a container is small");
        current.end += bytes;
        *placement.reserved.entry(number).or_default() += 1;
        Ok(Reserved { number, offset, files })
    }

    /// Goes on in the newest container after a start, if it has room, else makes one.
    fn next_container(&self, placement: &mut Placement, bytes: u64) -> Result<()> {
        let last = placement.last_number;
        // Opening made the map know all of each file, so this is the end of the file too.
        let end = self.map.read().expect("no panic under this lock").container(last).end;
        if placement.current.is_none() && end > 0 && end + bytes <= self.container_bytes {
            let files = WriteFiles::open(&self.home, last)?;
            placement.current = Some(Current { number: last, files, end });
            return Ok(());
        }
        let number = last
            .checked_add(1)
            .filter(|number| *number <= LAST_CONTAINER)
            .ok_or_else(|| StoreError::refused(&self.home.containers(), "all container numbers are used"))?;
        let files = WriteFiles::open(&self.home, number)?;
        placement.directory_changed = true;
        placement.last_number = number;
        placement.filled.extend(placement.current.as_ref().map(|current| current.number));
        placement.current = Some(Current { number, files, end: 0 });
        Ok(())
    }

    /// Ends the reservation of a place that is not used after all.
    pub(super) fn unreserve(&self, number: u32) {
        self.placement.lock().expect("no panic under this lock").unreserve(number);
    }

    /// Makes a placed segment known, unless one of its id is; returns whether it was entered.
    fn enter_new(&self, id: SegmentId, location: Location) -> bool {
        let mut placement = self.placement.lock().expect("no panic under this lock");
        let mut map = self.map.write().expect("no panic under this lock");
        placement.unreserve(location.container);
        match map.get(&id) {
            // A search for lost segments may have met it already.
            Some(known) if known == location => {}
            Some(_) => return false,
            None => drop(map.insert(id, location)),
        }
        placement.entries.push(Entry::Placed(id, location));
        true
    }

    /// Moves a segment to a placed copy, if it still is where the copy was made from; returns whether it moved.
    pub(super) fn enter_moved(&self, id: SegmentId, from: Location, to: Location) -> bool {
        let mut placement = self.placement.lock().expect("no panic under this lock");
        let mut map = self.map.write().expect("no panic under this lock");
        placement.unreserve(to.container);
        if map.get(&id) != Some(from) {
            return false;
        }
        map.insert(id, to);
        placement.entries.push(Entry::Placed(id, to));
        true
    }

    /// Compares a segment that is to be written with the one of its id that is there.
    fn require_same(&self, write: &SegmentWrite<'_>, header: &SegmentHeader) -> Result<()> {
        let (known, bytes) = self.read_segment(&write.id)?;
        if known == header.blocks && bytes == write.bytes {
            return Ok(());
        }
        let why = format!("segment {} is there with other bytes; a segment id is used once", write.id);
        Err(StoreError::refused(&self.home.containers(), why))
    }
}

impl WriteFiles {
    fn open(home: &Home, number: u32) -> Result<Self> {
        let name = home.container(number);
        let buffered = home.storage.open(&name, true)?;
        let direct = match home.storage.open_with(&name, false, WriteMode::Direct) {
            Err(StoreError::Refused { .. }) => None,
            opened => Some(opened?),
        };
        Ok(Self { buffered, direct })
    }

    fn write(&self, offset: u64, header: &SegmentHeader, blocks: &[&[u8]]) -> Result<()> {
        let encoded = header.encode();
        let mut parts = vec![&encoded[..]];
        parts.extend_from_slice(blocks);
        let placed = placed_bytes(header.total());
        match &self.direct {
            Some(direct) if placed >= DIRECT_WRITE_BYTES => {
                parts.push(&[0; ALIGNMENT as usize][..(placed - u64::from(header.total())) as usize]);
                direct.write_vectored_at(&parts, offset)
            }
            _ => self.buffered.write_vectored_at(&parts, offset),
        }
    }
}

impl Placement {
    fn unreserve(&mut self, number: u32) {
        let count = self.reserved.get_mut(&number).expect("the place was reserved");
        *count -= 1;
        if *count == 0 {
            self.reserved.remove(&number);
        }
    }
}
