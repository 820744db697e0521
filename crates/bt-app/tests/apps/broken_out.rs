//! A process that a guest has broken out into: it can say what it likes, and gets nowhere.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bt_app::protocol::{FileReply, FileRequest};
use bt_app::{AppError, AppProcess, Entry, Limits, OutputStream, ProcessOptions, Services};

use crate::fixture::{Cache, body, call, get, program, text};
use crate::guests;

/// Counts what reaches it.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Services for Counting {
    fn files(&self, _: FileRequest) -> FileReply {
        self.0.fetch_add(1, Ordering::Relaxed);
        FileReply::Done
    }

    fn output(&self, _: OutputStream, _: &[u8]) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

async fn rogue(cache: &Cache, kind: &str) -> AppProcess {
    let mut program = program();
    let code = cache.cache.compiled(&guests::hello(), false).await.unwrap();
    program.arguments = vec!["rogue".into(), kind.into()];
    let limits = Limits { time: Duration::from_secs(3), calls: 1, ..Limits::default() };
    AppProcess::new(ProcessOptions { program, code, entry: Entry::Http, limits, outgoing: Vec::new() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_breaks_a_rule_is_killed_and_reaches_nothing() {
    let cache = Cache::new();
    let honest = cache.app(&guests::hello(), Entry::Http, Limits::default()).await;
    for kind in ["oversized", "unknown", "garbage", "trailing", "forges", "body first", "job", "asks twice", "closes"] {
        let app = rogue(&cache, kind).await;
        app.start().await.unwrap();
        let services = Arc::new(Counting::default());
        let error = app.call(get("/"), body("a body"), services.clone()).await.expect_err(kind);
        assert!(matches!(error, AppError::Misbehaved(_)), "{kind}: {error}");
        assert_eq!(services.0.load(Ordering::Relaxed), 0, "{kind}: something reached the node");
        assert_eq!(text(call(&honest, "/").await).await.unwrap().1, "hello\n", "another app, after {kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_hold_until_the_end_of_a_call() {
    let cache = Cache::new();
    let error = text(call(&rogue(&cache, "two heads").await, "/").await).await.expect_err("there is one response");
    assert!(matches!(error, AppError::Misbehaved(_)), "{error}");
    let app = rogue(&cache, "after the end").await;
    assert_eq!(text(call(&app, "/").await).await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_would_be_something_else_is_an_error() {
    let cache = Cache::new();
    for kind in ["splits", "switches"] {
        let error = text(call(&rogue(&cache, kind).await, "/").await).await.expect_err(kind);
        assert!(matches!(error, AppError::Guest(_)), "{kind}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_never_lets_go_of_a_call_is_killed() {
    let cache = Cache::new();
    let app = rogue(&cache, "holds on").await;
    app.start().await.unwrap();
    let mut seen = vec![app.id().await];
    for _ in 0..2 {
        // The second waits for the only place, which is given back when the process before is doomed.
        let error = text(call(&app, "/").await).await.expect_err("it never answers");
        assert!(matches!(error, AppError::TimedOut { .. }), "{error}");
        seen.push(app.id().await);
    }
    assert!(seen[2].is_some() && seen[2] != seen[0], "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_again_and_again_is_left_alone_for_a_while() {
    let cache = Cache::new();
    let app = rogue(&cache, "dies").await;
    for _ in 0..5 {
        let error = app.start().await.expect_err("it ends at once");
        assert!(matches!(&error, AppError::Load(how) if how.contains("exit code 3")), "{error}");
    }
    let error = app.start().await.expect_err("it is left alone");
    assert!(matches!(&error, AppError::KeepsEnding { times: 5, last, .. } if last.contains("exit code 3")), "{error}");
}

#[test]
fn a_confined_process_can_do_nothing_but_compute_and_answer() {
    let probe = Command::new(env!("CARGO_BIN_EXE_bt-app-process")).arg("probe").output().unwrap();
    let told = String::from_utf8(probe.stdout).unwrap();
    assert!(probe.status.success(), "{told}{}", String::from_utf8_lossy(&probe.stderr));
    let mut expected = [
        "a thread: done",
        "executable memory: done",
        "executable memory later: 1",
        "list a directory: 1",
        "listen: 1",
        "look at a file: 1",
        "read a file: 1",
        "read of /proc: 1",
        "run a program: 1",
        "signal init: 1",
        "signal the parent: 1",
        "tcp: 1",
        "udp: 1",
        "unix socket: 1",
        "write a file: 1",
    ];
    let mut lines: Vec<&str> = told.lines().collect();
    lines.sort_unstable();
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_knows_a_running_app_as_confined() {
    let app = Cache::new().app(&guests::hello(), Entry::Http, Limits::default()).await;
    app.start().await.unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", app.id().await.unwrap())).unwrap();
    for line in ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line} is not in\n{status}");
    }
}
