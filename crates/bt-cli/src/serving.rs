//! The process of a mount: opens the node, mounts it, answers commands, and ends when the mount is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bt_crypto::KeyStore;
use bt_node::Node;
use bt_node::control::{Daemon, Failure, Request, Response, Service, bind, serve};
use bt_node::options::{MountOptions, OpenOptions};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::background::Up;
use crate::detach::detach;

/// What to serve and where.
pub struct Plan {
    /// The node's directory, absolute.
    pub dir: PathBuf,
    /// The mount point, absolute.
    pub mountpoint: PathBuf,
    /// How the node is opened.
    pub open: OpenOptions,
    /// How it is mounted.
    pub mount: MountOptions,
    /// Whom the node acts for; none for itself.
    pub who: Option<Arc<dyn KeyStore>>,
}

/// Serves until the mount is gone and everything is committed. `up` is called once when the mount is up; when it
/// fails, nobody waits for the mount any more and it is taken away again.
pub fn run(plan: &Plan, up: impl FnOnce(Up) -> std::io::Result<()>) -> Result<(), Failure> {
    let node = match &plan.who {
        Some(who) => Node::open_as(&plan.dir, &plan.open, who.clone())?,
        None => Node::open(&plan.dir, &plan.open)?,
    };
    let listener = bind(&plan.dir)?;
    let mounted = node.mount(&plan.mountpoint, &plan.mount)?;
    let service: Arc<dyn Service> = Arc::<Node>::clone(&node);
    let mountpoint = plan.mountpoint.clone();
    let daemon = Arc::new(Daemon::new(Arc::clone(&service), Box::new(move |lazy| detach(&mountpoint, lazy))));
    let server = serve(listener, Arc::<Daemon>::clone(&daemon))
        .map_err(|error| Failure::io("starting the thread that answers commands", &error))?;
    let signals = on_signals(plan.mountpoint.clone(), Arc::clone(&service))?;

    let (dir, mountpoint) = (plan.dir.display(), plan.mountpoint.display());
    tracing::info!("{dir} is mounted at {mountpoint}");
    if up(Up { pid: std::process::id(), transport: transport(&*service)? }).is_err() {
        tracing::warn!("nobody waits for this mount any more: it is taken away again");
        detach(&plan.mountpoint, true)?;
    }

    mounted.wait();
    // Before the lock is released: a later process may put its own socket there.
    if let Err(error) = fs::remove_file(plan.dir.join("socket")) {
        tracing::warn!(%error, "the socket could not be removed");
    }
    let outcome = node.close();
    if outcome.is_ok() {
        tracing::info!("{dir} is unmounted, everything is committed");
    }
    daemon.closed(outcome.clone());
    server.stop();
    signals.close();
    outcome
}

fn transport(service: &dyn Service) -> Result<String, Failure> {
    match service.handle(Request::Status, &mut |_| std::ops::ControlFlow::Continue(()))? {
        Response::Status(status) => Ok(status.mount.map_or_else(String::new, |mount| mount.transport)),
        other => Err(crate::target::unexpected(&other)),
    }
}

/// On SIGINT or SIGTERM the mount goes out of sight and all is synced; the process ends when its last user is gone.
fn on_signals(mountpoint: PathBuf, service: Arc<dyn Service>) -> Result<signal_hook::iterator::Handle, Failure> {
    let failed = |error| Failure::io("handling signals", &error);
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let handle = signals.handle();
    let asked = AtomicBool::new(false);
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                if !asked.swap(true, Ordering::Relaxed) {
                    tracing::info!("signal {signal}: unmounting");
                    end(&mountpoint, &*service);
                }
            }
        })
        .map_err(failed)?;
    Ok(handle)
}

fn end(mountpoint: &Path, service: &dyn Service) {
    if let Err(failure) = detach(mountpoint, true) {
        tracing::error!("{failure}");
    }
    if let Err(failure) = service.handle(Request::Sync, &mut |_| std::ops::ControlFlow::Continue(())) {
        tracing::error!("{failure}");
    }
}
