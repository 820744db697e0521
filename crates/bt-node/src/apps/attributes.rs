//! Attributes and entries as a guest sees them.

use std::ops::ControlFlow;

use bt_app::limits::DIRECTORY_ENTRIES;
use bt_app::protocol::{Attributes, DirectoryEntry, FileKind, FileReply, SetTime, Stamp};
use bt_base::Timestamp;
use bt_tree::schema::Inode;
use bt_vfs::op::Change;
use bt_vfs::view::{DIRECTORY, REGULAR, SYMLINK, TYPE_BITS};

use crate::engine::Engine;
use crate::error::Result;

/// The times of the last access and of the last change of content.
pub(super) type Times = (SetTime, SetTime);

/// What an inode is.
pub(super) fn kind_of(inode: &Inode) -> FileKind {
    kind(inode.mode & TYPE_BITS)
}

fn kind(bits: u32) -> FileKind {
    match bits {
        REGULAR => FileKind::File,
        DIRECTORY => FileKind::Directory,
        SYMLINK => FileKind::Symlink,
        _ => FileKind::Other,
    }
}

/// The attributes of an inode of a zone.
pub(super) fn of(engine: &Engine, number: u64, inode: &Inode) -> Attributes {
    let zone = engine.identity.zone();
    let zone = u64::from_le_bytes(*zone.0.first_chunk().expect("an id has 32 bytes"));
    Attributes {
        kind: kind_of(inode),
        links: inode.nlink.into(),
        size: inode.size,
        accessed: stamp(inode.atime),
        modified: stamp(inode.mtime),
        changed: stamp(inode.ctime),
        identity: u128::from(zone) << 64 | u128::from(number),
    }
}

/// A time; what is before 1970 is shown as 1970.
fn stamp(time: Timestamp) -> Stamp {
    match u64::try_from(time.seconds) {
        Ok(seconds) => Stamp { seconds, nanoseconds: time.nanos },
        Err(_) => Stamp::default(),
    }
}

/// The change that sets times; none where there is nothing to set.
pub(super) fn change_of((accessed, modified): Times, now: Timestamp) -> Option<Change> {
    let point = |time| match time {
        SetTime::Keep => None,
        SetTime::Now => Some(now),
        SetTime::To(Stamp { seconds, nanoseconds }) => {
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            Some(Timestamp { seconds, nanos: nanoseconds.min(999_999_999) })
        }
    };
    let change = Change { atime: point(accessed), mtime: point(modified), ..Change::default() };
    (change != Change::default()).then_some(change)
}

/// Entries of a directory after a cookie, without those that are hidden and those whose names are no text.
pub(super) fn list(
    engine: &Engine,
    directory: u64,
    after: u64,
    is_hidden: impl Fn(&[u8]) -> bool,
) -> Result<FileReply> {
    let (mut entries, mut end) = (Vec::new(), true);
    engine.list(directory, after, &mut |_, listed| {
        if entries.len() == DIRECTORY_ENTRIES {
            end = false;
            return ControlFlow::Break(());
        }
        let name = std::str::from_utf8(listed.name).ok().filter(|name| !is_hidden(name.as_bytes()));
        entries.extend(name.map(|name| DirectoryEntry {
            name: name.to_owned(),
            kind: kind(u32::from(listed.kind) << 12),
            cookie: listed.sequence,
        }));
        ControlFlow::Continue(())
    })?;
    Ok(FileReply::Entries { entries, end })
}
