//! Requests of apps to other hosts, made by a process without keys.
//!
//! An app's process sends each request as HTTP through a stream that it hands over here. Each is checked against the rules
//! that the node gave, resolved, and sent to the very address that was checked. Redirects are answers like any other: an app
//! that follows one makes a new request, which is checked like the first.

mod connect;
mod policy;

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use http::header::{self, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use wasmtime_wasi_http::io::TokioIo;

pub(crate) use self::connect::Tls;
pub use self::policy::OutgoingRule;
pub(crate) use self::policy::{Target, granted, is_public};
use crate::limits::{CONTROL_SIZE, OUTGOING_REQUESTS};
use crate::packets;

/// Says in an answer that there is none from the other host, and why: the name of a [`Refusal`].
pub(crate) const REFUSED: HeaderName = HeaderName::from_static("blocktree-refused");

/// Why a request was not sent, or not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No rule allows the host and port.
    Denied,
    /// The name leads to addresses only that may not be reached.
    Prohibited,
    /// The name leads nowhere.
    Name,
    /// There is no connection to be had.
    Connection,
    /// It took too long.
    Timeout,
    /// The other host is not who it should be, or does not speak TLS.
    Tls,
    /// The other host does not speak HTTP.
    Protocol,
}

const REFUSALS: [(Refusal, &str); 7] = [
    (Refusal::Denied, "denied"),
    (Refusal::Prohibited, "prohibited"),
    (Refusal::Name, "name"),
    (Refusal::Connection, "connection"),
    (Refusal::Timeout, "timeout"),
    (Refusal::Tls, "tls"),
    (Refusal::Protocol, "protocol"),
];

impl Refusal {
    /// The refusal that an answer stands for.
    pub fn of<T>(response: &Response<T>) -> Option<Self> {
        let named = response.headers().get(REFUSED)?;
        REFUSALS.iter().find(|(_, name)| named == name).map(|(refusal, _)| *refusal)
    }

    fn response(self) -> Response<Answer> {
        let name = REFUSALS.iter().find(|(refusal, _)| *refusal == self).expect("each has a name").1;
        let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response.headers_mut().insert(REFUSED, HeaderValue::from_static(name));
        response
    }
}

type Answer = UnsyncBoxBody<bytes::Bytes, hyper::Error>;

/// Serves the streams that come through `control`, which is connected to the process of one app, under the app's rules.
pub(crate) async fn serve(control: OwnedFd, rules: Vec<OutgoingRule>, tls: Tls) -> io::Result<()> {
    rustix::io::ioctl_fionbio(&control, true)?;
    let control = UnixStream::from_std(control.into())?;
    let shared = Arc::new((rules, tls));
    let places = Arc::new(Semaphore::new(OUTGOING_REQUESTS));
    let mut buffer = vec![0; CONTROL_SIZE];
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("places are never closed");
        let received = control.async_io(Interest::READABLE, || packets::receive(&control, &mut buffer)).await?;
        let (length, Some(stream)) = received else {
            if received.0 == 0 {
                return Ok(());
            }
            return Err(io::ErrorKind::InvalidData.into());
        };
        debug_assert!(length > 0, "a stream comes with a message");
        let stream = UnixStream::from_std(stream.into())?;
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let shared = Arc::clone(&shared);
                async move {
                    Ok::<_, Infallible>(forward(request, &shared.0, &shared.1).await.unwrap_or_else(Refusal::response))
                }
            });
            // The app's process may go away at any time.
            let _ = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answer)
                .await;
            drop(place);
        });
    }
}

async fn forward(
    mut request: Request<Incoming>,
    rules: &[OutgoingRule],
    tls: &Tls,
) -> Result<Response<Answer>, Refusal> {
    let uri = request.uri().clone();
    let https = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(Refusal::Denied),
    };
    let host = uri.host().ok_or(Refusal::Denied)?;
    let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
    let target = granted(rules, host, port).ok_or(Refusal::Denied)?;
    let mut sender = connect::connect(&target, host, port, https.then_some(tls)).await?;
    *request.uri_mut() = origin_form(&uri);
    let authority = uri.authority().map_or(host, |authority| authority.as_str());
    // Whatever the app says: the host that was checked is the one that is asked.
    let authority = authority.rsplit('@').next().unwrap_or(authority);
    request.headers_mut().insert(header::HOST, HeaderValue::from_str(authority).map_err(|_| Refusal::Denied)?);
    let mut response = sender.send_request(request).await.map_err(|_| Refusal::Protocol)?;
    response.headers_mut().remove(REFUSED);
    Ok(response.map(BodyExt::boxed_unsync))
}

/// Path and query alone, as a host that is no proxy expects them.
fn origin_form(uri: &Uri) -> Uri {
    uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from)
}
