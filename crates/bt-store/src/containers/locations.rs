//! The location map: which segment lies where. Losing its file loses nothing, since the headers of the segments tell
//! the same; it saves reading them all when a node starts.
//!
//! The file is a log of fixed entries, appended without a sync of their own: an entry that a crash lost is noticed,
//! because the container then goes on behind the end that the map knows. The byte table is in
//! `doc/format/locations.md`.

use std::collections::HashMap;
use std::sync::Arc;

use bt_base::{SegmentId, ZoneId};

use super::Home;
use super::segment::{SegmentHeader, header_bytes, placed_bytes};
use crate::error::{Result, StoreError};
use crate::format::{Reader, Writer, checksum};
use crate::limits::{ALIGNMENT, CHUNK_BYTES, LOCATIONS_ENTRIES, LOCATIONS_REWRITE_ENTRIES, SEGMENT_BLOCK_COUNT};
use crate::storage::StorageFile;

const MAGIC: [u8; 8] = *b"BTLOCS\r\n";
const VERSION: u16 = 1;
const CHECKSUM_LABEL: &str = "blocktree/location 1";
pub(super) const ENTRY_BYTES: usize = 96;
const CHECKSUM_AT: usize = 88;

/// Where a segment lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) zone: ZoneId,
    pub(super) epoch: u32,
    pub(super) container: u32,
    pub(super) offset: u32,
    /// Header and blocks, in bytes.
    pub(super) total: u32,
    pub(super) block_count: u16,
    pub(super) generation: u16,
}

impl Location {
    pub(super) fn of(header: &SegmentHeader, container: u32, offset: u32) -> Self {
        Self {
            zone: header.zone,
            epoch: header.epoch,
            container,
            offset,
            total: header.total(),
            block_count: header.blocks.len() as u16,
            generation: header.generation,
        }
    }

    pub(super) fn header_bytes(&self) -> usize {
        header_bytes(usize::from(self.block_count))
    }

    /// The end of the segment in its container, where the next one may begin.
    pub(super) fn end(&self) -> u64 {
        u64::from(self.offset) + placed_bytes(self.total)
    }
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The segment lies here; an earlier place is void.
    Placed(SegmentId, Location),
    /// The segment was dropped.
    Dropped(SegmentId),
    /// Everything up to this offset of the container has been accounted for by earlier entries.
    ContainerEnd(u32, u32),
}

const PLACED: u16 = 1;
const DROPPED: u16 = 2;
const CONTAINER_END: u16 = 3;

impl Entry {
    fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut writer = Writer::with_capacity(ENTRY_BYTES);
        match self {
            Self::Placed(id, place) => {
                writer.u16(PLACED).u16(place.generation).u16(place.block_count).u16(0);
                writer.bytes(&id.0).bytes(&place.zone.0);
                writer.u32(place.epoch).u32(place.container).u32(place.offset).u32(place.total);
            }
            Self::Dropped(id) => {
                writer.u16(DROPPED).u16(0).u16(0).u16(0).bytes(&id.0).bytes(&[0; 48]);
            }
            Self::ContainerEnd(container, end) => {
                writer.u16(CONTAINER_END).u16(0).u16(0).u16(0).bytes(&[0; 64]);
                writer.u32(0).u32(*container).u32(*end).u32(0);
            }
        }
        let sum = checksum(CHECKSUM_LABEL, &[writer.as_slice()]);
        writer.bytes(&sum[..ENTRY_BYTES - CHECKSUM_AT]);
        writer.finish().try_into().expect("an entry has its length")
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let sum = checksum(CHECKSUM_LABEL, &[&bytes[..CHECKSUM_AT]]);
        if sum[..ENTRY_BYTES - CHECKSUM_AT] != bytes[CHECKSUM_AT..] {
            return None;
        }
        let mut reader = Reader::new(bytes);
        let (kind, generation, block_count, _reserved) = (reader.u16(), reader.u16(), reader.u16(), reader.u16());
        let (id, zone) = (SegmentId(reader.array()), ZoneId(reader.array()));
        let (epoch, container, offset, total) = (reader.u32(), reader.u32(), reader.u32(), reader.u32());
        let aligned = u64::from(offset).is_multiple_of(ALIGNMENT);
        match kind {
            PLACED => {
                let location = Location { zone, epoch, container, offset, total, block_count, generation };
                let sound = (1..=SEGMENT_BLOCK_COUNT).contains(&usize::from(block_count))
                    && location.header_bytes() <= total as usize
                    && location.end() <= u64::from(u32::MAX);
                (sound && aligned).then_some(Self::Placed(id, location))
            }
            DROPPED => Some(Self::Dropped(id)),
            CONTAINER_END => aligned.then_some(Self::ContainerEnd(container, offset)),
            _ => None,
        }
    }
}

/// What the log adds up to.
#[derive(Debug, Default)]
pub(super) struct LocationMap {
    segments: HashMap<SegmentId, Location>,
    containers: HashMap<u32, ContainerUse>,
}

/// What the map knows of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ContainerUse {
    /// The end of what is accounted for, in bytes; multiples of 4096.
    pub(super) end: u64,
    /// Segments in it.
    pub(super) segments: usize,
    /// Bytes that they take.
    pub(super) bytes: u64,
}

impl LocationMap {
    pub(super) fn get(&self, id: &SegmentId) -> Option<Location> {
        self.segments.get(id).copied()
    }

    pub(super) fn segments(&self) -> impl ExactSizeIterator<Item = (&SegmentId, &Location)> {
        self.segments.iter()
    }

    pub(super) fn containers(&self) -> impl ExactSizeIterator<Item = (u32, ContainerUse)> {
        self.containers.iter().map(|(number, used)| (*number, *used))
    }

    pub(super) fn container(&self, number: u32) -> ContainerUse {
        self.containers.get(&number).copied().unwrap_or_default()
    }

    /// Puts a segment at a place; an earlier place of it is returned, and is void.
    pub(super) fn insert(&mut self, id: SegmentId, location: Location) -> Option<Location> {
        self.raise_end(location.container, location.end());
        let used = self.containers.entry(location.container).or_default();
        used.segments += 1;
        used.bytes += placed_bytes(location.total);
        let before = self.segments.insert(id, location);
        self.leave(before.as_ref());
        before
    }

    pub(super) fn remove(&mut self, id: &SegmentId) -> Option<Location> {
        let before = self.segments.remove(id);
        self.leave(before.as_ref());
        before
    }

    /// Forgets a container, and the segments in it if there are any.
    pub(super) fn remove_container(&mut self, number: u32) {
        if self.containers.remove(&number).is_some_and(|used| used.segments > 0) {
            self.segments.retain(|_, location| location.container != number);
        }
    }

    pub(super) fn raise_end(&mut self, container: u32, end: u64) {
        let used = self.containers.entry(container).or_default();
        used.end = end.max(used.end);
    }

    fn leave(&mut self, location: Option<&Location>) {
        let Some(location) = location else { return };
        if let Some(used) = self.containers.get_mut(&location.container) {
            used.segments -= 1;
            used.bytes -= placed_bytes(location.total);
        }
    }

    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Placed(id, location) => drop(self.insert(id, location)),
            Entry::Dropped(id) => drop(self.remove(&id)),
            Entry::ContainerEnd(container, end) => self.raise_end(container, u64::from(end)),
        }
    }

    /// The shortest log that adds up to this map.
    fn entries(&self) -> impl Iterator<Item = Entry> {
        let placed = self.segments.iter().map(|(id, location)| Entry::Placed(*id, *location));
        // The end of a file that is too large to be ours is scanned for again at the next start.
        let end = |end: u64| u32::try_from(end).unwrap_or(u32::MAX / ALIGNMENT as u32 * ALIGNMENT as u32);
        placed.chain(self.containers.iter().map(move |(number, used)| Entry::ContainerEnd(*number, end(used.end))))
    }
}

/// The file of the location map, open for appending.
#[derive(Debug)]
pub(super) struct LocationFile {
    file: Arc<dyn StorageFile>,
    entries: usize,
}

/// What the file told when it was opened.
#[derive(Debug, Default)]
pub(super) struct LoadedLocations {
    pub(super) map: LocationMap,
    /// What is wrong with the file; the map is not to be trusted then.
    pub(super) damage: Option<StoreError>,
}

/// Reads the file, whatever it holds. A missing file is an empty map.
pub(super) fn load(home: &Home) -> Result<LoadedLocations> {
    let mut loaded = LoadedLocations::default();
    let file = match home.storage.open(&home.locations(), false) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(loaded),
        Err(error) => return Err(error),
    };
    let len = file.len()?;
    if len > LOCATIONS_ENTRIES * ENTRY_BYTES as u64 {
        loaded.damage = Some(StoreError::damaged("the location map is longer than it may be", &home.locations(), len));
        return Ok(loaded);
    }
    let mut chunk = vec![0; CHUNK_BYTES / ENTRY_BYTES * ENTRY_BYTES];
    let mut offset = 0;
    while offset < len {
        let part = (len - offset).min(chunk.len() as u64) as usize;
        file.read_exact_at(&mut chunk[..part], offset)?;
        for bytes in chunk[..part].chunks(ENTRY_BYTES) {
            if let Err(what) = take_entry(&mut loaded.map, offset, bytes) {
                loaded.damage.get_or_insert(StoreError::damaged(what, &home.locations(), offset));
            }
            offset += bytes.len() as u64;
        }
    }
    Ok(loaded)
}

fn take_entry(map: &mut LocationMap, offset: u64, bytes: &[u8]) -> std::result::Result<(), String> {
    if bytes.len() < ENTRY_BYTES {
        return Err(format!("the last entry has {} of {ENTRY_BYTES} bytes", bytes.len()));
    }
    if offset == 0 {
        return if bytes == file_header() { Ok(()) } else { Err("this is no location map of this version".to_owned()) };
    }
    let entry = Entry::decode(bytes).ok_or("the checksum of an entry does not match")?;
    map.apply(entry);
    Ok(())
}

/// The first entry of the file.
fn file_header() -> [u8; ENTRY_BYTES] {
    let mut writer = Writer::with_capacity(ENTRY_BYTES);
    writer.bytes(&MAGIC).u16(VERSION).u16(ENTRY_BYTES as u16).u32(0).bytes(&[0; 72]);
    let sum = checksum(CHECKSUM_LABEL, &[writer.as_slice()]);
    writer.bytes(&sum[..ENTRY_BYTES - CHECKSUM_AT]);
    writer.finish().try_into().expect("an entry has its length")
}

impl LocationFile {
    /// Opens the file for appending behind what is there, which must be good.
    pub(super) fn open(home: &Home) -> Result<Option<Self>> {
        let file = match home.storage.open(&home.locations(), false) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let entries = file.len()? as usize / ENTRY_BYTES;
        Ok((entries > 0).then_some(Self { file, entries }))
    }

    /// Replaces the file by the shortest one that holds `map`, durable when this returns.
    pub(super) fn rewrite(home: &Home, map: &LocationMap) -> Result<Self> {
        let new = format!("{}.new", home.locations());
        let file = home.storage.open(&new, true)?;
        file.set_len(0)?;
        let mut bytes = file_header().to_vec();
        map.entries().for_each(|entry| bytes.extend_from_slice(&entry.encode()));
        file.write_at(&bytes, 0)?;
        file.sync_data()?;
        home.storage.rename(&new, &home.locations())?;
        home.storage.sync_dir(&home.directory)?;
        // The open file would go on under its old name in messages.
        let file = home.storage.open(&home.locations(), false)?;
        Ok(Self { file, entries: bytes.len() / ENTRY_BYTES })
    }

    /// Adds entries behind the others; see the module's documentation for why there is no sync.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let bytes: Vec<u8> = entries.iter().flat_map(Entry::encode).collect();
        self.file.write_at(&bytes, (self.entries * ENTRY_BYTES) as u64)?;
        self.entries += entries.len();
        Ok(())
    }

    /// Whether more than half of the file is garbage.
    pub(super) fn wants_rewrite(&self, map: &LocationMap) -> bool {
        let needed = 1 + map.segments().len() + map.containers().len();
        self.entries >= LOCATIONS_REWRITE_ENTRIES && self.entries > 2 * needed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn location() -> impl Strategy<Value = Location> {
        (any::<[u8; 32]>(), any::<u32>(), any::<u32>(), 0..1000u32, 1..4097u16, 0..8_000_000u32, any::<u16>()).prop_map(
            |(zone, epoch, container, page, block_count, body, generation)| {
                let (zone, offset) = (ZoneId(zone), page * ALIGNMENT as u32);
                let total = header_bytes(usize::from(block_count)) as u32 + body;
                Location { zone, epoch, container, offset, total, block_count, generation }
            },
        )
    }

    fn entry() -> impl Strategy<Value = Entry> {
        prop_oneof![
            (any::<[u8; 32]>(), location()).prop_map(|(id, location)| Entry::Placed(SegmentId(id), location)),
            any::<[u8; 32]>().prop_map(|id| Entry::Dropped(SegmentId(id))),
            (any::<u32>(), 0..100_000u32).prop_map(|(number, page)| Entry::ContainerEnd(number, page * 4096)),
        ]
    }

    proptest! {
        #[test]
        fn an_entry_survives_its_bytes_and_no_flipped_bit_passes(entry in entry(), at in 0..ENTRY_BYTES, bit in 0..8u32) {
            let mut bytes = entry.encode();
            prop_assert_eq!(Entry::decode(&bytes), Some(entry));
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(Entry::decode(&bytes), None);
        }

        #[test]
        fn bytes_with_a_good_checksum_are_still_checked(mut bytes in any::<[u8; 32]>(), kind in 0..5u16, rest: [u8; 32]) {
            bytes[0..2].copy_from_slice(&kind.to_le_bytes());
            let mut writer = Writer::with_capacity(ENTRY_BYTES);
            writer.bytes(&bytes).bytes(&rest).bytes(&bytes[..24]);
            let sum = checksum(CHECKSUM_LABEL, &[writer.as_slice()]);
            writer.bytes(&sum[..8]);
            let mut map = LocationMap::default();
            if let Some(entry) = Entry::decode(&writer.finish()) {
                map.apply(entry);
            }
            prop_assert!(map.entries().all(|entry| entry.encode().len() == ENTRY_BYTES));
        }

        #[test]
        fn the_shortest_log_adds_up_to_the_same_map(entries in prop::collection::vec(entry(), 0..40)) {
            let mut map = LocationMap::default();
            entries.into_iter().for_each(|entry| map.apply(entry));
            let mut again = LocationMap::default();
            map.entries().for_each(|entry| again.apply(Entry::decode(&entry.encode()).unwrap()));
            prop_assert_eq!(&map.segments, &again.segments);
            prop_assert_eq!(&map.containers, &again.containers);
        }
    }
}
