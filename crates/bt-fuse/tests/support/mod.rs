//! Mounts for tests: the file system in memory, on a fresh directory, with each transport that this machine has.

#![allow(dead_code)] // Each test file uses a part.

#[path = "../../examples/null/fs.rs"]
mod null_fs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bt_fuse::{Mount, MountError, MountOptions, TransportChoice};
pub use null_fs::NullFs;

/// The kernel may keep names and attributes for as long as the mount lives.
pub const LONG: Duration = Duration::from_secs(3600);

/// A mounted file system in memory.
pub struct Mounted {
    pub fs: Arc<NullFs>,
    pub mount: Mount,
    directory: tempfile::TempDir,
}

/// Mounts with the defaults and these.
pub fn mount(transport: TransportChoice, valid: Duration, options: MountOptions) -> Result<Mounted, MountError> {
    let fs = Arc::new(NullFs::new(valid));
    let directory = tempfile::Builder::new().prefix("bt-fuse-").tempdir().unwrap();
    let options = MountOptions { transport, allow_other: true, ..options };
    let mount = Mount::start(fs.clone(), directory.path(), &options)?;
    Ok(Mounted { fs, mount, directory })
}

/// Runs a test once with each transport that this machine has; says so when it has not.
pub fn with_each_transport(options: &MountOptions, test: impl Fn(&Mounted)) {
    with_each_transport_valid(LONG, options, test);
}

/// As [`with_each_transport`], with a time for which the kernel may keep names and attributes.
pub fn with_each_transport_valid(valid: Duration, options: &MountOptions, test: impl Fn(&Mounted)) {
    // Best effort: only root may, and only some kernels have it.
    let _ = std::fs::write("/sys/module/fuse/parameters/enable_uring", "Y");
    for transport in [TransportChoice::Fuser, TransportChoice::Uring] {
        match mount(transport, valid, options.clone()) {
            Ok(mounted) => {
                eprintln!("with {}", mounted.mount.transport());
                test(&mounted);
                mounted.unmount();
            }
            Err(MountError::Device(error)) => eprintln!("skipped: no /dev/fuse: {error}"),
            Err(MountError::Uring(reason)) => eprintln!("skipped: no FUSE over io_uring: {reason}"),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Mounted {
    /// Unmounts. A process that another test has forked may hold our files until it has begun its program.
    pub fn unmount(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Err(error) = self.mount.unmount() {
            assert!(matches!(error, MountError::Busy { .. }) && Instant::now() < deadline, "{error}");
            std::thread::yield_now();
        }
    }

    /// A path below the mount.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The mount itself.
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// The requests that the kernel sent while `action` ran.
    pub fn requests(&self, action: impl FnOnce()) -> BTreeMap<&'static str, u64> {
        let before = self.mount.requests();
        action();
        let mut since = self.mount.requests();
        since.retain(|name, count| {
            *count -= before.get(name).copied().unwrap_or(0);
            *count > 0
        });
        since
    }

    /// Has the kernel drop all names and inodes that no program uses, and waits until it has said so.
    pub fn drop_caches(&self) {
        rustix::fs::sync();
        std::fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.fs.lookups() > 0 && Instant::now() < deadline {
            std::fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
            std::thread::yield_now();
        }
    }
}
