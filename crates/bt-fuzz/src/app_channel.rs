//! What the process of an app, which may have been taken over, says to its node on the channel of a call.

use bt_app::OutputStream;
use bt_app::protocol::frame;
use bt_app::protocol::message::FromGuest;
use bt_app::protocol::{FileId, FileRequest, OpenFlags};
use bytes::{Bytes, BytesMut};

pub(crate) fn channel(data: &[u8]) {
    let mut rest = BytesMut::from(data);
    while let Ok(Some(frame)) = frame::take(&mut rest) {
        let Ok(message) = FromGuest::read(frame) else { return };
        let mut again = BytesMut::new();
        message.write(&mut again, 1);
        let frame = frame::take(&mut again).expect("a message that came fits a frame").expect("it is whole");
        assert_eq!(FromGuest::read(frame).as_ref(), Ok(&message), "a message survives");
    }
}

pub(crate) fn channel_seeds() -> Vec<Vec<u8>> {
    let open = FileRequest::Open { at: FileId(0), path: "a/b".into(), follow: true, flags: OpenFlags::default() };
    let write = FileRequest::Write { file: FileId(7), offset: Some(1), data: Bytes::from_static(b"content") };
    let call = [
        FromGuest::File(open),
        FromGuest::File(write),
        FromGuest::ReadBody(4096),
        FromGuest::Output(OutputStream::Error, Bytes::from_static(b"a line\n")),
        FromGuest::Head { status: 200, headers: vec![("content-type".into(), b"text/plain".to_vec())] },
        FromGuest::Body(Bytes::from_static(b"hello")),
        FromGuest::End(Vec::new()),
    ];
    let mut bytes = BytesMut::new();
    for (number, message) in (1..).zip(call) {
        message.write(&mut bytes, number);
    }
    let mut job = BytesMut::new();
    FromGuest::Exit(3).write(&mut job, 0);
    vec![bytes.to_vec(), job.to_vec()]
}
