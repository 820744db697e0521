//! Opening the containers: the location map is loaded, compared with the files, and rebuilt where it cannot be right.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use quick_cache::sync::Cache;

use super::locations::{self, LocationFile, LocationMap};
use super::scan::{Found, container_numbers, merge, scan_container};
use super::write::Placement;
use super::{BlockCount, Containers, Home, Searched};
use crate::error::{Result, StoreError};
use crate::limits::{CACHED_BLOCK_PLACES, CONTAINER_BYTES, OPEN_CONTAINERS};
use crate::storage::Storage;

impl Containers {
    /// Opens the containers of a node, making the directory if there is none. [`Containers::findings`] tells what
    /// was wrong with the location map, if anything was.
    pub fn open(storage: Arc<dyn Storage>) -> Result<Self> {
        Self::open_in(storage, "")
    }

    /// As [`Containers::open`], in a directory of the storage that exists.
    pub fn open_in(storage: Arc<dyn Storage>, directory: &str) -> Result<Self> {
        Self::open_home(Home { storage, directory: directory.to_owned() }, CONTAINER_BYTES)
    }

    /// As [`Containers::open`], with containers that take no further segment once they have `container_bytes` bytes,
    /// at most 64 MiB. A segment larger than that has one of its own.
    pub fn open_sized(storage: Arc<dyn Storage>, container_bytes: u64) -> Result<Self> {
        Self::open_home(Home { storage, directory: String::new() }, container_bytes)
    }

    fn open_home(home: Home, container_bytes: u64) -> Result<Self> {
        home.storage.create_dir(&home.containers())?;
        home.storage.sync_dir(&home.directory)?;
        let lengths = container_lengths(&home)?;
        let mut findings = Vec::new();
        let loaded = locations::load(&home)?;
        let mut map = loaded.map;
        let mut searched = Searched::No;
        let distrust = loaded.damage.or_else(|| missing_container(&home, &map, &lengths));
        if let Some(reason) = distrust {
            tracing::warn!(%reason, "the location map is rebuilt from the segments' headers");
            findings.push(reason);
            map = LocationMap::default();
            searched = Searched::Yes;
        }
        let grown = add_unknown(&home, &lengths, &mut map, &mut findings)?;
        let log = match LocationFile::open(&home)? {
            Some(log) if searched == Searched::No && !grown => log,
            _ => LocationFile::rewrite(&home, &map)?,
        };
        let suspect = lengths.keys().copied().filter(|number| is_named(&home, &findings, *number)).collect();
        Ok(Self {
            placement: Mutex::new(Placement::after(&map, suspect)),
            map: RwLock::new(map),
            log: Mutex::new(Some(log)),
            tables: Cache::with_weighter(1 << 12, CACHED_BLOCK_PLACES, BlockCount),
            files: Cache::new(OPEN_CONTAINERS),
            moves: AtomicU64::new(0),
            maintenance: Mutex::new(searched),
            failure: OnceLock::new(),
            findings,
            container_bytes: container_bytes.min(CONTAINER_BYTES),
            home,
        })
    }
}

fn is_named(home: &Home, findings: &[StoreError], number: u32) -> bool {
    let name = home.container(number);
    findings.iter().any(|finding| matches!(finding, StoreError::Damaged { file, .. } if *file == name))
}

fn container_lengths(home: &Home) -> Result<BTreeMap<u32, u64>> {
    let mut lengths = BTreeMap::new();
    for number in container_numbers(home)? {
        lengths.insert(number, home.open_container(number)?.len()?);
    }
    Ok(lengths)
}

/// A container that the map has segments in and that is not there: the map is of another time.
fn missing_container(home: &Home, map: &LocationMap, lengths: &BTreeMap<u32, u64>) -> Option<StoreError> {
    let (number, _) = map.containers().find(|(number, used)| used.segments > 0 && !lengths.contains_key(number))?;
    let what = format!("it names segments in container {number:08}, which does not exist");
    Some(StoreError::damaged(what, &home.locations(), 0))
}

/// Scans what each container holds behind the end that the map knows, and makes the map know all of it. Returns
/// whether there was any.
fn add_unknown(
    home: &Home,
    lengths: &BTreeMap<u32, u64>,
    map: &mut LocationMap,
    findings: &mut Vec<StoreError>,
) -> Result<bool> {
    let gone: Vec<u32> =
        map.containers().map(|(number, _)| number).filter(|number| !lengths.contains_key(number)).collect();
    gone.iter().for_each(|number| map.remove_container(*number));
    let mut found = Found::default();
    let mut grown = false;
    for (number, len) in lengths {
        let known = map.container(*number).end;
        if *len > known {
            scan_container(&home.open_container(*number)?, *number, known, &mut found)?;
            map.raise_end(*number, len.next_multiple_of(crate::limits::ALIGNMENT));
            grown = true;
        }
    }
    // Here the map, where it knows a segment, is right: an unfinished compaction leaves a copy behind its end.
    let known_before = |id| map.get(id).is_some();
    let unknown: Vec<_> = found.segments.iter().filter(|(id, _)| !known_before(id)).copied().collect();
    merge(map, &unknown);
    findings.append(&mut found.damaged);
    Ok(grown)
}
