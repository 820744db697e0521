//! Reading blocks.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bt_base::SegmentId;

use super::locations::Location;
use super::scan::{Found, container_numbers, merge, scan_container};
use super::segment::{BlockPlace, SegmentHeader};
use super::{CONTAINERS_DIRECTORY, Containers, Searched};
use crate::error::{Result, StoreError};
use crate::limits::READ_RETRIES;
use crate::storage::StorageFile;

/// An open segment: where it is, and its table.
pub(super) struct Opened {
    file: Arc<dyn StorageFile>,
    start: u64,
    header: Arc<SegmentHeader>,
}

impl Containers {
    /// Reads one sealed block into `out`, replacing what is there. Its bytes are not verified.
    ///
    /// [`StoreError::NotFound`] names a segment or block that is not there.
    pub fn read_block(&self, segment: &SegmentId, index: u32, out: &mut Vec<u8>) -> Result<()> {
        self.with_segment(segment, |opened| {
            let (_, block) = opened.header.find(index).ok_or_else(|| no_block(opened, index))?;
            opened.read(block.offset, block.len as usize, out)
        })
    }

    /// Reads the sealed blocks `first` to `first + count - 1` into `out` with one read of the file, and their lengths
    /// in bytes into `lens`; both are replaced. [`StoreError::NotFound`] if one of them is not there.
    pub fn read_run(
        &self,
        segment: &SegmentId,
        first: u32,
        count: u32,
        out: &mut Vec<u8>,
        lens: &mut Vec<u32>,
    ) -> Result<()> {
        self.with_segment(segment, |opened| {
            let run = opened.run(first, count)?;
            lens.clear();
            lens.extend(run.iter().map(|block| block.len));
            let (start, len) = span(run);
            opened.read(start, len, out)
        })
    }

    /// Asks the system to read a run soon; a run that is not there is nobody's loss.
    pub fn prefetch_run(&self, segment: &SegmentId, first: u32, count: u32) {
        let hint = self.with_segment(segment, |opened| {
            let (start, len) = span(opened.run(first, count)?);
            opened.file.prefetch(opened.start + u64::from(start), len as u64);
            Ok(())
        });
        if let Err(error) = hint {
            tracing::debug!(%error, "nothing to read ahead");
        }
    }

    /// The places of all blocks that a segment has, by rising index.
    pub fn blocks(&self, segment: &SegmentId) -> Result<Vec<BlockPlace>> {
        self.with_segment(segment, |opened| Ok(opened.header.blocks.clone()))
    }

    /// All blocks of a segment: their places, and their bytes back to back.
    pub fn read_segment(&self, segment: &SegmentId) -> Result<(Vec<BlockPlace>, Vec<u8>)> {
        self.with_segment(segment, |opened| {
            let mut bytes = Vec::new();
            let (start, len) = span(&opened.header.blocks);
            opened.read(start, len, &mut bytes)?;
            Ok((opened.header.blocks.clone(), bytes))
        })
    }

    /// Reads with `read`, again if the segment moved meanwhile, and after a search if it is not where it should be.
    fn with_segment<T>(&self, id: &SegmentId, mut read: impl FnMut(&Opened) -> Result<T>) -> Result<T> {
        let mut searched = false;
        for _ in 0..READ_RETRIES {
            let moves = self.moves.load(Ordering::SeqCst);
            let location = self.locate(id);
            let result = match location {
                Some(location) => self.open_segment(id, location).and_then(|opened| read(&opened)),
                None => Err(no_segment(id)),
            };
            let moved = || self.moves.load(Ordering::SeqCst) != moves && self.locate(id) != location;
            match result {
                Ok(_) if moved() => {}
                Ok(value) => return Ok(value),
                Err(_) if moved() => {}
                Err(error) if searched || !(error.is_not_found() || error.is_damage()) => return Err(error),
                Err(error) => {
                    searched = true;
                    self.search()?;
                    if self.locate(id) == location {
                        return Err(error);
                    }
                }
            }
        }
        Err(StoreError::refused(&self.home.containers(), format!("segment {id} moves too often; read it again later")))
    }

    pub(super) fn locate(&self, id: &SegmentId) -> Option<Location> {
        self.map.read().expect("no panic under this lock").get(id)
    }

    pub(super) fn open_segment(&self, id: &SegmentId, location: Location) -> Result<Opened> {
        let file = self.file(location.container).map_err(|error| match error {
            error if error.is_not_found() => no_segment(id),
            error => error,
        })?;
        let place = (location.container, location.offset);
        let header = match self.tables.get(&place) {
            Some(header) => header,
            None => {
                // Two threads may both read it: neither waits for the other's read.
                let header = Arc::new(read_header(&*file, id, location)?);
                self.tables.insert(place, header.clone());
                header
            }
        };
        Ok(Opened { file, start: location.offset.into(), header })
    }

    /// Looks for segments in all containers, once: what it does not find now is not there.
    fn search(&self) -> Result<()> {
        let mut searched = self.maintenance.lock().expect("no panic under this lock");
        if *searched == Searched::Yes {
            return Ok(());
        }
        tracing::warn!("a segment is not where the location map says: all containers are searched");
        let mut found = Found::default();
        for number in container_numbers(&self.home)? {
            scan_container(&self.home.open_container(number)?, number, 0, &mut found)?;
        }
        self.adopt(&found.segments);
        *searched = Searched::Yes;
        Ok(())
    }

    /// Takes what a search found, except for segments that the map has a good place for.
    pub(super) fn adopt(&self, found: &[(SegmentId, Location)]) {
        let is_good = |id: &SegmentId| self.locate(id).is_some_and(|known| self.open_segment(id, known).is_ok());
        let lost: Vec<_> = found.iter().filter(|(id, _)| !is_good(id)).copied().collect();
        let mut map = self.map.write().expect("no panic under this lock");
        for (id, _) in &lost {
            map.remove(id);
        }
        merge(&mut map, &lost);
        drop(map);
        // The file of the map is behind now; the next sync writes it anew.
        *self.log.lock().expect("no panic under this lock") = None;
    }
}

impl Opened {
    fn run(&self, first: u32, count: u32) -> Result<&[BlockPlace]> {
        let Some((at, _)) = self.header.find(first).filter(|_| count > 0) else {
            return Err(no_block(self, first));
        };
        let run = &self.header.blocks[at..];
        let run = &run[..run.len().min(count as usize)];
        let unbroken = run.iter().zip(first..).take_while(|(block, index)| block.index == *index).count();
        if unbroken < count as usize {
            return Err(no_block(self, first + unbroken as u32));
        }
        Ok(run)
    }

    fn read(&self, offset: u32, len: usize, out: &mut Vec<u8>) -> Result<()> {
        out.resize(len, 0);
        self.file.read_exact_at(out, self.start + u64::from(offset))
    }
}

/// The range within the segment that blocks which lie back to back take: offset and length in bytes.
fn span(run: &[BlockPlace]) -> (u32, usize) {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return (0, 0) };
    (first.offset, (last.offset + last.len - first.offset) as usize)
}

fn read_header(file: &dyn StorageFile, id: &SegmentId, location: Location) -> Result<SegmentHeader> {
    let mut bytes = vec![0; location.header_bytes()];
    let offset = u64::from(location.offset);
    file.read_exact_at(&mut bytes, offset)?;
    let header = SegmentHeader::decode(&bytes)
        .map_err(|what| StoreError::damaged(format!("{what}, where segment {id} should be"), file.name(), offset))?;
    if header.id != *id || Location::of(&header, location.container, location.offset) != location {
        let what = format!("segment {} lies here, where segment {id} should be", header.id);
        return Err(StoreError::damaged(what, file.name(), offset));
    }
    Ok(header)
}

pub(super) fn no_segment(id: &SegmentId) -> StoreError {
    StoreError::NotFound { what: format!("segment {id}"), file: CONTAINERS_DIRECTORY.to_owned() }
}

fn no_block(opened: &Opened, index: u32) -> StoreError {
    StoreError::NotFound {
        what: format!("block {index} of segment {}", opened.header.id),
        file: opened.file.name().to_owned(),
    }
}
