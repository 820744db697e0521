//! A web site out of a directory: files as they are, streamed; a folder with an index.html as that page; any other folder as
//! an album of its pictures, with what else is in it below.

mod pages;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use wasip2::http::types::{Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam};

/// The directory of the permission `site`.
const DIRECTORY: &str = "/site";

struct Album;

wasip2::http::proxy::export!(Album);

impl wasip2::exports::http::incoming_handler::Guest for Album {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let answer = answer(&request).unwrap_or_else(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Answer::line(404, "there is nothing of this name"),
            ErrorKind::PermissionDenied => Answer::line(403, "you may not see this"),
            _ => Answer::line(500, &format!("it could not be read: {error}")),
        });
        answer.send(out, matches!(request.method(), Method::Head));
    }
}

/// What is answered: a status, headers, and text or a part of a file.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Body,
}

enum Body {
    Text(String),
    Part(File, u64),
}

fn answer(request: &IncomingRequest) -> io::Result<Answer> {
    if !matches!(request.method(), Method::Get | Method::Head) {
        let mut answer = Answer::line(405, "this site is only read");
        answer.headers.push(("allow", "GET, HEAD".to_owned()));
        return Ok(answer);
    }
    let target = request.path_with_query().unwrap_or_default();
    let Some(path) = pages::path_of(&target) else {
        return Ok(Answer::line(400, "the address is not well formed"));
    };
    let file = PathBuf::from(format!("{DIRECTORY}{path}"));
    match fs::metadata(&file)?.is_dir() {
        false => file_answer(&file, range_of(request)),
        true if !path.ends_with('/') => {
            let mut answer = Answer::line(301, "this is a folder");
            let name = path.rsplit('/').next().unwrap_or_default();
            answer.headers.push(("location", format!("{}/", pages::encoded(name))));
            Ok(answer)
        }
        true if file.join("index.html").is_file() => file_answer(&file.join("index.html"), None),
        true => Ok(Answer::new(200, "text/html; charset=utf-8", Body::Text(pages::album(&path, &entries(&file)?)))),
    }
}

/// The folders and files of a directory by name; what is hidden is left out.
fn entries(directory: &PathBuf) -> io::Result<Vec<(String, bool)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && !name.starts_with('.')
        {
            entries.push((name, entry.file_type()?.is_dir()));
        }
    }
    entries.sort();
    Ok(entries)
}

fn file_answer(path: &PathBuf, range: Option<(u64, Option<u64>)>) -> io::Result<Answer> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    let content_type = pages::content_type(&path.to_string_lossy());
    let mut answer = match range {
        Some((first, _)) if first >= len => {
            let mut answer = Answer::line(416, "the file is shorter");
            answer.headers.push(("content-range", format!("bytes */{len}")));
            return Ok(answer);
        }
        Some((first, last)) => {
            let last = last.unwrap_or(len - 1).min(len - 1);
            file.seek(SeekFrom::Start(first))?;
            let mut answer = Answer::new(206, content_type, Body::Part(file, last - first + 1));
            answer.headers.push(("content-range", format!("bytes {first}-{last}/{len}")));
            answer
        }
        None => Answer::new(200, content_type, Body::Part(file, len)),
    };
    answer.headers.push(("accept-ranges", "bytes".to_owned()));
    Ok(answer)
}

/// The one range of bytes that is asked for; others are answered with the whole file, as HTTP allows.
fn range_of(request: &IncomingRequest) -> Option<(u64, Option<u64>)> {
    let value = request.headers().get("range").into_iter().next()?;
    let (first, last) = std::str::from_utf8(&value).ok()?.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = (first.parse().ok()?, if last.is_empty() { None } else { Some(last.parse().ok()?) });
    last.is_none_or(|last| last >= first).then_some((first, last))
}

impl Answer {
    fn new(status: u16, content_type: &str, body: Body) -> Self {
        Self { status, headers: vec![("content-type", content_type.to_owned())], body }
    }

    fn line(status: u16, line: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", Body::Text(format!("{line}\n")))
    }

    fn send(self, out: ResponseOutparam, only_head: bool) {
        let len = match &self.body {
            Body::Text(text) => text.len() as u64,
            Body::Part(_, len) => *len,
        };
        let length = ("content-length", len.to_string());
        let headers: Vec<_> = self
            .headers
            .into_iter()
            .chain([length])
            .map(|(name, value)| (name.to_owned(), value.into_bytes()))
            .collect();
        let response = OutgoingResponse::new(Fields::from_list(&headers).expect("our headers are well formed"));
        response.set_status_code(self.status).expect("our status codes are between 100 and 599");
        let body = response.body().expect("the body is taken once");
        ResponseOutparam::set(out, Ok(response));
        let mut stream = body.write().expect("the stream is taken once");
        let sent = match self.body {
            _ if only_head => Ok(0),
            Body::Text(text) => stream.write_all(text.as_bytes()).map(|()| len),
            Body::Part(file, len) => copy(&file, len, &mut stream),
        };
        let flushed = Write::flush(&mut stream);
        drop(stream);
        // A body that stays short is one that was cut off; to its caller it must not look whole.
        if flushed.is_ok() && sent.is_ok_and(|sent| only_head || sent == len) {
            let _ = OutgoingBody::finish(body, None);
        }
    }
}

fn copy(file: &File, len: u64, out: &mut impl Write) -> io::Result<u64> {
    let (mut part, mut buffer, mut sent) = (file.take(len), vec![0; 64 * 1024], 0);
    loop {
        match part.read(&mut buffer)? {
            0 => return Ok(sent),
            read => out.write_all(&buffer[..read])?,
        }
        sent = len - part.limit();
    }
}
