//! Domain separation: what a hash, a derived key or a signature is for.
//!
//! Every hash, key derivation and signature begins with one of these labels, its version and the tree's id (32
//! zero bytes before a tree exists), so that bytes made for one purpose can never pass for another.

/// A purpose and the version of the format it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// The purpose, unique among all labels.
    pub name: &'static str,
    /// The version of the format that the purpose covers.
    pub version: u16,
}

macro_rules! labels {
    ($($(#[$doc:meta])* $ident:ident = $name:literal, $version:literal;)*) => {
        $($(#[$doc])* pub const $ident: Label = Label { name: concat!("blocktree/", $name), version: $version };)*
        /// Every label there is.
        pub const ALL: &[Label] = &[$($ident),*];
    };
}

labels! {
    /// The id of a principal: the hash of its credential.
    CREDENTIAL = "credential", 1;
    /// The genesis record of a tree.
    GENESIS = "genesis", 1;
    /// The record by which a tree's root hands over to another.
    SUCCESSION = "succession", 1;
    /// The successor's word that it accepts.
    SUCCESSION_ACCEPTED = "succession-accepted", 1;
    /// The birth record of a zone.
    BIRTH = "birth", 1;
    /// A record of a zone's access log.
    ACCESS = "access", 2;
    /// A record of a zone's epoch list.
    EPOCH = "epoch", 1;
    /// The commitment to an epoch key.
    EPOCH_COMMITMENT = "epoch-commitment", 1;
    /// The previous epoch key sealed under the new one.
    EPOCH_CHAIN = "epoch-chain", 1;
    /// An epoch key sealed to one reader.
    READCAP = "readcap", 1;
    /// The certificate of a session key.
    SESSION = "session", 1;
    /// A head record.
    HEAD = "head", 1;
    /// The key of a segment.
    SEGMENT_KEY = "segment-key", 1;
    /// The id of a segment.
    SEGMENT_ID = "segment-id", 1;
    /// The context under which a block is hashed.
    BLOCK_HASH = "block-hash", 1;
    /// The key of a journal.
    JOURNAL_KEY = "journal-key", 1;
    /// A batch of journal records.
    JOURNAL_BATCH = "journal-batch", 1;
    /// The keys derived from the root seed.
    ROOT_SEED = "root-seed", 1;
    /// The passphrase-protected root file.
    ROOT_FILE = "root-file", 1;
    /// The passphrase-protected file of a principal.
    PRINCIPAL_FILE = "principal-file", 1;
    /// The checksum of a credential that is written as text.
    PRINCIPAL_TEXT = "principal-text", 1;
    /// The hash of the file that names a node's keys in a TPM.
    TPM_FILE = "tpm-file", 1;
    /// The record that a counter vouches for.
    COUNTER = "counter", 1;
    /// A secret of an app, sealed to a node.
    APP_SECRET = "app-secret", 1;
    /// The hash of a caller's token.
    TOKEN = "token", 1;
    /// What a TPM is given for a recovery passphrase.
    TPM_RECOVERY = "tpm-recovery", 1;
    /// The manifest of a package.
    PACKAGE = "package", 1;
    /// The component or an asset of a package.
    PACKAGE_PART = "package-part", 1;
    /// The statement by which an author of packages hands over to another.
    AUTHOR_SUCCESSION = "author-succession", 1;
    /// The word of the author that follows that it accepts.
    AUTHOR_SUCCESSION_ACCEPTED = "author-succession-accepted", 1;
    /// The record of an installed app.
    INSTALLATION = "installation", 1;
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn labels_are_unique() {
        for (i, label) in ALL.iter().enumerate() {
            assert!(ALL[..i].iter().all(|other| other.name != label.name), "{} twice", label.name);
        }
    }
}
