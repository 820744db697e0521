//! What is stored, for people who look for the cause of something. Never the content of files.

use std::collections::HashMap;

use bt_base::SegmentId;
use bt_base::limits::TAG_SIZE;
use bt_crypto::{BlockHasher, SegmentContext};
use bt_store::heads::HEAD_FILES;
use bt_store::{Containers, Heads, SegmentInfo, StoreError};
use bt_tree::BlockRef;
use bt_tree::index::Node;
use bt_tree::schema::{
    Content, DeadRecord, Entry, Extent, Inode, KeyKind, Name, ZoneRecord, decode_count, decode_entrance, parse_key,
};
use bt_tree::zone::{Account, SnapshotRecord};

use super::Engine;
use super::check::verify_head;
use crate::control::Failure;
use crate::control::limits::BLOCK_ENTRIES;
use crate::control::report::{BlockName, BlockReport, HeadCopy, HeadReport, SegmentReport, escape};
use crate::error::{EngineError, Result};

type Answer<T> = std::result::Result<T, Failure>;

impl Engine {
    /// The newest head that is stored, and the files that keep heads.
    pub(crate) fn inspect_head(&self) -> Answer<HeadReport> {
        let directory = &self.identity.layout.directory;
        let heads = Heads::new(self.storage.clone(), directory);
        // Published heads are written under this lock.
        let loaded = {
            let _flushing = self.flushing();
            heads.load().map_err(|error| EngineError::from(error).into_failure("reading the heads"))?
        };
        let mut newest = None;
        let mut copies: Vec<HeadCopy> = HEAD_FILES
            .iter()
            .map(|file| HeadCopy { file: format!("{directory}/{file}"), revision: None, problem: None })
            .collect();
        for error in &loaded.damaged {
            let StoreError::Damaged { file, what, .. } = error else { continue };
            copies.iter_mut().filter(|copy| copy.file == *file).for_each(|copy| copy.problem = Some(what.clone()));
        }
        for stored in &loaded.copies {
            let Some(copy) = copies.iter_mut().find(|copy| copy.file == stored.file) else { continue };
            match verify_head(stored, &self.identity) {
                Ok(signed) => {
                    copy.revision = copy.revision.max(Some(stored.revision));
                    newest.get_or_insert(signed);
                }
                Err(error) => copy.problem = Some(error.to_string()),
            }
        }
        let signed = newest.ok_or_else(|| {
            Failure::problem("no head of the zone can be read", "run `bt check` to see what is damaged")
        })?;
        let head = signed.unverified();
        let root = head.root.ok_or_else(|| Failure::problem("the newest head names no index", ""))?;
        Ok(HeadReport {
            zone: head.zone,
            revision: head.revision,
            hash: signed.hash(),
            previous: head.previous,
            root: BlockName { segment: root.segment, index: root.index, len_bytes: root.len, hash: root.hash },
            epoch: head.epoch,
            access: head.access,
            covers: head.journal.covered,
            lease_token: head.lease_token,
            added: head.added.iter().map(|summary| summary.id).collect(),
            removed: head.removed.clone(),
            time: head.time,
            signer: signed.certificate().node().id(),
            session_expires: signed.certificate().not_after(),
            copies,
        })
    }

    /// One segment, whose table of blocks is read too, or all.
    pub(crate) fn inspect_segments(&self, id: Option<&SegmentId>) -> Answer<Vec<SegmentReport>> {
        let live = self.live_by_segment().map_err(|error| error.into_failure("reading the accounts"))?;
        if let Some(id) = id {
            return Ok(vec![self.inspect_segment(id, live.get(id).copied())?]);
        }
        let stored = self.containers.segments();
        let mut reports: Vec<SegmentReport> =
            stored.iter().map(|info| report(&self.containers, info, live.get(&info.id).copied())).collect();
        let lost = live.iter().filter(|(id, _)| !self.containers.contains(id));
        reports.extend(lost.map(|(id, live_bytes)| missing(*id, *live_bytes)));
        reports.sort_by(|a, b| (&a.container, a.offset_bytes).cmp(&(&b.container, b.offset_bytes)));
        Ok(reports)
    }

    fn inspect_segment(&self, id: &SegmentId, live: Option<u64>) -> Answer<SegmentReport> {
        match (self.containers.segment(id), live) {
            (Some(info), live) => {
                let mut report = report(&self.containers, &info, live);
                report.problem = self.containers.blocks(id).err().map(|error| error.to_string());
                Ok(report)
            }
            (None, Some(live_bytes)) => Ok(missing(*id, live_bytes)),
            (None, None) => Err(no_segment(id)),
        }
    }

    /// The live bytes of every segment that the present or a snapshot needs.
    fn live_by_segment(&self) -> Result<HashMap<SegmentId, u64>> {
        let vfs = self.read();
        let mut live: HashMap<SegmentId, u64> =
            vfs.zone().unaccounted().iter().map(|summary| (summary.id, summary.sealed_bytes)).collect();
        vfs.zone().for_accounts(&self.source, &mut |segment, account| {
            live.insert(segment, account.live_bytes);
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(live)
    }

    /// One block, opened under its segment's key, which proves that the zone's writers sealed it.
    pub(crate) fn inspect_block(&self, segment: &SegmentId, index: u32) -> Answer<BlockReport> {
        let failed = |error: StoreError| EngineError::from(error).into_failure("reading the block");
        let info = self.containers.segment(segment).ok_or_else(|| no_segment(segment))?;
        let places = self.containers.blocks(segment).map_err(failed)?;
        let place = places.iter().find(|place| place.index == index).ok_or_else(|| {
            let last = places.last().map_or(0, |place| place.index);
            let what = format!("segment {segment} has no block {index}: its last is {last}");
            Failure::refused(what, "blocks that nothing needed any more may have been given back")
        })?;
        let mut sealed = Vec::new();
        self.containers.read_block(segment, index, &mut sealed).map_err(failed)?;
        let context = SegmentContext {
            tree: *self.identity.tree(),
            zone: self.identity.zone(),
            segment: *segment,
            epoch: info.epoch,
        };
        let hash = BlockHasher::new(&context).hash(index, &sealed);
        let len = sealed.len().saturating_sub(TAG_SIZE) as u32;
        let block = BlockRef { segment: *segment, index, len, epoch: info.epoch, birth: Default::default(), hash };
        let mut plain = vec![0; len as usize];
        self.source
            .open_sealed(&block, &sealed, &mut plain)
            .map_err(|error| Failure::problem(error.to_string(), "run `bt check` to see what it affects"))?;
        let (kind, entries) = self.describe_block(segment, plain);
        Ok(BlockReport {
            segment: *segment,
            index,
            container: self.containers.file_of(&info),
            offset_bytes: info.offset + u64::from(place.offset),
            sealed_bytes: sealed.len() as u32,
            epoch: info.epoch,
            hash,
            kind: kind.to_owned(),
            entries,
        })
    }

    /// What a block holds. Only what an account calls an index node is looked into: a file may look like one.
    fn describe_block(&self, segment: &SegmentId, plain: Vec<u8>) -> (&'static str, Vec<String>) {
        let is_index = {
            let vfs = self.read();
            let account = vfs.zone().account(&self.source, segment).ok().flatten();
            account.is_some_and(|account| account.index_blocks)
                || vfs.zone().unaccounted().iter().any(|summary| summary.id == *segment)
        };
        match Node::decode(plain) {
            Ok(node) if is_index && node.level() == 0 => {
                let records = node.records().take(BLOCK_ENTRIES);
                ("index leaf", records.map(|(key, value)| describe_record(key, value)).collect())
            }
            Ok(node) if is_index => {
                let children = node.references().take(BLOCK_ENTRIES);
                let text = |child: BlockRef| {
                    format!(
                        "block {} of segment {}, {} bytes, made in revision {}",
                        child.index, child.segment, child.len, child.birth
                    )
                };
                ("index branch", children.map(text).collect())
            }
            Err(_) if is_index => ("index node that cannot be read", Vec::new()),
            _ => ("file data", Vec::new()),
        }
    }
}

fn no_segment(id: &SegmentId) -> Failure {
    Failure::refused(format!("segment {id} is not stored"), "`bt inspect segment DIR` lists those that are")
}

fn report(containers: &Containers, info: &SegmentInfo, live_bytes: Option<u64>) -> SegmentReport {
    SegmentReport {
        id: info.id,
        container: containers.file_of(info),
        offset_bytes: info.offset,
        len_bytes: info.bytes,
        blocks: info.blocks,
        live_bytes,
        problem: None,
    }
}

fn missing(id: SegmentId, live_bytes: u64) -> SegmentReport {
    SegmentReport {
        id,
        container: String::new(),
        offset_bytes: 0,
        len_bytes: 0,
        blocks: 0,
        live_bytes: Some(live_bytes),
        problem: Some("it is needed, but not stored".into()),
    }
}

/// A record as text, without anything that a file or an attribute holds.
fn describe_record(key: &[u8], value: &[u8]) -> String {
    let text = parse_key(key).and_then(|kind| describe_known(kind, value));
    text.unwrap_or_else(|error| format!("a record of {} bytes that cannot be read: {error}", value.len()))
}

fn describe_known(kind: KeyKind<'_>, value: &[u8]) -> std::result::Result<String, bt_base::codec::DecodeError> {
    Ok(match kind {
        KeyKind::Zone => {
            let zone = ZoneRecord::decode(value)?;
            format!(
                "zone: {} inodes, the next is {}, the next snapshot {}",
                zone.inodes, zone.next_inode, zone.next_snapshot
            )
        }
        KeyKind::Inode(number) => {
            let inode = Inode::decode(value)?;
            let content = match inode.content {
                Content::None => "nowhere",
                Content::Inline => "in the index",
                Content::Extents => "in extents",
            };
            format!(
                "inode {number}: mode {:o}, owner {}:{}, {} links, {} bytes, {} stored {content}",
                inode.mode, inode.uid, inode.gid, inode.nlink, inode.size, inode.stored
            )
        }
        KeyKind::Name(directory, name) => {
            let record = Name::decode(value)?;
            format!("name {} in {directory}: inode {}, place {}", escape(name), record.inode, record.sequence)
        }
        KeyKind::Entry(directory, sequence) => {
            let entry = Entry::decode(value)?;
            format!("place {sequence} in {directory}: {}, inode {}", escape(entry.name), entry.inode)
        }
        KeyKind::Attribute(inode, name) => {
            format!("attribute {} of inode {inode}: {} bytes", escape(name), value.len())
        }
        KeyKind::Extent(inode, first) => {
            let slots = Extent::decode(value)?.slots;
            let blocks = slots.iter().flatten().count();
            format!("extent of inode {inode} from slot {first}: {blocks} blocks")
        }
        KeyKind::Inline(inode) => format!("content of inode {inode}: {} bytes", value.len()),
        KeyKind::Label => format!("the zone's name: {}", escape(value)),
        KeyKind::Orphan(inode) => format!("orphan: inode {inode}"),
        KeyKind::Entrance(inode) => format!("entrance at inode {inode}: zone {}", decode_entrance(value)?),
        KeyKind::Snapshot(name) => {
            let record = SnapshotRecord::decode(value)?;
            format!(
                "snapshot {}: number {}, revision {}, {:?}",
                escape(name),
                record.number,
                record.revision,
                record.state
            )
        }
        KeyKind::Account(segment) => {
            let account = Account::decode(value)?;
            let (live, all) = (account.live_bytes, account.sealed_bytes);
            format!("account of segment {segment}: {live} of {all} bytes alive, {} blocks", account.blocks)
        }
        KeyKind::Dead(snapshot, segment, index, birth) => {
            let record = DeadRecord::decode(value)?;
            format!(
                "kept for snapshot {snapshot}: block {index} of segment {segment} of revision {birth}, {} times",
                record.count
            )
        }
        KeyKind::Count(segment, index) => {
            format!("block {index} of segment {segment}: {} references beyond the first", decode_count(value)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use bt_base::Revision;

    use super::*;
    use crate::engine::testing::{ROOT, TestZone, flip, noise};

    #[test]
    fn a_head_is_shown_with_its_copies_and_what_is_wrong_with_them() {
        let zone = TestZone::new();
        zone.file(ROOT, "file", b"content");
        let revision = zone.engine.commit().unwrap();
        let report = zone.engine.inspect_head().unwrap();
        assert_eq!((report.revision, report.root.segment), (revision, zone.engine.flushing().root.unwrap().0.segment));
        assert!(report.copies.iter().all(|copy| copy.revision == Some(revision) && copy.problem.is_none()));
        let slot = revision.0 % 2 * bt_store::limits::HEAD_SLOT_BYTES;
        flip(&zone.storage, &report.copies[0].file, slot + 90);
        let report = zone.engine.inspect_head().unwrap();
        assert_eq!(report.revision, revision);
        assert_eq!(report.copies[0].revision, Some(Revision(revision.0 - 1)));
        assert!(report.copies[0].problem.is_some() && report.copies[1].problem.is_none());
    }

    #[test]
    fn segments_and_blocks_are_shown_without_content() {
        let zone = TestZone::new();
        let secret = "the content of a small file";
        zone.file(ROOT, "small", secret.as_bytes());
        let large = zone.file(ROOT, "large", &noise(50_000, 1));
        zone.engine.set_attribute(large, b"user.a", secret.as_bytes(), Default::default(), false).unwrap();
        zone.engine.commit().unwrap();
        let segments = zone.engine.inspect_segments(None).unwrap();
        let live: u64 = segments.iter().filter_map(|segment| segment.live_bytes).sum();
        assert_eq!(live, zone.engine.live_bytes().unwrap());
        let (mut leaves, mut data) = (0, 0);
        for segment in &segments {
            let one = zone.engine.inspect_segments(Some(&segment.id)).unwrap();
            assert_eq!(one, std::slice::from_ref(segment));
            for index in 0..segment.blocks {
                let block = zone.engine.inspect_block(&segment.id, index).unwrap();
                assert!(!format!("{block:?}").contains(secret));
                leaves += usize::from(block.kind == "index leaf" && block.entries.iter().any(|e| e.contains("small")));
                data += usize::from(block.kind == "file data" && block.entries.is_empty());
            }
        }
        assert!(leaves > 0 && data >= 4, "{leaves} {data}");
        let id = segments[0].id;
        assert!(zone.engine.inspect_block(&id, 4095).is_err());
        assert!(zone.engine.inspect_block(&SegmentId([7; 32]), 0).is_err());
        assert!(zone.engine.inspect_segments(Some(&SegmentId([7; 32]))).is_err());
        let place = zone.engine.inspect_block(&id, 0).unwrap();
        flip(&zone.storage, &place.container, place.offset_bytes + 3);
        assert!(zone.engine.inspect_block(&id, 0).unwrap_err().what.contains("damaged"));
    }
}
