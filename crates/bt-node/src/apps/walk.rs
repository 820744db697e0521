//! Walking a path of a guest, name by name, inside one directory.
//!
//! Every directory that was gone through is kept, so `..` is the one that it was come from, and never one above the
//! beginning: there is no path of the host to be tricked. Symbolic links are walked in the same way.

use std::sync::Arc;

use bt_app::limits::PATH_SIZE;
use bt_app::protocol::FileError;
use bt_tree::schema::{Inode, ROOT_INODE};
use bt_vfs::view::{DIRECTORY, SYMLINK, TYPE_BITS};

use super::authority::Authority;
use super::files::refused;
use super::limits::LINKS;
use crate::engine::Engine;
use crate::system::now;
use crate::zones::{EnterError, Zones};

/// The directory of the apps themselves at the top of the tree: no grant reaches it.
pub(super) const APPS: &[u8] = b".apps";

/// An inode of a zone, by the zone's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct At {
    pub(super) slot: u32,
    pub(super) inode: u64,
}

/// What a path leads to.
pub(super) struct Walked {
    /// The directory that it is in, and its name there; none where the path leads to a directory that was gone through.
    pub(super) place: Option<(At, Vec<u8>)>,
    /// What is there.
    pub(super) found: Option<(At, Inode)>,
    /// The path ends with a slash.
    pub(super) wants_directory: bool,
}

/// Walks for one call.
pub(super) struct Walker<'a> {
    pub(super) zones: &'a Zones,
    pub(super) authority: &'a Authority,
}

/// What is left to walk, the next name last.
struct Rest {
    names: Vec<Vec<u8>>,
    links: usize,
}

impl Rest {
    fn push(&mut self, path: &[u8]) {
        let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
        let mut parts: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
        parts.reverse();
        self.names.append(&mut parts);
    }

    /// Goes on with the target of a symbolic link.
    fn follow(&mut self, target: &[u8]) -> Result<(), FileError> {
        self.links += 1;
        match target.first() {
            _ if self.links > LINKS => Err(FileError::Loop),
            None => Err(FileError::NoEntry),
            Some(b'/') => Err(FileError::NotPermitted),
            Some(_) => {
                self.push(target);
                Ok(())
            }
        }
    }
}

impl Walker<'_> {
    /// The zone of a slot, if the call may read it.
    pub(super) fn readable(&self, slot: u32) -> Result<Arc<Engine>, FileError> {
        let engine = self.zones.engine(slot).map_err(not_entered)?;
        match self.authority.may_read(&engine.identity.rights.now().access, now()) {
            true => Ok(engine),
            false => Err(FileError::Access),
        }
    }

    /// The zone of a slot, if the call may change it.
    pub(super) fn writable(&self, slot: u32) -> Result<Arc<Engine>, FileError> {
        let engine = self.readable(slot)?;
        match self.authority.may_write(&engine.identity.rights.now().access, now()) {
            true if engine.is_read_only() => Err(FileError::ReadOnly),
            true => Ok(engine),
            false if self.authority.write => Err(FileError::Access),
            false => Err(FileError::ReadOnly),
        }
    }

    /// Walks `path` from the directory `from`. A symbolic link at its end is followed if `follow`.
    pub(super) fn walk(&self, from: At, path: &str, follow: bool) -> Result<Walked, FileError> {
        let path = path.as_bytes();
        match path.first() {
            None => return Err(FileError::NoEntry),
            Some(b'/') => return Err(FileError::NotPermitted),
            _ if path.contains(&0) => return Err(FileError::Invalid),
            _ if path.len() > PATH_SIZE => return Err(FileError::NameTooLong),
            Some(_) => {}
        }
        let wants_directory = path.ends_with(b"/");
        let mut rest = Rest { names: Vec::new(), links: 0 };
        rest.push(path);
        let mut through = vec![from];
        while let Some(name) = rest.names.pop() {
            let here = *through.last().expect("the beginning is never left");
            if name == b".." {
                through.pop();
                if through.is_empty() {
                    return Err(FileError::NotPermitted);
                }
                continue;
            }
            let is_last = rest.names.is_empty();
            let Some((at, inode)) = self.step(here, &name)? else {
                let found = None;
                return if is_last {
                    Ok(Walked { place: Some((here, name)), found, wants_directory })
                } else {
                    Err(FileError::NoEntry)
                };
            };
            match inode.mode & TYPE_BITS {
                SYMLINK if !is_last || follow || wants_directory => {
                    let target = self.readable(at.slot)?.link_target(at.inode).map_err(refused)?;
                    rest.follow(&target)?;
                }
                _ if is_last => {
                    return Ok(Walked { place: Some((here, name)), found: Some((at, inode)), wants_directory });
                }
                DIRECTORY => through.push(at),
                _ => return Err(FileError::NotDirectory),
            }
        }
        let at = *through.last().expect("the beginning is never left");
        let inode = self.readable(at.slot)?.inode(at.inode).map_err(refused)?;
        Ok(Walked { place: None, found: Some((at, inode)), wants_directory })
    }

    /// What a name in a directory is; the root of another zone where one is entered there.
    fn step(&self, here: At, name: &[u8]) -> Result<Option<(At, Inode)>, FileError> {
        let engine = self.readable(here.slot)?;
        if here == (At { slot: 0, inode: ROOT_INODE }) && name == APPS {
            return Err(FileError::Access);
        }
        let Some((number, inode)) = engine.find(here.inode, name).map_err(refused)? else { return Ok(None) };
        if !inode.is_entrance {
            return Ok(Some((At { slot: here.slot, inode: number }, inode)));
        }
        let entered = self.zones.enter(here.slot, &engine, number).map_err(not_entered)?;
        let at = At { slot: entered.slot, inode: ROOT_INODE };
        let inode = self.readable(at.slot)?.inode(at.inode).map_err(refused)?;
        Ok(Some((at, inode)))
    }
}

fn not_entered(error: EnterError) -> FileError {
    match error {
        EnterError::Denied => FileError::Access,
        error => {
            tracing::error!(%error, "a zone is not entered for an app");
            FileError::Io
        }
    }
}
