//! Guests that mean harm: each gets its clear error, and others do not notice.

use std::sync::Arc;
use std::time::Duration;

use bt_app::{AppError, AppProcess, Entry, GuestFailure, Limits, OutputStream};
use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{Cache, Never, Quiet, all, body, call, get, job, post, text};
use crate::guests;

fn small() -> Limits {
    Limits { memory: 4 << 20, time: Duration::from_secs(2), calls: 8, ..Limits::default() }
}

async fn small_app(component: &[u8]) -> AppProcess {
    Cache::new().app(component, Entry::Http, small()).await
}

/// The error of a call that must fail.
async fn failure(app: &AppProcess) -> AppError {
    text(call(app, "/").await).await.expect_err("the call must fail")
}

const ENDLESS: &str = "(loop $forever (br $forever))";

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_is_stopped_and_others_are_served_meanwhile() {
    let cache = Cache::new();
    // As many as may run, so that every thread of the process has one.
    let limits = Limits { calls: 16, ..small() };
    let component = guests::http(
        &format!(
            "(call $request-path (local.get $request) (i32.const 64))
             (if (i32.gt_u (i32.load (i32.const 72)) (i32.const 1)) (then {ENDLESS}))
             (call $begin (local.get $out) (i32.const 200)) (call $send (i32.const 0) (i32.const 3)) (call $end)"
        ),
        "(data (i32.const 0) \"ok\\n\")",
    );
    let app = Arc::new(cache.app(&component, Entry::Http, limits).await);
    let other = cache.app(&guests::hello(), Entry::Http, small()).await;
    app.start().await.unwrap();
    let process = app.id().await;
    let loops = all(8, &app, "/loop");
    let served = async {
        for _ in 0..5 {
            assert_eq!(text(call(&app, "/").await).await.unwrap().1, "ok\n");
            assert_eq!(text(call(&other, "/").await).await.unwrap().1, "hello\n");
        }
    };
    let (loops, ()) = tokio::join!(loops, served);
    for ended in loops {
        assert!(matches!(ended, Err(AppError::TimedOut { limit }) if limit == Duration::from_secs(2)), "{ended:?}");
    }
    assert_eq!(text(call(&app, "/").await).await.unwrap().1, "ok\n");
    assert_eq!(app.id().await, process, "the process let go of all and went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_allocation_ends_at_the_limit() {
    let app = small_app(&guests::http(
        "(loop $more
           (if (i32.eq (i32.const -1) (memory.grow (i32.const 1))) (then (unreachable)))
           (br $more))",
        "",
    ))
    .await;
    let error = failure(&app).await;
    assert!(matches!(error, AppError::Guest(GuestFailure::Memory { limit }) if limit == 4 << 20), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_overflow_is_the_guests_alone() {
    let app = small_app(&guests::http("(call $deeper)", "(func $deeper (call $deeper))")).await;
    for _ in 0..2 {
        let error = failure(&app).await;
        assert!(matches!(error, AppError::Guest(GuestFailure::Stack)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_says_what_it_was_and_the_developer_sees_where() {
    let app = small_app(&guests::http("(unreachable)", "")).await;
    let services = Arc::new(Quiet::default());
    let error = app.call(get("/"), body(""), services.clone()).await.expect_err("it traps");
    assert!(error.to_string().contains("unreachable"), "{error}");
    assert!(services.text(OutputStream::Error).contains("wasm backtrace"), "{:?}", services.text(OutputStream::Error));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_in_start_is_an_error_of_each_call() {
    let app = small_app(&guests::http("", "(func $bad (unreachable)) (start $bad)")).await;
    for _ in 0..2 {
        let error = failure(&app).await;
        assert!(matches!(error, AppError::Guest(GuestFailure::Trap(_))), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_answers_nothing_or_half_is_told_apart() {
    let app = small_app(&guests::http("", "")).await;
    let error = failure(&app).await;
    assert!(matches!(error, AppError::Guest(GuestFailure::NoResponse)), "{error}");
    let half = small_app(&guests::http(
        "(call $begin (local.get $out) (i32.const 200)) (call $send (i32.const 0) (i32.const 5)) (unreachable)",
        "",
    ))
    .await;
    let response = call(&half, "/").await.expect("it began");
    let error = text(Ok(response)).await.expect_err("it is cut short");
    assert!(matches!(error, AppError::Guest(GuestFailure::Trap(_))), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_response_ends_at_the_limit() {
    let component = guests::http(
        "(call $begin (local.get $out) (i32.const 200))
         (loop $more (call $send (i32.const 0) (i32.const 65536)) (br $more))",
        "",
    );
    let limits = Limits { response: 3 << 20, ..small() };
    let app = Cache::new().app(&component, Entry::Http, limits).await;
    let error = failure(&app).await;
    assert!(matches!(error, AppError::OutputTooLarge { limit } if limit == 3 << 20), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_log_ends_at_the_limit() {
    let component = guests::command(
        "(local $to i32)
         (local.set $to (call $stderr))
         (loop $more (call $write (local.get $to) (i32.const 0) (i32.const 4096) (i32.const 64)) (br $more))
         (i32.const 0)",
        r#"(import "wasi:cli/stderr@0.2.12" "get-stderr" (func $stderr (result i32)))
           (import "wasi:io/streams@0.2.12" "[method]output-stream.blocking-write-and-flush" (func $write (param i32 i32 i32 i32)))"#,
    );
    let limits = Limits { output: 100_000, ..small() };
    let app = Cache::new().app(&component, Entry::Run, limits).await;
    let services = Arc::new(Quiet::default());
    let error = app.run(job(&["log"]), body(""), services.clone()).await.expect_err("it writes too much");
    assert!(matches!(error, AppError::OutputTooLarge { limit: 100_000 }), "{error}");
    assert!(services.text(OutputStream::Error).len() <= 100_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_cannot_be_grown_without_end() {
    let app = small_app(&guests::http(
        "(if (i32.ne (i32.const -1) (table.grow $t (ref.null func) (i32.const 1000000))) (then (unreachable)))
         (call $begin (local.get $out) (i32.const 204)) (call $end)",
        "(table $t 1 funcref)",
    ))
    .await;
    assert_eq!(text(call(&app, "/").await).await.unwrap().0, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn fuel_ends_the_same_run_at_the_same_step() {
    let component = guests::http(ENDLESS, "");
    let limits = Limits { fuel: Some(1_000_000), time: Duration::from_secs(30), ..small() };
    let app = Cache::new().app(&component, Entry::Http, limits).await;
    let error = failure(&app).await;
    assert!(matches!(error, AppError::Guest(GuestFailure::Fuel { limit: 1_000_000 })), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_process_is_killed_its_calls_fail_and_the_next_starts_it_again() {
    let component = guests::http(
        &format!(
            "(call $request-path (local.get $request) (i32.const 64))
             (if (i32.gt_u (i32.load (i32.const 72)) (i32.const 1)) (then {ENDLESS}))
             (call $begin (local.get $out) (i32.const 200)) (call $send (i32.const 0) (i32.const 3)) (call $end)"
        ),
        "(data (i32.const 0) \"ok\\n\")",
    );
    let cache = Cache::new();
    let limits = Limits { time: Duration::from_secs(60), ..small() };
    let app = cache.app(&component, Entry::Http, limits).await;
    app.start().await.unwrap();
    let process = app.id().await.unwrap();
    let kill = async {
        // It is one of the calls that run when a call that came after it was answered.
        text(call(&app, "/").await).await.unwrap();
        kill_process(Pid::from_raw(process.cast_signed()).unwrap(), Signal::KILL).unwrap();
    };
    let (first, second, ()) = tokio::join!(call(&app, "/loop"), call(&app, "/loop"), kill);
    for ended in [first, second] {
        assert!(matches!(&ended, Err(AppError::Ended(how)) if how.contains("signal 9")), "{ended:?}");
    }
    assert_eq!(text(call(&app, "/").await).await.unwrap().1, "ok\n");
    assert_ne!(app.id().await.unwrap(), process);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_open_calls_wait_for_their_turn_or_are_told_to_come_again() {
    let cache = Cache::new();
    let app = Arc::new(cache.app(&guests::hello(), Entry::Http, small()).await);
    let calls = all(10_000, &app, "/").await;
    let served = calls.iter().filter(|call| matches!(call, Ok((200, _)))).count();
    let busy = calls.iter().filter(|call| matches!(call, Err(AppError::Busy { limit: 8 }))).count();
    assert_eq!(
        served + busy,
        10_000,
        "{:?}",
        calls.iter().find(|call| !matches!(call, Ok(_) | Err(AppError::Busy { .. })))
    );
    assert!(served >= 8, "{served} were served");
    assert_eq!(text(call(&app, "/").await).await.unwrap().1, "hello\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_its_call() {
    let endless = guests::http(
        "(call $begin (local.get $out) (i32.const 200))
         (loop $more (call $send (i32.const 0) (i32.const 4096)) (br $more))",
        "",
    );
    let limits = Limits { calls: 1, ..small() };
    let app = Cache::new().app(&endless, Entry::Http, limits).await;
    for _ in 0..3 {
        let response = call(&app, "/").await.expect("the only place is free again");
        drop(response);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_comes_ends_the_call() {
    let reads = guests::http(
        "(call $stream-read (call $input (local.get $request)) (i64.const 1) (i32.const 64)) (unreachable)",
        "",
    );
    let limits = Limits { patience: Duration::from_millis(100), ..small() };
    let app = Cache::new().app(&reads, Entry::Http, limits).await;
    let error = app.call(post("/"), Box::pin(Never), Arc::new(Quiet::default())).await.expect_err("it is too slow");
    assert!(matches!(error, AppError::ClientTooSlow), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_component_is_refused_with_the_reason() {
    let cache = Cache::new();
    for bytes in [&b"\0asm\x0d\0\x01\0garbage"[..], b"", b"MZ", &wat::parse_str("(module)").unwrap()] {
        let error = cache.cache.compiled(bytes, false).await.expect_err("it is no component");
        assert!(matches!(&error, AppError::Compile(why) if !why.is_empty()), "{error}");
    }
    let job = guests::command("(i32.const 0)", "");
    let app = cache.app(&job, Entry::Http, small()).await;
    let error = failure(&app).await;
    assert!(matches!(&error, AppError::Load(why) if why.contains("incoming-handler")), "{error}");
}
