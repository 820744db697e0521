//! Messages between a command and the process that serves a directory.

use bt_node::control::limits::{REPLY_BYTES, REQUEST_BYTES};
use bt_node::control::message::{Progress, Reply, Request, Response};
use bt_node::control::wire::{Hello, receive, send};

pub(crate) fn request(data: &[u8]) {
    if let Some(bytes) = data.first_chunk()
        && let Some(hello) = Hello::from_bytes(bytes)
    {
        assert_eq!(hello.to_bytes()[..10], bytes[..10], "a greeting begins as it was read");
    }
    let mut rest = data;
    while let Ok(Some(request)) = receive::<Request>(&mut rest, REQUEST_BYTES) {
        let mut again = Vec::new();
        send(&mut again, &request, REQUEST_BYTES).expect("it came within the limit");
        let received = receive::<Request>(&mut &again[..], REQUEST_BYTES).expect("it was just sent");
        assert_eq!(received, Some(request), "a request survives");
    }
}

pub(crate) fn request_seeds() -> Vec<Vec<u8>> {
    let mut message = Vec::new();
    let append = Request::AccessAppend { path: "/".into(), zone: Default::default(), records: vec![vec![1, 0]] };
    for request in [Request::Status, append] {
        send(&mut message, &request, REQUEST_BYTES).expect("memory takes it");
    }
    vec![message]
}

pub(crate) fn reply(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some(_)) = receive::<Reply>(&mut rest, REPLY_BYTES) {}
}

pub(crate) fn reply_seeds() -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let progress = Progress { done: 1, total: 2, what: "blocks".into() };
    for reply in [Reply::Progress(progress), Reply::Done(Response::Done)] {
        send(&mut messages, &reply, REPLY_BYTES).expect("memory takes it");
    }
    vec![messages]
}
