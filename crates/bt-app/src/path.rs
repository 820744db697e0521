//! What paths that guests name look like.
//!
//! A path is relative to a directory and never leads out of it. The guest's process refuses what cannot be one; where a path
//! leads, with `..` and symbolic links, is decided by the node.

use crate::limits::{NAME_SIZE, PATH_SIZE};
use crate::protocol::FileError;

/// One component of a path; `.` is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component<'a> {
    /// `..`
    Parent,
    /// A name.
    Name(&'a str),
}

/// A path taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// Its components. None: the directory itself.
    pub components: Vec<Component<'a>>,
    /// Whether it can only mean a directory: it ends with `/`, `.` or `..`.
    pub directory: bool,
}

/// Takes a path apart.
///
/// # Errors
/// [`FileError::NoEntry`] when it is empty, [`FileError::NotPermitted`] when it is absolute, [`FileError::Invalid`] when there
/// is a NUL in it, [`FileError::NameTooLong`].
pub fn parse(path: &str) -> Result<Parsed<'_>, FileError> {
    if path.is_empty() {
        return Err(FileError::NoEntry);
    }
    if path.starts_with('/') {
        return Err(FileError::NotPermitted);
    }
    if path.contains('\0') {
        return Err(FileError::Invalid);
    }
    if path.len() > PATH_SIZE || path.split('/').any(|name| name.len() > NAME_SIZE) {
        return Err(FileError::NameTooLong);
    }
    let components = path.split('/').filter_map(|name| match name {
        "" | "." => None,
        ".." => Some(Component::Parent),
        name => Some(Component::Name(name)),
    });
    let last = path.rsplit('/').next().unwrap_or_default();
    Ok(Parsed { components: components.collect(), directory: matches!(last, "" | "." | "..") })
}

#[cfg(test)]
mod tests {
    use super::Component::{Name, Parent};
    use super::*;

    #[test]
    fn a_path_is_taken_apart() {
        let parsed = parse("a/./b//../c").unwrap();
        assert_eq!(parsed.components, [Name("a"), Name("b"), Parent, Name("c")]);
        assert!(!parsed.directory);
        for path in ["a/", "a/.", "a/..", ".", "./"] {
            assert!(parse(path).unwrap().directory, "{path:?}");
        }
    }

    #[test]
    fn what_is_no_relative_path_is_refused() {
        assert_eq!(parse(""), Err(FileError::NoEntry));
        assert_eq!(parse("/etc/passwd"), Err(FileError::NotPermitted));
        assert_eq!(parse("//"), Err(FileError::NotPermitted));
        assert_eq!(parse("a\0b"), Err(FileError::Invalid));
        assert_eq!(parse(&"n".repeat(256)), Err(FileError::NameTooLong));
        assert_eq!(parse(&"n/".repeat(2049)), Err(FileError::NameTooLong));
        assert!(parse(&"n".repeat(255)).is_ok());
    }
}
