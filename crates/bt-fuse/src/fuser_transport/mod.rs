//! The transport over reads and writes of /dev/fuse, by the crate fuser.
//!
//! What fuser 0.18 cannot do, and this transport therefore does not: it knows no TMPFILE, SYNCFS, STATX and 64-bit
//! COPY_FILE_RANGE (the kernel gets ENOSYS and does without); it does not pass on which truncations, changes of owner
//! and of an access ACL must drop set-user-id and set-group-id (which is derived from the caller here); it gives one
//! time limit to name and attributes in READDIRPLUS. It computes times before the epoch wrongly (undone in
//! `convert.rs`), and with overflow checks the smallest panics, which costs a thread and leaves the program that set it
//! waiting until the mount is aborted; so the workspace builds fuser without them.

mod adapter;
mod convert;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use fuser::{Config, Session, SessionACL};

use crate::counters::Counters;
use crate::limits::MAX_THREADS;
use crate::workers::Workers;
use crate::{FileSystem, MountError, MountOptions, system};
use adapter::Adapter;

/// Answers INIT on a fresh connection and starts the threads that serve it.
pub(crate) fn serve(
    fs: Arc<dyn FileSystem>,
    device: OwnedFd,
    options: &MountOptions,
    workers: &Arc<Workers>,
    counters: Arc<Counters>,
) -> Result<JoinHandle<()>, MountError> {
    let mut config = Config::default();
    config.n_threads = Some(options.threads.clamp(1, MAX_THREADS));
    config.clone_fd = true;
    let adapter = Adapter::new(fs, options.clone(), workers.clone(), counters);
    // Who may use the mount is the kernel's to decide, by the mount option allow_other. fuser's own check would refuse
    // what the kernel asks in root's name for a mount of another user, such as writing back times.
    let session = Session::from_fd(adapter, device, SessionACL::All, config).map_err(MountError::Handshake)?;
    let thread = std::thread::Builder::new().name("bt-fuse-fuser".to_owned());
    let serving = thread.spawn(move || {
        // fuser's own threads begin in this one and inherit it.
        system::become_io_flusher();
        if let Err(error) = session.run() {
            tracing::error!(%error, "a thread that serves the mount has failed");
        }
    });
    serving.map_err(MountError::Threads)
}
