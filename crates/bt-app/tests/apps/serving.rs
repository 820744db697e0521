//! What a well-behaved app can do.

use std::sync::Arc;

use bt_app::{Entry, Limits, OutputStream};

use crate::fixture::{Cache, Quiet, body, call, http_app, job, post, text};
use crate::guests;

#[tokio::test(flavor = "multi_thread")]
async fn an_app_answers() {
    let app = http_app(&guests::hello()).await;
    for _ in 0..3 {
        assert_eq!(text(call(&app, "/").await).await.unwrap(), (200, "hello\n".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_streamed_both_ways() {
    let echo = guests::http(
        "(local $from i32)
         (local.set $from (call $input (local.get $request)))
         (call $begin (local.get $out) (i32.const 201))
         (block $done
           (loop $more
             (global.set $heap (i32.const 4096))
             (call $stream-read (local.get $from) (i64.const 65536) (i32.const 64))
             (br_if $done (i32.load8_u (i32.const 64)))
             (call $send (i32.load (i32.const 68)) (i32.load (i32.const 72)))
             (br $more)))
         (call $end)",
        "",
    );
    let app = http_app(&echo).await;
    let sent: String = (0..200_000).map(|number| format!("{number} ")).collect();
    let response = app.call(post("/"), body(sent.clone()), Arc::new(Quiet::default())).await;
    let (status, received) = text(response).await.unwrap();
    assert_eq!(status, 201);
    assert!(received == sent, "{} of {} bytes came back", received.len(), sent.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_has_input_output_and_an_exit_code() {
    let cat = guests::command(
        "(local $from i32) (local $to i32)
         (local.set $from (call $stdin))
         (local.set $to (call $stdout))
         (block $done
           (loop $more
             (call $read (local.get $from) (i64.const 4096) (i32.const 64))
             (br_if $done (i32.load8_u (i32.const 64)))
             (call $write (local.get $to) (i32.load (i32.const 68)) (i32.load (i32.const 72)) (i32.const 64))
             (br $more)))
         (i32.const 1)",
        r#"(import "wasi:cli/stdin@0.2.12" "get-stdin" (func $stdin (result i32)))
           (import "wasi:cli/stdout@0.2.12" "get-stdout" (func $stdout (result i32)))
           (import "wasi:io/streams@0.2.12" "[method]input-stream.blocking-read" (func $read (param i32 i64 i32)))
           (import "wasi:io/streams@0.2.12" "[method]output-stream.blocking-write-and-flush" (func $write (param i32 i32 i32 i32)))"#,
    );
    let app = Cache::new().app(&cat, Entry::Run, Limits::default()).await;
    let services = Arc::new(Quiet::default());
    let code = app.run(job(&["cat"]), body("some words\n"), services.clone()).await.unwrap();
    assert_eq!((code, services.text(OutputStream::Standard).as_str()), (1, "some words\n"));
}
