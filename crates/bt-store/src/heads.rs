//! Where a zone's newest heads lie: two files, each with two slots.
//!
//! The slot of a head is the parity of its revision, so the head before is not touched. Each head is in `heads.a` and
//! in `heads.b`, written and synced one after the other: a crash at any point leaves the previous head or the new one
//! readable, and damage to one file leaves both heads in the other. The bytes of a head are not interpreted here.
//! The byte table is in `doc/format/heads.md`.

use std::sync::Arc;

use bt_base::Revision;

use crate::error::{Result, StoreError};
use crate::format::{Reader, Writer, checksum};
use crate::limits::{ALIGNMENT, HEAD_SLOT_BYTES};
use crate::storage::{Storage, StorageFile};

const MAGIC: [u8; 8] = *b"BTHEAD\r\n";
const VERSION: u16 = 1;
const SLOTS: u64 = 2;
const HEADER_BYTES: usize = 64;
const CHECKSUM_LABEL: &str = "blocktree/head-slot 1";

/// The names of the two files, within a zone's directory.
pub const HEAD_FILES: [&str; 2] = ["heads.a", "heads.b"];
/// The most bytes that one head may have.
pub const HEAD_BYTES: usize = HEAD_SLOT_BYTES as usize - HEADER_BYTES;

/// The head files of one zone.
#[derive(Debug)]
pub struct Heads {
    storage: Arc<dyn Storage>,
    directory: String,
}

/// A head as one slot holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadCopy {
    /// The revision it was published with.
    pub revision: Revision,
    /// The signed head record.
    pub bytes: Vec<u8>,
    /// The file that holds it, relative to the node's directory.
    pub file: String,
    /// Where its slot begins, in bytes.
    pub offset: u64,
}

/// What the two files hold.
#[derive(Debug, Default)]
pub struct LoadedHeads {
    /// The readable copies, newest first; usually each revision twice.
    pub copies: Vec<HeadCopy>,
    /// One error for each file or slot that cannot be read, naming it. A crash during a publication leaves one.
    pub damaged: Vec<StoreError>,
}

/// What [`Heads::repair`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairedHead {
    /// The head that is in both files again.
    pub revision: Revision,
    /// The file that lacked it, relative to the node's directory.
    pub file: String,
}

enum Slot {
    Empty,
    Head(HeadCopy),
    Damaged(StoreError),
}

impl Heads {
    /// The heads in `directory`, a zone's directory within the node's. Nothing is read or made yet.
    pub fn new(storage: Arc<dyn Storage>, directory: &str) -> Self {
        Self { storage, directory: directory.to_owned() }
    }

    /// Makes two empty files, durable when this returns. Existing ones are refused: they may hold heads.
    pub fn create(&self) -> Result<()> {
        for name in HEAD_FILES.map(|name| self.name(name)) {
            if self.storage.exists(&name)? {
                return Err(StoreError::refused(&name, "it exists and may hold heads; move the zone's directory away"));
            }
        }
        HEAD_FILES.iter().try_for_each(|name| self.make_file(&self.name(name)))
    }

    /// Writes a head of at most [`HEAD_BYTES`] bytes to both files, and syncs each before the next is touched.
    ///
    /// The slot that is overwritten is that of `revision - 2`. After an error, what is on the disk is unknown: open
    /// the zone again, and let [`Heads::load`] tell.
    pub fn publish(&self, revision: Revision, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() || bytes.len() > HEAD_BYTES {
            let why = format!("a head of {} bytes; it may have 1 to {HEAD_BYTES}", bytes.len());
            return Err(StoreError::refused(&self.name(HEAD_FILES[0]), why));
        }
        let slot = encode_slot(revision, bytes);
        for name in HEAD_FILES.map(|name| self.name(name)) {
            write_slot(&*self.storage.open(&name, false)?, revision, &slot)?;
        }
        Ok(())
    }

    /// All copies of both files. Empty slots are neither copies nor damage.
    pub fn load(&self) -> Result<LoadedHeads> {
        let mut loaded = LoadedHeads::default();
        for name in HEAD_FILES.map(|name| self.name(name)) {
            for slot in self.read_slots(&name)? {
                match slot {
                    Slot::Empty => {}
                    Slot::Head(copy) => loaded.copies.push(copy),
                    Slot::Damaged(error) => loaded.damaged.push(error),
                }
            }
        }
        loaded.copies.sort_by_key(|copy| std::cmp::Reverse(copy.revision));
        Ok(loaded)
    }

    /// Copies to each file the newer head of each slot that only the other file has, and makes a missing file.
    ///
    /// It trusts checksums alone: call it after the signatures of the newest head were verified.
    pub fn repair(&self) -> Result<Vec<RepairedHead>> {
        let mut newest: [Option<HeadCopy>; SLOTS as usize] = [None, None];
        for copy in self.load()?.copies.into_iter().rev() {
            let slot = copy.revision.0 % SLOTS;
            newest[slot as usize] = Some(copy);
        }
        let mut repaired = Vec::new();
        for name in HEAD_FILES.map(|name| self.name(name)) {
            self.make_file(&name)?;
            let slots = self.read_slots(&name)?;
            for (slot, head) in slots.iter().zip(&newest) {
                let Some(head) = head else { continue };
                if matches!(slot, Slot::Head(copy) if copy.revision == head.revision && copy.bytes == head.bytes) {
                    continue;
                }
                let file = self.storage.open(&name, false)?;
                write_slot(&*file, head.revision, &encode_slot(head.revision, &head.bytes))?;
                repaired.push(RepairedHead { revision: head.revision, file: name.clone() });
            }
        }
        Ok(repaired)
    }

    fn name(&self, file: &str) -> String {
        format!("{}/{file}", self.directory)
    }

    /// Makes a file with both slots, or as much of it as is missing.
    fn make_file(&self, name: &str) -> Result<()> {
        let file = self.storage.open(name, true)?;
        let len = file.len()?;
        if len < SLOTS * HEAD_SLOT_BYTES {
            file.zero_fill(len, SLOTS * HEAD_SLOT_BYTES - len)?;
            file.sync_data()?;
            self.storage.sync_dir(&self.directory)?;
        }
        Ok(())
    }

    fn read_slots(&self, name: &str) -> Result<Vec<Slot>> {
        let file = match self.storage.open(name, false) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => {
                return Ok(vec![Slot::Damaged(StoreError::damaged("the file is missing", name, 0))]);
            }
            Err(error) => return Err(error),
        };
        (0..SLOTS).map(|slot| read_slot(&*file, slot * HEAD_SLOT_BYTES)).collect()
    }
}

fn write_slot(file: &dyn StorageFile, revision: Revision, slot: &[u8]) -> Result<()> {
    file.write_at(slot, revision.0 % SLOTS * HEAD_SLOT_BYTES)?;
    file.sync_data()
}

fn encode_slot(revision: Revision, bytes: &[u8]) -> Vec<u8> {
    let mut slot = Writer::with_capacity(HEADER_BYTES + bytes.len() + ALIGNMENT as usize);
    slot.bytes(&MAGIC).u16(VERSION).u16(0).u32(bytes.len() as u32).u64(revision.0).u64(0);
    let sum = checksum(CHECKSUM_LABEL, &[slot.as_slice(), bytes]);
    slot.bytes(&sum).bytes(bytes).pad_to(ALIGNMENT as usize);
    slot.finish()
}

fn read_slot(file: &dyn StorageFile, offset: u64) -> Result<Slot> {
    let damaged = |what: String| Ok(Slot::Damaged(StoreError::damaged(what, file.name(), offset)));
    let mut slot = vec![0; HEAD_SLOT_BYTES as usize];
    if file.read_at(&mut slot, offset)? < slot.len() {
        return damaged("the file is cut short".to_owned());
    }
    let (header, body) = slot.split_at(HEADER_BYTES);
    if header.iter().all(|byte| *byte == 0) {
        return Ok(Slot::Empty);
    }
    let mut reader = Reader::new(header);
    if reader.array::<8>() != MAGIC {
        return damaged("this is no head".to_owned());
    }
    let version = reader.u16();
    let _reserved = reader.u16();
    let len = reader.u32() as usize;
    let revision = Revision(reader.u64());
    let _reserved = reader.u64();
    let sum = reader.array::<32>();
    if version != VERSION {
        return damaged(format!("the head's slot has format version {version}, this program knows {VERSION}"));
    }
    let Some(bytes) = body.get(..len) else {
        return damaged(format!("a head of {len} bytes does not fit its slot"));
    };
    if checksum(CHECKSUM_LABEL, &[&header[..32], bytes]) != sum {
        return damaged(format!("the checksum of the head of revision {revision} does not match"));
    }
    if revision.0 % SLOTS * HEAD_SLOT_BYTES != offset {
        return damaged(format!("the head of revision {revision} is in the wrong slot"));
    }
    Ok(Slot::Head(HeadCopy { revision, bytes: bytes.to_vec(), file: file.name().to_owned(), offset }))
}
