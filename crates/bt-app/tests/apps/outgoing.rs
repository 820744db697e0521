//! Requests of apps to other hosts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bt_app::{AppProcess, Entry, Limits, OutgoingRule};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::fixture::{Cache, call, text};
use crate::guests;

/// What the guest answers with when its request failed: 400 and the number of the error in `wasi:http`'s list.
const PROHIBITED: u16 = 404;
const REFUSED: u16 = 406;
const DENIED: u16 = 415;

/// A guest that asks the host that its path names for `/`, and answers with the status it got, or with 400 and the error.
fn asks() -> Vec<u8> {
    guests::http_with(
        r#"(import "wasi:http/types@0.2.12" "[constructor]outgoing-request" (func $asking (param i32) (result i32)))
           (import "wasi:http/types@0.2.12" "[method]outgoing-request.set-scheme" (func $set-scheme (param i32 i32 i32 i32 i32) (result i32)))
           (import "wasi:http/types@0.2.12" "[method]outgoing-request.set-authority" (func $set-authority (param i32 i32 i32 i32) (result i32)))
           (import "wasi:http/types@0.2.12" "[method]outgoing-request.set-path-with-query" (func $set-path (param i32 i32 i32 i32) (result i32)))
           (import "wasi:http/outgoing-handler@0.2.12" "handle" (func $ask (param i32 i32 i32 i32)))
           (import "wasi:http/types@0.2.12" "[method]future-incoming-response.subscribe" (func $subscribe (param i32) (result i32)))
           (import "wasi:http/types@0.2.12" "[method]future-incoming-response.get" (func $take (param i32 i32)))
           (import "wasi:http/types@0.2.12" "[method]incoming-response.status" (func $status (param i32) (result i32)))
           (import "wasi:io/poll@0.2.12" "[method]pollable.block" (func $block (param i32)))"#,
        "(local $asked i32) (local $answer i32)
         (call $request-path (local.get $request) (i32.const 64))
         (local.set $asked (call $asking (call $fields)))
         (drop (call $set-scheme (local.get $asked) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)))
         (if (call $set-authority (local.get $asked) (i32.const 1)
               (i32.add (i32.load (i32.const 68)) (i32.const 1)) (i32.sub (i32.load (i32.const 72)) (i32.const 1)))
           (then (unreachable)))
         (drop (call $set-path (local.get $asked) (i32.const 1) (i32.load (i32.const 68)) (i32.const 1)))
         (call $ask (local.get $asked) (i32.const 0) (i32.const 0) (i32.const 128))
         (local.set $answer (i32.add (i32.const 400) (i32.load8_u (i32.const 136))))
         (if (i32.eqz (i32.load8_u (i32.const 128)))
           (then
             (local.set $asked (i32.load (i32.const 136)))
             (call $block (call $subscribe (local.get $asked)))
             (call $take (local.get $asked) (i32.const 128))
             (local.set $answer (i32.add (i32.const 400) (i32.load8_u (i32.const 152))))
             (if (i32.eqz (i32.load8_u (i32.const 144)))
               (then (local.set $answer (call $status (i32.load (i32.const 152))))))))
         (call $begin (local.get $out) (local.get $answer)) (call $end)",
    )
}

/// Answers every request with a redirect, and counts them.
async fn server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).await.unwrap();
            assert!(
                buffer[..length].starts_with(b"GET / HTTP/1.1\r\n"),
                "{}",
                String::from_utf8_lossy(&buffer[..length])
            );
            let answer = b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\nblocktree-refused: denied\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    });
    (address, asked)
}

async fn app(hosts: &[(&str, u16)]) -> AppProcess {
    let outgoing = hosts.iter().map(|(host, port)| OutgoingRule { host: (*host).to_owned(), port: *port }).collect();
    Cache::new().reaching(&asks(), Entry::Http, Limits::default(), outgoing).await
}

async fn status(app: &AppProcess, authority: &str) -> u16 {
    text(call(app, &format!("/{authority}")).await).await.unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_host_is_reached_and_a_redirect_is_an_answer_like_any_other() {
    let (address, asked) = server().await;
    let app = app(&[("127.0.0.1", address.port())]).await;
    assert_eq!(status(&app, &address.to_string()).await, 302);
    assert_eq!(status(&app, &address.to_string()).await, 302);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_is_denied() {
    let (address, asked) = server().await;
    let port = address.port();
    let none = app(&[]).await;
    assert_eq!(status(&none, &address.to_string()).await, DENIED);
    let other = app(&[("127.0.0.1", port ^ 1), ("127.0.0.2", port)]).await;
    for authority in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::ffff:127.0.0.1]:{port}")] {
        assert_eq!(status(&other, &authority).await, DENIED, "{authority}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_never_leads_to_this_machine() {
    let (address, asked) = server().await;
    let port = address.port();
    let app = app(&[("localhost", port), ("127.1", port)]).await;
    assert_eq!(status(&app, &format!("localhost:{port}")).await, PROHIBITED);
    // The resolver takes it for 127.0.0.1, the rule for a name.
    assert_eq!(status(&app, &format!("127.1:{port}")).await, PROHIBITED);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_there_is_an_error_of_the_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let app = app(&[("127.0.0.1", address.port())]).await;
    assert_eq!(status(&app, &address.to_string()).await, REFUSED);
}
