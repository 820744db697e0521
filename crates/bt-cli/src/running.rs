//! The process of `bt node run`: opens the node, serves HTTP, perhaps a mount, and commands, until it is told to end.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use bt_node::control::{Daemon, Failure, Service, bind, serve};
use bt_node::options::{MountOptions, OpenOptions};
use bt_node::{HttpOptions, Node};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::detach::detach;

/// What to serve and where.
pub struct Plan {
    /// The node's directory, absolute.
    pub dir: PathBuf,
    /// The mount point, absolute, if there is to be one.
    pub mountpoint: Option<PathBuf>,
    /// How the node is opened.
    pub open: OpenOptions,
    /// How it is mounted.
    pub mount: MountOptions,
    /// How its apps are served.
    pub http: HttpOptions,
}

/// Why it ends.
enum Ending {
    /// A signal.
    Signal(i32),
    /// The kernel let the mount go.
    Unmounted,
    /// `bt unmount` on a directory that is not mounted.
    Asked,
}

/// Serves until a signal, or until the mount is gone, and everything is committed. `up` is called once, with where it
/// listens.
pub fn run(plan: &Plan, up: impl FnOnce(SocketAddr)) -> Result<(), Failure> {
    let node = Node::open(&plan.dir, &plan.open)?;
    let listener = bind(&plan.dir)?;
    let (end, ended) = channel();
    let http = node.serve_http(&plan.http)?;
    let mounted = plan.mountpoint.as_deref().map(|mountpoint| node.mount(mountpoint, &plan.mount)).transpose()?;
    let service: Arc<dyn Service> = Arc::<Node>::clone(&node);
    let (mountpoint, asked) = (plan.mountpoint.clone(), end.clone());
    let daemon = Arc::new(Daemon::new(
        service,
        Box::new(move |lazy| match &mountpoint {
            Some(mountpoint) => detach(mountpoint, lazy),
            None => {
                // It ends already when nobody listens.
                let _ = asked.send(Ending::Asked);
                Ok(())
            }
        }),
    ));
    let server = serve(listener, Arc::<Daemon>::clone(&daemon))
        .map_err(|error| Failure::io("starting the thread that answers commands", &error))?;
    let signals = on_signals(end.clone())?;
    let waiting = mounted.map(|mounted| wait_for_unmount(mounted, end)).transpose()?;
    up(http.address());

    match ended.recv() {
        Ok(Ending::Signal(signal)) => {
            tracing::info!("signal {signal}: ending");
            if let Some(mountpoint) = &plan.mountpoint
                && let Err(failure) = detach(mountpoint, true)
            {
                tracing::error!("{failure}");
            }
        }
        Ok(Ending::Unmounted) => tracing::info!("unmounted: ending"),
        Ok(Ending::Asked) | Err(_) => tracing::info!("asked to end"),
    }
    http.stop();
    if let Some(waiting) = waiting
        && waiting.join().is_err()
    {
        tracing::error!("the thread that waited for the mount panicked");
    }
    // Before the lock is released: a later process may put its own socket there.
    if let Err(error) = fs::remove_file(plan.dir.join("socket")) {
        tracing::warn!(%error, "the socket could not be removed");
    }
    let outcome = node.close();
    daemon.closed(outcome.clone());
    server.stop();
    signals.close();
    outcome
}

fn wait_for_unmount(mounted: bt_node::Mounted, end: Sender<Ending>) -> Result<std::thread::JoinHandle<()>, Failure> {
    let waiting = std::thread::Builder::new().name("mount".into()).spawn(move || {
        mounted.wait();
        // It ends already when nobody listens.
        let _ = end.send(Ending::Unmounted);
    });
    waiting.map_err(|error| Failure::io("starting the thread that waits for the mount", &error))
}

fn on_signals(end: Sender<Ending>) -> Result<signal_hook::iterator::Handle, Failure> {
    let failed = |error| Failure::io("handling signals", &error);
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let handle = signals.handle();
    let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if end.send(Ending::Signal(signal)).is_err() {
                return;
            }
        }
    });
    thread.map_err(failed)?;
    Ok(handle)
}
