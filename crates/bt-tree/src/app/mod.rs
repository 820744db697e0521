//! Apps: signed packages, what they ask for, and what an owner gave them.
//!
//! ```text
//! Package (a file; its id is the hash of the manifest)
//!    ├─ Manifest, signed by its author ── Handover: from one author to the next
//!    │     └─ Entry, Permission, Limits
//!    └─ component, assets: covered by their hashes in the manifest
//! Installation (a file in the tree; the access log of the top zone names its hash)
//!    └─ package, version, author, Grant: what of the permissions the owner gave
//! ```
//!
//! A package says what it would like; nothing follows from that. What it may do stands in the installation, which counts
//! only while the tree's access log names it.
//!
//! Invariants:
//! * A value of a type here is within its limits ([`limits`]), and so is what was decoded.
//! * A package is judged by the bytes as received: id and signature are over them.
//! * Words that an author wrote are [`words::Line`]s: they cannot look like another line, or another order of letters.
//!
//! Byte tables: `doc/format/package.md`, `doc/format/installation.md`.

mod author;
mod installation;
pub mod limits;
mod manifest;
mod package;
mod permission;
#[cfg(test)]
mod tests;
pub mod words;

pub use author::{Authorship, Handover, HandoverError};
pub use installation::{Installation, InstallationError, Kept};
pub use manifest::{Entry, Limits, Manifest, ManifestError, Part};
pub use package::{Package, PackageError, UnsignedPackage};
pub use permission::{Grant, GrantError, GrantTo, Permission, PermissionKind};
pub use words::{AppName, Host, Line, PermissionName, TreePath, Version};
