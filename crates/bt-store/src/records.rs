//! A file of records that is appended to and now and then written anew: heads that were published, heads that were
//! refused.
//!
//! A record begins at a multiple of 512 bytes, so that one that a crash tore, or that is damaged, hides none behind it.
//! What records hold is not interpreted here. The byte table is in `doc/format/records.md`.

use std::sync::{Arc, Mutex};

use crate::error::{Result, StoreError};
use crate::format::{Reader, Writer, checksum};
use crate::limits::{RECORD_BYTES, RECORD_FILE_BYTES};
use crate::storage::{Storage, StorageFile, directory_of};

const MAGIC: [u8; 8] = *b"BTRECS\r\n";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 48;
const UNIT: usize = 512;
const CHECKSUM_LABEL: &str = "blocktree/record 1";

/// One such file. It is made by the first record.
#[derive(Debug)]
pub struct RecordFile {
    storage: Arc<dyn Storage>,
    name: String,
    /// The open file, and where the next record goes.
    end: Mutex<Option<(Arc<dyn StorageFile>, u64)>>,
}

/// What such a file holds.
#[derive(Debug, Default)]
pub struct LoadedRecords {
    /// The readable records, oldest first.
    pub records: Vec<Vec<u8>>,
    /// One error for each place that cannot be read though a record follows it.
    pub damaged: Vec<StoreError>,
    /// The file ends with something that cannot be read: what a crash during the last appends leaves.
    pub has_torn_end: bool,
    /// The length of the file, in bytes.
    pub bytes: u64,
}

impl RecordFile {
    /// The file `name`. Nothing is read or made yet.
    pub fn new(storage: Arc<dyn Storage>, name: &str) -> Self {
        Self { storage, name: name.to_owned(), end: Mutex::new(None) }
    }

    /// All records; none where there is no such file.
    pub fn load(&self) -> Result<LoadedRecords> {
        let file = match self.storage.open(&self.name, false) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(LoadedRecords::default()),
            Err(error) => return Err(error),
        };
        let len = file.len()?;
        if len > RECORD_FILE_BYTES {
            let what = format!("the file has {len} bytes, the most is {RECORD_FILE_BYTES}");
            return Err(StoreError::damaged(what, &self.name, 0));
        }
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(self.decode(&bytes))
    }

    /// Appends a record of 1 to [`RECORD_BYTES`] bytes; durable after [`RecordFile::sync`]. A file that would become
    /// too long is refused: write it anew with fewer records.
    pub fn append(&self, record: &[u8]) -> Result<()> {
        let framed = frame(&self.name, record)?;
        let mut end = self.end.lock().expect("no panic under this lock");
        if end.is_none() {
            let file = self.storage.open(&self.name, true)?;
            let at = file.len()?.next_multiple_of(UNIT as u64);
            *end = Some((file, at));
        }
        let (file, at) = end.as_mut().expect("just opened");
        if *at + framed.len() as u64 > RECORD_FILE_BYTES {
            return Err(StoreError::refused(&self.name, "it is full"));
        }
        file.write_at(&framed, *at)?;
        *at += framed.len() as u64;
        Ok(())
    }

    /// Makes all appended records durable, and the name of the file.
    pub fn sync(&self) -> Result<()> {
        let end = self.end.lock().expect("no panic under this lock");
        let Some((file, _)) = &*end else { return Ok(()) };
        file.sync_data()?;
        self.storage.sync_dir(directory_of(&self.name))
    }

    /// Puts these records in the place of all others; after a crash it is the ones or the others. Durable when this
    /// returns.
    pub fn replace<'a>(&self, records: impl IntoIterator<Item = &'a [u8]>) -> Result<()> {
        let mut bytes = Vec::new();
        for record in records {
            bytes.extend(frame(&self.name, record)?);
        }
        let mut end = self.end.lock().expect("no panic under this lock");
        *end = None;
        let new = format!("{}.new", self.name);
        let file = self.storage.open(&new, true)?;
        file.set_len(0)?;
        file.write_at(&bytes, 0)?;
        file.sync_data()?;
        self.storage.rename(&new, &self.name)?;
        self.storage.sync_dir(directory_of(&self.name))
    }

    fn decode(&self, bytes: &[u8]) -> LoadedRecords {
        let mut loaded = LoadedRecords { bytes: bytes.len() as u64, ..LoadedRecords::default() };
        let (mut at, mut unreadable) = (0, None);
        while at < bytes.len() {
            match record_at(&bytes[at..]) {
                Some(record) => {
                    if let Some(place) = unreadable.take() {
                        let what = "a record here cannot be read";
                        loaded.damaged.push(StoreError::damaged(what, &self.name, place as u64));
                    }
                    at += (HEADER_BYTES + record.len()).next_multiple_of(UNIT);
                    loaded.records.push(record.to_vec());
                }
                None => {
                    unreadable.get_or_insert(at);
                    at += UNIT;
                }
            }
        }
        loaded.has_torn_end = unreadable.is_some();
        loaded
    }
}

fn frame(name: &str, record: &[u8]) -> Result<Vec<u8>> {
    if record.is_empty() || record.len() > RECORD_BYTES {
        let why = format!("a record of {} bytes; it may have 1 to {RECORD_BYTES}", record.len());
        return Err(StoreError::refused(name, why));
    }
    let mut framed = Writer::with_capacity((HEADER_BYTES + record.len()).next_multiple_of(UNIT));
    framed.bytes(&MAGIC).u16(VERSION).u16(0).u32(record.len() as u32);
    let sum = checksum(CHECKSUM_LABEL, &[framed.as_slice(), record]);
    framed.bytes(&sum).bytes(record).pad_to(UNIT);
    Ok(framed.finish())
}

/// The record whose header is at the start of `bytes`, if it is whole.
fn record_at(bytes: &[u8]) -> Option<&[u8]> {
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
    let mut reader = Reader::new(header);
    if reader.array::<8>() != MAGIC || reader.u16() != VERSION || reader.u16() != 0 {
        return None;
    }
    let len = reader.u32() as usize;
    let sum = reader.array::<32>();
    let record = rest.get(..len).filter(|record| !record.is_empty())?;
    (checksum(CHECKSUM_LABEL, &[&header[..16], record]) == sum).then_some(record)
}
