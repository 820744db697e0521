//! Random operations on an engine and on the model beside it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bt_base::limits::BLOCK_SIZE;
use bt_crypto::{KeyStore, SoftwareKeyStore};
use bt_tree::schema::ROOT_INODE;
use bt_tree::{AccessError, AccessRecord, Action, Rights, SessionKey};
use bt_vfs::op::Change;
use bt_vfs::{Allocate, AttributeFlags, RenameFlags, ShareRange};

use super::case::root;
use super::model::{Covers, DIRECTORY, Meta, Model, Print, REGULAR};
use super::random::Random;
use crate::engine::Engine;
use crate::engine::rekey::BackgroundRekey;
use crate::error::{EngineError, Result};
use crate::system::{SystemEntropy, now};

const SYMLINK: u32 = 0o120000;
const FIFO: u32 = 0o010000;
/// The largest file that a workload makes, in bytes.
const FILE_BYTES: u64 = 3 << 20;
/// Names and snapshots that a workload makes at most.
const FILES: usize = 40;
const SNAPSHOTS: usize = 3;

/// Works on an engine at random; the model follows.
pub(super) struct Driver<'a> {
    pub(super) engine: Arc<Engine>,
    pub(super) model: Model,
    pub(super) random: Random,
    /// How often each inode is held, as the kernel would.
    holds: BTreeMap<u64, u64>,
    /// An operation of several steps failed: the model has it as begun, and must not go on.
    pub(super) halfway: bool,
    /// Changes of the disk so far.
    changes: &'a dyn Fn() -> usize,
}

impl<'a> Driver<'a> {
    pub(super) fn new(engine: Arc<Engine>, model: Model, random: Random, changes: &'a dyn Fn() -> usize) -> Self {
        Self { engine, model, random, holds: BTreeMap::new(), halfway: false, changes }
    }

    /// Runs some operations, until one fails.
    pub(super) fn run(&mut self, operations: usize) -> Result<()> {
        (0..operations).try_for_each(|_| self.step())
    }

    /// One operation. After an error the model is as before it.
    pub(super) fn step(&mut self) -> Result<()> {
        if self.engine.is_crowded() {
            self.commit()?;
        }
        match self.random.below(205) {
            0..16 => self.make(REGULAR),
            16..20 => self.make(DIRECTORY),
            20..22 => self.make(SYMLINK),
            22..23 => self.make(FIFO),
            23..27 => self.link(),
            27..37 => self.unlink(),
            37..51 => self.rename(),
            51..86 => self.write(),
            86..100 => self.truncate(),
            100..108 => self.allocate(),
            108..118 => self.share(),
            118..123 => self.set_attribute(),
            123..125 => self.remove_attribute(),
            125..130 => self.chmod(),
            130..158 => self.sync_file(),
            158..162 => self.sync_names(),
            162..170 => self.commit(),
            170..182 => self.flush(),
            182..184 => self.create_snapshot(),
            184..186 => self.delete_snapshot(),
            186..190 => self.make_unnamed(),
            190..194 => self.replace_by_rename(),
            194..198 => self.release(),
            198..199 => self.free_orphans(),
            199..202 => self.change_rights(),
            202..204 => self.rekey(),
            _ => self.age_session(),
        }
    }

    fn files(&self) -> Vec<u64> {
        self.model.now.contents.keys().copied().collect()
    }

    fn directory(&mut self) -> u64 {
        let all: Vec<u64> = self.model.now.names.directories.keys().copied().collect();
        self.random.pick(&all).expect("there is the root")
    }

    fn name(&mut self) -> Vec<u8> {
        let number = self.random.below(24);
        match self.random.one_in(12) {
            true => vec![b'a' + number as u8; 255],
            false => format!("name{number}").into_bytes(),
        }
    }

    /// A directory and a name that is free in it.
    fn free_name(&mut self) -> Option<(u64, Vec<u8>)> {
        let place = (self.directory(), self.name());
        self.target(&place).is_none().then_some(place)
    }

    fn target(&self, (directory, name): &(u64, Vec<u8>)) -> Option<u64> {
        self.model.now.names.directories[directory].get(name).copied()
    }

    /// A name that exists.
    fn existing(&mut self) -> Option<((u64, Vec<u8>), u64)> {
        let directories = &self.model.now.names.directories;
        let all: Vec<_> = (directories.iter())
            .flat_map(|(directory, names)| names.iter().map(|(name, inode)| ((*directory, name.clone()), *inode)))
            .collect();
        self.random.pick(&all)
    }

    fn hold(&mut self, inode: u64) {
        *self.holds.entry(inode).or_default() += 1;
        if !self.random.one_in(6) {
            self.let_go(inode);
        }
    }

    fn let_go(&mut self, inode: u64) {
        let count = self.holds.remove(&inode).unwrap_or(0);
        self.engine.forget(inode, count);
        if count > 0 && self.model.orphans.remove(&inode).is_some() {
            self.model.now.contents.remove(&inode);
        }
    }

    fn make(&mut self, kind: u32) -> Result<()> {
        let Some((directory, name)) = self.free_name() else { return Ok(()) };
        if self.model.now.names.inodes.len() >= FILES {
            return Ok(());
        }
        let target = if kind == SYMLINK { b"where/it/leads".to_vec() } else { Vec::new() };
        let mode = kind | 0o600 | self.random.below(0o100) as u32;
        let owner = (self.random.below(3) as u32, self.random.below(3) as u32);
        let begun = (self.changes)();
        let (inode, _) = self.engine.make(directory, &name, mode, 0, &target, (owner.0, owner.1, 0))?;
        let what = format!("make {inode} {mode:o} as {directory}/{}", name.escape_ascii());
        self.model.operation(begun, what, |model| {
            let mode = if kind == SYMLINK { SYMLINK | 0o777 } else { mode };
            let meta = Meta { mode, owner, target, ..Meta::default() };
            model.add_inode(inode, meta);
            model.add_name(directory, &name, inode);
        });
        self.hold(inode);
        Ok(())
    }

    /// `O_TMPFILE`, often linked later.
    fn make_unnamed(&mut self) -> Result<()> {
        let begun = (self.changes)();
        let directory = self.directory();
        let (inode, _) = self.engine.make_unnamed(directory, REGULAR | 0o644, (0, 0, 0))?;
        self.holds.insert(inode, 1);
        self.model.operation(begun, format!("make {inode} without a name"), |model| {
            model.now.contents.insert(inode, Vec::new());
            model.content_changed(inode);
            model.orphans.insert(inode, Meta { mode: REGULAR | 0o644, ..Meta::default() });
        });
        self.write_to(inode)?;
        match self.random.below(3) {
            0 => self.sync(inode)?,
            1 => self.commit()?,
            _ => {}
        }
        if self.random.one_in(2) {
            self.link_inode(inode)?;
        }
        Ok(())
    }

    fn link(&mut self) -> Result<()> {
        let Some((_, inode)) = self.existing() else { return Ok(()) };
        self.link_inode(inode)
    }

    fn link_inode(&mut self, inode: u64) -> Result<()> {
        let Some((directory, name)) = self.free_name() else { return Ok(()) };
        if self.model.now.names.inodes.get(&inode).is_some_and(Meta::is_directory) {
            return Ok(());
        }
        let begun = (self.changes)();
        self.engine.link(inode, directory, &name)?;
        self.model.operation(begun, format!("link {inode} as {directory}/{}", name.escape_ascii()), |model| {
            model.add_name(directory, &name, inode);
            model.order(inode);
        });
        self.hold(inode);
        Ok(())
    }

    fn unlink(&mut self) -> Result<()> {
        let Some(((directory, name), inode)) = self.existing() else { return Ok(()) };
        let names = &self.model.now.names;
        let is_directory = names.inodes[&inode].is_directory();
        if is_directory && !names.directories[&inode].is_empty() {
            return Ok(());
        }
        let begun = (self.changes)();
        self.engine.unlink(directory, &name, is_directory)?;
        let held = self.holds.contains_key(&inode);
        self.model.operation(begun, format!("unlink {directory}/{} ({inode})", name.escape_ascii()), |model| {
            model.remove_name(directory, &name);
            model.lose_name(inode, held);
        });
        Ok(())
    }

    fn is_inside(&self, directory: u64, ancestor: u64) -> bool {
        let mut at = directory;
        while at != ancestor && at != ROOT_INODE {
            at = self.model.parent(at);
        }
        at == ancestor
    }

    fn rename(&mut self) -> Result<()> {
        let Some((from, inode)) = self.existing() else { return Ok(()) };
        let to = match self.random.one_in(2) {
            true => (self.directory(), self.name()),
            false => self.existing().expect("one was just found").0,
        };
        self.rename_to(from, inode, to)
    }

    fn rename_to(&mut self, from: (u64, Vec<u8>), inode: u64, to: (u64, Vec<u8>)) -> Result<()> {
        let target = self.target(&to);
        let is_directory = |inode| self.model.now.names.directories.contains_key(&inode);
        let into_itself = is_directory(inode) && self.is_inside(to.0, inode);
        let pulls_ancestor = target.is_some_and(|target| is_directory(target) && self.is_inside(from.0, target));
        if target == Some(inode) || into_itself || pulls_ancestor {
            return Ok(());
        }
        let replaceable = target.is_none_or(|target| {
            is_directory(target) == is_directory(inode)
                && self.model.now.names.directories.get(&target).is_none_or(BTreeMap::is_empty)
        });
        let flags = match target {
            None if self.random.one_in(2) => RenameFlags::NoReplace,
            None => RenameFlags::Replace,
            Some(_) if self.random.one_in(3) || !replaceable => RenameFlags::Exchange,
            Some(_) => RenameFlags::Replace,
        };
        let begun = (self.changes)();
        self.engine.rename((from.0, &from.1), (to.0, &to.1), flags)?;
        let held = target.is_some_and(|target| self.holds.contains_key(&target));
        let text = |(directory, name): &(u64, Vec<u8>)| format!("{directory}/{}", name.escape_ascii());
        let what = format!("rename {inode} {} to {} ({target:?}), {flags:?}", text(&from), text(&to));
        self.model.operation(begun, what, |model| {
            model.remove_name(from.0, &from.1);
            if let Some(target) = target {
                model.remove_name(to.0, &to.1);
                match flags {
                    RenameFlags::Exchange => model.add_name(from.0, &from.1, target),
                    _ => model.lose_name(target, held),
                }
            }
            model.add_name(to.0, &to.1, inode);
            model.order(inode);
            if let (RenameFlags::Exchange, Some(target)) = (flags, target) {
                model.order(target);
            }
        });
        Ok(())
    }

    /// What an editor does: a new file is written, then takes the place of the old one.
    fn replace_by_rename(&mut self) -> Result<()> {
        let Some((directory, name)) = self.free_name() else { return Ok(()) };
        let begun = (self.changes)();
        let (inode, _) = self.engine.make(directory, &name, REGULAR | 0o644, 0, b"", (0, 0, 0))?;
        self.model.operation(begun, format!("make {inode} to replace another"), |model| {
            model.add_inode(inode, Meta { mode: REGULAR | 0o644, ..Meta::default() });
            model.add_name(directory, &name, inode);
        });
        self.hold(inode);
        self.write_to(inode)?;
        match self.random.below(4) {
            0 => self.flush()?,
            1 => self.sync(inode)?,
            _ => {}
        }
        let to = match self.existing() {
            Some((to, target)) if self.model.now.contents.contains_key(&target) => to,
            _ => (self.directory(), self.name()),
        };
        self.rename_to((directory, name), inode, to)?;
        if self.random.one_in(2) { self.sync_names() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        let files = self.files();
        let Some(inode) = self.random.pick(&files) else { return Ok(()) };
        self.write_to(inode)?;
        if self.random.one_in(12) { self.sync(inode) } else { Ok(()) }
    }

    fn write_to(&mut self, inode: u64) -> Result<()> {
        let size = self.model.now.contents[&inode].len() as u64;
        let (page, block) = (4096, BLOCK_SIZE as u64);
        let mut offset = match self.random.below(8) {
            0 | 1 => size,
            2 => 0,
            3 => self.random.below(size / page + 1) * page,
            4 => self.random.below(size / block + 1) * block,
            5 => self.random.below(size + 3 * block),
            _ => self.random.below(size + 1),
        };
        let len = match self.random.below(16) {
            0..7 => 1 + self.random.below(300),
            7 | 8 => page,
            9 | 10 => 1 + self.random.below(3 * page),
            11 | 12 => block * (1 + self.random.below(3)),
            13 | 14 => 1 + self.random.below(20 * block),
            _ => 1 + self.random.below(100 * block),
        };
        offset = offset.min(FILE_BYTES - len);
        let data = self.random.bytes(len as usize);
        let begun = (self.changes)();
        self.engine.write_file(inode, offset, &data, false)?;
        self.model.operation(begun, format!("write {len} at {offset} of {inode}"), |model| {
            let content = model.now.contents.get_mut(&inode).expect("it was picked");
            put(content, offset, &data);
            model.content_changed(inode);
        });
        self.note_time(inode);
        Ok(())
    }

    fn truncate(&mut self) -> Result<()> {
        let files = self.files();
        let Some(inode) = self.random.pick(&files) else { return Ok(()) };
        let old = self.model.now.contents[&inode].len() as u64;
        let size = match self.random.below(6) {
            0 => 0,
            1 => self.random.below(old + 1),
            2 => self.random.below(old / 4096 + 1) * 4096,
            3 => self.random.below(old / BLOCK_SIZE as u64 + 1) * BLOCK_SIZE as u64,
            4 => old + self.random.below(200),
            _ => old + self.random.below(100_000),
        };
        let size = size.min(FILE_BYTES);
        let begun = (self.changes)();
        self.engine.set_attributes(inode, Some(size), |_| None, false)?;
        self.model.operation(begun, format!("truncate {inode} from {old} to {size}"), |model| {
            model.now.contents.get_mut(&inode).expect("it was picked").resize(size as usize, 0);
            model.content_changed(inode);
        });
        self.note_time(inode);
        Ok(())
    }

    fn allocate(&mut self) -> Result<()> {
        let files = self.files();
        let Some(inode) = self.random.pick(&files) else { return Ok(()) };
        let size = self.model.now.contents[&inode].len() as u64;
        let offset = self.random.below(size + 5000);
        let most = if self.random.one_in(2) { 9000 } else { 100_000 };
        let len = 1 + self.random.below(most);
        let (offset, len) = match self.random.one_in(3) {
            true => (offset / 4096 * 4096, len.next_multiple_of(4096)),
            false => (offset, len),
        };
        let end = (offset + len).min(FILE_BYTES);
        let len = end.saturating_sub(offset).max(1);
        let keep_size = self.random.one_in(2);
        let how = match self.random.below(3) {
            0 => Allocate::PunchHole,
            1 => Allocate::ZeroRange { keep_size },
            _ => Allocate::Reserve { keep_size },
        };
        let begun = (self.changes)();
        self.engine.allocate(inode, offset, len, how, true)?;
        self.model.operation(begun, format!("{how:?} {len} at {offset} of {inode}, which had {size}"), |model| {
            let content = model.now.contents.get_mut(&inode).expect("it was picked");
            let grows =
                matches!(how, Allocate::ZeroRange { keep_size: false } | Allocate::Reserve { keep_size: false });
            if grows && content.len() < (offset + len) as usize {
                content.resize((offset + len) as usize, 0);
            }
            if !matches!(how, Allocate::Reserve { .. }) {
                let range = (offset as usize).min(content.len())..((offset + len) as usize).min(content.len());
                content[range].fill(0);
            }
            model.content_changed(inode);
        });
        self.note_time(inode);
        Ok(())
    }

    fn share(&mut self) -> Result<()> {
        let files = self.files();
        let (Some(from), Some(to)) = (self.random.pick(&files), self.random.pick(&files)) else { return Ok(()) };
        let block = BLOCK_SIZE as u64;
        let size = self.model.now.contents[&from].len() as u64;
        let target = self.model.now.contents[&to].len() as u64;
        if from == to || size == 0 {
            return Ok(());
        }
        let unaligned = self.random.one_in(5);
        let from_offset = if unaligned { self.random.below(size) } else { self.random.below(size / block + 1) * block };
        let to_offset = if self.random.one_in(8) {
            self.random.below(target + 1)
        } else {
            self.random.below(target / block + 2) * block
        };
        let to_offset = if unaligned && self.random.one_in(2) { from_offset } else { to_offset };
        let len = match self.random.one_in(2) {
            true => size.saturating_sub(from_offset),
            false => (1 + self.random.below(size / block + 1)) * block,
        };
        let len = len.min(size.saturating_sub(from_offset)).min(FILE_BYTES.saturating_sub(to_offset));
        if len == 0 {
            return Ok(());
        }
        if self.random.one_in(2) {
            self.flush_files(&[from])?;
        }
        let begun = (self.changes)();
        let copied = self.engine.copy_range(ShareRange { from, from_offset, to, to_offset, len }, true);
        self.model.operation(begun, format!("copy {len} at {from_offset} of {from} to {to_offset} of {to}"), |model| {
            let data = model.now.contents[&from][from_offset as usize..][..len as usize].to_vec();
            let content = model.now.contents.get_mut(&to).expect("it was picked");
            let mut steps = Vec::new();
            // The copy goes on in steps that end at blocks of the source, or after 1 MiB.
            for done in 1..len {
                if (from_offset + done).is_multiple_of(block) || done.is_multiple_of(1 << 20) {
                    let mut partly = content.clone();
                    put(&mut partly, to_offset, &data[..done as usize]);
                    steps.push(Print::of(&partly));
                }
            }
            put(content, to_offset, &data);
            steps.into_iter().for_each(|print| model.note_content(to, print));
            model.content_changed(to);
        });
        if copied.is_ok() {
            self.note_time(to);
        }
        self.halfway = copied.is_err();
        assert_eq!(copied?, len, "a copy of {len} bytes at {from_offset} of {from} to {to_offset} of {to}");
        Ok(())
    }

    fn note_time(&mut self, inode: u64) {
        let time = self.engine.inode(inode).ok().map(|inode| inode.mtime);
        self.model.note_time(inode, time);
    }

    fn inode(&mut self) -> u64 {
        let all: Vec<u64> = self.model.now.names.inodes.keys().copied().collect();
        self.random.pick(&all).expect("there is the root")
    }

    fn set_attribute(&mut self) -> Result<()> {
        let inode = self.inode();
        let name = format!("user.{}", self.random.below(4)).into_bytes();
        let most = if self.random.one_in(4) { 5000 } else { 60 };
        let len = self.random.below(most) as usize;
        let value = self.random.bytes(len);
        let begun = (self.changes)();
        self.engine.set_attribute(inode, &name, &value, AttributeFlags::Any, false)?;
        self.model.operation(begun, format!("set an attribute of {inode}"), |model| {
            model.meta_mut(inode).attributes.insert(name, value);
        });
        Ok(())
    }

    fn remove_attribute(&mut self) -> Result<()> {
        let inode = self.inode();
        let Some(name) = self.model.now.names.inodes[&inode].attributes.keys().next().cloned() else { return Ok(()) };
        let begun = (self.changes)();
        self.engine.remove_attribute(inode, &name)?;
        self.model.operation(begun, format!("remove an attribute of {inode}"), |model| {
            model.meta_mut(inode).attributes.remove(&name);
        });
        Ok(())
    }

    fn chmod(&mut self) -> Result<()> {
        let inode = self.inode();
        let mode = self.random.below(0o1000) as u32;
        let uid = self.random.below(5) as u32;
        let begun = (self.changes)();
        let change = Change { mode: Some(mode), uid: Some(uid), ..Change::default() };
        self.engine.set_attributes(inode, None, |_| Some(change), false)?;
        self.model.operation(begun, format!("change the mode and owner of {inode}"), |model| {
            let meta = model.meta_mut(inode);
            (meta.mode, meta.owner.0) = (meta.mode & !0o7777 | mode, uid);
        });
        Ok(())
    }

    fn sync_file(&mut self) -> Result<()> {
        let files = self.files();
        self.random.pick(&files).map_or(Ok(()), |inode| self.sync(inode))
    }

    fn sync(&mut self, inode: u64) -> Result<()> {
        self.engine.sync_file(Some(inode))?;
        self.model.acknowledge((self.changes)(), Covers::File(inode));
        Ok(())
    }

    fn sync_names(&mut self) -> Result<()> {
        self.engine.sync_file(None)?;
        self.model.acknowledge((self.changes)(), Covers::Names);
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        self.engine.commit()?;
        self.model.acknowledge((self.changes)(), Covers::All);
        Ok(())
    }

    /// Content moves to segments; nothing is acknowledged.
    fn flush(&mut self) -> Result<()> {
        let mut dirty = self.engine.read().dirty_files();
        dirty.sort_unstable();
        let some: Vec<u64> = dirty.into_iter().filter(|_| !self.random.one_in(3)).collect();
        self.flush_files(&some)
    }

    fn flush_files(&mut self, files: &[u64]) -> Result<()> {
        let mut flushing = self.engine.flushing();
        self.engine.flush(&mut flushing, files)
    }

    fn create_snapshot(&mut self) -> Result<()> {
        let name = format!("snapshot {}", self.random.below(8)).into_bytes();
        let snapshots = &self.model.now.names.snapshots;
        if snapshots.len() >= SNAPSHOTS || snapshots.contains_key(&name) {
            return Ok(());
        }
        let begun = (self.changes)();
        let created = self.engine.create_snapshot(&name);
        self.model.operation(begun, format!("create {}", name.escape_ascii()), |model| {
            let image = Arc::new(model.image());
            model.now.names.snapshots.insert(name, image);
        });
        self.halfway = created.is_err();
        created?;
        self.model.acknowledge((self.changes)(), Covers::All);
        Ok(())
    }

    fn delete_snapshot(&mut self) -> Result<()> {
        let all: Vec<Vec<u8>> = self.model.now.names.snapshots.keys().cloned().collect();
        let Some(name) = self.random.pick(&all) else { return Ok(()) };
        let begun = (self.changes)();
        let stop = self.random.one_in(3);
        let mut go_on = || if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let deleted = self.engine.delete_snapshot(&name, &mut go_on);
        self.model.operation(begun, format!("delete {}", name.escape_ascii()), |model| {
            model.now.names.snapshots.remove(&name);
        });
        self.halfway = deleted.is_err();
        let _ = deleted?;
        self.model.acknowledge((self.changes)(), Covers::All);
        Ok(())
    }

    /// The last user of an inode lets it go.
    fn release(&mut self) -> Result<()> {
        let held: Vec<u64> = self.holds.keys().copied().collect();
        if let Some(inode) = self.random.pick(&held) {
            self.let_go(inode);
        }
        Ok(())
    }

    fn free_orphans(&mut self) -> Result<()> {
        self.engine.free_orphans()
    }

    /// The root grants somebody something, or takes it back: both bring new keys.
    fn change_rights(&mut self) -> Result<()> {
        let access = self.engine.identity.rights.now().access.clone();
        let Some(root) = root().filter(|root| root.credential() == access.root()) else { return Ok(()) };
        let guest = SoftwareKeyStore::from_seed(&[self.random.below(3) as u8 + 1; 32]);
        let guest = guest.credential();
        let action = match access.newest_grant(&guest.id()) {
            Some(_) => Action::Revoke { principal: guest.id(), last: self.engine.newest_head() },
            None => Action::Grant { principal: *guest, rights: Rights::Read, until: None },
        };
        let statement = access.next_statement(root.credential().id(), now(), action);
        let record = AccessRecord::sign(root, statement).map_err(AccessError::from)?;
        self.engine.append_access(&[record.to_bytes()])?;
        self.model.acknowledge_record((self.changes)(), record.hash());
        Ok(())
    }

    /// What is under earlier keys is sealed anew.
    fn rekey(&mut self) -> Result<()> {
        let mut background = BackgroundRekey::default();
        for _ in 0..self.random.below(7) {
            self.engine.rekey_in_background(&mut background)?;
        }
        Ok(())
    }

    /// The session key has only an hour to live.
    fn age_session(&mut self) -> Result<()> {
        let (who, tree) = (&*self.engine.identity.node.who, self.engine.identity.tree());
        let session = SessionKey::issue(who, tree, now(), 3600, &mut SystemEntropy).map_err(EngineError::from)?;
        *self.engine.session.write().expect("no panic under this lock") = Arc::new(session);
        Ok(())
    }
}

fn put(content: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let end = offset as usize + data.len();
    content.resize(content.len().max(end), 0);
    content[offset as usize..end].copy_from_slice(data);
}

impl Model {
    fn add_inode(&mut self, inode: u64, meta: Meta) {
        if meta.is_regular() {
            self.now.contents.insert(inode, Vec::new());
            self.content_changed(inode);
        }
        if meta.is_directory() {
            self.now.names.directories.insert(inode, BTreeMap::new());
        }
        self.now.names.inodes.insert(inode, meta);
    }

    fn meta_mut(&mut self, inode: u64) -> &mut Meta {
        self.now.names.inodes.get_mut(&inode).expect("it was picked")
    }

    fn add_name(&mut self, directory: u64, name: &[u8], inode: u64) {
        if let Some(meta) = self.orphans.remove(&inode) {
            self.now.names.inodes.insert(inode, meta);
        }
        self.now.names.directories.get_mut(&directory).expect("it exists").insert(name.to_vec(), inode);
        self.count_links();
    }

    fn remove_name(&mut self, directory: u64, name: &[u8]) {
        self.now.names.directories.get_mut(&directory).expect("it exists").remove(name);
        self.count_links();
    }

    /// An inode whose last name may be gone.
    fn lose_name(&mut self, inode: u64, held: bool) {
        if self.now.names.directories.values().any(|names| names.values().any(|other| *other == inode)) {
            return;
        }
        let meta = self.now.names.inodes.remove(&inode).expect("it had a name");
        self.now.names.directories.remove(&inode);
        if held {
            self.orphans.insert(inode, meta);
        } else {
            self.now.contents.remove(&inode);
        }
    }

    fn count_links(&mut self) {
        let names = &mut self.now.names;
        names.inodes.values_mut().for_each(|meta| meta.links = if meta.is_directory() { 2 } else { 0 });
        for (directory, entries) in &names.directories {
            for inode in entries.values() {
                let meta = names.inodes.get_mut(inode).expect("every name leads to an inode");
                match meta.is_directory() {
                    true => names.inodes.get_mut(directory).expect("it exists").links += 1,
                    false => meta.links += 1,
                }
            }
        }
    }

    fn parent(&self, directory: u64) -> u64 {
        let mut all = self.now.names.directories.iter();
        let found = all.find(|(_, names)| names.values().any(|inode| *inode == directory));
        found.map_or(ROOT_INODE, |(parent, _)| *parent)
    }
}
