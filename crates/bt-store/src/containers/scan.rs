//! Finding segments by their headers, where the location map does not know.

use std::sync::Arc;

use bt_base::SegmentId;

use super::Home;
use super::locations::{Location, LocationMap};
use super::segment::{FIXED_BYTES, MAGIC, SegmentHeader, claimed_header_bytes, header_bytes};
use crate::error::{Result, StoreError};
use crate::limits::{ALIGNMENT, SCAN_BYTES, SEGMENT_BLOCK_COUNT};
use crate::storage::StorageFile;

/// The highest number that a container's name has digits for.
pub(super) const LAST_CONTAINER: u32 = 99_999_999;

/// What a scan found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Every good header, in the order of the places.
    pub(super) segments: Vec<(SegmentId, Location)>,
    /// Headers that begin like one and are not good.
    pub(super) damaged: Vec<StoreError>,
}

/// The numbers of all containers, rising.
pub(super) fn container_numbers(home: &Home) -> Result<Vec<u32>> {
    let number = |name: &String| {
        let digits = name.strip_prefix(&home.containers())?.strip_prefix('/')?;
        let number = digits.parse().ok()?;
        (home.container(number) == *name && number <= LAST_CONTAINER).then_some(number)
    };
    Ok(home.storage.list(&home.containers())?.iter().filter_map(number).collect())
}

/// Adds the segments of a container whose headers lie at `from` bytes or after.
///
/// Behind a good header the next place to look is the end of its segment; elsewhere every multiple of 4096 is.
pub(super) fn scan_container(file: &Arc<dyn StorageFile>, number: u32, from: u64, found: &mut Found) -> Result<()> {
    let mut buffer = vec![0; SCAN_BYTES];
    let mut at = from.next_multiple_of(ALIGNMENT);
    loop {
        let read = file.read_at(&mut buffer, at)?;
        if read < FIXED_BYTES {
            return Ok(());
        }
        let Some(page) = first_header(&buffer[..read]) else {
            at += SCAN_BYTES as u64;
            continue;
        };
        at += page as u64;
        let bytes = &buffer[page..read];
        if claimed_header_bytes(bytes).is_some_and(|len| len > bytes.len()) && page > 0 {
            // Read again, so that the whole header is in the buffer.
            continue;
        }
        match (SegmentHeader::decode(bytes), u32::try_from(at)) {
            (Ok(header), Ok(offset)) => {
                let location = Location::of(&header, number, offset);
                at = location.end();
                found.segments.push((header.id, location));
            }
            (decoded, _) => {
                let what = decoded.err().unwrap_or_else(|| "a segment lies beyond the end of a container".to_owned());
                found.damaged.push(StoreError::damaged(what, file.name(), at));
                at += ALIGNMENT;
            }
        }
    }
}

fn first_header(buffer: &[u8]) -> Option<usize> {
    (0..buffer.len()).step_by(ALIGNMENT as usize).find(|page| buffer[*page..].starts_with(&MAGIC))
}

/// Adds what a scan found. Of several copies of one segment, the oldest counts: only the newest can be incomplete,
/// since an older one loses its header, durably, before anything else of it goes.
pub(super) fn merge(map: &mut LocationMap, found: &[(SegmentId, Location)]) {
    for (id, location) in found {
        map.raise_end(location.container, location.end());
        if map.get(id).is_none_or(|known| location.generation < known.generation) {
            map.insert(*id, *location);
        }
    }
}

const _: () = assert!(header_bytes(SEGMENT_BLOCK_COUNT) <= SCAN_BYTES, "the longest header fits the buffer");
