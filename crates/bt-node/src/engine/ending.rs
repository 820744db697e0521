//! The end of the right to write: what programs wrote before is brought in where that is possible, and what comes too
//! late is told by name. The program itself learns of it from fsync(2) or close(2).

use std::collections::HashMap;

use bt_base::Timestamp;
use bt_vfs::Refusal;

use super::Engine;
use super::paths::Paths;
use crate::control::report::escape;
use crate::error::{EngineError, Result};
use crate::system::now;

/// Files that are remembered until somebody tells of them.
const UNKEPT_FILES: usize = 4096;
/// Files that one line of the log names.
const NAMED_FILES: usize = 20;

impl Engine {
    /// The last time at which the principal of this process may write, where such an end comes.
    pub(crate) fn writes_until(&self) -> Option<Timestamp> {
        match self.read_only || self.stopped().is_some() {
            true => None,
            false => self.identity.rights.now().writes_end(),
        }
    }

    /// Whether the right to write is over, and nothing waits that could not be written any more.
    pub(super) fn has_ended(&self) -> bool {
        !self.read_only && !self.identity.rights.now().may_write(now()) && !self.read().is_changed()
    }

    /// Inodes that the kernel holds, and so may hold changes of.
    pub(crate) fn held_inodes(&self) -> Vec<u64> {
        self.lookups.lock().expect("no panic under this lock").iter().collect()
    }

    /// The right to write is over: what is in memory is not kept.
    pub(super) fn note_ended(&self) {
        self.note_unkept(self.read().dirty_files());
    }

    /// Remembers a file whose content came too late.
    pub(super) fn note_refused<T>(&self, inode: u64, written: &Result<T>) {
        if let Err(EngineError::Stopped(_) | EngineError::Refused(Refusal::ReadOnly)) = written {
            self.note_unkept([inode]);
        }
    }

    fn note_unkept(&self, inodes: impl IntoIterator<Item = u64>) {
        let mut unkept = self.unkept.lock().expect("no panic under this lock");
        for inode in inodes {
            if unkept.len() < UNKEPT_FILES {
                unkept.insert(inode);
            }
        }
    }

    /// Logs which files have changes that are not kept; gives their paths in the zone, at most [`NAMED_FILES`].
    pub(crate) fn tell_unkept(&self) -> Vec<String> {
        let unkept = std::mem::take(&mut *self.unkept.lock().expect("no panic under this lock"));
        if unkept.is_empty() {
            return Vec::new();
        }
        let tree = self.read().zone().tree().clone();
        let wanted = unkept.iter().take(NAMED_FILES).map(|inode| (*inode, (0, Vec::new())));
        let mut paths = Paths::new(&self.source, &tree, wanted.collect::<HashMap<_, _>>());
        let named: Vec<String> = unkept.iter().take(NAMED_FILES).map(|inode| escape(&paths.path(*inode))).collect();
        let more = unkept.len() - named.len();
        let (zone, files) = (self.identity.zone(), named.join(" "));
        tracing::error!(%zone, more, "what was last written to these files is not kept: {files}");
        named
    }
}
