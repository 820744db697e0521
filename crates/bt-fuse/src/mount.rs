//! A mount while it is served.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use crate::awake::Awake;
use crate::counters::{self, Counters};
use crate::limits::{MAX_WRITE, MIN_WRITE};
use crate::mountpoint::Mountpoint;
use crate::workers::Workers;
use crate::{FileSystem, Kernel, MountError, MountOptions, Transport, TransportChoice, fuser_transport, system, uring};

/// A mounted file system, served by threads of its own.
///
/// No thread of the process may use the mount: killed while it waits for the kernel, which waits for the threads that
/// serve, it could never end.
///
/// Dropping it unmounts: lazily, and programs that still have files of it open get errors from then on.
pub struct Mount {
    mountpoint: Arc<Mountpoint>,
    transport: Transport,
    counters: Vec<Arc<Counters>>,
    ended: Arc<Ended>,
}

/// Whether the last thread that serves has ended.
#[derive(Default)]
struct Ended {
    ended: Mutex<bool>,
    changed: Condvar,
}

/// What a transport hands over when it serves.
pub(crate) struct Serving {
    pub(crate) threads: Vec<JoinHandle<()>>,
    pub(crate) counters: Vec<Arc<Counters>>,
}

impl Mount {
    /// Mounts `fs` on the directory `mountpoint`; returns when the mount answers.
    pub fn start(
        fs: Arc<dyn FileSystem>,
        mountpoint: &Path,
        options: &MountOptions,
    ) -> std::result::Result<Mount, MountError> {
        check(options)?;
        match options.transport {
            TransportChoice::Fuser => Mount::start_with(fs, mountpoint, options, Transport::Fuser),
            TransportChoice::Uring => Mount::start_with(fs, mountpoint, options, Transport::Uring),
            TransportChoice::Auto => match Mount::start_with(fs.clone(), mountpoint, options, Transport::Uring) {
                Err(MountError::Uring(reason)) => {
                    tracing::info!(reason, "mounting without io_uring");
                    Mount::start_with(fs, mountpoint, options, Transport::Fuser)
                }
                result => result,
            },
        }
    }

    fn start_with(
        fs: Arc<dyn FileSystem>,
        path: &Path,
        options: &MountOptions,
        transport: Transport,
    ) -> std::result::Result<Mount, MountError> {
        if transport == Transport::Uring {
            uring::check_available()?;
        }
        let workers = Arc::new(Workers::start().map_err(MountError::Threads)?);
        let (mountpoint, device) = Mountpoint::attach(path, options)?;
        fs.connected(Kernel::new(&device).map_err(MountError::Handshake)?);
        let awake = Awake::new();
        let serving = match serve(fs.clone(), device, options, transport, &workers, &awake) {
            Ok(serving) => serving,
            Err(error) => {
                // The first error is the one to show; a mount that nobody serves is only in the way.
                let _ = mountpoint.abort();
                return Err(error);
            }
        };
        let (mountpoint, ended) = (Arc::new(mountpoint), Arc::<Ended>::default());
        let mount =
            Mount { mountpoint: mountpoint.clone(), transport, counters: serving.counters, ended: ended.clone() };
        let end = move || {
            join(serving.threads, &mountpoint);
            workers.close();
            awake.close();
            fs.destroyed();
            ended.set();
        };
        std::thread::Builder::new().name("bt-fuse-end".to_owned()).spawn(end).map_err(MountError::Threads)?;
        // INIT, which limits it, is over.
        if options.read_ahead_kib > 0 {
            system::set_read_ahead(mount.mountpoint.device_number(), options.read_ahead_kib);
        }
        Ok(mount)
    }

    /// The way to the kernel that is used.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// How often the kernel has asked what, by the protocol's names (`LOOKUP`, `READ`, ...). The fuser transport counts
    /// RENAME under RENAME2.
    pub fn requests(&self) -> BTreeMap<&'static str, u64> {
        counters::sum(&self.counters)
    }

    /// Blocks until the kernel has ended the connection: after umount(8), fusermount3 -u or [`Mount::unmount`], when
    /// the last file is closed. No thread of the mount is left then.
    pub fn wait(&self) {
        self.ended.wait();
    }

    /// Unmounts and waits for the end; [`MountError::Busy`] while programs use it, and then all goes on.
    ///
    /// Where the mount is also visible elsewhere (another mount name space), it is served there until it ends there.
    pub fn unmount(&self) -> std::result::Result<(), MountError> {
        if self.mountpoint.is_connected() {
            self.mountpoint.detach()?;
        }
        if !self.mountpoint.is_connected() {
            self.ended.wait();
        }
        Ok(())
    }

    /// Unmounts at once, whoever uses it: their next calls fail. What the kernel had not yet written is lost.
    pub fn abort(&self) -> std::result::Result<(), MountError> {
        if self.mountpoint.is_connected() {
            self.mountpoint.abort()?;
        }
        if !self.mountpoint.is_connected() {
            self.ended.wait();
        }
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = self.unmount().or_else(|_| self.abort()) {
            tracing::error!(%error, "the mount stays until it is unmounted by hand");
        }
    }
}

impl std::fmt::Debug for Mount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mount({:?}, {})", self.mountpoint.path(), self.transport)
    }
}

impl Ended {
    fn set(&self) {
        *self.ended.lock().expect("no holder panics") = true;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let mut ended = self.ended.lock().expect("no holder panics");
        while !*ended {
            ended = self.changed.wait(ended).expect("no holder panics");
        }
    }
}

/// Waits for the threads that serve. Should they end before the mount does, nobody would answer; so it ends too.
fn join(threads: Vec<JoinHandle<()>>, mountpoint: &Mountpoint) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a thread that serves the mount has panicked");
        }
    }
    if mountpoint.is_connected() {
        tracing::error!(path = %mountpoint.path().display(), "the mount is no longer served and is taken away");
        if let Err(error) = mountpoint.abort() {
            tracing::error!(%error, "the mount stays until it is unmounted by hand");
        }
    }
}

fn check(options: &MountOptions) -> std::result::Result<(), MountError> {
    let usable = (MIN_WRITE..=MAX_WRITE).contains(&options.max_write) && options.max_write.is_multiple_of(MIN_WRITE);
    match usable {
        true => Ok(()),
        false => Err(MountError::Option { option: "max_write", reason: "not a multiple of 4 KiB up to 1 MiB" }),
    }
}

fn serve(
    fs: Arc<dyn FileSystem>,
    device: OwnedFd,
    options: &MountOptions,
    transport: Transport,
    workers: &Arc<Workers>,
    awake: &Arc<Awake>,
) -> std::result::Result<Serving, MountError> {
    match transport {
        Transport::Uring => uring::serve(fs, device, options, workers, awake),
        Transport::Fuser => {
            let counters = Counters::new(awake);
            let thread = fuser_transport::serve(fs, device, options, workers, counters.clone())?;
            Ok(Serving { threads: vec![thread], counters: vec![counters] })
        }
    }
}
