//! `wasi:filesystem` over the channel of a call.
//!
//! What it may use are the roots that the node named; each request goes to the node, which decides. Here paths are checked
//! for what they look like, and nothing is cached.

mod descriptor;
mod streams;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable, ResourceTableError};

use self::bindings::wasi::filesystem::types::{DescriptorFlags, ErrorCode};
use self::bindings::wasi::filesystem::{preopens, types};
use self::descriptor::Descriptor;
use super::Guest;
use super::channel::{Channel, Reply};
use crate::protocol::message::{FromGuest, FromNode};
use crate::protocol::{FileError, FileId, FileKind, FileReply, FileRequest, Root};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/host",
        world: "blocktree:host/files",
        imports: { default: async | trappable },
        require_store_data_send: true,
        trappable_error_type: { "wasi:filesystem/types.error-code" => super::FsError },
        with: {
            "wasi:io": wasmtime_wasi_io::bindings::wasi::io,
            "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
            "wasi:filesystem/types.descriptor": super::descriptor::Descriptor,
            "wasi:filesystem/types.directory-entry-stream": super::descriptor::Listing,
        },
    });
}

/// An error for the guest, or a trap.
#[derive(Debug)]
pub enum FsError {
    /// For the guest.
    Code(ErrorCode),
    /// The guest did what none may do.
    Trap(wasmtime::Error),
}

type FsResult<T> = Result<T, FsError>;

impl From<ErrorCode> for FsError {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}

impl From<ResourceTableError> for FsError {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

/// The files of one call.
pub(crate) struct Files {
    channel: Channel,
    roots: Vec<Root>,
}

impl Files {
    pub fn new(channel: Channel, roots: Vec<Root>) -> Self {
        Self { channel, roots }
    }
}

/// [`Files`] and the table of resources of a call.
pub(crate) struct View<'a> {
    files: &'a Files,
    table: &'a mut ResourceTable,
}

struct HasFiles;

impl HasData for HasFiles {
    type Data<'a> = View<'a>;
}

/// Binds both interfaces.
pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    fn view(guest: &mut Guest) -> View<'_> {
        View { files: &guest.files, table: &mut guest.table }
    }
    types::add_to_linker::<Guest, HasFiles>(linker, view)?;
    preopens::add_to_linker::<Guest, HasFiles>(linker, view)
}

impl preopens::Host for View<'_> {
    async fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let mut directories = Vec::with_capacity(self.files.roots.len());
        for (id, root) in (0..).map(FileId).zip(&self.files.roots) {
            let change = if root.write { DescriptorFlags::MUTATE_DIRECTORY } else { DescriptorFlags::empty() };
            let flags = DescriptorFlags::READ | change;
            let descriptor = Descriptor::root(self.files.channel.clone(), id, flags);
            directories.push((self.table.push(descriptor)?, root.name.clone()));
        }
        Ok(directories)
    }
}

impl types::Host for View<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        match error {
            FsError::Code(code) => Ok(code),
            FsError::Trap(error) => Err(error),
        }
    }

    async fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(self.table.get(&error)?.downcast_ref::<FileError>().map(|error| code(*error)))
    }
}

/// Asks the node and waits.
async fn ask(channel: &Channel, request: FileRequest) -> FsResult<FileReply> {
    replied(channel.ask(&FromGuest::File(request)).await)
}

fn replied(reply: <Reply as Future>::Output) -> FsResult<FileReply> {
    match reply {
        Ok(FromNode::File(FileReply::Failed(error))) => Err(code(error).into()),
        Ok(FromNode::File(reply)) => Ok(reply),
        // The call is being ended.
        _ => Err(ErrorCode::Io.into()),
    }
}

/// A trap for an answer to something else than was asked: a node never gives one.
fn unexpected(reply: &FileReply) -> FsError {
    FsError::Trap(wasmtime::format_err!("the node answered {reply:?}"))
}

fn kind(kind: FileKind) -> types::DescriptorType {
    match kind {
        FileKind::File => types::DescriptorType::RegularFile,
        FileKind::Directory => types::DescriptorType::Directory,
        FileKind::Symlink => types::DescriptorType::SymbolicLink,
        FileKind::Other => types::DescriptorType::Unknown,
    }
}

fn code(error: FileError) -> ErrorCode {
    match error {
        FileError::Access => ErrorCode::Access,
        FileError::NotPermitted => ErrorCode::NotPermitted,
        FileError::BadDescriptor => ErrorCode::BadDescriptor,
        FileError::Busy => ErrorCode::Busy,
        FileError::Exists => ErrorCode::Exist,
        FileError::FileTooLarge => ErrorCode::FileTooLarge,
        FileError::Invalid => ErrorCode::Invalid,
        FileError::Io => ErrorCode::Io,
        FileError::IsDirectory => ErrorCode::IsDirectory,
        FileError::Loop => ErrorCode::Loop,
        FileError::TooManyLinks => ErrorCode::TooManyLinks,
        FileError::NameTooLong => ErrorCode::NameTooLong,
        FileError::TooManyOpen => ErrorCode::InsufficientMemory,
        FileError::NoEntry => ErrorCode::NoEntry,
        FileError::NoSpace => ErrorCode::InsufficientSpace,
        FileError::NotDirectory => ErrorCode::NotDirectory,
        FileError::NotEmpty => ErrorCode::NotEmpty,
        FileError::Unsupported => ErrorCode::Unsupported,
        FileError::ReadOnly => ErrorCode::ReadOnly,
        FileError::CrossZone => ErrorCode::CrossDevice,
    }
}
