//! Frames and messages: what is sent is what arrives, and nothing else ever panics.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::frame::{self, FrameError, HEADER_SIZE};
use super::message::{FromGuest, FromNode};
use super::*;
use crate::error::GuestFailure;
use crate::limits::FRAME_SIZE;
use crate::services::OutputStream;

fn fields() -> impl Strategy<Value = Fields> {
    prop::collection::vec(("[a-z-]{1,10}", prop::collection::vec(any::<u8>(), 0..20)), 0..4)
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 1..100).prop_map(Bytes::from)
}

fn file_request() -> impl Strategy<Value = FileRequest> {
    let id = || any::<u32>().prop_map(FileId);
    let flags = any::<[bool; 6]>().prop_map(|[read, write, create, exclusive, truncate, directory]| OpenFlags {
        read,
        write,
        create,
        exclusive,
        truncate,
        directory,
    });
    prop_oneof![
        (id(), ".*", any::<bool>(), flags).prop_map(|(at, path, follow, flags)| FileRequest::Open {
            at,
            path,
            follow,
            flags
        }),
        (id(), any::<u64>(), any::<u32>()).prop_map(|(file, offset, length)| FileRequest::Read {
            file,
            offset,
            length
        }),
        (id(), any::<Option<u64>>(), bytes()).prop_map(|(file, offset, data)| FileRequest::Write {
            file,
            offset,
            data
        }),
        (id(), ".*", id(), ".*").prop_map(|(from, from_path, to, to_path)| FileRequest::Rename {
            from,
            from_path,
            to,
            to_path
        }),
        (id(), any::<u64>()).prop_map(|(directory, after)| FileRequest::ReadDirectory { directory, after }),
    ]
}

fn from_guest() -> impl Strategy<Value = FromGuest> {
    prop_oneof![
        file_request().prop_map(FromGuest::File),
        any::<u32>().prop_map(FromGuest::ReadBody),
        bytes().prop_map(|bytes| FromGuest::Output(OutputStream::Error, bytes)),
        (any::<u16>(), fields()).prop_map(|(status, headers)| FromGuest::Head { status, headers }),
        bytes().prop_map(FromGuest::Body),
        fields().prop_map(FromGuest::End),
        any::<u8>().prop_map(FromGuest::Exit),
        ".*".prop_map(|why| FromGuest::Failed(GuestFailure::Trap(why))),
    ]
}

fn from_node() -> impl Strategy<Value = FromNode> {
    let entry =
        ("[a-z]{1,9}", any::<u64>()).prop_map(|(name, cookie)| DirectoryEntry { name, kind: FileKind::File, cookie });
    prop_oneof![
        (prop::collection::vec(".*", 0..3), ".*").prop_map(|(arguments, name)| FromNode::Start(Start {
            what: What::Run { arguments },
            roots: vec![Root { name: name.clone(), write: true }],
            caller: Caller::Principal { id: name, name: String::new() },
            environment: vec![("A".to_owned(), "b".to_owned())],
        })),
        bytes().prop_map(|data| FromNode::File(FileReply::Data(data))),
        prop::collection::vec(entry, 0..4)
            .prop_map(|entries| FromNode::File(FileReply::Entries { entries, end: true })),
        Just(FromNode::File(FileReply::Failed(FileError::NoEntry))),
        bytes().prop_map(FromNode::Body),
        fields().prop_map(FromNode::BodyEnd),
        ".*".prop_map(FromNode::BodyFailed),
    ]
}

/// Reads all frames as messages of both sides.
fn read_all(bytes: &[u8]) -> Vec<(Option<FromGuest>, Option<FromNode>)> {
    let mut buffer = BytesMut::from(bytes);
    let mut messages = Vec::new();
    while let Ok(Some(frame)) = frame::take(&mut buffer) {
        messages.push((FromGuest::read(frame.clone()).ok(), FromNode::read(frame).ok()));
    }
    messages
}

proptest! {
    #[test]
    fn what_a_guest_says_arrives(messages in prop::collection::vec(from_guest(), 0..4)) {
        let mut sent = BytesMut::new();
        for (number, message) in (7..).zip(&messages) {
            message.write(&mut sent, number);
        }
        for (number, message) in (7..).zip(&messages) {
            let frame = frame::take(&mut sent).unwrap().unwrap();
            prop_assert_eq!(frame.request, number);
            prop_assert_eq!(&FromGuest::read(frame.clone()).unwrap(), message);
            // What one side says is never something that the other could have said.
            prop_assert_eq!(FromNode::read(frame.clone()), Err(FrameError::Kind(frame.kind)));
        }
        prop_assert!(sent.is_empty());
    }

    #[test]
    fn what_a_node_says_arrives(message in from_node()) {
        let mut sent = BytesMut::new();
        message.write(&mut sent, 1);
        let frame = frame::take(&mut sent).unwrap().unwrap();
        prop_assert_eq!(FromNode::read(frame.clone()).unwrap(), message);
        prop_assert_eq!(FromGuest::read(frame.clone()), Err(FrameError::Kind(frame.kind)));
    }

    #[test]
    fn a_frame_that_is_cut_short_is_waited_for(message in from_guest(), cut in any::<prop::sample::Index>()) {
        let mut sent = BytesMut::new();
        message.write(&mut sent, 1);
        let mut part = BytesMut::from(&sent[..cut.index(sent.len())]);
        prop_assert_eq!(frame::take(&mut part), Ok(None));
    }

    #[test]
    fn flipped_bits_are_another_message_or_none(message in from_guest(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut sent = BytesMut::new();
        message.write(&mut sent, 1);
        let at = at.index(sent.len());
        sent[at] ^= 1u8 << bit;
        for (from_guest, _) in read_all(&sent) {
            if let Some(other) = from_guest {
                let mut again = BytesMut::new();
                other.write(&mut again, 1);
                let frame = frame::take(&mut again).unwrap().unwrap();
                prop_assert_eq!(FromGuest::read(frame).unwrap(), other);
            }
        }
    }

    #[test]
    fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_all(&bytes);
    }
}

#[test]
fn a_frame_longer_than_one_may_be_is_refused_before_it_came() {
    let mut header = BytesMut::from(&[0; HEADER_SIZE][..]);
    header[..4].copy_from_slice(&(FRAME_SIZE as u32 + 1).to_le_bytes());
    assert_eq!(frame::take(&mut header), Err(FrameError::TooLong(FRAME_SIZE + 1)));
}
