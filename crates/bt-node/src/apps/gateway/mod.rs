//! The HTTP gateway: curl and browsers call apps.
//!
//! | address | what answers |
//! |---|---|
//! | `http://NODE/app/NAME/...` | the app of that name |
//! | `http://NODE/fn/PACKAGE/...` | a package by its id, while an installation answers for it |
//! | `http://NAME.localhost/...`, or a host name that the owner gives an app | the app, with a web origin of its own |
//!
//! What is under `/app/` and `/fn/` shares a web origin with other apps: it is sent with `Content-Security-Policy:
//! sandbox`, and neither cookies nor what speaks for the whole host pass through.

mod answer;
mod host;
mod rate;
mod tls;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bt_app::Program;
use bt_tree::app::AppName;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};

use self::answer::Gateway;
use super::limits::{CONNECTIONS, HEAD_BYTES, HEAD_TIME, STOP_TIME, SWEEP};
use super::runner::Runner;
use crate::control::Failure;
use crate::node::Node;

/// How a node serves its apps over HTTP.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// Host names, beside those of this machine's addresses, that requests may come for; with an app, it answers there.
    pub hosts: Vec<(String, Option<AppName>)>,
    /// Certificate chain and private key, as PEM files; plain HTTP without them.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// How processes of apps are started: this program with these arguments, and their role.
    pub program: Program,
}

/// A running gateway.
pub struct HttpServer {
    runtime: Runtime,
    stop: watch::Sender<bool>,
    address: SocketAddr,
}

impl Node {
    /// Serves the apps of the tree over HTTP, from threads of its own.
    pub fn serve_http(self: &Arc<Self>, options: &HttpOptions) -> Result<HttpServer, Failure> {
        let runner = Runner::new(self.apps.clone(), &self.dir, options.program.clone());
        let runner = runner.map_err(|error| Failure::problem(error.to_string(), ""))?;
        let tls = options.tls.as_ref().map(|(chain, key)| tls::acceptor(chain, key)).transpose()?;
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.enable_all().thread_name("bt-http").build();
        let runtime = runtime.map_err(|error| Failure::io("starting the threads that serve HTTP", &error))?;
        let listening = |error| Failure::io(format_args!("listening on {}", options.address), &error);
        let listener = runtime.block_on(TcpListener::bind(options.address)).map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        let (stop, stopping) = watch::channel(false);
        let runner = Arc::new(runner);
        runtime.spawn(sweep(runner.clone()));
        let gateway = Arc::new(Gateway::new(runner, options.hosts.clone(), tls.is_some()));
        runtime.spawn(accept(listener, tls, gateway, stopping));
        Ok(HttpServer { runtime, stop, address })
    }
}

impl HttpServer {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, and gives those under way a moment to end.
    pub fn stop(self) {
        // Whoever listens no more has stopped.
        let _ = self.stop.send(true);
        self.runtime.shutdown_timeout(STOP_TIME);
    }
}

/// Ends processes of apps that were stopped or removed.
async fn sweep(runner: Arc<Runner>) {
    let mut turns = tokio::time::interval(SWEEP);
    loop {
        turns.tick().await;
        let runner = runner.clone();
        // What is installed may have to be read.
        if tokio::task::spawn_blocking(move || runner.sweep()).await.is_err() {
            tracing::error!("looking for stopped apps panicked");
        }
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<tls::Acceptor>,
    gateway: Arc<Gateway>,
    mut stopping: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // One connection more than there may be waits in the kernel.
        let place = places.clone().acquire_owned().await.expect("places are never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.changed() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting an HTTP connection failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, gateway) = (tls.clone(), gateway.clone());
        tokio::spawn(async move {
            let served = match tls {
                None => serve(stream, peer, gateway).await,
                Some(tls) => serve_tls(tls, stream, peer, gateway).await,
            };
            if let Err(error) = served {
                tracing::debug!(%error, %peer, "an HTTP connection ended early");
            }
            drop(place);
        });
    }
}

type Served = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn serve(stream: TcpStream, peer: SocketAddr, gateway: Arc<Gateway>) -> Served {
    let local = stream.local_addr()?;
    stream.set_nodelay(true)?;
    converse(TokioIo::new(stream), peer, local, gateway).await
}

async fn serve_tls(tls: tls::Acceptor, stream: TcpStream, peer: SocketAddr, gateway: Arc<Gateway>) -> Served {
    let local = stream.local_addr()?;
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HEAD_TIME, tls.accept(stream)).await??;
    converse(TokioIo::new(stream), peer, local, gateway).await
}

async fn converse<S>(stream: S, peer: SocketAddr, local: SocketAddr, gateway: Arc<Gateway>) -> Served
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD_BYTES);
    builder.http2().timer(TokioTimer::new()).max_header_list_size(HEAD_BYTES as u32);
    let service = hyper::service::service_fn(move |request| {
        let gateway = gateway.clone();
        async move { Ok::<_, std::convert::Infallible>(gateway.answer(request, peer, local).await) }
    });
    builder.serve_connection(stream, service).await
}

/// Reads a file that the owner named.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::io(format_args!("reading {}", path.display()), &error))
}
