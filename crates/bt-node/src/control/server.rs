//! The serving side: a thread that accepts, one short-lived thread a connection.

use std::fs::{self, File};
use std::io;
use std::net::Shutdown;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::client::short_path;
use super::limits::{CONNECTIONS, MESSAGE_TIMEOUT, PROGRESS_INTERVAL, REPLY_BYTES, REQUEST_BYTES};
use super::message::Reply;
use super::{Failure, Progress, Request, Service, wire};

/// Listens on the socket of `dir`. Whoever calls this holds the lock of `dir`: a socket that is there was left by
/// a process that is gone, and is replaced.
pub fn bind(dir: &Path) -> Result<UnixListener, Failure> {
    let path = dir.join("socket");
    let failed = |error: io::Error| Failure::io(format!("listening on {}", path.display()), &error);
    let handle = File::open(dir).map_err(failed)?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(short_path(&handle)).map_err(failed)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// A running server.
pub struct Server {
    listener: Arc<UnixListener>,
    connections: Arc<Connections>,
    accepting: JoinHandle<()>,
}

/// Answers connections from its own threads until [`Server::stop`].
pub fn serve(listener: UnixListener, service: Arc<dyn Service>) -> io::Result<Server> {
    let listener = Arc::new(listener);
    let connections = Arc::new(Connections::default());
    let accepting = {
        let (listener, connections) = (Arc::clone(&listener), Arc::clone(&connections));
        std::thread::Builder::new()
            .name("control".into())
            .spawn(move || accept_all(&listener, &connections, &service))?
    };
    Ok(Server { listener, connections, accepting })
}

impl Server {
    /// Takes no more requests, lets the answers under way go out, and returns when all threads have ended.
    pub fn stop(self) {
        // Shutting a listening socket down wakes its accept(2).
        rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both).expect("the listener is a socket");
        self.accepting.join().expect("the accepting thread does not panic");
        self.connections.finish();
    }
}

/// The connections being served.
#[derive(Default)]
struct Connections {
    open: Mutex<Vec<(JoinHandle<()>, UnixStream)>>,
}

impl Connections {
    /// Serves `stream` from a new thread, or sends it away when there are too many.
    fn add(&self, mut stream: UnixStream, service: &Arc<dyn Service>) -> io::Result<()> {
        stream.set_write_timeout(Some(MESSAGE_TIMEOUT))?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(thread, _)| !thread.is_finished());
        if open.len() >= CONNECTIONS {
            wire::greet(&mut stream)?;
            let busy =
                Failure::refused(format!("{CONNECTIONS} commands are being answered already"), "try again later");
            return wire::send(&mut stream, &Reply::Failed(busy), REPLY_BYTES);
        }
        let (peer, service) = (stream.try_clone()?, Arc::clone(service));
        let thread = std::thread::Builder::new().name("control-call".into()).spawn(move || {
            if let Err(error) = converse(&mut stream, &*service) {
                tracing::debug!(%error, "a control connection ended early");
            }
            // `open` keeps a second handle: only this makes the peer see the end. An error means it is gone.
            let _ = stream.shutdown(Shutdown::Both);
        })?;
        open.push((thread, peer));
        Ok(())
    }

    fn finish(&self) {
        let open = std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
        for (thread, peer) in open {
            // Ends the wait for a next request; an answer can still be sent. An error means the peer is gone.
            let _ = peer.shutdown(Shutdown::Read);
            if thread.join().is_err() {
                tracing::error!("a thread that answered a command has panicked");
            }
        }
    }
}

fn accept_all(listener: &UnixListener, connections: &Connections, service: &Arc<dyn Service>) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                if let Err(error) = connections.add(stream, service) {
                    tracing::debug!(%error, "a control connection could not be served");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            Err(error) => {
                tracing::warn!(%error, "accepting a control connection failed");
                std::thread::sleep(PROGRESS_INTERVAL);
            }
        }
    }
}

fn converse(stream: &mut UnixStream, service: &dyn Service) -> io::Result<()> {
    stream.set_read_timeout(Some(MESSAGE_TIMEOUT))?;
    if wire::greet(stream)?.version != wire::VERSION {
        return Ok(());
    }
    while let Some(request) = wire::receive::<Request>(stream, REQUEST_BYTES)? {
        let reply = answer(stream, service, request);
        match wire::send(stream, &reply, REPLY_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let hint = "ask for less, for instance one segment instead of all";
                wire::send(stream, &Reply::Failed(Failure::refused(error.to_string(), hint)), REPLY_BYTES)?;
            }
            sent => sent?,
        }
    }
    Ok(())
}

fn answer(stream: &mut UnixStream, service: &dyn Service, request: Request) -> Reply {
    let mut last: Option<Instant> = None;
    let mut progress = |step: Progress| {
        if last.is_some_and(|at| at.elapsed() < PROGRESS_INTERVAL) {
            return ControlFlow::Continue(());
        }
        last = Some(Instant::now());
        match wire::send(stream, &Reply::Progress(step), REPLY_BYTES) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    };
    match service.handle(request, &mut progress) {
        Ok(response) => Reply::Done(response),
        Err(failure) => Reply::Failed(failure),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::control::report::CheckReport;
    use crate::control::{Client, Daemon, FailureKind, Response};

    /// Answers Sync; a Check goes on until it is cancelled, and tells the channel; everything else fails.
    struct Fake(Mutex<mpsc::Sender<&'static str>>);

    impl Service for Fake {
        fn handle(&self, request: Request, progress: super::super::OnProgress<'_>) -> Result<Response, Failure> {
            let tell = |what| self.0.lock().unwrap().send(what).unwrap();
            match request {
                Request::Sync => Ok(Response::Done),
                Request::Check { .. } => {
                    tell("check began");
                    let step = || Progress { done: 1, total: 2, what: "blocks".into() };
                    while progress(step()).is_continue() {
                        std::thread::sleep(PROGRESS_INTERVAL);
                    }
                    tell("check was cancelled");
                    Err(Failure::interrupted())
                }
                _ => Err(Failure::refused("not this", "ask for something else")),
            }
        }
    }

    fn started(dir: &Path) -> (Server, mpsc::Receiver<&'static str>) {
        let (sender, receiver) = mpsc::channel();
        (serve(bind(dir).unwrap(), Arc::new(Fake(Mutex::new(sender)))).unwrap(), receiver)
    }

    fn quiet(_: Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn requests_are_answered_and_failures_keep_their_kind() {
        let dir = tempfile::tempdir().unwrap();
        let (server, _told) = started(dir.path());
        let mut client = Client::connect(dir.path()).unwrap().unwrap();
        assert_eq!(client.call(&Request::Sync, &mut quiet), Ok(Response::Done));
        assert_eq!(client.call(&Request::Status, &mut quiet).unwrap_err().kind, FailureKind::Refused);
        assert_eq!(client.call(&Request::Sync, &mut quiet), Ok(Response::Done));
        server.stop();
        assert_eq!(client.call(&Request::Sync, &mut quiet).unwrap_err().kind, FailureKind::Io);
    }

    #[test]
    fn nobody_listens_without_a_server_and_after_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Client::connect(dir.path()).unwrap().is_none());
        let (server, _told) = started(dir.path());
        server.stop();
        assert!(dir.path().join("socket").exists());
        assert!(Client::connect(dir.path()).unwrap().is_none());
        let (server, _told) = started(dir.path());
        assert!(Client::connect(dir.path()).unwrap().is_some());
        server.stop();
    }

    #[test]
    fn long_paths_work_and_the_socket_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("d".repeat(200));
        fs::create_dir(&long).unwrap();
        let (server, _told) = started(&long);
        assert_eq!(fs::metadata(long.join("socket")).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Client::connect(&long).unwrap().is_some());
        server.stop();
    }

    #[test]
    fn a_client_that_stops_listening_cancels_its_request() {
        let dir = tempfile::tempdir().unwrap();
        let (server, told) = started(dir.path());
        let mut client = Client::connect(dir.path()).unwrap().unwrap();
        let mut stop = |_| ControlFlow::Break(());
        let failure = client.call(&Request::Check { deep: false }, &mut stop).unwrap_err();
        assert_eq!(failure, Failure::interrupted());
        assert_eq!(told.recv().unwrap(), "check began");
        assert_eq!(told.recv().unwrap(), "check was cancelled");
        server.stop();
    }

    #[test]
    fn one_connection_too_many_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let (server, _told) = started(dir.path());
        let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| Client::connect(dir.path()).unwrap().unwrap()).collect();
        for client in &mut clients {
            assert_eq!(client.call(&Request::Sync, &mut quiet), Ok(Response::Done));
        }
        let mut late = Client::connect(dir.path()).unwrap().unwrap();
        assert!(late.call(&Request::Sync, &mut quiet).is_err());
        drop(clients);
        server.stop();
    }

    #[test]
    fn unmounting_waits_for_the_last_commit_and_passes_its_failure_on() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, _told) = mpsc::channel();
        let detached = Arc::new(AtomicBool::new(false));
        let (seen, (gone, left)) = (Arc::clone(&detached), mpsc::channel());
        let detach = Box::new(move |_| {
            seen.store(true, Ordering::SeqCst);
            gone.send(()).unwrap();
            Ok(())
        });
        let daemon = Arc::new(Daemon::new(Arc::new(Fake(Mutex::new(sender))), detach));
        let server = serve(bind(dir.path()).unwrap(), Arc::<Daemon>::clone(&daemon)).unwrap();
        let asking = std::thread::spawn({
            let dir = dir.path().to_owned();
            move || Client::connect(&dir).unwrap().unwrap().call(&Request::Unmount { lazy: false }, &mut quiet)
        });
        left.recv().unwrap();
        assert!(detached.load(Ordering::SeqCst) && !asking.is_finished());
        let failure = Failure::refused("the last commit failed", "");
        daemon.closed(Err(failure.clone()));
        assert_eq!(asking.join().unwrap(), Err(failure));
        server.stop();
    }

    #[test]
    fn a_stranger_on_the_socket_does_no_harm() {
        use std::io::Write;
        let dir = tempfile::tempdir().unwrap();
        let (server, _told) = started(dir.path());
        let mut stranger = UnixStream::connect(dir.path().join("socket")).unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut rude = UnixStream::connect(dir.path().join("socket")).unwrap();
        wire::greet(&mut rude).unwrap();
        rude.write_all(&[0xff; 64]).unwrap();
        assert!(!matches!(wire::receive::<Reply>(&mut rude, REPLY_BYTES), Ok(Some(_))));
        let mut client = Client::connect(dir.path()).unwrap().unwrap();
        assert_eq!(client.call(&Request::Sync, &mut quiet), Ok(Response::Done));
        assert_ne!(
            client.call(&Request::Reclaim { all: true }, &mut quiet),
            Ok(Response::Checked(CheckReport::default()))
        );
        server.stop();
    }
}
