//! The files of one call: what a guest asks, done in the zones that the call may use.
//!
//! The channel of a call is bound to a [`CallFiles`] before the app's process sees it. A request names what is open by
//! a number of this call; every one is checked against the rights as they are at that moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bt_app::limits::OPEN_FILES;
use bt_app::protocol::{FileError, FileId, FileKind, FileReply, FileRequest, OpenFlags};
use bt_tree::app::TreePath;
use bt_tree::schema::{Inode, ROOT_INODE};
use bt_vfs::view::{DIRECTORY, REGULAR, SYMLINK, TYPE_BITS};
use bt_vfs::{Refusal, RenameFlags};

use super::attributes::{self, kind_of};
use super::authority::Authority;
use super::walk::{APPS, At, Walked, Walker};
use crate::control::Failure;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::zones::Zones;

type Result<T> = std::result::Result<T, FileError>;

/// What a new file may be used for by others than its owner.
const FILE_MODE: u32 = REGULAR | 0o666;
const DIRECTORY_MODE: u32 = DIRECTORY | 0o777;
const UMASK: u32 = 0o022;

/// A granted directory, as one call sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GrantedRoot {
    at: At,
    authority: Authority,
    /// Whom new files belong to: the owner of the directory.
    owner: (u32, u32),
}

impl GrantedRoot {
    /// The directory at `path` from the top of the tree; none where there is no such directory, or it cannot be granted.
    pub(crate) fn find(
        zones: &Zones,
        path: &TreePath,
        authority: Authority,
    ) -> std::result::Result<Option<Self>, Failure> {
        if path.names().next().is_some_and(|first| first.as_bytes() == APPS) {
            return Ok(None);
        }
        let Ok((slot, engine, inode)) = zones.resolve(path.as_str().as_bytes()) else { return Ok(None) };
        let record = engine.inode(inode).map_err(|error| error.into_failure(path.as_str()))?;
        let is_directory = record.mode & TYPE_BITS == DIRECTORY;
        let root = Self { at: At { slot, inode }, authority, owner: (record.uid, record.gid) };
        Ok(is_directory.then_some(root))
    }
}

/// Something that a guest has open.
#[derive(Clone, Debug)]
struct Handle {
    at: At,
    kind: FileKind,
    read: bool,
    write: bool,
    /// Where it was opened, for who else shows that name.
    place: Option<(At, Vec<u8>)>,
    changed: bool,
    /// Which of the call's roots it was come to from.
    root: usize,
}

/// The files of one call.
pub(crate) struct CallFiles {
    zones: Arc<Zones>,
    roots: Vec<GrantedRoot>,
    open: Mutex<Open>,
}

struct Open {
    handles: HashMap<u32, Handle>,
    next: u32,
}

impl CallFiles {
    /// The files of a call that may use `roots`; the first is number 0.
    pub(crate) fn new(zones: Arc<Zones>, roots: Vec<GrantedRoot>) -> Self {
        let as_handle = |(number, root): (usize, &GrantedRoot)| {
            let (at, kind, write) = (root.at, FileKind::Directory, root.authority.write);
            (number as u32, Handle { at, kind, read: true, write, place: None, changed: false, root: number })
        };
        let handles: HashMap<u32, Handle> = roots.iter().enumerate().map(as_handle).collect();
        let next = handles.len() as u32;
        Self { zones, roots, open: Mutex::new(Open { handles, next }) }
    }

    /// Answers one request.
    pub(crate) fn answer(&self, request: FileRequest) -> FileReply {
        self.try_answer(request).unwrap_or_else(FileReply::Failed)
    }

    fn try_answer(&self, request: FileRequest) -> Result<FileReply> {
        let done = |()| FileReply::Done;
        match request {
            FileRequest::Open { at, path, follow, flags } => self.open_path(at, &path, follow, flags),
            FileRequest::Close { file } => self.close(file).map(done),
            FileRequest::Read { file, offset, length } => self.read(file, offset, length),
            FileRequest::Write { file, offset, data } => self.write(file, offset, &data),
            FileRequest::SetSize { file, size } => self.set_size(file, size).map(done),
            FileRequest::Sync { file, .. } => self.sync(file).map(done),
            FileRequest::Stat { file } => self.stat(file),
            FileRequest::StatAt { at, path, follow } => self.stat_at(at, &path, follow),
            FileRequest::SetTimes { file, accessed, modified } => {
                let handle = self.handle(file)?;
                self.set_times(handle.root, handle.at, (accessed, modified)).map(done)
            }
            FileRequest::SetTimesAt { at, path, follow, accessed, modified } => {
                let directory = self.directory(at)?;
                let (at, _) = self.walked(&directory, &path, follow)?.found.ok_or(FileError::NoEntry)?;
                self.set_times(directory.root, at, (accessed, modified)).map(done)
            }
            FileRequest::ReadDirectory { directory, after } => self.list(directory, after),
            FileRequest::CreateDirectory { at, path } => self.make(at, &path, DIRECTORY_MODE, b"").map(done),
            FileRequest::RemoveDirectory { at, path } => self.remove(at, &path, true).map(done),
            FileRequest::Unlink { at, path } => self.remove(at, &path, false).map(done),
            FileRequest::Rename { from, from_path, to, to_path } => {
                self.rename((from, &from_path), (to, &to_path)).map(done)
            }
            FileRequest::Link { from, from_path, to, to_path } => {
                self.link((from, &from_path), (to, &to_path)).map(done)
            }
            FileRequest::Symlink { target, at, path } => self.symlink(&target, at, &path).map(done),
            FileRequest::ReadLink { at, path } => self.read_link(at, &path),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("no panic under this lock")
    }

    /// What is open under a number. A directory that became a zone meanwhile is found there.
    fn handle(&self, file: FileId) -> Result<Handle> {
        let mut handle = self.open().handles.get(&file.0).cloned().ok_or(FileError::BadDescriptor)?;
        let (slot, inode) = self.zones.renumbered().now((handle.at.slot, handle.at.inode));
        handle.at = At { slot, inode };
        Ok(handle)
    }

    fn directory(&self, file: FileId) -> Result<Handle> {
        let handle = self.handle(file)?;
        if handle.kind == FileKind::Directory { Ok(handle) } else { Err(FileError::NotDirectory) }
    }

    fn walker(&self, root: usize) -> Walker<'_> {
        Walker { zones: &self.zones, authority: &self.roots[root].authority }
    }

    fn walked(&self, directory: &Handle, path: &str, follow: bool) -> Result<Walked> {
        let walked = self.walker(directory.root).walk(directory.at, path, follow)?;
        match &walked.found {
            Some((_, inode)) if walked.wants_directory && inode.mode & TYPE_BITS != DIRECTORY => {
                Err(FileError::NotDirectory)
            }
            _ => Ok(walked),
        }
    }

    /// Has the kernel bring what programs wrote on a mount, before it is read here.
    fn freshen(&self, engine: &Engine, at: At) {
        if let Some(kernel) = self.zones.kernel()
            && engine.is_held(at.inode)
            && let Err(error) = kernel.write_out(self.zones.known_node((at.slot, at.inode)))
        {
            tracing::warn!(%error, "what programs wrote on the mount may come later than an app reads it");
        }
    }

    /// Has the kernel look a name up again, which a mount may show as it was.
    fn changed_name(&self, directory: At, name: &[u8]) {
        if let Some(kernel) = self.zones.kernel()
            && let Err(error) = kernel.forget_name(self.zones.known_node((directory.slot, directory.inode)), name)
        {
            tracing::warn!(%error, "the mount shows a name as it was before an app changed it");
        }
    }

    fn open_path(&self, at: FileId, path: &str, follow: bool, flags: OpenFlags) -> Result<FileReply> {
        let directory = self.directory(at)?;
        if self.open().handles.len() >= OPEN_FILES {
            return Err(FileError::TooManyOpen);
        }
        if flags.create && flags.directory {
            return Err(FileError::Invalid);
        }
        // Once more where another made it in between.
        for _ in 0..2 {
            let walked = self.walked(&directory, path, follow)?;
            let Some((at, inode)) = walked.found else {
                match self.create(&directory, walked, flags) {
                    Err(FileError::Exists) if !flags.exclusive => continue,
                    made => return made,
                }
            };
            return self.open_found(&directory, at, &inode, walked.place, flags);
        }
        Err(FileError::Busy)
    }

    fn create(&self, directory: &Handle, walked: Walked, flags: OpenFlags) -> Result<FileReply> {
        let (parent, name) = walked.place.expect("what is not there has a name");
        match flags.create {
            false => return Err(FileError::NoEntry),
            true if walked.wants_directory => return Err(FileError::IsDirectory),
            true => {}
        }
        let inode = self.make_in(directory.root, parent, &name, FILE_MODE, b"")?;
        let at = At { slot: parent.slot, inode };
        self.changed_name(parent, &name);
        Ok(self.opened(Handle {
            at,
            kind: FileKind::File,
            read: flags.read,
            write: flags.write,
            place: Some((parent, name)),
            changed: true,
            root: directory.root,
        }))
    }

    fn open_found(
        &self,
        directory: &Handle,
        at: At,
        inode: &Inode,
        place: Option<(At, Vec<u8>)>,
        flags: OpenFlags,
    ) -> Result<FileReply> {
        let kind = kind_of(inode);
        let walker = self.walker(directory.root);
        match kind {
            _ if flags.create && flags.exclusive => return Err(FileError::Exists),
            FileKind::Directory if flags.create || flags.truncate => return Err(FileError::IsDirectory),
            FileKind::File if flags.directory => return Err(FileError::NotDirectory),
            FileKind::Symlink => return Err(FileError::Loop),
            FileKind::Other => return Err(FileError::NotPermitted),
            _ => {}
        }
        let engine =
            if flags.write || flags.truncate { walker.writable(at.slot)? } else { walker.readable(at.slot)? };
        if kind == FileKind::File {
            self.freshen(&engine, at);
        }
        if flags.truncate {
            engine.set_attributes(at.inode, Some(0), |_| None, true).map_err(refused)?;
        }
        engine.hold(at.inode);
        let (read, write, changed) = (flags.read, flags.write, flags.truncate);
        Ok(self.opened(Handle { at, kind, read, write, place, changed, root: directory.root }))
    }

    /// Notes what is open; its inode is held.
    fn opened(&self, handle: Handle) -> FileReply {
        let mut open = self.open();
        let (number, kind) = (open.next, handle.kind);
        open.next += 1;
        open.handles.insert(number, handle);
        FileReply::Opened { file: FileId(number), kind }
    }

    fn close(&self, file: FileId) -> Result<()> {
        if (file.0 as usize) < self.roots.len() {
            return Err(FileError::Invalid);
        }
        let handle = self.open().handles.remove(&file.0).ok_or(FileError::BadDescriptor)?;
        self.let_go(&handle);
        Ok(())
    }

    fn let_go(&self, handle: &Handle) {
        if handle.changed {
            self.show(handle);
        }
        self.zones.forget_known((handle.at.slot, handle.at.inode), 1);
    }

    /// Has a mount show the content that was written.
    fn show(&self, handle: &Handle) {
        if let Some(kernel) = self.zones.kernel()
            && let Err(error) = kernel.write_out(self.zones.known_node((handle.at.slot, handle.at.inode)))
        {
            tracing::warn!(%error, "the mount shows a file as it was before an app wrote it");
        }
        if let Some((directory, name)) = &handle.place {
            self.changed_name(*directory, name);
        }
    }

    fn read(&self, file: FileId, offset: u64, length: u32) -> Result<FileReply> {
        let handle = self.handle(file)?;
        match handle.kind {
            FileKind::File if handle.read => {}
            FileKind::File => return Err(FileError::BadDescriptor),
            _ => return Err(FileError::IsDirectory),
        }
        let engine = self.walker(handle.root).readable(handle.at.slot)?;
        let mut out = vec![0; (length as usize).min(bt_app::limits::CHUNK_SIZE)];
        let read = engine.read_file(handle.at.inode, offset, &mut out).map_err(refused)?;
        out.truncate(read);
        Ok(FileReply::Data(out.into()))
    }

    /// A file that may be written, and its zone.
    fn written(&self, file: FileId) -> Result<(Handle, Arc<Engine>)> {
        let handle = self.handle(file)?;
        match handle.kind {
            FileKind::File if handle.write => {}
            FileKind::File => return Err(FileError::BadDescriptor),
            _ => return Err(FileError::IsDirectory),
        }
        let engine = self.walker(handle.root).writable(handle.at.slot)?;
        if let Some(open) = self.open().handles.get_mut(&file.0) {
            open.changed = true;
        }
        Ok((handle, engine))
    }

    fn write(&self, file: FileId, offset: Option<u64>, data: &[u8]) -> Result<FileReply> {
        let (handle, engine) = self.written(file)?;
        let end = match offset {
            Some(offset) => {
                let end = offset.checked_add(data.len() as u64).ok_or(FileError::FileTooLarge)?;
                engine.write_file(handle.at.inode, offset, data, true).map_err(refused)?;
                end
            }
            None => engine.append_file(handle.at.inode, data).map_err(refused)?,
        };
        Ok(FileReply::Written { end })
    }

    fn set_size(&self, file: FileId, size: u64) -> Result<()> {
        let (handle, engine) = self.written(file)?;
        engine.set_attributes(handle.at.inode, Some(size), |_| None, true).map(drop).map_err(refused)
    }

    fn sync(&self, file: FileId) -> Result<()> {
        let handle = self.handle(file)?;
        let engine = self.walker(handle.root).readable(handle.at.slot)?;
        engine.sync_file(Some(handle.at.inode)).map_err(refused)
    }

    fn stat(&self, file: FileId) -> Result<FileReply> {
        let handle = self.handle(file)?;
        let engine = self.walker(handle.root).readable(handle.at.slot)?;
        let inode = engine.inode(handle.at.inode).map_err(refused)?;
        Ok(FileReply::Attributes(attributes::of(&engine, handle.at.inode, &inode)))
    }

    fn stat_at(&self, at: FileId, path: &str, follow: bool) -> Result<FileReply> {
        let directory = self.directory(at)?;
        let (at, _) = self.walked(&directory, path, follow)?.found.ok_or(FileError::NoEntry)?;
        let engine = self.walker(directory.root).readable(at.slot)?;
        self.freshen(&engine, at);
        let inode = engine.inode(at.inode).map_err(refused)?;
        Ok(FileReply::Attributes(attributes::of(&engine, at.inode, &inode)))
    }

    fn set_times(&self, root: usize, at: At, times: attributes::Times) -> Result<()> {
        let engine = self.walker(root).writable(at.slot)?;
        engine.set_attributes(at.inode, None, |now| attributes::change_of(times, now), false).map_err(refused)?;
        Ok(())
    }

    fn list(&self, directory: FileId, after: u64) -> Result<FileReply> {
        let handle = self.directory(directory)?;
        let engine = self.walker(handle.root).readable(handle.at.slot)?;
        let is_top = handle.at == (At { slot: 0, inode: ROOT_INODE });
        attributes::list(&engine, handle.at.inode, after, |name| is_top && name == APPS).map_err(refused)
    }

    fn make(&self, at: FileId, path: &str, mode: u32, target: &[u8]) -> Result<()> {
        let directory = self.directory(at)?;
        let walked = self.walker(directory.root).walk(directory.at, path.trim_end_matches('/'), false)?;
        let (Some((parent, name)), None) = (walked.place, walked.found) else { return Err(FileError::Exists) };
        let inode = self.make_in(directory.root, parent, &name, mode, target)?;
        self.zones.forget_known((parent.slot, inode), 1);
        self.changed_name(parent, &name);
        Ok(())
    }

    /// Makes an inode, which is held.
    fn make_in(&self, root: usize, parent: At, name: &[u8], mode: u32, target: &[u8]) -> Result<u64> {
        let engine = self.walker(root).writable(parent.slot)?;
        let (uid, gid) = self.roots[root].owner;
        let made = engine.make(parent.inode, name, mode, 0, target, (uid, gid, UMASK));
        made.map(|(inode, _)| inode).map_err(refused)
    }

    fn symlink(&self, target: &str, at: FileId, path: &str) -> Result<()> {
        match target.as_bytes().first() {
            None => Err(FileError::NoEntry),
            Some(b'/') => Err(FileError::NotPermitted),
            _ if target.contains('\0') => Err(FileError::Invalid),
            _ if path.ends_with('/') => Err(FileError::NoEntry),
            Some(_) => self.make(at, path, SYMLINK | 0o777, target.as_bytes()),
        }
    }

    fn read_link(&self, at: FileId, path: &str) -> Result<FileReply> {
        let directory = self.directory(at)?;
        let (at, inode) = self.walked(&directory, path, false)?.found.ok_or(FileError::NoEntry)?;
        if inode.mode & TYPE_BITS != SYMLINK {
            return Err(FileError::Invalid);
        }
        let target = self.walker(directory.root).readable(at.slot)?.link_target(at.inode).map_err(refused)?;
        match String::from_utf8(target) {
            Ok(target) if target.starts_with('/') => Err(FileError::NotPermitted),
            Ok(target) => Ok(FileReply::Target(target)),
            Err(_) => Err(FileError::Invalid),
        }
    }

    fn remove(&self, at: FileId, path: &str, is_directory: bool) -> Result<()> {
        let directory = self.directory(at)?;
        let walked = self.walked(&directory, path, false)?;
        let (found, _) = walked.found.ok_or(FileError::NoEntry)?;
        let Some((parent, name)) = walked.place else { return Err(FileError::Invalid) };
        if found.slot != parent.slot {
            return Err(if is_directory { FileError::Busy } else { FileError::IsDirectory });
        }
        let engine = self.walker(directory.root).writable(parent.slot)?;
        engine.unlink(parent.inode, &name, is_directory).map_err(refused)?;
        self.changed_name(parent, &name);
        Ok(())
    }

    fn rename(&self, from: (FileId, &str), to: (FileId, &str)) -> Result<()> {
        let (from_directory, to_directory) = (self.directory(from.0)?, self.directory(to.0)?);
        let source = self.walked(&from_directory, from.1, false)?;
        let (found, _) = source.found.ok_or(FileError::NoEntry)?;
        let target = self.walked(&to_directory, to.1, false)?;
        let (Some((old, name)), Some((new, new_name))) = (source.place, target.place) else {
            return Err(FileError::Invalid);
        };
        if target.wants_directory && target.found.is_none() {
            return Err(FileError::NoEntry);
        }
        // A zone that is entered there stays where it was born.
        if old.slot != new.slot || found.slot != old.slot || target.found.is_some_and(|(at, _)| at.slot != new.slot) {
            return Err(FileError::CrossZone);
        }
        self.walker(to_directory.root).writable(new.slot)?;
        let engine = self.walker(from_directory.root).writable(old.slot)?;
        let names = ((old.inode, &name[..]), (new.inode, &new_name[..]));
        engine.rename(names.0, names.1, RenameFlags::Replace).map_err(refused)?;
        self.changed_name(old, &name);
        self.changed_name(new, &new_name);
        Ok(())
    }

    fn link(&self, from: (FileId, &str), to: (FileId, &str)) -> Result<()> {
        let (from_directory, to_directory) = (self.directory(from.0)?, self.directory(to.0)?);
        let source = self.walked(&from_directory, from.1, false)?;
        let (found, inode) = source.found.ok_or(FileError::NoEntry)?;
        let target = self.walked(&to_directory, to.1, false)?;
        let (Some((new, name)), None) = (target.place, target.found) else { return Err(FileError::Exists) };
        match inode.mode & TYPE_BITS {
            DIRECTORY => return Err(FileError::NotPermitted),
            _ if target.wants_directory => return Err(FileError::NoEntry),
            _ if found.slot != new.slot => return Err(FileError::CrossZone),
            _ => {}
        }
        // A further name must not give more than the first: both directories are to be changeable.
        self.walker(from_directory.root).writable(found.slot)?;
        let engine = self.walker(to_directory.root).writable(new.slot)?;
        engine.link(found.inode, new.inode, &name).map_err(refused)?;
        self.zones.forget_known((found.slot, found.inode), 1);
        self.changed_name(new, &name);
        Ok(())
    }
}

impl Drop for CallFiles {
    fn drop(&mut self) {
        let roots = self.roots.len();
        let open = std::mem::take(&mut self.open.get_mut().expect("no panic under this lock").handles);
        open.into_iter().filter(|(number, _)| *number as usize >= roots).for_each(|(_, handle)| self.let_go(&handle));
    }
}

/// What a guest is told of an error of the engine.
pub(super) fn refused(error: EngineError) -> FileError {
    match error {
        EngineError::Refused(refusal) => match refusal {
            Refusal::NotFound | Refusal::Stale => FileError::NoEntry,
            Refusal::Exists => FileError::Exists,
            Refusal::NotDirectory => FileError::NotDirectory,
            Refusal::IsDirectory => FileError::IsDirectory,
            Refusal::NotEmpty => FileError::NotEmpty,
            Refusal::NameTooLong => FileError::NameTooLong,
            Refusal::Invalid | Refusal::NoSuchOffset => FileError::Invalid,
            Refusal::TooLarge => FileError::FileTooLarge,
            Refusal::NoAttribute | Refusal::Unsupported => FileError::Unsupported,
            Refusal::NoSpace => FileError::NoSpace,
            Refusal::ReadOnly => FileError::ReadOnly,
            Refusal::NotPermitted => FileError::NotPermitted,
            Refusal::TooManyLinks => FileError::TooManyLinks,
            Refusal::Busy => FileError::Busy,
            Refusal::Closed => FileError::Access,
        },
        EngineError::Stopped(_) | EngineError::RightsEnded(_) => FileError::ReadOnly,
        error if error.is_no_space() => FileError::NoSpace,
        error => {
            tracing::error!(%error, "an operation of an app failed");
            FileError::Io
        }
    }
}
