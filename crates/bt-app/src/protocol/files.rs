//! What a guest asks of files, and what it is answered.
//!
//! A request names an open file or directory by its [`FileId`]; the roots of the call have the first ids. A path is
//! relative to a directory, components are separated by `/`; `.` and `..` may occur, a leading `/`, a NUL or an empty path
//! may not. It never leads out of the directory that it is relative to: neither by `..`, nor by a symbolic link, nor by an
//! absolute one. A trailing `/` asks for a directory.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// An open file or directory of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileId(pub u32);

/// What a guest asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileRequest {
    /// Opens what `path` leads to. Answered by [`FileReply::Opened`].
    Open {
        /// The directory that the path is relative to.
        at: FileId,
        /// The path.
        path: String,
        /// Whether a symbolic link at the end is followed.
        follow: bool,
        /// What to do, and what for.
        flags: OpenFlags,
    },
    /// Gives an id back. Roots cannot be closed. Answered by [`FileReply::Done`].
    Close {
        /// What to close.
        file: FileId,
    },
    /// Reads from a file. Answered by [`FileReply::Data`], which is shorter at the end of the file only.
    Read {
        /// An open file.
        file: FileId,
        /// From where, in bytes.
        offset: u64,
        /// How many bytes, at most [`crate::limits::CHUNK_SIZE`].
        length: u32,
    },
    /// Writes to a file. Answered by [`FileReply::Written`].
    Write {
        /// A file opened for writing.
        file: FileId,
        /// Where to; `None` is the end of the file at that moment.
        offset: Option<u64>,
        /// What, at most [`crate::limits::CHUNK_SIZE`] bytes.
        data: Bytes,
    },
    /// Cuts or extends a file. Answered by [`FileReply::Done`].
    SetSize {
        /// A file opened for writing.
        file: FileId,
        /// Its new size in bytes.
        size: u64,
    },
    /// Makes what was written durable. Answered by [`FileReply::Done`].
    Sync {
        /// An open file or directory.
        file: FileId,
        /// Whether times may be left behind.
        data_only: bool,
    },
    /// Asks for attributes of what is open. Answered by [`FileReply::Attributes`].
    Stat {
        /// An open file or directory.
        file: FileId,
    },
    /// Asks for attributes of what a path leads to. Answered by [`FileReply::Attributes`].
    StatAt {
        /// The directory that the path is relative to.
        at: FileId,
        /// The path.
        path: String,
        /// Whether a symbolic link at the end is followed.
        follow: bool,
    },
    /// Sets the times of what is open. Answered by [`FileReply::Done`].
    SetTimes {
        /// An open file or directory.
        file: FileId,
        /// The time of the last access.
        accessed: SetTime,
        /// The time of the last change of content.
        modified: SetTime,
    },
    /// Sets the times of what a path leads to. Answered by [`FileReply::Done`].
    SetTimesAt {
        /// The directory that the path is relative to.
        at: FileId,
        /// The path.
        path: String,
        /// Whether a symbolic link at the end is followed.
        follow: bool,
        /// The time of the last access.
        accessed: SetTime,
        /// The time of the last change of content.
        modified: SetTime,
    },
    /// Lists a directory, without `.` and `..`. Answered by [`FileReply::Entries`].
    ReadDirectory {
        /// An open directory.
        directory: FileId,
        /// 0 to begin, then the cookie of the last entry seen.
        after: u64,
    },
    /// Makes a directory. Answered by [`FileReply::Done`].
    CreateDirectory {
        /// The directory that the path is relative to.
        at: FileId,
        /// The path.
        path: String,
    },
    /// Removes an empty directory. Answered by [`FileReply::Done`].
    RemoveDirectory {
        /// The directory that the path is relative to.
        at: FileId,
        /// The path.
        path: String,
    },
    /// Removes a name of a file or a symbolic link. Answered by [`FileReply::Done`].
    Unlink {
        /// The directory that the path is relative to.
        at: FileId,
        /// The path.
        path: String,
    },
    /// Gives something another name. Answered by [`FileReply::Done`].
    Rename {
        /// The directory that the old path is relative to.
        from: FileId,
        /// The old path.
        from_path: String,
        /// The directory that the new path is relative to.
        to: FileId,
        /// The new path.
        to_path: String,
    },
    /// Gives a file a further name. Answered by [`FileReply::Done`].
    Link {
        /// The directory that the old path is relative to.
        from: FileId,
        /// The old path; a symbolic link at its end is not followed.
        from_path: String,
        /// The directory that the new path is relative to.
        to: FileId,
        /// The new path.
        to_path: String,
    },
    /// Makes a symbolic link. Answered by [`FileReply::Done`].
    Symlink {
        /// What it leads to: relative.
        target: String,
        /// The directory that the path is relative to.
        at: FileId,
        /// The path.
        path: String,
    },
    /// Reads a symbolic link. Answered by [`FileReply::Target`].
    ReadLink {
        /// The directory that the path is relative to.
        at: FileId,
        /// The path.
        path: String,
    },
}

/// What opening does, and what for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFlags {
    /// For reading.
    pub read: bool,
    /// For writing; of a directory: for changing what is in it.
    pub write: bool,
    /// Makes a file if there is none.
    pub create: bool,
    /// Fails if there is something; with `create` only.
    pub exclusive: bool,
    /// Empties the file.
    pub truncate: bool,
    /// Fails unless it is a directory.
    pub directory: bool,
}

/// What a guest is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileReply {
    /// It was not done.
    Failed(FileError),
    /// It was done.
    Done,
    /// It is open.
    Opened {
        /// The id, not in use before.
        file: FileId,
        /// What was opened.
        kind: FileKind,
    },
    /// Content.
    Data(Bytes),
    /// All was written.
    Written {
        /// Where the file's position is after what was written, in bytes.
        end: u64,
    },
    /// Attributes.
    Attributes(Attributes),
    /// Entries of a directory, at most [`crate::limits::DIRECTORY_ENTRIES`].
    Entries {
        /// The entries.
        entries: Vec<DirectoryEntry>,
        /// Whether there are no more.
        end: bool,
    },
    /// What a symbolic link leads to.
    Target(String),
}

/// What something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    /// A file with content.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Something else: a device, a pipe, a socket.
    Other,
}

/// Attributes of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// What it is.
    pub kind: FileKind,
    /// Names that it has.
    pub links: u64,
    /// Its size in bytes.
    pub size: u64,
    /// The last access.
    pub accessed: Stamp,
    /// The last change of content.
    pub modified: Stamp,
    /// The last change of content or attributes.
    pub changed: Stamp,
    /// A number that no other file of the tree has.
    pub identity: u128,
}

/// A time since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// Seconds.
    pub seconds: u64,
    /// Nanoseconds, below 10^9.
    pub nanoseconds: u32,
}

/// What to do with a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetTime {
    /// Leave it.
    Keep,
    /// Set it to the present.
    Now,
    /// Set it to this.
    To(Stamp),
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryEntry {
    /// The name.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
    /// Where to go on after this entry; never 0.
    pub cookie: u64,
}

/// Why something was not done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum FileError {
    /// A right is missing.
    #[error("access is not granted")]
    Access,
    /// The path leads out of what is granted, or the operation is never permitted.
    #[error("not permitted: the path leads out of the granted directory, or the operation is never allowed")]
    NotPermitted,
    /// There is no such file id.
    #[error("no such open file")]
    BadDescriptor,
    /// It is in use.
    #[error("in use")]
    Busy,
    /// There is something of that name.
    #[error("exists already")]
    Exists,
    /// It is too large.
    #[error("file too large")]
    FileTooLarge,
    /// The request makes no sense.
    #[error("invalid request")]
    Invalid,
    /// Storage failed.
    #[error("input/output error")]
    Io,
    /// It is a directory.
    #[error("is a directory")]
    IsDirectory,
    /// Too many symbolic links were met.
    #[error("too many symbolic links")]
    Loop,
    /// Too many names.
    #[error("too many links")]
    TooManyLinks,
    /// A name or path is too long.
    #[error("name too long")]
    NameTooLong,
    /// Too many files are open.
    #[error("too many open files")]
    TooManyOpen,
    /// There is nothing of that name.
    #[error("no such file or directory")]
    NoEntry,
    /// There is no room.
    #[error("no space left")]
    NoSpace,
    /// It is not a directory.
    #[error("not a directory")]
    NotDirectory,
    /// The directory is not empty.
    #[error("directory not empty")]
    NotEmpty,
    /// This cannot be done here.
    #[error("not supported")]
    Unsupported,
    /// It can only be read.
    #[error("read-only")]
    ReadOnly,
    /// The two names lie in different zones.
    #[error("the two paths are in different zones")]
    CrossZone,
}
