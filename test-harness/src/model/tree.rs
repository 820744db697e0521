//! All that a directory holds, as text that can be compared.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::posix::Show;
use crate::sys;

/// By path: type, mode, links, owner, size, content, target, attributes, and the first name of the same inode.
pub type Description = BTreeMap<String, String>;

/// Describes everything below `root`, without times and inode numbers.
///
/// # Errors
/// When something cannot be read.
pub fn describe(root: &std::path::Path) -> Result<Description> {
    use std::os::unix::ffi::OsStrExt;
    let mut description = Description::new();
    let mut first_names = BTreeMap::new();
    walk(root.as_os_str().as_bytes(), "", &mut description, &mut first_names)?;
    Ok(description)
}

fn walk(
    directory: &[u8],
    prefix: &str,
    description: &mut Description,
    first_names: &mut BTreeMap<u64, String>,
) -> Result<()> {
    for name in sys::names(directory).with_context(|| format!("listing {prefix:?}"))? {
        let path = [directory, b"/", &name].concat();
        let shown = format!("{prefix}/{}", name.escape_ascii());
        let stat = sys::lstat(&path).with_context(|| format!("stat of {shown}"))?;
        let first = first_names.entry(stat.st_ino).or_insert_with(|| shown.clone()).clone();
        let text = entry(&path, &stat).with_context(|| format!("reading {shown}"))?;
        description.insert(shown.clone(), format!("{text}, first name {first}"));
        if stat.st_mode & sys::S_IFMT == sys::S_IFDIR && !(prefix.is_empty() && name == b"lost+found") {
            walk(&path, &shown, description, first_names)?;
        }
    }
    Ok(())
}

fn entry(path: &[u8], stat: &libc::stat) -> Result<String> {
    let content = match stat.st_mode & sys::S_IFMT {
        sys::S_IFREG => sys::content(path)?.show(),
        sys::S_IFLNK => sys::readlink(path)?.show(),
        _ => String::new(),
    };
    let mut attributes = String::new();
    for name in sys::list_xattr(path)? {
        attributes += &format!(" {}={}", name.show(), sys::lget_xattr(path, &name)?.show());
    }
    Ok(format!("{} {content}{attributes}", stat.show()))
}
