//! What a mount asks of the zone: each operation locks the state, changes or reads it, and answers.

use std::ops::ControlFlow;
use std::sync::Arc;

use bt_base::Timestamp;
use bt_base::limits::BLOCK_SIZE;
use bt_tree::BlockRef;
use bt_tree::index::Tree;
use bt_tree::schema::{Compression, Inode, Slot};
use bt_vfs::op::Change;
use bt_vfs::view::Listed;
use bt_vfs::{Allocate, AttributeFlags, Creator, Freed, Piece, Refusal, RenameFlags, Seek, ShareRange, Vfs};

use super::flush::damaged;
use super::{Engine, ReadError};
use crate::error::{EngineError, Result};
use crate::system::file_time;

/// What a new name takes on the disk at most: its records and the index above them.
const NAME_BYTES: u64 = 4096;
/// Bytes that one step of a copy moves through memory.
const COPY_BYTES: u64 = 1 << 20;
/// Reads of at least so many bytes are taken for sequential ones.
const AHEAD_FROM: usize = 128 << 10;
/// What a small read has the disk fetch around it, in bytes.
const AROUND_BYTES: u64 = 256 << 10;
/// Files of which small reads fetch what is around them: smaller ones come with one read, larger ones would push
/// too much else out of memory.
const AROUND_SIZES: std::ops::RangeInclusive<u64> = 2 * AROUND_BYTES..=1 << 30;

impl Engine {
    /// Runs one changing operation. An error from the index stops the zone: the change may be half made.
    pub(super) fn change<T>(
        &self,
        bytes: u64,
        run: impl FnOnce(&mut Vfs, Timestamp) -> bt_vfs::Result<T>,
    ) -> Result<T> {
        self.check_writable()?;
        match self.wait_for_room() {
            // What gives space back must go on when the disk is full.
            Err(error) if bytes == 0 && error.is_no_space() => {}
            other => other?,
        }
        if bytes > 0 {
            self.reserve(bytes)?;
        }
        let mut vfs = self.write_in_turn();
        // Under the lock: a commit must not take a change that is half made.
        let result = self.guard(run(&mut vfs, file_time()));
        self.gauge(&vfs);
        drop(vfs);
        self.nudge();
        result
    }

    /// An inode.
    pub(crate) fn inode(&self, inode: u64) -> Result<Inode> {
        Ok(self.read().inode(&self.source, inode)?)
    }

    /// Looks a name up and counts that the kernel holds the inode.
    pub(crate) fn lookup(&self, directory: u64, name: &[u8]) -> Result<Option<(u64, Inode)>> {
        let vfs = self.read();
        let found = vfs.lookup(&self.source, directory, name)?;
        if let Some((inode, _)) = found {
            self.hold(inode);
        }
        Ok(found)
    }

    /// The kernel holds an inode once more.
    pub(crate) fn hold(&self, inode: u64) {
        self.lookups.lock().expect("no panic under this lock").add(inode);
    }

    /// The kernel lets an inode go; the last holder of one without a name frees it.
    pub(crate) fn forget(&self, inode: u64, count: u64) {
        let unused = self.lookups.lock().expect("no panic under this lock").forget(inode, count);
        if unused && !self.read_only && self.read().is_orphan(inode) {
            self.free(inode);
        }
    }

    /// Frees an inode that nobody can reach. A large one is left to the committer.
    fn free(&self, inode: u64) {
        if self.stopped().is_some() {
            return;
        }
        let mut vfs = self.write();
        if !vfs.is_orphan(inode) {
            return;
        }
        let freed = self.guard(vfs.free(&self.source, inode));
        self.gauge(&vfs);
        drop(vfs);
        if let Ok(Freed { done: false, nameless }) = freed {
            let mut unused = self.unused.lock().expect("no panic under this lock");
            unused.push(inode);
            unused.extend(nameless);
            drop(unused);
            self.ask();
        }
        self.nudge();
    }

    /// Frees an inode that lost its last name, unless the kernel holds it.
    fn free_unless_held(&self, nameless: Option<u64>) {
        if let Some(inode) = nameless
            && !self.lookups.lock().expect("no panic under this lock").holds(inode)
        {
            self.free(inode);
        }
    }

    /// Makes an inode under a name; the kernel holds it.
    pub(crate) fn make(
        &self,
        directory: u64,
        name: &[u8],
        mode: u32,
        rdev: u32,
        target: &[u8],
        creator: (u32, u32, u32),
    ) -> Result<(u64, Inode)> {
        let (uid, gid, umask) = creator;
        self.change(NAME_BYTES, |vfs, now| {
            let creator = Creator { uid, gid, umask, now };
            let made = vfs.make(&self.source, directory, name, mode, rdev, target, &creator)?;
            self.hold(made.0);
            Ok(made)
        })
    }

    /// Makes a file without a name; the kernel holds it.
    pub(crate) fn make_unnamed(&self, directory: u64, mode: u32, creator: (u32, u32, u32)) -> Result<(u64, Inode)> {
        let (uid, gid, umask) = creator;
        self.change(NAME_BYTES, |vfs, now| {
            let made = vfs.make_unnamed(&self.source, directory, mode, &Creator { uid, gid, umask, now })?;
            self.hold(made.0);
            Ok(made)
        })
    }

    /// link(2); the kernel holds the inode once more.
    pub(crate) fn link(&self, inode: u64, directory: u64, name: &[u8]) -> Result<Inode> {
        self.change(NAME_BYTES, |vfs, now| {
            let linked = vfs.link(&self.source, inode, directory, name, now)?;
            self.hold(inode);
            Ok(linked)
        })
    }

    /// unlink(2) and rmdir(2).
    pub(crate) fn unlink(&self, directory: u64, name: &[u8], remove_directory: bool) -> Result<()> {
        let nameless = self.change(0, |vfs, now| vfs.unlink(&self.source, directory, name, remove_directory, now))?;
        self.free_unless_held(nameless);
        Ok(())
    }

    /// rename(2).
    pub(crate) fn rename(&self, from: (u64, &[u8]), to: (u64, &[u8]), flags: RenameFlags) -> Result<()> {
        let nameless =
            self.change(NAME_BYTES, |vfs, now| vfs.rename(&self.source, from.0, from.1, to.0, to.1, flags, now))?;
        self.free_unless_held(nameless);
        Ok(())
    }

    /// Changes attributes and, when given, the size; returns the inode as it is then.
    pub(crate) fn set_attributes(
        &self,
        inode: u64,
        size: Option<u64>,
        change: impl FnOnce(Timestamp) -> Option<Change>,
        kill_privileges: bool,
    ) -> Result<Inode> {
        self.change(0, |vfs, now| {
            if let Some(size) = size {
                vfs.truncate(&self.source, inode, size, kill_privileges, now)?;
            }
            if let Some(change) = change(now) {
                vfs.change(&self.source, inode, &change, now)?;
            }
            vfs.inode(&self.source, inode)
        })
    }

    /// Writes to a file.
    pub(crate) fn write_file(&self, inode: u64, offset: u64, data: &[u8], kill_privileges: bool) -> Result<()> {
        let bytes = data.len() as u64;
        let written = self.change(bytes, |vfs, now| vfs.write(&self.source, inode, offset, data, kill_privileges, now));
        self.note_refused(inode, &written);
        written
    }

    /// Writes to the end of a file as it is at that moment; returns where it ends then.
    pub(crate) fn append_file(&self, inode: u64, data: &[u8]) -> Result<u64> {
        self.change(data.len() as u64, |vfs, now| {
            let end = vfs.inode(&self.source, inode)?.size;
            vfs.write(&self.source, inode, end, data, true, now)?;
            Ok(end + data.len() as u64)
        })
    }

    /// fallocate(2).
    pub(crate) fn allocate(
        &self,
        inode: u64,
        offset: u64,
        len: u64,
        how: Allocate,
        kill_privileges: bool,
    ) -> Result<()> {
        let needed = if matches!(how, Allocate::Reserve { .. }) { len } else { 0 };
        self.change(needed, |vfs, now| vfs.allocate(&self.source, inode, offset, len, how, kill_privileges, now))
    }

    /// lseek(2) for data and holes.
    pub(crate) fn seek(&self, inode: u64, offset: u64, what: Seek) -> Result<u64> {
        Ok(self.read().seek(&self.source, inode, offset, what)?)
    }

    /// Reads into `out`; returns the bytes read, fewer only at the end of the file. Updates the access time.
    pub(crate) fn read_file(&self, inode: u64, offset: u64, out: &mut [u8]) -> Result<usize> {
        let (pieces, record) = self.read().read(&self.source, inode, offset, out.len())?;
        let read = match self.fill(&pieces, out) {
            Err(_) => {
                // A commit may have given the blocks back meanwhile: what the index says now decides.
                let (pieces, _) = self.read().read(&self.source, inode, offset, out.len())?;
                self.fill(&pieces, out)?
            }
            Ok(read) => read,
        };
        if out.len() >= AHEAD_FROM {
            if read == out.len() {
                self.read_ahead(inode, offset + read as u64, 2 * read);
            }
        } else if AROUND_SIZES.contains(&record.size) {
            self.read_around(inode, offset);
        }
        self.accessed(inode, &record);
        Ok(read)
    }

    /// Has the disk fetch what lies around a small read, once for each part of a file: a file that is read at random
    /// and fits into memory is soon read whole, and the disk is faster in large pieces.
    fn read_around(&self, inode: u64, offset: u64) {
        let part = offset / AROUND_BYTES;
        if self.around.get(&(inode, part)).is_none() {
            self.around.insert((inode, part), ());
            self.read_ahead(inode, part * AROUND_BYTES, AROUND_BYTES as usize);
        }
    }

    /// Has the disk fetch what follows a large read, while this one is on its way to the reader.
    fn read_ahead(&self, inode: u64, offset: u64, len: usize) {
        match self.read().blocks_ahead(&self.source, inode, offset, len) {
            Ok(blocks) => self.source.prefetch(&blocks),
            Err(error) => tracing::debug!(%error, inode, "nothing is read ahead"),
        }
    }

    /// Reads from a state that does not change.
    pub(crate) fn read_frozen(&self, tree: &Tree, inode: u64, offset: u64, out: &mut [u8]) -> Result<usize> {
        let pieces = bt_vfs::read_tree(tree, &self.source, inode, offset, out.len())?;
        self.fill(&pieces, out)
    }

    /// Copies and fetches what a read consists of.
    fn fill(&self, pieces: &[Piece], out: &mut [u8]) -> Result<usize> {
        let mut at = 0;
        let mut next = 0;
        while next < pieces.len() {
            let run = run_of(&pieces[next..]);
            if run.len() > 1 {
                let len: usize = pieces[next..next + run.len()].iter().map(Piece::len).sum();
                self.fill_run(&run, &pieces[next..next + run.len()], &mut out[at..at + len])?;
                at += len;
                next += run.len();
                continue;
            }
            let piece = &pieces[next];
            let part = &mut out[at..at + piece.len()];
            match piece {
                Piece::Zero(_) => part.fill(0),
                Piece::Bytes(bytes, range) => copy_padded(bytes, range.start, part),
                Piece::Block(slot, range) => {
                    let block = self.fetch(slot)?;
                    copy_padded(&block, range.start, part);
                }
            }
            at += piece.len();
            next += 1;
        }
        Ok(at)
    }

    fn fetch(&self, slot: &Slot) -> Result<Arc<[u8]>> {
        self.source.data(slot).map_err(|error| logged(slot, error))
    }

    fn fill_run(&self, run: &[BlockRef], pieces: &[Piece], out: &mut [u8]) -> Result<()> {
        let mut parts = Vec::with_capacity(pieces.len());
        let mut rest = out;
        for piece in pieces {
            let (part, tail) = rest.split_at_mut(piece.len());
            parts.push(part);
            rest = tail;
        }
        self.source
            .data_run(run, &mut parts)
            .map_err(|error| logged(&Slot { block: run[0], compression: Compression::None }, error))
    }

    /// Lists a directory from the first entry above `after`.
    pub(crate) fn list(
        &self,
        directory: u64,
        after: u64,
        visit: &mut dyn FnMut(&Vfs, Listed<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let vfs = self.read();
        let tree = vfs.zone().tree();
        bt_vfs::view::list(tree, &self.source, directory, after, &mut |entry| visit(&vfs, entry))?;
        Ok(())
    }

    /// The target of a symbolic link.
    pub(crate) fn link_target(&self, inode: u64) -> Result<Vec<u8>> {
        let vfs = self.read();
        let target = bt_vfs::view::inline(vfs.zone().tree(), &self.source, inode)?;
        Ok(target.ok_or(Refusal::Invalid)?)
    }

    /// The value of an extended attribute.
    pub(crate) fn attribute(&self, inode: u64, name: &[u8]) -> Result<Vec<u8>> {
        Ok(self.read().attribute(&self.source, inode, name)?)
    }

    /// The names of an inode's extended attributes.
    pub(crate) fn attribute_names(&self, inode: u64) -> Result<Vec<Vec<u8>>> {
        Ok(self.read().attribute_names(&self.source, inode)?)
    }

    /// setxattr(2).
    pub(crate) fn set_attribute(
        &self,
        inode: u64,
        name: &[u8],
        value: &[u8],
        flags: AttributeFlags,
        kill_set_gid: bool,
    ) -> Result<()> {
        let bytes = NAME_BYTES + value.len() as u64;
        self.change(bytes, |vfs, now| vfs.set_attribute(&self.source, inode, name, value, flags, kill_set_gid, now))
    }

    /// removexattr(2).
    pub(crate) fn remove_attribute(&self, inode: u64, name: &[u8]) -> Result<()> {
        self.change(0, |vfs, now| vfs.remove_attribute(&self.source, inode, name, now))
    }

    /// A file was read: updates its access time where relatime wants it.
    pub(crate) fn accessed(&self, inode: u64, record: &Inode) {
        if self.read_only
            || self.stopped().is_some()
            || self.holds_changes()
            || !Vfs::wants_access_time(record, file_time())
        {
            return;
        }
        let result = self.change(0, |vfs, now| vfs.accessed(&self.source, inode, now));
        if let Err(error) = result {
            tracing::debug!(%error, inode, "the access time was not updated");
        }
    }

    /// copy_file_range(2): shares whole blocks, copies the rest. Returns the bytes copied.
    pub(crate) fn copy_range(&self, range: ShareRange, kill_privileges: bool) -> Result<u64> {
        self.change(0, |vfs, now| vfs.drop_privileges(&self.source, range.to, kill_privileges, now))?;
        let size = self.inode(range.from)?.size;
        let len = range.len.min(size.saturating_sub(range.from_offset));
        let mut done = 0;
        while done < len {
            let part = ShareRange {
                from_offset: range.from_offset + done,
                to_offset: range.to_offset + done,
                len: len - done,
                ..range
            };
            let shared = self.change(NAME_BYTES, |vfs, now| vfs.share(&self.source, part, now))?;
            done += if shared > 0 { shared } else { self.copy_part(part, kill_privileges)? };
        }
        Ok(done)
    }

    /// Copies up to the next block boundary of the source, at most [`COPY_BYTES`].
    fn copy_part(&self, part: ShareRange, kill_privileges: bool) -> Result<u64> {
        let block = BLOCK_SIZE as u64;
        let to_boundary = block - part.from_offset % block;
        let aligned = part.from_offset % block == part.to_offset % block && to_boundary < block;
        let len = part.len.min(if aligned { to_boundary } else { COPY_BYTES });
        let mut buffer = vec![0; len as usize];
        let read = self.read_file(part.from, part.from_offset, &mut buffer)?;
        self.write_file(part.to, part.to_offset, &buffer[..read], kill_privileges)?;
        Ok(read as u64)
    }
}

/// The blocks at the start of `pieces` that one read can fetch: uncompressed, whole from their start, in one segment
/// in order.
fn run_of(pieces: &[Piece]) -> Vec<BlockRef> {
    let mut run: Vec<BlockRef> = Vec::new();
    for piece in pieces {
        let Piece::Block(Slot { block, compression: Compression::None }, range) = piece else { break };
        let follows = run.last().is_none_or(|last| {
            last.segment == block.segment && last.index + 1 == block.index && last.epoch == block.epoch
        });
        if range.start != 0 || !follows {
            break;
        }
        run.push(*block);
    }
    run
}

/// Copies from byte `start` of a content that ends with zeros.
fn copy_padded(content: &[u8], start: usize, part: &mut [u8]) {
    let available = content.get(start..).unwrap_or_default();
    let len = available.len().min(part.len());
    part[..len].copy_from_slice(&available[..len]);
    part[len..].fill(0);
}

fn logged(slot: &Slot, error: ReadError) -> EngineError {
    let error = damaged(slot, error);
    tracing::error!(%error, "a read failed");
    error
}
