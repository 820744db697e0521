//! One request: whose it is, which app it is for, and what is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bt_app::limits::{HEADERS, HEADERS_SIZE};
use bt_app::protocol::{Fields, HttpRequest};
use bt_app::{AppError, BodyError, RequestBody};
use bt_base::{PackageId, PrincipalId};
use bt_tree::app::{AppName, Entry};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::host::{Host, Hosts, is_same_origin};
use super::rate::Rates;
use crate::apps::registry::LoadedApp;
use crate::apps::runner::{CallError, Runner};
use crate::apps::tokens::is_token;

type Answer = Response<UnsyncBoxBody<Bytes, BodyError>>;

/// Header fields that are of a connection and go no further.
const OF_CONNECTIONS: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// What an app that shares a host name with others may not say for all of it.
const OF_HOSTS: [&str; 4] = ["set-cookie", "clear-site-data", "strict-transport-security", "alt-svc"];
/// Nothing of a page may touch another page of the same host.
const SANDBOX: HeaderValue =
    HeaderValue::from_static("sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads");

/// What answers requests.
pub(super) struct Gateway {
    runner: Arc<Runner>,
    hosts: Hosts,
    rates: Rates,
    https: bool,
}

/// An app, and what it sees of a request.
struct Target {
    app: Arc<LoadedApp>,
    package: PackageId,
    path_and_query: String,
    /// Other apps have the same host name.
    is_shared: bool,
}

/// What is answered by the node itself.
struct Refusal {
    status: StatusCode,
    text: String,
}

fn refusal(status: StatusCode, text: impl Into<String>) -> Refusal {
    Refusal { status, text: text.into() }
}

impl Gateway {
    pub(super) fn new(runner: Arc<Runner>, hosts: Vec<(String, Option<AppName>)>, https: bool) -> Self {
        Self { runner, hosts: Hosts::new(hosts), rates: Rates::default(), https }
    }

    /// Answers a request, and logs it.
    pub(super) async fn answer(&self, request: Request<Incoming>, peer: SocketAddr, local: SocketAddr) -> Answer {
        let begin = Instant::now();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let mut who = None;
        let mut name = None;
        let answered = self.call(request, local, &mut who, &mut name).await;
        let answer = answered.unwrap_or_else(|refusal| plain(&refusal));
        let app = name.map_or_else(|| "-".to_owned(), |name: AppName| name.to_string());
        let caller = who.map_or_else(|| "-".to_owned(), |who: PrincipalId| who.short());
        let (status, ms) = (answer.status().as_u16(), begin.elapsed().as_millis());
        tracing::info!(target: "http", %peer, %method, ?path, app, caller, status, ms, "request");
        answer
    }

    async fn call(
        &self,
        request: Request<Incoming>,
        local: SocketAddr,
        who: &mut Option<PrincipalId>,
        name: &mut Option<AppName>,
    ) -> Result<Answer, Refusal> {
        let authority = authority(&request)?;
        let host = self.hosts.find(&authority, local).ok_or_else(|| {
            let text = format!("{authority} is no host name of this node; `bt node run --host` gives it one");
            refusal(StatusCode::MISDIRECTED_REQUEST, text)
        })?;
        self.check_origin(&request, &authority)?;
        let target = self.target(host, request.uri())?;
        *name = Some(target.app.installation.name.clone());
        *who = self.caller(request.headers())?;
        if !self.rates.take(&target.app.installation.name, Instant::now()) {
            return Err(refusal(StatusCode::TOO_MANY_REQUESTS, "too many requests: try again in a second"));
        }
        let most = target.app.package.manifest().limits.body_bytes;
        if request.body().size_hint().lower() > most {
            return Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("this app takes at most {most} bytes")));
        }
        let (parts, body) = request.into_parts();
        let head = HttpRequest {
            method: parts.method.to_string(),
            https: self.https,
            authority,
            path_and_query: target.path_and_query.clone(),
            headers: fields(&parts.headers, target.is_shared)?,
            has_body: !body.is_end_stream(),
        };
        let body: RequestBody = Box::pin(Limited::new(body, usize::try_from(most).unwrap_or(usize::MAX)));
        match self.runner.call(&target.app, target.package, head, body, *who).await {
            Ok(response) => passed_on(response, &target, parts.method),
            Err(error) => Err(failed(&target.app, &error)),
        }
    }

    /// A page of elsewhere may show what is here in a frame or link to it, and no more.
    fn check_origin(&self, request: &Request<Incoming>, authority: &str) -> Result<(), Refusal> {
        if [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method()) {
            return Ok(());
        }
        let field = |name: &str| request.headers().get(name).map(HeaderValue::as_bytes);
        match is_same_origin(self.https, authority, field("origin"), field("sec-fetch-site")) {
            true => Ok(()),
            false => Err(refusal(StatusCode::FORBIDDEN, "a page of another origin may change nothing here")),
        }
    }

    /// Which app a request is for.
    fn target(&self, host: Host, uri: &hyper::Uri) -> Result<Target, Refusal> {
        let path = uri.path();
        let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
        let apps = &self.runner.apps;
        let none = || refusal(StatusCode::NOT_FOUND, "there is no such app here");
        let (app, package, rest, is_shared) = match host {
            Host::App(name) => (find(apps, &name)?, None, path, false),
            Host::Node => {
                let (kind, rest) = path.strip_prefix('/').and_then(|path| path.split_once('/')).ok_or_else(none)?;
                let (named, rest) = rest.find('/').map_or((rest, ""), |end| rest.split_at(end));
                match kind {
                    "app" => (find(apps, &named.parse().map_err(|_| none())?)?, None, rest, true),
                    "fn" => {
                        let id: PackageId = named.parse().map_err(|_| none())?;
                        (apps.find_answering(&id).ok_or_else(none)?, Some(id), rest, true)
                    }
                    _ => return Err(none()),
                }
            }
        };
        if !app.installation.enabled {
            return Err(refusal(StatusCode::SERVICE_UNAVAILABLE, "this app is stopped"));
        }
        if !app.package.manifest().entries.contains(&Entry::Http) {
            return Err(refusal(StatusCode::NOT_FOUND, "this app answers no requests over HTTP"));
        }
        let rest = if rest.is_empty() { "/" } else { rest };
        let package = package.unwrap_or(app.installation.package);
        Ok(Target { app, package, path_and_query: format!("{rest}{query}"), is_shared })
    }

    /// Who calls. What is no token of ours is for the app to look at.
    fn caller(&self, headers: &HeaderMap) -> Result<Option<PrincipalId>, Refusal> {
        let Some(token) = headers.get(header::AUTHORIZATION).and_then(bearer) else { return Ok(None) };
        match self.runner.apps.tokens.principal_of(token) {
            Some(principal) => Ok(Some(principal)),
            None => {
                Err(refusal(StatusCode::UNAUTHORIZED, "the token does not hold; `bt app token create` makes another"))
            }
        }
    }
}

fn find(apps: &crate::apps::Apps, name: &AppName) -> Result<Arc<LoadedApp>, Refusal> {
    let app = apps.find(name).ok_or_else(|| refusal(StatusCode::NOT_FOUND, "there is no such app here"))?;
    app.loaded.map_err(|failure| {
        tracing::warn!(%failure, %name, "an installed app cannot be run");
        refusal(StatusCode::SERVICE_UNAVAILABLE, "this app cannot be run; `bt app list` says why")
    })
}

/// A token of ours in an `Authorization` field.
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && is_token(token.trim())).then_some(token.trim())
}

/// The host that a request is for.
fn authority(request: &Request<Incoming>) -> Result<String, Refusal> {
    let mut named = request.headers().get_all(header::HOST).iter();
    let (first, second) = (named.next(), named.next());
    let of_uri = request.uri().authority().map(|authority| authority.as_str());
    let authority = match (of_uri, first, second) {
        (_, _, Some(_)) => None,
        (Some(of_uri), Some(host), None) if host.as_bytes() != of_uri.as_bytes() => None,
        (Some(of_uri), ..) => Some(of_uri.to_owned()),
        (None, Some(host), None) => host.to_str().ok().map(str::to_owned),
        (None, None, None) => None,
    };
    authority.ok_or_else(|| refusal(StatusCode::BAD_REQUEST, "the request names no host, or two"))
}

/// The header fields that an app sees. The node's tokens and, where apps share a host name, cookies stay here.
fn fields(headers: &HeaderMap, is_shared: bool) -> Result<Fields, Refusal> {
    let mut fields = Fields::new();
    let named = named_in_connection(headers);
    for (name, value) in headers {
        let is_ours = *name == header::AUTHORIZATION && bearer(value).is_some();
        let is_kept_back = is_ours || is_shared && *name == header::COOKIE || *name == header::HOST;
        if !is_kept_back && !OF_CONNECTIONS.contains(name) && !named.contains(name) {
            fields.push((name.as_str().to_owned(), value.as_bytes().to_vec()));
        }
    }
    let bytes: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    match fields.len() <= HEADERS && bytes <= HEADERS_SIZE {
        true => Ok(fields),
        false => Err(refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request has too many header fields")),
    }
}

/// Fields that `Connection` says are of the connection.
fn named_in_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

/// What the app answered, as the client gets it.
fn passed_on(response: bt_app::Response, target: &Target, method: Method) -> Result<Answer, Refusal> {
    let unusable = || refusal(StatusCode::BAD_GATEWAY, "the app's answer is none that HTTP knows");
    let mut answer = Response::builder().status(response.status);
    for (name, value) in &response.headers {
        let is_of_host = target.is_shared && OF_HOSTS.contains(&name.as_str());
        if !OF_CONNECTIONS.contains(name) && !is_of_host {
            answer = answer.header(name, value);
        }
    }
    if target.is_shared {
        answer = answer.header(header::CONTENT_SECURITY_POLICY, SANDBOX);
    }
    let log = target.app.log.clone();
    let body = response.body.map_err(move |error| {
        log.add(true, format!("a call failed while it answered: {error}"));
        BodyError::from(error)
    });
    // What follows the head of an answer to HEAD is not sent.
    let body = if method == Method::HEAD { UnsyncBoxBody::new(empty()) } else { UnsyncBoxBody::new(body) };
    answer.body(body).map_err(|_| unusable())
}

/// What the client is told of a failed call; the app's log has the rest.
fn failed(app: &LoadedApp, error: &CallError) -> Refusal {
    app.log.add(true, format!("a call failed: {error}"));
    match error {
        CallError::App(AppError::Busy { .. } | AppError::KeepsEnding { .. }) => {
            refusal(StatusCode::SERVICE_UNAVAILABLE, "the app is busy or does not start: try again later")
        }
        CallError::App(AppError::TimedOut { .. }) => {
            refusal(StatusCode::GATEWAY_TIMEOUT, "the app did not answer in its time")
        }
        CallError::App(_) => refusal(StatusCode::BAD_GATEWAY, "the app failed; `bt app logs` says how"),
        CallError::Node(failure) => {
            tracing::error!(%failure, app = %app.installation.name, "an app could not be called");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "the app could not be called; `bt app logs` says why")
        }
    }
}

fn plain(refusal: &Refusal) -> Answer {
    let body = Full::new(Bytes::from(format!("{}\n", refusal.text))).map_err(|never| match never {});
    let mut answer = Response::new(UnsyncBoxBody::new(body));
    *answer.status_mut() = refusal.status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
    match refusal.status {
        StatusCode::UNAUTHORIZED => drop(headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    answer
}

fn empty() -> impl Body<Data = Bytes, Error = BodyError> {
    Full::new(Bytes::new()).map_err(|never| match never {})
}
