//! Containers: files of up to 64 MiB in which segments lie, and the map that finds them.
//!
//! A segment is written once, in one piece, behind the last one of the current container; places are never used
//! twice. Reading a block is a look at the location map, at the cached table of its segment, and one read of the
//! file. No lock is held while a file is read or written.
//!
//! What this module never does: it does not interpret or verify the bytes of blocks (whoever reads one knows its
//! hash), and does not decide which segments are needed.
//!
//! Invariants:
//! * a segment is in the map only after its bytes are in the file (durable after [`Containers::sync`]);
//! * the next segment goes behind both the end that the map knows and the end of the file, so that a map that was
//!   rolled back never makes it overwrite anything;
//! * of a segment with several copies (compaction), every copy with a good header but the newest is whole.

mod compact;
mod locations;
mod open;
mod read;
mod scan;
mod segment;
mod write;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use bt_base::{SegmentId, ZoneId};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

pub use compact::{Compaction, Sweep};
pub use segment::{BlockPlace, SegmentWrite};

use crate::error::{Result, StoreError};
use crate::storage::{Storage, StorageFile};
use locations::{LocationFile, LocationMap};
use segment::{SegmentHeader, placed_bytes};
use write::Placement;

/// The directory of the containers, within the one that they are opened in.
const CONTAINERS_DIRECTORY: &str = "containers";
/// The file of the location map there.
const LOCATIONS_FILE: &str = "locations";

/// Where containers and their location map are: each zone has its own.
#[derive(Debug)]
struct Home {
    storage: Arc<dyn Storage>,
    /// `""` at the top.
    directory: String,
}

impl Home {
    fn name(&self, name: &str) -> String {
        if self.directory.is_empty() { name.to_owned() } else { format!("{}/{name}", self.directory) }
    }

    /// The directory of the containers.
    fn containers(&self) -> String {
        self.name(CONTAINERS_DIRECTORY)
    }

    fn container(&self, number: u32) -> String {
        format!("{}/{number:08}", self.containers())
    }

    /// The file of the location map.
    fn locations(&self) -> String {
        self.name(LOCATIONS_FILE)
    }

    fn open_container(&self, number: u32) -> Result<Arc<dyn StorageFile>> {
        self.storage.open(&self.container(number), false)
    }
}

/// All segments in one place: those of a zone.
#[derive(Debug)]
pub struct Containers {
    home: Home,
    /// A container that has this many bytes takes no further segment.
    container_bytes: u64,
    map: RwLock<LocationMap>,
    /// The file of the map; `None` after it could not be written, until it is written anew.
    log: Mutex<Option<LocationFile>>,
    placement: Mutex<Placement>,
    /// Headers by container and offset, which are never used twice.
    tables: Cache<(u32, u32), Arc<SegmentHeader>, BlockCount>,
    files: Cache<u32, Arc<dyn StorageFile>>,
    /// Rises before a place is given up, so that a read that overlapped it can tell.
    moves: AtomicU64,
    /// Held while places are given up or searched for; says whether the search was made.
    maintenance: Mutex<Searched>,
    /// The first failed sync: nothing is written after it.
    failure: OnceLock<StoreError>,
    findings: Vec<StoreError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Searched {
    No,
    Yes,
}

#[derive(Clone, Debug)]
struct BlockCount;

impl Weighter<(u32, u32), Arc<SegmentHeader>> for BlockCount {
    fn weight(&self, _place: &(u32, u32), header: &Arc<SegmentHeader>) -> u64 {
        header.blocks.len() as u64
    }
}

/// A segment, as the location map knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its id.
    pub id: SegmentId,
    /// The zone it belongs to.
    pub zone: ZoneId,
    /// The epoch of the zone's keys that sealed it.
    pub epoch: u32,
    /// Blocks that are left in it.
    pub blocks: u32,
    /// Bytes that it takes in its container.
    pub bytes: u64,
    /// The number of its container.
    pub container: u32,
    /// Where it begins there, in bytes.
    pub offset: u64,
}

impl SegmentInfo {
    fn new(id: SegmentId, location: &locations::Location) -> Self {
        Self {
            id,
            zone: location.zone,
            epoch: location.epoch,
            blocks: u32::from(location.block_count),
            bytes: placed_bytes(location.total),
            container: location.container,
            offset: location.offset.into(),
        }
    }
}

/// What the containers take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Container files.
    pub containers: u64,
    /// Segments in them.
    pub segments: u64,
    /// Bytes that the segments take.
    pub segment_bytes: u64,
    /// Bytes from the start of each container to the end of its last segment, with the holes of dropped ones.
    pub container_bytes: u64,
}

impl Containers {
    /// All segments, in no order. Leftovers of a crash are among them: drop those that no head knows.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let map = self.map.read().expect("no panic under this lock");
        map.segments().map(|(id, location)| SegmentInfo::new(*id, location)).collect()
    }

    /// One segment; none when the map does not know it.
    pub fn segment(&self, id: &SegmentId) -> Option<SegmentInfo> {
        self.locate(id).map(|location| SegmentInfo::new(*id, &location))
    }

    /// Whether the map knows this segment.
    pub fn contains(&self, segment: &SegmentId) -> bool {
        self.map.read().expect("no panic under this lock").get(segment).is_some()
    }

    /// What the containers take.
    pub fn usage(&self) -> Usage {
        let map = self.map.read().expect("no panic under this lock");
        let mut usage = Usage { segments: map.segments().len() as u64, ..Usage::default() };
        for (_, used) in map.containers() {
            usage.containers += 1;
            usage.segment_bytes += used.bytes;
            usage.container_bytes += used.end;
        }
        usage
    }

    /// What was wrong when the containers were opened, and was set right or can be lived with.
    pub fn findings(&self) -> &[StoreError] {
        &self.findings
    }

    /// The file that a segment lies in, relative to the node's directory.
    pub fn file_of(&self, segment: &SegmentInfo) -> String {
        self.home.container(segment.container)
    }

    /// Whether they are in the node's own directory, and not in one below.
    pub fn is_at_top(&self) -> bool {
        self.home.directory.is_empty()
    }

    /// The file of the location map, relative to the node's directory.
    pub fn locations_file(&self) -> String {
        self.home.locations()
    }

    fn file(&self, number: u32) -> Result<Arc<dyn StorageFile>> {
        if let Some(file) = self.files.get(&number) {
            return Ok(file);
        }
        let file = self.home.open_container(number)?;
        self.files.insert(number, file.clone());
        Ok(file)
    }
}
