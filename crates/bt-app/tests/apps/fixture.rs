//! What the tests call apps with.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bt_app::protocol::{Caller, FileError, FileReply, FileRequest, HttpRequest, Start, What};
use bt_app::{
    AppError, AppProcess, BodyError, CodeCache, Entry, Limits, OutgoingRule, OutputStream, ProcessOptions, Program,
    RequestBody, Response, Services,
};
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// The processes of this crate.
pub fn program() -> Program {
    Program { path: PathBuf::from(env!("CARGO_BIN_EXE_bt-app-process")), arguments: Vec::new() }
}

/// A cache in a directory of its own.
pub struct Cache {
    pub directory: TempDir,
    pub cache: CodeCache,
}

impl Cache {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(directory.path(), [7; 32].into(), program()).unwrap();
        Self { directory, cache }
    }

    /// An app of this component.
    pub async fn app(&self, component: &[u8], entry: Entry, limits: Limits) -> AppProcess {
        self.reaching(component, entry, limits, Vec::new()).await
    }

    /// An app that may reach other hosts.
    pub async fn reaching(
        &self,
        component: &[u8],
        entry: Entry,
        limits: Limits,
        outgoing: Vec<OutgoingRule>,
    ) -> AppProcess {
        let code = self.cache.compiled(component, limits.fuel.is_some()).await.expect("the component is compiled");
        AppProcess::new(ProcessOptions { program: program(), code, entry, limits, outgoing })
    }
}

/// An app that answers HTTP, with the usual limits.
pub async fn http_app(component: &[u8]) -> AppProcess {
    Cache::new().app(component, Entry::Http, Limits::default()).await
}

/// Keeps what guests write and has no files.
#[derive(Debug, Default)]
pub struct Quiet {
    pub output: Mutex<Vec<(OutputStream, Vec<u8>)>>,
}

impl Quiet {
    /// All that was written to an output.
    pub fn text(&self, wanted: OutputStream) -> String {
        let output = self.output.lock().unwrap();
        let bytes: Vec<u8> =
            output.iter().filter(|(stream, _)| *stream == wanted).flat_map(|(_, bytes)| bytes.clone()).collect();
        String::from_utf8(bytes).unwrap()
    }
}

impl Services for Quiet {
    fn files(&self, _: FileRequest) -> FileReply {
        FileReply::Failed(FileError::BadDescriptor)
    }

    fn output(&self, stream: OutputStream, bytes: &[u8]) {
        self.output.lock().unwrap().push((stream, bytes.to_vec()));
    }
}

/// A GET of a path.
pub fn get(path: &str) -> Start {
    let request = HttpRequest {
        method: "GET".to_owned(),
        https: false,
        authority: "app.localhost".to_owned(),
        path_and_query: path.to_owned(),
        headers: Vec::new(),
        has_body: false,
    };
    start(What::Http(request))
}

/// A POST with a body that follows.
pub fn post(path: &str) -> Start {
    let mut start = get(path);
    if let What::Http(request) = &mut start.what {
        request.method = "POST".to_owned();
        request.has_body = true;
    }
    start
}

/// A job with arguments.
pub fn job(arguments: &[&str]) -> Start {
    start(What::Run { arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect() })
}

fn start(what: What) -> Start {
    Start { what, roots: Vec::new(), caller: Caller::Anonymous, environment: Vec::new() }
}

/// A body that is there.
pub fn body(bytes: impl Into<Bytes>) -> RequestBody {
    Box::pin(Full::new(bytes.into()).map_err(|never| match never {}))
}

/// Calls without a body and without files.
pub async fn call(app: &AppProcess, path: &str) -> Result<Response, AppError> {
    app.call(get(path), body(""), Arc::new(Quiet::default())).await
}

/// The whole response, as status and text.
pub async fn text(response: Result<Response, AppError>) -> Result<(u16, String), AppError> {
    let response = response?;
    let bytes = response.body.collect().await?.to_bytes();
    Ok((response.status.as_u16(), String::from_utf8_lossy(&bytes).into_owned()))
}

/// The whole responses of many calls at a time.
pub async fn all(count: usize, app: &Arc<AppProcess>, path: &str) -> Vec<Result<(u16, String), AppError>> {
    let mut calls = JoinSet::new();
    for _ in 0..count {
        let (app, path) = (Arc::clone(app), path.to_owned());
        calls.spawn(async move { text(call(&app, &path).await).await });
    }
    calls.join_all().await
}

/// A body that never comes.
pub struct Never;

impl Body for Never {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Pending
    }
}
