//! A process that breaks the rules.

use std::io::{IoSliceMut, Read, Write, stdin};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use bt_app::protocol::control::FromProcess;
use bt_app::protocol::frame;
use bt_app::protocol::message::{FromGuest, FromNode};
use bt_app::protocol::{FileId, FileRequest};
use bytes::{Bytes, BytesMut};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};

pub fn run(kind: &str) -> ExitCode {
    receive();
    if kind == "dies" {
        return ExitCode::from(3);
    }
    send(stdin(), &postcard::to_stdvec(&FromProcess::Ready).unwrap(), SendFlags::NOSIGNAL).unwrap();
    while let Some(mut channel) = receive() {
        answer(kind, &mut channel);
    }
    ExitCode::SUCCESS
}

/// Receives a message; the channel of a call, if it is one.
fn receive() -> Option<UnixStream> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut buffer = [0; 4096];
    recvmsg(stdin(), &mut [IoSliceMut::new(&mut buffer)], &mut ancillary, RecvFlags::empty()).unwrap();
    let channel = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    })?;
    let channel = UnixStream::from(channel);
    channel.set_nonblocking(false).unwrap();
    Some(channel)
}

fn answer(kind: &str, channel: &mut UnixStream) {
    let head = || FromGuest::Head { status: 200, headers: Vec::new() };
    let closing = FileRequest::Close { file: FileId(0) };
    match kind {
        "closes" => {}
        "oversized" => say(channel, &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 17]),
        "unknown" => say(channel, &[0, 0, 0, 0, 1, 0, 0, 0, 99]),
        "garbage" => say(channel, &[7, 0, 0, 0, 1, 0, 0, 0, 17, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        "trailing" => {
            let mut bytes = BytesMut::new();
            frame::write(&mut bytes, 1, 17, &[&postcard::to_stdvec(&closing).unwrap(), b"more"]);
            say(channel, &bytes);
        }
        // What only a node says: a call with another caller.
        "forges" => {
            let forged = forged_start(channel);
            say(channel, &forged);
        }
        "body first" => tell(channel, &[FromGuest::Body(Bytes::from_static(b"x"))]),
        "two heads" => tell(channel, &[head(), head()]),
        "job" => tell(channel, &[FromGuest::Exit(0)]),
        "after the end" => {
            tell(channel, &[head(), FromGuest::End(Vec::new()), FromGuest::Body(Bytes::from_static(b"x"))])
        }
        "asks twice" => tell(channel, &[FromGuest::ReadBody(1), FromGuest::ReadBody(1)]),
        "splits" => {
            let headers = vec![("x".to_owned(), b"1\r\nset-cookie: a=b".to_vec())];
            tell(channel, &[FromGuest::Head { status: 200, headers }]);
        }
        "switches" => tell(channel, &[FromGuest::Head { status: 101, headers: Vec::new() }]),
        // It never lets go of the call.
        "holds on" => {
            std::mem::forget(channel.try_clone().unwrap());
            return;
        }
        other => panic!("there is no rogue of the kind {other:?}"),
    }
    if kind != "closes" {
        // Until the node closes it.
        let _ = channel.read_to_end(&mut Vec::new());
    }
}

fn tell(channel: &mut UnixStream, messages: &[FromGuest]) {
    let mut bytes = BytesMut::new();
    for (number, message) in (1..).zip(messages) {
        message.write(&mut bytes, number);
    }
    say(channel, &bytes);
}

fn say(channel: &mut UnixStream, bytes: &[u8]) {
    // The node may have closed it after the first of several frames.
    let _ = channel.write_all(bytes);
}

/// The start of the call as it came, with another caller.
fn forged_start(channel: &mut UnixStream) -> BytesMut {
    let mut bytes = BytesMut::new();
    loop {
        let mut buffer = [0; 4096];
        let length = channel.read(&mut buffer).unwrap();
        bytes.extend_from_slice(&buffer[..length]);
        if let Some(frame) = frame::take(&mut bytes).unwrap() {
            let Ok(FromNode::Start(mut start)) = FromNode::read(frame) else { panic!("a call begins with its start") };
            start.caller = bt_app::protocol::Caller::Principal { id: "root".to_owned(), name: "root".to_owned() };
            let mut forged = BytesMut::new();
            FromNode::Start(start).write(&mut forged, 0);
            return forged;
        }
    }
}
