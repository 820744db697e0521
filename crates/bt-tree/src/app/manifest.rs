//! What a package says about itself.

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::codec::DecodeError;
use bt_base::{PrincipalId, label};
use bt_crypto::{Credential, NO_TREE, labelled_hash};

use super::author::{Authorship, Handover, HandoverError};
use super::limits;
use super::permission::{Permission, PermissionKind};
use super::words::{AppName, Line, PermissionName, TreePath, Version};

/// Why a manifest is none that a package may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The bytes are no manifest.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// There is no way to call the app.
    #[error("the app has no entry point: it needs at least one of http, job and watch")]
    NoEntry,
    /// A list is longer than it may be.
    #[error("the manifest has {found} {what}, at most {limit} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A list is not in its one order, or has something twice.
    #[error("the {0} of the manifest are not in order, or one is there twice")]
    Order(&'static str),
    /// Two permissions of one name.
    #[error("the manifest asks twice for a permission {0}: each has a name of its own")]
    PermissionTwice(PermissionName),
    /// A watcher watches what is no directory.
    #[error("the app watches {0}, which is no permission for files that it asks for")]
    WatchesNothing(PermissionName),
    /// A limit is zero, or higher than any app may have.
    #[error("the limit {what} is {found}: it is at least 1 and at most {most}")]
    Limit {
        /// Which.
        what: &'static str,
        /// What the manifest says.
        found: u64,
        /// The most.
        most: u64,
    },
    /// An asset's name is empty, too long, or that of a directory of another asset.
    #[error("{0} is no name for an asset: names have 1 to 200 bytes, and none is the directory of another")]
    AssetName(TreePath),
    /// The author before is in doubt.
    #[error(transparent)]
    Handover(#[from] HandoverError),
}

/// How an app is called.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, BorshSerialize, BorshDeserialize)]
pub enum Entry {
    /// It answers requests over HTTP (`wasi:http/incoming-handler`).
    Http,
    /// It runs once, with arguments, and ends (`wasi:cli/run`).
    Job,
    /// It runs when something changes in the directory of a permission (`wasi:cli/run`).
    Watch {
        /// The permission's name.
        files: PermissionName,
    },
}

/// What calls of an app may use, at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Limits {
    /// Memory of one call, in bytes.
    pub memory_bytes: u64,
    /// How long one call may take, in milliseconds.
    pub call_ms: u64,
    /// How many calls may run at one time.
    pub concurrent_calls: u32,
    /// Bytes of a request's body or of a job's input.
    pub body_bytes: u64,
    /// Bytes of an answer's body or of a job's output.
    pub output_bytes: u64,
    /// Bytes that one call may write to its log.
    pub log_bytes: u64,
    /// Elements of tables of one call.
    pub table_elements: u32,
    /// Core instances of one call.
    pub instances: u32,
    /// Units of fuel of one call, for runs that take the same steps each time; none where only time counts.
    pub fuel: Option<u64>,
}

impl Default for Limits {
    /// 64 MiB, 30 s, 16 calls, 64 MiB in, 1 GiB out, 1 MiB of log, 100,000 elements of tables, 64 instances, no
    /// fuel.
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            call_ms: 30_000,
            concurrent_calls: 16,
            body_bytes: 64 << 20,
            output_bytes: 1 << 30,
            log_bytes: 1 << 20,
            table_elements: 100_000,
            instances: 64,
            fuel: None,
        }
    }
}

impl Limits {
    /// Each limit with its name and its bound.
    fn each(&self) -> [(&'static str, u64, u64); 9] {
        [
            ("memory_bytes", self.memory_bytes, limits::MEMORY_BYTES),
            ("call_ms", self.call_ms, limits::CALL_MS),
            ("concurrent_calls", self.concurrent_calls.into(), limits::CONCURRENT_CALLS.into()),
            ("body_bytes", self.body_bytes, limits::BODY_BYTES),
            ("output_bytes", self.output_bytes, limits::BODY_BYTES),
            ("log_bytes", self.log_bytes, limits::LOG_BYTES),
            ("table_elements", self.table_elements.into(), limits::TABLE_ELEMENTS.into()),
            ("instances", self.instances.into(), limits::INSTANCES.into()),
            ("fuel", self.fuel.unwrap_or(u64::MAX), u64::MAX),
        ]
    }

    fn check(&self) -> Result<(), ManifestError> {
        match self.each().into_iter().find(|(_, found, most)| *found == 0 || found > most) {
            None => Ok(()),
            Some((what, found, most)) => Err(ManifestError::Limit { what, found, most }),
        }
    }
}

/// Bytes that a package carries beside its manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Part {
    /// Their hash under the label of parts of packages.
    pub hash: [u8; 32],
    /// How many they are.
    pub len: u64,
}

impl Part {
    /// The part that consists of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self { hash: labelled_hash(label::PACKAGE_PART, &NO_TREE, &[bytes]), len: bytes.len() as u64 }
    }
}

/// What a package says about itself. Its author signs it, and its hash is the package's id.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Manifest {
    /// What the app is called.
    pub name: AppName,
    /// Which version it is; an update has a higher one.
    pub version: Version,
    /// What it does, in one line of the author's.
    pub about: Line,
    /// Who signs it.
    pub author: Credential,
    /// How the author came after those before, oldest first.
    pub handovers: Vec<Handover>,
    /// How it is called, in order.
    pub entries: Vec<Entry>,
    /// What it asks for.
    pub permissions: Vec<Permission>,
    /// What its calls need at most.
    pub limits: Limits,
    /// The oldest version of bt that can run it.
    pub minimum_node: Version,
    /// The WebAssembly component.
    pub component: Part,
    /// Files that belong to it, by name, in order.
    pub assets: Vec<(TreePath, Part)>,
}

impl Manifest {
    /// Checks that the fields fit each other and keep their limits. [`super::Package`] holds none that does not.
    pub fn check(&self) -> Result<(), ManifestError> {
        self.check_entries()?;
        self.check_permissions()?;
        self.limits.check()?;
        self.check_assets()?;
        Ok(Handover::check_all(&self.handovers, &self.author)?)
    }

    /// How the author stands to `installed`, the author of what is installed.
    pub fn authorship(&self, installed: &PrincipalId) -> Authorship {
        let before = || self.handovers.iter().any(|handover| handover.before().id() == *installed);
        match self.author.id() == *installed {
            true => Authorship::Same,
            false if before() => Authorship::Successor,
            false => Authorship::Other,
        }
    }

    /// What this manifest asks for that `earlier` did not: what an upgrade waits for consent to.
    pub fn asks_beyond<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = &'a Permission> {
        let is_covered = |asked: &Permission| earlier.permissions.iter().any(|before| asked.is_covered_by(before));
        self.permissions.iter().filter(move |asked| !is_covered(asked))
    }

    /// The bytes of all parts together.
    pub fn part_bytes(&self) -> u64 {
        self.assets.iter().fold(self.component.len, |sum, (_, part)| sum.saturating_add(part.len))
    }

    fn check_entries(&self) -> Result<(), ManifestError> {
        bound("entry points", self.entries.len(), limits::ENTRIES)?;
        if self.entries.is_empty() {
            return Err(ManifestError::NoEntry);
        }
        if !self.entries.is_sorted_by(|before, next| before < next) {
            return Err(ManifestError::Order("entry points"));
        }
        let is_files = |name: &PermissionName| {
            let is = |asked: &&Permission| asked.name == *name && matches!(asked.kind, PermissionKind::Files { .. });
            self.permissions.iter().any(|asked| is(&asked))
        };
        let watched = self.entries.iter().filter_map(|entry| match entry {
            Entry::Watch { files } => Some(files),
            Entry::Http | Entry::Job => None,
        });
        match watched.into_iter().find(|name| !is_files(name)) {
            None => Ok(()),
            Some(name) => Err(ManifestError::WatchesNothing(name.clone())),
        }
    }

    fn check_permissions(&self) -> Result<(), ManifestError> {
        bound("permissions", self.permissions.len(), limits::PERMISSIONS)?;
        for (place, asked) in self.permissions.iter().enumerate() {
            if self.permissions[..place].iter().any(|before| before.name == asked.name) {
                return Err(ManifestError::PermissionTwice(asked.name.clone()));
            }
        }
        Ok(())
    }

    fn check_assets(&self) -> Result<(), ManifestError> {
        bound("assets", self.assets.len(), limits::ASSETS)?;
        if !self.assets.is_sorted_by(|before, next| before.0 < next.0) {
            return Err(ManifestError::Order("assets"));
        }
        let is_asset = |name: &str| self.assets.binary_search_by(|(asset, _)| asset.as_str().cmp(name)).is_ok();
        let directories = |name: &str| name.match_indices('/').any(|(end, _)| is_asset(&name[..end]));
        let is_wrong = |name: &TreePath| {
            name.is_top() || name.as_str().len() > limits::ASSET_NAME_BYTES || directories(name.as_str())
        };
        match self.assets.iter().find(|(name, _)| is_wrong(name)) {
            None => Ok(()),
            Some((name, _)) => Err(ManifestError::AssetName(name.clone())),
        }
    }
}

fn bound(what: &'static str, found: usize, limit: usize) -> Result<(), ManifestError> {
    if found > limit { Err(ManifestError::TooMany { what, found, limit }) } else { Ok(()) }
}
