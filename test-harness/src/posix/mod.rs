//! Small cases of file system behaviour, each observed on ext4 and on a mounted tree.
//!
//! A case is a function that works in an empty directory (the working directory) as root and writes down what it
//! saw: results, error numbers, and those fields of stat that are the same on every file system. It runs in a
//! process of its own, so that it may change its umask, its limits or its user. [`run`] compares the two lists of
//! observations line by line; [`exceptions`] holds every difference that is allowed, with the reason.

mod acl;
mod copy;
mod data;
mod directories;
mod exceptions;
mod limits;
mod links;
mod locks;
mod log;
mod mapped;
mod modes;
mod names;
mod nodes;
mod opening;
mod permissions;
mod readdir;
mod renaming;
mod run;
mod space;
mod sparse;
mod times;
mod unlinked;
mod xattr;

pub use exceptions::{EXCEPTIONS, Exception};
pub use log::{Log, Show};
pub use run::{case_main, compare, observe};

/// A case: its name, and what it does.
pub type Case = (&'static str, fn(&mut Log));

/// All cases, by group.
pub const GROUPS: &[(&str, &[Case])] = &[
    ("opening", opening::CASES),
    ("names", names::CASES),
    ("directories", directories::CASES),
    ("links", links::CASES),
    ("renaming", renaming::CASES),
    ("nodes", nodes::CASES),
    ("readdir", readdir::CASES),
    ("data", data::CASES),
    ("sparse", sparse::CASES),
    ("mapped", mapped::CASES),
    ("copy", copy::CASES),
    ("unlinked", unlinked::CASES),
    ("xattr", xattr::CASES),
    ("acl", acl::CASES),
    ("modes", modes::CASES),
    ("permissions", permissions::CASES),
    ("times", times::CASES),
    ("locks", locks::CASES),
    ("space", space::CASES),
    ("limits", limits::CASES),
];

/// The case named `group::case`.
#[must_use]
pub fn find(name: &str) -> Option<fn(&mut Log)> {
    let (group, case) = name.split_once("::")?;
    let (_, cases) = GROUPS.iter().find(|(known, _)| *known == group)?;
    cases.iter().find(|(known, _)| *known == case).map(|(_, run)| *run)
}

/// Defines the cases of a group and their table `CASES`.
macro_rules! cases {
    ($($(#[$doc:meta])* fn $name:ident($log:ident) $body:block)*) => {
        $($(#[$doc])* fn $name($log: &mut $crate::posix::Log) $body)*
        /// The cases of this group.
        pub(super) const CASES: &[$crate::posix::Case] = &[$((stringify!($name), $name)),*];
    };
}

/// Evaluates an expression and writes it down with its value.
macro_rules! see {
    ($log:expr, $value:expr) => {{
        let value = $value;
        $log.note(stringify!($value), value);
    }};
}

pub(crate) use {cases, see};
