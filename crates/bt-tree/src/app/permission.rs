//! What an app asks for, what an owner gives it, and both in words that an owner understands.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

use super::limits::VALUE_BYTES;
use super::words::{Host, Line, PermissionName, TreePath};

/// Something that an app wants to be able to do.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Permission {
    /// What it is called, in grants and in the guest.
    pub name: PermissionName,
    /// What it is.
    pub kind: PermissionKind,
    /// What for, in the author's words: shown after ours, never instead.
    pub why: Line,
}

/// The kinds of permissions.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum PermissionKind {
    /// A directory of the tree, which the guest sees as `/` and the permission's name.
    Files {
        /// The one that the author has in mind; the owner may give another.
        path: TreePath,
        /// Whether to change what is in it.
        write: bool,
    },
    /// Requests over HTTP to one host.
    Http {
        /// The host.
        host: Host,
        /// Its TCP port.
        port: u16,
    },
    /// A secret that the owner enters; the guest has it as an environment variable.
    Secret,
    /// Messages between principals.
    Messages,
    /// A value that the owner chooses; the guest has it as an environment variable.
    Environment,
}

impl Permission {
    /// What it allows, in our words: what an owner reads before anything that the author wrote.
    pub fn in_words(&self) -> String {
        match &self.kind {
            PermissionKind::Files { path, write } => files_in_words(path, *write),
            PermissionKind::Http { host, port } => http_in_words(host, *port),
            PermissionKind::Secret => format!("be given a secret that you enter, {}", self.name.variable()),
            PermissionKind::Messages => "send messages to other principals, and get theirs".to_owned(),
            PermissionKind::Environment => format!("be given a value that you choose, {}", self.name.variable()),
        }
    }

    /// Whether granting `earlier` covers this: an upgrade asks again for what is not covered.
    pub fn is_covered_by(&self, earlier: &Self) -> bool {
        let kind = match (&self.kind, &earlier.kind) {
            (PermissionKind::Files { write, .. }, PermissionKind::Files { write: before, .. }) => *before || !write,
            (kind, before) => kind == before,
        };
        kind && self.name == earlier.name
    }
}

/// What an owner gives for one permission.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Grant {
    /// The permission's name.
    pub permission: PermissionName,
    /// What is given.
    pub to: GrantTo,
    /// Whether the app has it whoever calls (the owner's explicit choice), or only as far as the caller has it too.
    pub as_app: bool,
}

/// What is given, by kind.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum GrantTo {
    /// A directory of the tree.
    Files {
        /// Which, by the owner's choice.
        path: TreePath,
        /// Whether what is in it may be changed.
        write: bool,
    },
    /// Requests over HTTP to one host.
    Http {
        /// The host, as asked for.
        host: Host,
        /// Its TCP port, as asked for.
        port: u16,
    },
    /// The secret of that name, once it is entered.
    Secret,
    /// Messages between principals.
    Messages,
    /// A value.
    Environment {
        /// The value: at most 4096 bytes, and no NUL.
        value: String,
    },
}

/// Why a grant does not fit what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The app does not ask for it.
    #[error("the app does not ask for a permission {0}")]
    NotAsked(PermissionName),
    /// It is of another kind, or for more.
    #[error("permission {permission} is to {asked}; a grant to {given} is more or something else")]
    Exceeds {
        /// The permission.
        permission: PermissionName,
        /// What is asked for.
        asked: String,
        /// What would be given.
        given: String,
    },
    /// Two grants for one permission.
    #[error("permission {0} is granted twice")]
    Twice(PermissionName),
    /// A value that cannot be an environment variable.
    #[error("the value for {0} has a NUL or more than 4096 bytes")]
    Value(PermissionName),
}

impl Grant {
    /// All that is asked for, as caller; none for a value, which the owner has to choose.
    pub fn of_all(permission: &Permission) -> Option<Self> {
        let to = match &permission.kind {
            PermissionKind::Files { path, write } => GrantTo::Files { path: path.clone(), write: *write },
            PermissionKind::Http { host, port } => GrantTo::Http { host: host.clone(), port: *port },
            PermissionKind::Secret => GrantTo::Secret,
            PermissionKind::Messages => GrantTo::Messages,
            PermissionKind::Environment => return None,
        };
        Some(Self { permission: permission.name.clone(), to, as_app: false })
    }

    /// What is given, in our words.
    pub fn in_words(&self) -> String {
        let what = match &self.to {
            GrantTo::Files { path, write } => files_in_words(path, *write),
            GrantTo::Http { host, port } => http_in_words(host, *port),
            GrantTo::Secret => format!("be given the secret {}", self.permission.variable()),
            GrantTo::Messages => "send messages to other principals, and get theirs".to_owned(),
            GrantTo::Environment { value } => format!("be given {}={value:?}", self.permission.variable()),
        };
        if self.as_app { format!("{what}, whoever calls it") } else { what }
    }

    /// Checks that it gives no more than one of `asked` asks for. The owner chooses the directory; a directory to be
    /// changed may be given to be read only.
    pub fn check(&self, asked: &[Permission]) -> Result<(), GrantError> {
        let name = &self.permission;
        let permission =
            asked.iter().find(|asked| asked.name == *name).ok_or_else(|| GrantError::NotAsked(name.clone()))?;
        let fits = match (&self.to, &permission.kind) {
            (GrantTo::Files { write, .. }, PermissionKind::Files { write: asked, .. }) => *asked || !write,
            (GrantTo::Http { host, port }, PermissionKind::Http { host: asked, port: asked_port }) => {
                (host, port) == (asked, asked_port)
            }
            (GrantTo::Secret, PermissionKind::Secret)
            | (GrantTo::Messages, PermissionKind::Messages)
            | (GrantTo::Environment { .. }, PermissionKind::Environment) => true,
            _ => false,
        };
        let exceeds =
            || GrantError::Exceeds { permission: name.clone(), asked: permission.in_words(), given: self.in_words() };
        if fits { Ok(()) } else { Err(exceeds()) }
    }

    /// Checks all grants of an installation against what its package asks for.
    pub fn check_all(grants: &[Self], asked: &[Permission]) -> Result<(), GrantError> {
        Self::check_alone(grants)?;
        grants.iter().try_for_each(|grant| grant.check(asked))
    }

    /// Checks what can be said of grants without the package: none is there twice, and values can be given.
    pub(super) fn check_alone(grants: &[Self]) -> Result<(), GrantError> {
        for (place, grant) in grants.iter().enumerate() {
            if grants[..place].iter().any(|before| before.permission == grant.permission) {
                return Err(GrantError::Twice(grant.permission.clone()));
            }
            match &grant.to {
                GrantTo::Environment { value } if value.len() > VALUE_BYTES || value.contains('\0') => {
                    return Err(GrantError::Value(grant.permission.clone()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl fmt::Display for Permission {
    /// Our words, then the author's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (the author says: {})", self.in_words(), self.why)
    }
}

fn files_in_words(path: &TreePath, write: bool) -> String {
    let what = match path.is_top() {
        true => "everything in the tree".to_owned(),
        false => format!("what is in {path} of the tree"),
    };
    if write { format!("read, change and delete {what}") } else { format!("read {what}") }
}

fn http_in_words(host: &Host, port: u16) -> String {
    let inside = host.address().is_some() || host.as_str() == "localhost";
    let what = if inside { "the machine at " } else { "" };
    format!("send requests to {what}{host}, port {port}, and read the answers")
}
