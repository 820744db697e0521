//! A node: an open directory that serves requests and can be mounted.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bt_crypto::KeyStore;
use bt_fuse::{Mount, TransportChoice};
use bt_store::{DirLock, FileStorage, Storage};

use crate::apps::Apps;
use crate::control::report::{CheckReport, MountStatus};
use crate::control::{Failure, FailureKind, OnProgress};
use crate::engine::{Committer, Engine};
use crate::error::EngineError;
use crate::identity::{self, NodeIdentity};
use crate::layout;
use crate::mountfs::MountedTree;
use crate::node_key::NodeKey;
use crate::options::{MountOptions, OpenOptions, Transport};
use crate::rollback::{self, Stepper};
use crate::system::now;
use crate::zones::{Keeper, Zones, check_directory, open_top};

/// A node whose directory is open, and locked against others.
pub struct Node {
    pub(crate) engine: Arc<Engine>,
    pub(crate) zones: Arc<Zones>,
    pub(crate) apps: Arc<Apps>,
    pub(crate) dir: std::path::PathBuf,
    pub(crate) mount: Mutex<Option<MountStatus>>,
    committer: Mutex<Option<Committer>>,
    stepper: Mutex<Option<Stepper>>,
    keeper: Mutex<Option<Keeper>>,
    _lock: DirLock,
}

impl Node {
    /// Checks the directory `dir`, which no process serves, without opening its zone: it may be too damaged for that.
    pub fn check(dir: &Path, deep: bool, progress: OnProgress<'_>) -> Result<CheckReport, Failure> {
        let (_lock, storage) = open_storage(dir)?;
        let mut report = check_directory(storage.clone(), deep, progress)?;
        rollback::examine(&storage, &mut report)?;
        Ok(report)
    }

    /// Opens the directory `dir`: takes its lock, verifies its records, recovers what a crash left.
    pub fn open(dir: &Path, options: &OpenOptions) -> Result<Arc<Self>, Failure> {
        let (lock, storage) = open_storage(dir)?;
        let node = NodeIdentity::load(&*storage)?;
        Self::start(dir, lock, storage, node, options)
    }

    /// As [`Node::open`], acting for another principal than the node. One that may not read the zone at the top gets a
    /// root directory made of the zones that it may read.
    pub fn open_as(dir: &Path, options: &OpenOptions, who: Arc<dyn KeyStore>) -> Result<Arc<Self>, Failure> {
        let (lock, storage) = open_storage(dir)?;
        let node = NodeIdentity::load_as(&*storage, who)?;
        Self::start(dir, lock, storage, node, options)
    }

    fn start(
        dir: &Path,
        lock: DirLock,
        storage: Arc<dyn Storage>,
        node: NodeIdentity,
        options: &OpenOptions,
    ) -> Result<Arc<Self>, Failure> {
        let node = Arc::new(node);
        rollback::load(&*storage, &node)?;
        let engine = open_top(&storage, &node, options)?;
        let zones = Arc::new(Zones::new(storage.clone(), node.clone(), engine.clone(), options)?);
        let stepper = if options.read_only { None } else { Stepper::start(storage, node)? };
        let committer = if options.read_only {
            None
        } else {
            let started = Committer::start(engine.clone());
            Some(started.map_err(|error| Failure::io("starting the committing thread", &error))?)
        };
        if !options.read_only {
            for directory in ["", layout::ZONES] {
                identity::remove_unfinished(&*zones.storage, directory)
                    .map_err(|error| EngineError::from(error).into_failure("removing what a crash left"))?;
            }
            zones.remove_leftovers()?;
        }
        let keeper = Keeper::start(zones.clone())
            .map_err(|error| Failure::io("starting the thread that closes idle zones", &error))?;
        Ok(Arc::new(Self {
            engine,
            apps: Arc::new(Apps::new(zones.clone())?),
            zones,
            dir: dir.to_owned(),
            mount: Mutex::new(None),
            committer: Mutex::new(committer),
            stepper: Mutex::new(stepper),
            keeper: Mutex::new(Some(keeper)),
            _lock: lock,
        }))
    }

    /// Mounts the zone on a directory; returns when the mount answers.
    pub fn mount(self: &Arc<Self>, mountpoint: &Path, options: &MountOptions) -> Result<Mounted, Failure> {
        // Where the principal may not write, the zone says so: it may write others below.
        let read_only = options.read_only || self.zones.is_read_only();
        let fs = Arc::new(MountedTree::new(self.zones.clone(), read_only));
        let fuse = bt_fuse::MountOptions {
            source_name: self.dir.display().to_string(),
            read_only,
            allow_other: options.allow_other,
            allow_suid: options.allow_suid,
            allow_dev: options.allow_dev,
            transport: match options.transport {
                Transport::Auto => TransportChoice::Auto,
                Transport::Fuser => TransportChoice::Fuser,
                Transport::Uring => TransportChoice::Uring,
            },
            ..bt_fuse::MountOptions::default()
        };
        let mount = Mount::start(fs, mountpoint, &fuse)
            .map_err(|error| Failure::refused(format!("mounting on {}: {error}", mountpoint.display()), ""))?;
        *self.mount.lock().expect("no panic under this lock") = Some(MountStatus {
            mountpoint: crate::control::report::escape(mountpoint.as_os_str().as_encoded_bytes()),
            transport: mount.transport().to_string(),
            since: now(),
            read_only,
            allow_other: options.allow_other,
        });
        Ok(Mounted { mount: Arc::new(mount), node: self.clone() })
    }

    /// Commits everything. The node answers no changes after this.
    pub fn close(&self) -> Result<(), Failure> {
        if let Some(keeper) = self.keeper.lock().expect("no panic under this lock").take() {
            keeper.stop();
        }
        if let Some(committer) = self.committer.lock().expect("no panic under this lock").take() {
            committer.stop();
        }
        let closed = self.zones.close().and(self.engine.close());
        if let Some(stepper) = self.stepper.lock().expect("no panic under this lock").take() {
            stepper.stop();
        }
        if let NodeKey::Tpm(store) = &self.engine.identity.node.key {
            store.release();
        }
        closed
    }
}

/// The files of a node's directory, locked against other processes.
pub(crate) fn open_storage(dir: &Path) -> Result<(DirLock, Arc<dyn Storage>), Failure> {
    let meta =
        std::fs::metadata(dir).map_err(|error| Failure::io(format_args!("opening {}", dir.display()), &error))?;
    if !meta.is_dir() {
        let what = format!("{} is not a directory", dir.display());
        return Err(Failure::usage(what, "name the directory that `bt init` made"));
    }
    if !dir.join(crate::layout::FORMAT).exists() {
        let what = format!("{} holds no Blocktree node", dir.display());
        return Err(Failure::usage(what, "make one with `bt init DIR`, or name the right directory"));
    }
    let lock = DirLock::acquire(dir)
        .map_err(|error| Failure::refused(error.to_string(), "unmount it first, or let the other command end"))?;
    let storage = FileStorage::open(dir).map_err(|error| Failure {
        kind: FailureKind::Io,
        what: error.to_string(),
        hint: String::new(),
    })?;
    Ok((lock, Arc::new(storage)))
}

/// A mounted node.
pub struct Mounted {
    mount: Arc<Mount>,
    node: Arc<Node>,
}

impl Mounted {
    /// Blocks until the kernel has let the mount go.
    pub fn wait(&self) {
        self.mount.wait();
        *self.node.mount.lock().expect("no panic under this lock") = None;
    }

    /// How requests of the kernel arrive.
    pub fn transport(&self) -> String {
        self.mount.transport().to_string()
    }
}
