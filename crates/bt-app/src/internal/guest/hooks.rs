//! Requests of a guest to other hosts: handed to the process that makes them, as HTTP through a stream.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use hyper::client::conn::http1::handshake;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;
use wasmtime_wasi::runtime::spawn;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::limits::ANSWER_TIME;
use crate::outgoing::Refusal;
use crate::packets;

/// Where requests go. Without a grant for any host there is nowhere, and all are denied.
#[derive(Clone)]
pub(crate) struct Hooks(pub Option<Arc<UnixStream>>);

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = wasmtime_wasi_http::Result<(http::Response<WasiBody>, Io)>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let outgoing = self.0.clone();
        let patience = options.and_then(|options| options.first_byte_timeout).unwrap_or(ANSWER_TIME);
        Box::new(async move {
            let outgoing = outgoing.ok_or(Error::HttpRequestDenied)?;
            send(&outgoing, request, patience).await
        })
    }
}

async fn send(outgoing: &UnixStream, request: Request<WasiBody>, patience: Duration) -> Sent {
    let (ours, theirs) = packets::stream_pair().map_err(Error::Connect)?;
    let hand_over = || packets::send(outgoing, b"request", Some(theirs.as_fd()));
    outgoing.async_io(Interest::WRITABLE, hand_over).await.map_err(Error::Connect)?;
    drop(theirs);
    let stream = UnixStream::from_std(ours.into()).map_err(Error::Connect)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    // It is ended when the guest drops the response.
    let connection = spawn(async move { connection.await.map_err(Error::from) });
    let response = timeout(patience, sender.send_request(request)).await.map_err(|_| Error::HttpResponseTimeout)??;
    match Refusal::of(&response) {
        Some(refusal) => Err(error(refusal)),
        None => Ok((response.map(|body| body.map_err(Error::from).boxed_unsync()), Box::new(connection))),
    }
}

fn error(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Denied => Error::HttpRequestDenied,
        Refusal::Prohibited => Error::DestinationIpProhibited,
        Refusal::Name => Error::DnsError { rcode: None, info_code: None },
        Refusal::Connection => Error::ConnectionRefused,
        Refusal::Timeout => Error::ConnectionTimeout,
        Refusal::Tls => Error::TlsProtocolError,
        Refusal::Protocol => Error::HttpProtocolError,
    }
}
