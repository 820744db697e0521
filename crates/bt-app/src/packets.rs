//! Sockets between processes that carry file descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Two ends that carry whole messages.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Two ends of a stream, neither of which ever blocks.
pub(crate) fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Sends one message, with a file descriptor if one is given.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let files: &[BorrowedFd<'_>] = file.as_slice();
    if !files.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(files)), "there is room for one descriptor");
    }
    let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    debug_assert_eq!(sent, bytes.len(), "a message is sent whole");
    Ok(())
}

/// Receives one message and the file descriptor that came with it. No bytes: the other end is closed.
pub(crate) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut file = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(files) = message {
            file = files.last();
        }
    }
    Ok((received.bytes, file))
}

/// Receives one message. A file descriptor that comes with it is closed by the kernel.
pub(crate) fn receive_only(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let mut ancillary = RecvAncillaryBuffer::default();
    Ok(recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?.bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_message_keeps_its_limits_and_brings_its_file() {
        let (a, b) = pair().unwrap();
        let (mut reading, writing) = std::io::pipe().unwrap();
        send(&a, b"first", Some(writing.as_fd())).unwrap();
        send(&a, b"second", None).unwrap();
        drop((a, writing));
        let mut buffer = [0; 64];
        let (length, file) = receive(&b, &mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"first");
        File::from(file.unwrap()).write_all(b"through").unwrap();
        let mut text = String::new();
        reading.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        let (length, file) = receive(&b, &mut buffer).unwrap();
        assert_eq!((&buffer[..length], file.is_none()), (&b"second"[..], true));
        assert_eq!(receive(&b, &mut buffer).unwrap().0, 0);
    }
}
