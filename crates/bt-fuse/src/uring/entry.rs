//! The memory of one place in a queue, which the kernel and this process use in turn.

use std::ptr::NonNull;

use io_uring::squeue::Entry128;
use io_uring::{opcode as uring_opcode, types};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::dispatch::{Request, error_out};
use crate::wire::{InHeader, OutHeader};

/// `FUSE_IO_URING_CMD_REGISTER`: this memory is a new place of a queue.
const REGISTER: u32 = 1;
/// `FUSE_IO_URING_CMD_COMMIT_AND_FETCH`: it holds a reply, and can hold the next request afterwards.
const COMMIT_AND_FETCH: u32 = 2;
/// Where `len` lies in a submission; the crate io-uring has no setter for it in commands.
const LEN_OFFSET: usize = 24;
/// Parts that REGISTER names: headers and payload.
const PARTS: u32 = 2;
/// The headers have a page of their own.
const HEADERS_SIZE: usize = 4096;

/// The headers of a request or reply: the kernel's `fuse_uring_req_header`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Headers {
    /// A [`InHeader`], later an [`OutHeader`].
    in_out: [u8; 128],
    /// The operation's fixed part.
    fixed: [u8; 128],
    flags: u64,
    /// Names the request when its reply is committed.
    commit_id: u64,
    payload_size: u32,
    padding: u32,
    reserved: u64,
}

/// What follows the first 48 bytes of a submission: the kernel's `fuse_uring_cmd_req`.
#[derive(Default, IntoBytes, Immutable)]
#[repr(C)]
struct Command {
    flags: u64,
    commit_id: u64,
    queue: u16,
    padding: [u8; 6],
}

/// The memory of one place in a queue.
///
/// While the kernel has it, the owner keeps it and does not look; it is this process's from the completion that brings
/// a request until the reply is committed.
pub(super) struct Place {
    memory: NonNull<u8>,
    payload_size: usize,
    queue: u16,
    /// Where the two parts lie, for REGISTER.
    parts: Box<[libc::iovec; PARTS as usize]>,
}

// SAFETY: the memory is this value's alone, as a Box's would be; nothing in it belongs to a thread.
unsafe impl Send for Place {}

impl Place {
    /// Maps memory for a place of queue number `queue`, with `payload_size` bytes for names and data.
    pub(super) fn new(queue: u16, payload_size: usize) -> std::io::Result<Place> {
        let size = HEADERS_SIZE + payload_size;
        // SAFETY: a new private mapping at an address of the kernel's choice touches nothing that exists.
        let memory = unsafe {
            mmap_anonymous(std::ptr::null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        }?;
        let memory = NonNull::new(memory.cast::<u8>()).ok_or(std::io::ErrorKind::OutOfMemory)?;
        // SAFETY: the mapping is longer than the headers.
        let payload = unsafe { memory.add(HEADERS_SIZE) };
        let parts = Box::new([
            libc::iovec { iov_base: memory.as_ptr().cast(), iov_len: size_of::<Headers>() },
            libc::iovec { iov_base: payload.as_ptr().cast(), iov_len: payload_size },
        ]);
        Ok(Place { memory, payload_size, queue, parts })
    }

    /// The submission that gives the place to the kernel for the first time.
    pub(super) fn register(&self) -> Entry128 {
        let command = Command { queue: self.queue, ..Command::default() };
        let submission = self.command(REGISTER, &command, Some(self.parts.as_ptr() as u64));
        with_len(submission, PARTS)
    }

    /// Puts the reply's headers beside a payload of `payload_size` bytes that lies ready; returns the submission that
    /// gives the place back to the kernel.
    pub(super) fn commit(&mut self, result: crate::Result<usize>) -> Entry128 {
        let headers = self.headers_mut();
        let unique = parse_in_header(headers).unique;
        let (error, payload_size) = (error_out(&result), result.unwrap_or(0) as u32);
        let out = OutHeader { len: size_of::<OutHeader>() as u32 + payload_size, error, unique };
        headers.in_out[..size_of::<OutHeader>()].copy_from_slice(out.as_bytes());
        headers.payload_size = payload_size;
        let command = Command { commit_id: headers.commit_id, queue: self.queue, ..Command::default() };
        self.command(COMMIT_AND_FETCH, &command, None)
    }

    /// The request that the kernel has put here.
    pub(super) fn request(&mut self) -> Request<'_> {
        let payload_size = self.payload_size;
        // SAFETY: the mapping has `HEADERS_SIZE + payload_size` bytes, is initialised (with zeros, then by the kernel),
        // and `&mut self` is the only way to it in this process. The kernel keeps off while the request is here.
        let (headers, payload) = unsafe {
            let payload = self.memory.add(HEADERS_SIZE);
            (self.memory.cast::<Headers>().as_ref(), std::slice::from_raw_parts_mut(payload.as_ptr(), payload_size))
        };
        Request {
            header: parse_in_header(headers),
            fixed: &headers.fixed,
            payload,
            payload_size: headers.payload_size as usize,
        }
    }

    fn headers_mut(&mut self) -> &mut Headers {
        // SAFETY: as in `request`; a page is aligned for any type, and every bit pattern is a `Headers`.
        unsafe { self.memory.cast::<Headers>().as_mut() }
    }

    fn command(&self, operation: u32, command: &Command, address: Option<u64>) -> Entry128 {
        let mut bytes = [0; 80];
        bytes[..size_of::<Command>()].copy_from_slice(command.as_bytes());
        // File 0 of each ring is /dev/fuse.
        uring_opcode::UringCmd80::new(types::Fixed(0), operation).cmd(bytes).addr(address).build()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // SAFETY: this value made the mapping, no reference to it is left, and its owner drops it only when no queue of
        // the kernel holds it any more.
        if let Err(errno) = unsafe { munmap(self.memory.as_ptr().cast(), HEADERS_SIZE + self.payload_size) } {
            tracing::error!(%errno, "the memory of a queue was not unmapped");
        }
    }
}

fn parse_in_header(headers: &Headers) -> InHeader {
    let (header, _) = InHeader::read_from_prefix(&headers.in_out).expect("128 bytes hold a header of 40");
    header
}

fn with_len(mut submission: Entry128, len: u32) -> Entry128 {
    const { assert!(size_of::<Entry128>() == 128) };
    // SAFETY: an `Entry128` is the kernel's `struct io_uring_sqe` of 128 bytes, all of them plain numbers, so any of
    // its bytes may be set; offset 24 to 28 is the field `len`.
    unsafe { (&raw mut submission).cast::<[u8; 128]>().as_mut() }.expect("the address of a value")
        [LEN_OFFSET..LEN_OFFSET + 4]
        .copy_from_slice(&len.to_ne_bytes());
    submission
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Errno;

    #[test]
    fn layouts_are_the_kernels() {
        assert_eq!(size_of::<Headers>(), 288);
        assert_eq!(size_of::<Command>(), 24);
    }

    #[test]
    fn a_reply_names_its_request() {
        let mut place = Place::new(3, 8192).unwrap();
        let header = InHeader { unique: 77, ..InHeader::default() };
        place.headers_mut().in_out[..40].copy_from_slice(header.as_bytes());
        place.headers_mut().commit_id = 77;
        assert_eq!(place.request().header.unique, 77);
        place.commit(Err(Errno::ENOENT));
        let out = OutHeader::read_from_prefix(&place.headers_mut().in_out).unwrap().0;
        assert_eq!(out, OutHeader { len: 16, error: -2, unique: 77 });
        assert_eq!(place.headers_mut().payload_size, 0);
    }
}
