//! The client's side of the control protocol.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::limits::{MESSAGE_TIMEOUT, REPLY_BYTES, REQUEST_BYTES};
use super::message::Reply;
use super::{Failure, OnProgress, Request, Response, wire};

/// A connection to the process that serves a node's directory.
pub struct Client {
    stream: UnixStream,
    dir: PathBuf,
}

impl Client {
    /// Connects to the process that serves `dir`; `None` when there is none, whatever an earlier one left behind.
    pub fn connect(dir: &Path) -> Result<Option<Self>, Failure> {
        let failed =
            |error: io::Error| Failure::io(format!("talking to the process that serves {}", dir.display()), &error);
        let mut stream = match connect_in(dir) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        stream.set_read_timeout(Some(MESSAGE_TIMEOUT)).map_err(failed)?;
        stream.set_write_timeout(Some(MESSAGE_TIMEOUT)).map_err(failed)?;
        let hello = wire::greet(&mut stream).map_err(failed)?;
        if hello.version != wire::VERSION {
            return Err(Failure::refused(
                format!(
                    "the process that serves {} speaks control protocol {}, this bt speaks {}",
                    dir.display(),
                    hello.version,
                    wire::VERSION
                ),
                "unmount with the bt that mounted, then mount again with this one",
            ));
        }
        stream.set_read_timeout(None).map_err(failed)?;
        Ok(Some(Self { stream, dir: dir.to_owned() }))
    }

    /// Sends a request and waits for its answer. When `progress` answers `Break` the connection is closed, which
    /// cancels the request; the client is of no use after that.
    pub fn call(&mut self, request: &Request, progress: OnProgress<'_>) -> Result<Response, Failure> {
        self.exchange(request, progress).unwrap_or_else(|error| Err(self.lost(&error)))
    }

    fn exchange(&mut self, request: &Request, progress: OnProgress<'_>) -> io::Result<Result<Response, Failure>> {
        wire::send(&mut self.stream, request, REQUEST_BYTES)?;
        loop {
            match wire::receive(&mut self.stream, REPLY_BYTES)? {
                Some(Reply::Done(response)) => return Ok(Ok(response)),
                Some(Reply::Failed(failure)) => return Ok(Err(failure)),
                Some(Reply::Progress(step)) => {
                    if let ControlFlow::Break(()) = progress(step) {
                        self.stream.shutdown(std::net::Shutdown::Both)?;
                        return Ok(Err(Failure::interrupted()));
                    }
                }
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    fn lost(&self, error: &io::Error) -> Failure {
        let dir = self.dir.display();
        Failure {
            hint: format!("look at {dir}/log; run the command again"),
            ..Failure::io(format!("the process that serves {dir} did not answer"), error)
        }
    }
}

/// The name of the socket in `dir`, short enough for a socket address however long the path of `dir` is.
pub(super) fn short_path(dir: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/socket", dir.as_raw_fd()))
}

fn connect_in(dir: &Path) -> io::Result<UnixStream> {
    let dir = File::open(dir)?;
    UnixStream::connect(short_path(&dir))
}
