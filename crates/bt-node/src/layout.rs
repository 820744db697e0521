//! Names of the files in a node's directory.

use bt_base::ZoneId;

/// Says what the directory is, for people and for older or newer programs.
pub(crate) const FORMAT: &str = "format";
/// The first line of [`FORMAT`] up to the version.
pub(crate) const FORMAT_PREFIX: &str = "blocktree node directory, version ";
/// The version of the layout.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// The tree's genesis record.
pub(crate) const GENESIS: &str = "genesis";
/// The records by which the tree's root handed over to others; not there before the first.
pub(crate) const SUCCESSION: &str = "succession";
/// The root credential behind its passphrase; the user may move it away.
pub(crate) const ROOT_KEY: &str = "root.key";
/// The node's credential.
pub(crate) const NODE_KEY: &str = "node.key";
/// The node's next credential, while it is being admitted.
pub(crate) const NEXT_NODE_KEY: &str = "node.key.next";
/// The record that the counter in the node's TPM vouches for; not there without such a counter.
pub(crate) const COUNTER: &str = "counter";
/// Compiled code of apps, which can be removed at any time.
pub(crate) const CODE: &str = "code";
/// The hashes of tokens that callers of apps have; not there before the first.
pub(crate) const TOKENS: &str = "tokens";
/// Space held back for deleting on a full disk.
pub(crate) const BALLAST: &str = "ballast";
/// The zones' directories.
pub(crate) const ZONES: &str = "zones";

/// The zones that were ever entered here, by slot.
pub(crate) const SLOTS: &str = "zones/slots";

/// The files of one zone.
pub(crate) struct ZoneLayout {
    /// The zone's directory.
    pub(crate) directory: String,
    /// The directory in which its containers and their map are.
    pub(crate) home: String,
}

impl ZoneLayout {
    pub(crate) fn new(zone: &ZoneId) -> Self {
        let directory = format!("{ZONES}/{zone}");
        Self { home: directory.clone(), directory }
    }

    /// The zone at the tree's top, whose containers lie in the node's own directory.
    pub(crate) fn top(zone: &ZoneId) -> Self {
        Self { home: String::new(), ..Self::new(zone) }
    }

    fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.directory)
    }

    /// The birth record.
    pub(crate) fn birth(&self) -> String {
        self.file("birth")
    }

    /// The access log.
    pub(crate) fn access(&self) -> String {
        self.file("access")
    }

    /// The epochs.
    pub(crate) fn epochs(&self) -> String {
        self.file("epochs")
    }

    /// The heads that were published.
    pub(crate) fn history(&self) -> String {
        self.file("history")
    }

    /// Heads that do not count.
    pub(crate) fn refused(&self) -> String {
        self.file("refused")
    }

    /// The journal.
    pub(crate) fn journal(&self) -> String {
        self.file("journal")
    }
}
