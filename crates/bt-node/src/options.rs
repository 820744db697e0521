//! What a caller chooses when it makes, opens or mounts a tree, and what making one gives back.

use bt_base::{PrincipalId, TreeId, ZoneId};
use serde::{Deserialize, Serialize};

use crate::control::report::NodeKeyStatus;
use zeroize::Zeroizing;

pub use bt_tpm::{Pcrs, PcrsError};

/// How the extents of a zone are compressed before they are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Zstandard: smaller.
    Zstd,
    /// LZ4: faster.
    Lz4,
}

/// How a new tree is made.
pub struct InitOptions {
    /// Protects the root credential; any bytes, not empty.
    pub passphrase: Zeroizing<Vec<u8>>,
    /// Compression of the root zone; none when absent.
    pub compression: Option<Compression>,
    /// Where the node's key is made.
    pub node_key: NodeKeyOptions,
}

/// Where a node's key is made.
pub enum NodeKeyOptions {
    /// In the file `node.key`.
    File,
    /// In a TPM.
    Tpm {
        /// How it is reached, in the form of tpm2-tss: `device:/dev/tpmrm0`.
        tcti: String,
        /// What the key is bound to, if anything.
        binding: Option<Binding>,
        /// A counter in the TPM tells older copies of the directory.
        with_counter: bool,
    },
}

/// PCRs that a key is bound to, and what renews the binding.
pub struct Binding {
    /// The PCRs; the key works while they have the values that they have now.
    pub pcrs: Pcrs,
    /// The recovery passphrase, which binds the key to later values.
    pub passphrase: Zeroizing<Vec<u8>>,
}

/// What was made. The recovery words exist nowhere else: whoever receives this shows them once and drops them.
pub struct InitReport {
    /// The new tree.
    pub tree: TreeId,
    /// Its root zone.
    pub zone: ZoneId,
    /// The principal of this node.
    pub node: PrincipalId,
    /// The root principal.
    pub root: PrincipalId,
    /// Where the node's key is.
    pub node_key: NodeKeyStatus,
    /// The 24 words that restore the root credential, separated by single spaces.
    pub words: Zeroizing<String>,
}

/// How a node is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Nothing under the directory is changed; a journal that holds more than the head is replayed in memory.
    pub read_only: bool,
    /// The bound on caches and dirty data together, in bytes.
    pub memory_bytes: u64,
}

impl OpenOptions {
    /// The bound on caches and dirty data unless the caller says otherwise: it keeps a process below 256 MiB.
    pub const MEMORY_BYTES: u64 = 96 << 20;
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { read_only: false, memory_bytes: Self::MEMORY_BYTES }
    }
}

/// How requests of the kernel reach this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// FUSE over io_uring where the kernel allows it, else reads of /dev/fuse.
    #[default]
    Auto,
    /// Reads of /dev/fuse by a few threads.
    Fuser,
    /// FUSE over io_uring; mounting fails where the kernel does not allow it.
    Uring,
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Fuser => "fuser",
            Self::Uring => "uring",
        })
    }
}

/// How a tree is mounted. Every mount has the type `fuse.blocktree` and the absolute path of the node's directory as
/// its source: commands find one from the other in the kernel's mount table.
#[derive(Clone, Debug, Default)]
pub struct MountOptions {
    /// The kernel refuses every change with EROFS.
    pub read_only: bool,
    /// Other users may enter the mount; the kernel checks modes and ACLs for them.
    pub allow_other: bool,
    /// Set-user-id bits work on the mount (else it is nosuid); root only.
    pub allow_suid: bool,
    /// Device nodes work on the mount (else it is nodev); root only.
    pub allow_dev: bool,
    /// How requests reach this process.
    pub transport: Transport,
}
