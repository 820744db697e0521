//! Requests and answers over `wasi:http`, as plain values. Not every app needs all of it.
#![allow(dead_code)]

use std::io::{Read, Write};

use wasip2::http::types::{Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam};

/// A request.
pub struct Request {
    /// In capitals, as GET.
    pub method: String,
    /// What follows the app's own address, from its slash on, decoded: `%20` is a space here.
    pub path: String,
    inner: IncomingRequest,
}

impl Request {
    /// Takes a request as the host hands it over.
    pub fn new(inner: IncomingRequest) -> Self {
        let method = match inner.method() {
            Method::Get => "GET".to_owned(),
            Method::Head => "HEAD".to_owned(),
            Method::Post => "POST".to_owned(),
            Method::Put => "PUT".to_owned(),
            Method::Delete => "DELETE".to_owned(),
            Method::Patch => "PATCH".to_owned(),
            Method::Options => "OPTIONS".to_owned(),
            Method::Connect => "CONNECT".to_owned(),
            Method::Trace => "TRACE".to_owned(),
            Method::Other(name) => name,
        };
        let target = inner.path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let path = if path.is_empty() { "/".to_owned() } else { decoded(path) };
        Self { method, path, inner }
    }

    /// The whole body; none where it is longer than `most` bytes or was cut off.
    pub fn body(&self, most: u64) -> Option<Vec<u8>> {
        let body = self.inner.consume().ok()?;
        let mut bytes = Vec::new();
        let read = body.stream().ok()?.take(most + 1).read_to_end(&mut bytes);
        (read.is_ok() && bytes.len() as u64 <= most).then_some(bytes)
    }
}

/// An answer.
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    /// An answer with a body.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { status, headers, body: body.into() }
    }

    /// A line of text; how failures are answered.
    pub fn line(status: u16, line: impl std::fmt::Display) -> Self {
        Self::new(status, "text/plain; charset=utf-8", format!("{line}\n"))
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends it. A caller that went away is no failure of ours.
    pub fn send(mut self, out: ResponseOutparam) {
        self.headers.push(("content-length".to_owned(), self.body.len().to_string()));
        let headers: Vec<_> = self.headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
        let response = OutgoingResponse::new(Fields::from_list(&headers).expect("our headers are well formed"));
        response.set_status_code(self.status).expect("our status codes are between 100 and 599");
        let body = response.body().expect("the body is taken once");
        ResponseOutparam::set(out, Ok(response));
        let mut stream = body.write().expect("the stream is taken once");
        let sent = stream.write_all(&self.body).and_then(|()| Write::flush(&mut stream));
        drop(stream);
        if sent.is_ok() {
            let _ = OutgoingBody::finish(body, None);
        }
    }
}

/// The text with each `%41` as the character that it stands for; what is no such code stays.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.filter(|_| first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => (bytes.push(byte), rest = &after[2..]),
            None => (bytes.push(first), rest = after),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
