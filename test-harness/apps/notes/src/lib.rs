//! Notes: short texts, each a file in the directory that the owner gave to this app, and a page to write them on.
//!
//! `GET /` is the page. `GET /api/notes` lists them as JSON, newest first; `GET`, `PUT` and `DELETE /api/notes/NAME` read,
//! write and remove one.

mod http;

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use http::{Answer, Request};
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

/// The directory of the permission `notes`.
const DIRECTORY: &str = "/notes";
const SUFFIX: &str = ".txt";
const NOTE_BYTES: u64 = 1 << 20;
/// What WASI answers to a path outside of all directories that were given.
const NOT_CAPABLE: i32 = 76;
const PAGE: &str = include_str!("page.html");

struct Notes;

wasip2::http::proxy::export!(Notes);

impl wasip2::exports::http::incoming_handler::Guest for Notes {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        answer(&Request::new(request)).send(out);
    }
}

fn answer(request: &Request) -> Answer {
    let done = match (request.method.as_str(), request.path.as_str()) {
        ("GET" | "HEAD", "/") => Ok(Answer::new(200, "text/html; charset=utf-8", PAGE)),
        ("GET" | "HEAD", "/api/notes") => list(),
        (method, path) => match path.strip_prefix("/api/notes/").map(file_of) {
            None => return Answer::line(404, "there is nothing here: notes are under api/notes/"),
            Some(None) => return Answer::line(400, "a note's name has 1 to 100 letters, digits, spaces and -_.,"),
            Some(Some(file)) => match method {
                "GET" | "HEAD" => fs::read(file).map(|text| Answer::new(200, "text/plain; charset=utf-8", text)),
                "PUT" => match request.body(NOTE_BYTES) {
                    Some(text) => write(&file, &text).map(|()| Answer::line(200, "kept")),
                    None => return Answer::line(413, "a note has at most 1 MiB"),
                },
                "DELETE" => fs::remove_file(file).map(|()| Answer::line(200, "removed")),
                _ => return Answer::line(405, "a note can be read, put and deleted").with("allow", "GET, PUT, DELETE"),
            },
        },
    };
    done.unwrap_or_else(|error| failed(&error))
}

/// The file of a note; none where the name would be no plain file of the directory.
fn file_of(name: &str) -> Option<PathBuf> {
    let fits = |c: char| c.is_alphanumeric() || " -_.,".contains(c);
    let good = (1..=100).contains(&name.chars().count()) && name.chars().all(fits) && !name.starts_with('.');
    good.then(|| PathBuf::from(format!("{DIRECTORY}/{name}{SUFFIX}")))
}

/// Writes beside the note and then puts it in its place: a reader has the old text or the new one.
fn write(file: &PathBuf, text: &[u8]) -> io::Result<()> {
    let beside = file.with_extension("new");
    fs::write(&beside, text)?;
    fs::rename(&beside, file)
}

fn list() -> io::Result<Answer> {
    let mut notes = Vec::new();
    for entry in fs::read_dir(DIRECTORY)? {
        let entry = entry?;
        let (name, metadata) = (entry.file_name(), entry.metadata()?);
        if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)) {
            let changed = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            notes.push((changed, name.to_owned(), metadata.len()));
        }
    }
    notes.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
    let items: Vec<String> = notes
        .iter()
        .map(|(changed, name, bytes)| format!(r#"{{"name":{},"bytes":{bytes},"changed":{changed}}}"#, quoted(name)))
        .collect();
    Ok(Answer::new(200, "application/json", format!("[{}]\n", items.join(","))))
}

/// A text as JSON has it.
fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c < ' ' => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

fn failed(error: &io::Error) -> Answer {
    match error.kind() {
        ErrorKind::NotFound => Answer::line(404, "there is no such note"),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Answer::line(403, "you may not do that here"),
        _ if error.raw_os_error() == Some(NOT_CAPABLE) => Answer::line(403, "no directory was granted for notes"),
        _ => Answer::line(500, format!("the note could not be kept or read: {error}")),
    }
}
