//! A call of `wasi:http/incoming-handler`.

use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, Request, Uri};
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::body::ChannelBody;
use super::channel::Channel;
use super::{Guest, failure, short};
use crate::error::GuestFailure;
use crate::fields;
use crate::limits::CHUNK_SIZE;
use crate::protocol::HttpRequest;
use crate::protocol::message::FromGuest;

type Given = Result<hyper::Response<HyperOutgoingBody>, ErrorCode>;

/// Calls the guest and sends what it answers.
pub(super) async fn call(entry: &ProxyPre<Guest>, store: Store<Guest>, request: HttpRequest, channel: &Channel) {
    let (sender, given) = oneshot::channel();
    let failed = AtomicBool::new(false);
    let guest = async {
        let called = handle(entry, store, request, sender, channel).await;
        failed.store(called.is_err(), Ordering::Relaxed);
        called
    };
    let (called, answered) = tokio::join!(biased; guest, answer(given, &failed, channel));
    match (called, answered) {
        // Why it failed says more than that there is no response.
        (Err((failure, details)), _) => channel.tell_failure(&failure, &details),
        (Ok(()), Err(failure)) => channel.tell_failure(&failure, ""),
        (Ok(()), Ok(())) => {}
    }
}

async fn handle(
    entry: &ProxyPre<Guest>,
    mut store: Store<Guest>,
    request: HttpRequest,
    sender: oneshot::Sender<Given>,
    channel: &Channel,
) -> Result<(), (GuestFailure, String)> {
    let scheme = if request.https { Scheme::Https } else { Scheme::Http };
    let request =
        incoming(request, channel).map_err(|why| (GuestFailure::Instantiate(why.to_string()), String::new()))?;
    let mut view = store.data_mut().http();
    let request = view
        .new_incoming_request(scheme, request)
        .map_err(|error| (GuestFailure::Trap(short(&error.to_string())), String::new()))?;
    let outparam = view
        .new_response_outparam(sender)
        .map_err(|error| (GuestFailure::Trap(short(&error.to_string())), String::new()))?;
    let instance = match entry.instantiate_async(&mut store).await {
        Ok(instance) => instance,
        Err(error) => return Err(failure(&error, &store)),
    };
    let called = instance.wasi_http_incoming_handler().call_handle(&mut store, request, outparam).await;
    called.map_err(|error| failure(&error, &store))
}

fn incoming(request: HttpRequest, channel: &Channel) -> Result<Request<ChannelBody>, &'static str> {
    let (parts, ()) = Request::new(()).into_parts();
    let mut incoming = Request::from_parts(parts, ChannelBody::new(channel.clone(), request.has_body));
    *incoming.method_mut() = Method::from_bytes(request.method.as_bytes()).map_err(|_| "the method is none")?;
    *incoming.uri_mut() = Uri::builder()
        .scheme(if request.https { "https" } else { "http" })
        .authority(request.authority)
        .path_and_query(request.path_and_query)
        .build()
        .map_err(|_| "the address is none")?;
    *incoming.headers_mut() = fields::checked(request.headers)?;
    Ok(incoming)
}

/// Sends the response as it comes.
async fn answer(given: oneshot::Receiver<Given>, failed: &AtomicBool, channel: &Channel) -> Result<(), GuestFailure> {
    let response = match given.await {
        Ok(Ok(response)) => response,
        Ok(Err(code)) => return Err(GuestFailure::Response(short(&code.to_string()))),
        Err(_) => return Err(GuestFailure::NoResponse),
    };
    let (parts, mut body) = response.into_parts();
    channel.tell(&FromGuest::Head { status: parts.status.as_u16(), headers: fields::listed(&parts.headers) });
    let mut trailers = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| GuestFailure::Unfinished)?;
        match frame.into_data() {
            Ok(mut data) => {
                while !data.is_empty() {
                    channel.room().await;
                    channel.tell(&FromGuest::Body(data.split_to(data.len().min(CHUNK_SIZE))));
                }
            }
            Err(frame) => trailers = frame.into_trailers().map(|map| fields::listed(&map)).unwrap_or_default(),
        }
    }
    // The body of a guest that failed ends as if it were whole.
    if failed.load(Ordering::Relaxed) {
        return Err(GuestFailure::Unfinished);
    }
    channel.tell(&FromGuest::End(trailers));
    Ok(())
}
