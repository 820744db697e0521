//! Open files and directories of a guest.

use std::collections::VecDeque;
use std::sync::Arc;

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

use super::bindings::wasi::filesystem::types::{
    Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, Filesize, HostDescriptor,
    HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use super::streams::{ReadStream, WriteStream};
use super::{Channel, FsError, FsResult, View, ask, code, kind, unexpected};
use crate::limits::{CHUNK_SIZE, READ_AHEAD};
use crate::path;
use crate::protocol::message::FromGuest;
use crate::protocol::{self, Attributes, FileId, FileKind, FileReply, FileRequest, SetTime, Stamp};

/// Something that the node has open for this call. It is closed when nothing uses it any more.
pub(crate) struct OpenFile {
    channel: Channel,
    id: FileId,
    root: bool,
}

impl OpenFile {
    pub fn id(&self) -> FileId {
        self.id
    }

    pub fn channel(&self) -> &Channel {
        &self.channel
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if !self.root {
            // Nobody waits for the answer.
            drop(self.channel.ask(&FromGuest::File(FileRequest::Close { file: self.id })));
        }
    }
}

/// A `descriptor` of a guest.
pub struct Descriptor {
    file: Arc<OpenFile>,
    kind: FileKind,
    flags: DescriptorFlags,
}

impl Descriptor {
    /// A directory that the call was given.
    pub(super) fn root(channel: Channel, id: FileId, flags: DescriptorFlags) -> Self {
        Self { file: Arc::new(OpenFile { channel, id, root: true }), kind: FileKind::Directory, flags }
    }

    fn readable(&self) -> FsResult<Arc<OpenFile>> {
        match self.kind {
            FileKind::Directory => Err(ErrorCode::IsDirectory.into()),
            _ if !self.flags.contains(DescriptorFlags::READ) => Err(ErrorCode::NotPermitted.into()),
            _ => Ok(Arc::clone(&self.file)),
        }
    }

    fn writable(&self) -> FsResult<Arc<OpenFile>> {
        match self.kind {
            FileKind::Directory => Err(ErrorCode::IsDirectory.into()),
            _ if !self.flags.contains(DescriptorFlags::WRITE) => Err(ErrorCode::NotPermitted.into()),
            _ => Ok(Arc::clone(&self.file)),
        }
    }

    fn directory(&self) -> FsResult<Arc<OpenFile>> {
        if self.kind == FileKind::Directory { Ok(Arc::clone(&self.file)) } else { Err(ErrorCode::NotDirectory.into()) }
    }
}

/// A `directory-entry-stream` of a guest.
pub struct Listing {
    directory: Arc<OpenFile>,
    read: VecDeque<protocol::DirectoryEntry>,
    after: u64,
    ended: bool,
}

impl View<'_> {
    fn file(&self, descriptor: &Resource<Descriptor>) -> FsResult<Arc<OpenFile>> {
        Ok(Arc::clone(&self.table.get(descriptor)?.file))
    }

    fn directory(&self, descriptor: &Resource<Descriptor>) -> FsResult<Arc<OpenFile>> {
        self.table.get(descriptor)?.directory()
    }
}

impl<'a> View<'a> {
    fn channel(&self) -> &'a Channel {
        &self.files.channel
    }
}

async fn done(channel: &Channel, request: FileRequest) -> FsResult<()> {
    match ask(channel, request).await? {
        FileReply::Done => Ok(()),
        reply => Err(unexpected(&reply)),
    }
}

async fn attributes(channel: &Channel, request: FileRequest) -> FsResult<Attributes> {
    match ask(channel, request).await? {
        FileReply::Attributes(attributes) => Ok(attributes),
        reply => Err(unexpected(&reply)),
    }
}

impl HostDescriptor for View<'_> {
    async fn read_via_stream(
        &mut self,
        this: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynInputStream>> {
        let stream: DynInputStream = Box::new(ReadStream::new(self.table.get(&this)?.readable()?, offset));
        Ok(self.table.push(stream)?)
    }

    async fn write_via_stream(
        &mut self,
        this: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(WriteStream::new(self.table.get(&this)?.writable()?, Some(offset)));
        Ok(self.table.push(stream)?)
    }

    async fn append_via_stream(&mut self, this: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(WriteStream::new(self.table.get(&this)?.writable()?, None));
        Ok(self.table.push(stream)?)
    }

    async fn advise(&mut self, this: Resource<Descriptor>, _: Filesize, _: Filesize, _: Advice) -> FsResult<()> {
        // Advice binds nobody.
        self.file(&this).map(drop)
    }

    async fn sync_data(&mut self, this: Resource<Descriptor>) -> FsResult<()> {
        done(self.channel(), FileRequest::Sync { file: self.file(&this)?.id(), data_only: true }).await
    }

    async fn sync(&mut self, this: Resource<Descriptor>) -> FsResult<()> {
        done(self.channel(), FileRequest::Sync { file: self.file(&this)?.id(), data_only: false }).await
    }

    async fn get_flags(&mut self, this: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        Ok(self.table.get(&this)?.flags)
    }

    async fn get_type(&mut self, this: Resource<Descriptor>) -> FsResult<DescriptorType> {
        Ok(kind(self.table.get(&this)?.kind))
    }

    async fn set_size(&mut self, this: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        let file = self.table.get(&this)?.writable()?;
        done(self.channel(), FileRequest::SetSize { file: file.id(), size }).await
    }

    async fn set_times(
        &mut self,
        this: Resource<Descriptor>,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let file = self.file(&this)?.id();
        done(self.channel(), FileRequest::SetTimes { file, accessed: time(accessed)?, modified: time(modified)? }).await
    }

    async fn read(
        &mut self,
        this: Resource<Descriptor>,
        length: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        let file = self.table.get(&this)?.readable()?;
        let length = length.min(READ_AHEAD as u64) as u32;
        match ask(self.channel(), FileRequest::Read { file: file.id(), offset, length }).await? {
            FileReply::Data(data) if data.len() <= length as usize => Ok((data.to_vec(), data.len() < length as usize)),
            reply => Err(unexpected(&reply)),
        }
    }

    async fn write(&mut self, this: Resource<Descriptor>, data: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        let file = self.table.get(&this)?.writable()?;
        let mut data = bytes::Bytes::from(data);
        data.truncate(CHUNK_SIZE);
        let length = data.len() as u64;
        match ask(self.channel(), FileRequest::Write { file: file.id(), offset: Some(offset), data }).await? {
            FileReply::Written { .. } => Ok(length),
            reply => Err(unexpected(&reply)),
        }
    }

    async fn read_directory(&mut self, this: Resource<Descriptor>) -> FsResult<Resource<Listing>> {
        let directory = self.directory(&this)?;
        Ok(self.table.push(Listing { directory, read: VecDeque::new(), after: 0, ended: false })?)
    }

    async fn create_directory_at(&mut self, this: Resource<Descriptor>, path: String) -> FsResult<()> {
        let at = self.directory(&this)?.id();
        done(self.channel(), FileRequest::CreateDirectory { at, path: checked(path)? }).await
    }

    async fn stat(&mut self, this: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        let file = self.file(&this)?.id();
        attributes(self.channel(), FileRequest::Stat { file }).await.map(stat)
    }

    async fn stat_at(
        &mut self,
        this: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        let request =
            FileRequest::StatAt { at: self.directory(&this)?.id(), path: checked(path)?, follow: follow(flags) };
        attributes(self.channel(), request).await.map(stat)
    }

    async fn set_times_at(
        &mut self,
        this: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let (at, path) = (self.directory(&this)?.id(), checked(path)?);
        let (accessed, modified) = (time(accessed)?, time(modified)?);
        done(self.channel(), FileRequest::SetTimesAt { at, path, follow: follow(flags), accessed, modified }).await
    }

    async fn link_at(
        &mut self,
        this: Resource<Descriptor>,
        flags: PathFlags,
        from_path: String,
        to: Resource<Descriptor>,
        to_path: String,
    ) -> FsResult<()> {
        if follow(flags) {
            return Err(ErrorCode::Invalid.into());
        }
        let (from, to) = (self.directory(&this)?.id(), self.directory(&to)?.id());
        let (from_path, to_path) = (checked(from_path)?, checked(to_path)?);
        done(self.channel(), FileRequest::Link { from, from_path, to, to_path }).await
    }

    async fn open_at(
        &mut self,
        this: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        open: OpenFlags,
        mode: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let parent = self.table.get(&this)?;

        let changes = mode.intersects(DescriptorFlags::WRITE | DescriptorFlags::MUTATE_DIRECTORY)
            || open.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE);
        if changes && !parent.flags.contains(DescriptorFlags::MUTATE_DIRECTORY) {
            return Err(ErrorCode::ReadOnly.into());
        }
        let flags_of_request = protocol::OpenFlags {
            read: mode.contains(DescriptorFlags::READ),
            write: mode.intersects(DescriptorFlags::WRITE | DescriptorFlags::MUTATE_DIRECTORY),
            create: open.contains(OpenFlags::CREATE),
            exclusive: open.contains(OpenFlags::EXCLUSIVE),
            truncate: open.contains(OpenFlags::TRUNCATE),
            directory: open.contains(OpenFlags::DIRECTORY),
        };
        let (at, path) = (parent.directory()?.id(), checked(path)?);
        let request = FileRequest::Open { at, path, follow: follow(flags), flags: flags_of_request };
        match ask(self.channel(), request).await? {
            FileReply::Opened { file, kind } => {
                let file = OpenFile { channel: self.channel().clone(), id: file, root: false };
                Ok(self.table.push(Descriptor { file: Arc::new(file), kind, flags: mode })?)
            }
            reply => Err(unexpected(&reply)),
        }
    }

    async fn readlink_at(&mut self, this: Resource<Descriptor>, path: String) -> FsResult<String> {
        match ask(self.channel(), FileRequest::ReadLink { at: self.directory(&this)?.id(), path: checked(path)? })
            .await?
        {
            FileReply::Target(target) => Ok(target),
            reply => Err(unexpected(&reply)),
        }
    }

    async fn remove_directory_at(&mut self, this: Resource<Descriptor>, path: String) -> FsResult<()> {
        let at = self.directory(&this)?.id();
        done(self.channel(), FileRequest::RemoveDirectory { at, path: checked(path)? }).await
    }

    async fn rename_at(
        &mut self,
        this: Resource<Descriptor>,
        from_path: String,
        to: Resource<Descriptor>,
        to_path: String,
    ) -> FsResult<()> {
        let (from, to) = (self.directory(&this)?.id(), self.directory(&to)?.id());
        let (from_path, to_path) = (checked(from_path)?, checked(to_path)?);
        done(self.channel(), FileRequest::Rename { from, from_path, to, to_path }).await
    }

    async fn symlink_at(&mut self, this: Resource<Descriptor>, target: String, path: String) -> FsResult<()> {
        // An absolute one could be followed by others than this guest.
        let (at, target, path) = (self.directory(&this)?.id(), checked(target)?, checked(path)?);
        done(self.channel(), FileRequest::Symlink { target, at, path }).await
    }

    async fn unlink_file_at(&mut self, this: Resource<Descriptor>, path: String) -> FsResult<()> {
        let at = self.directory(&this)?.id();
        done(self.channel(), FileRequest::Unlink { at, path: checked(path)? }).await
    }

    async fn is_same_object(
        &mut self,
        this: Resource<Descriptor>,
        other: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        let (this, other) = (self.table.get(&this)?.file.id(), self.table.get(&other)?.file.id());
        let first = attributes(self.channel(), FileRequest::Stat { file: this }).await;
        let second = attributes(self.channel(), FileRequest::Stat { file: other }).await;
        Ok(matches!((first, second), (Ok(first), Ok(second)) if first.identity == second.identity))
    }

    async fn metadata_hash(&mut self, this: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        let file = self.file(&this)?.id();
        attributes(self.channel(), FileRequest::Stat { file }).await.map(|attributes| hash(&attributes))
    }

    async fn metadata_hash_at(
        &mut self,
        this: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        let request =
            FileRequest::StatAt { at: self.directory(&this)?.id(), path: checked(path)?, follow: follow(flags) };
        attributes(self.channel(), request).await.map(|attributes| hash(&attributes))
    }

    async fn drop(&mut self, this: Resource<Descriptor>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl HostDirectoryEntryStream for View<'_> {
    async fn read_directory_entry(&mut self, this: Resource<Listing>) -> FsResult<Option<DirectoryEntry>> {
        let listing = self.table.get_mut(&this)?;
        if listing.read.is_empty() && !listing.ended {
            let request = FileRequest::ReadDirectory { directory: listing.directory.id(), after: listing.after };
            match ask(&self.files.channel, request).await? {
                FileReply::Entries { entries, end } => {
                    listing.ended = end || entries.is_empty();
                    listing.read = entries.into();
                }
                reply => return Err(unexpected(&reply)),
            }
        }
        Ok(listing.read.pop_front().map(|entry| {
            listing.after = entry.cookie;
            DirectoryEntry { type_: kind(entry.kind), name: entry.name }
        }))
    }

    async fn drop(&mut self, this: Resource<Listing>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

/// The path, if it looks like one that may be asked for.
fn checked(path: String) -> FsResult<String> {
    match path::parse(&path) {
        Ok(_) => Ok(path),
        Err(error) => Err(FsError::from(code(error))),
    }
}

fn follow(flags: PathFlags) -> bool {
    flags.contains(PathFlags::SYMLINK_FOLLOW)
}

fn time(time: NewTimestamp) -> FsResult<SetTime> {
    match time {
        NewTimestamp::NoChange => Ok(SetTime::Keep),
        NewTimestamp::Now => Ok(SetTime::Now),
        NewTimestamp::Timestamp(time) if time.nanoseconds < 1_000_000_000 => {
            Ok(SetTime::To(Stamp { seconds: time.seconds, nanoseconds: time.nanoseconds }))
        }
        NewTimestamp::Timestamp(_) => Err(ErrorCode::Invalid.into()),
    }
}

fn stat(attributes: Attributes) -> DescriptorStat {
    let time = |stamp: Stamp| Some(Datetime { seconds: stamp.seconds, nanoseconds: stamp.nanoseconds });
    DescriptorStat {
        type_: kind(attributes.kind),
        link_count: attributes.links,
        size: attributes.size,
        data_access_timestamp: time(attributes.accessed),
        data_modification_timestamp: time(attributes.modified),
        status_change_timestamp: time(attributes.changed),
    }
}

/// Tells files apart, and one file before and after a change.
fn hash(attributes: &Attributes) -> MetadataHashValue {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&attributes.identity.to_le_bytes());
    hasher.update(&attributes.size.to_le_bytes());
    hasher.update(&attributes.modified.seconds.to_le_bytes());
    hasher.update(&attributes.modified.nanoseconds.to_le_bytes());
    let hash = hasher.finalize();
    let half = |at: usize| u64::from_le_bytes(hash.as_bytes()[at..at + 8].try_into().expect("eight bytes"));
    MetadataHashValue { lower: half(0), upper: half(8) }
}
