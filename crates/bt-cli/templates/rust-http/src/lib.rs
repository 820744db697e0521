//! Answers over HTTP: counts its visitors in a file of the directory that the owner gives it.

mod http;

use std::fs;
use std::io::{self, ErrorKind};

use http::{Answer, Request};
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

/// The directory of the permission `files`, as the app sees it: a slash and the permission's name.
const COUNT: &str = "/files/count";

struct App;

wasip2::http::proxy::export!(App);

impl wasip2::exports::http::incoming_handler::Guest for App {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        answer(&Request::new(request)).send(out);
    }
}

fn answer(request: &Request) -> Answer {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/") => match count() {
            Ok(count) => Answer::line(200, format!("you are visitor {count}")),
            Err(error) => Answer::line(500, format!("the count could not be kept: {error}")),
        },
        _ => Answer::line(404, "there is nothing here"),
    }
}

fn count() -> io::Result<u64> {
    let before = match fs::read_to_string(COUNT) {
        Ok(text) => text.trim().parse().unwrap_or(0),
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    fs::write(COUNT, format!("{}\n", before + 1))?;
    Ok(before + 1)
}
