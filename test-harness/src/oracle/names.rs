//! Operations on names, and the names they leave.

use std::collections::BTreeMap;

/// A file of a history, whatever its names.
pub type FileId = usize;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File(FileId),
    /// A directory.
    Directory,
    /// A symbolic link with its target.
    Link(String),
}

/// One operation on names, whole or not at all. Paths are relative to the worker's directory.
#[derive(Debug, Clone)]
pub enum NameOperation {
    /// A new empty file.
    Create(String, FileId),
    /// A new directory.
    Mkdir(String),
    /// A new symbolic link: target, path.
    Symlink(String, String),
    /// One more name: existing, new.
    Link(String, String),
    /// One name less.
    Unlink(String),
    /// An empty directory less.
    Rmdir(String),
    /// Moves, and replaces what is there.
    Rename(String, String),
    /// Changes two names for each other.
    Exchange(String, String),
}

/// All names of a directory tree, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(pub BTreeMap<String, Node>);

impl Names {
    /// Applies an operation that the file system accepted.
    pub fn apply(&mut self, operation: &NameOperation) {
        use NameOperation as Op;
        match operation {
            Op::Create(path, file) => drop(self.0.insert(path.clone(), Node::File(*file))),
            Op::Mkdir(path) => drop(self.0.insert(path.clone(), Node::Directory)),
            Op::Symlink(target, path) => drop(self.0.insert(path.clone(), Node::Link(target.clone()))),
            Op::Link(from, to) => {
                let node = self.0.get(from).expect("a link's source exists").clone();
                self.0.insert(to.clone(), node);
            }
            Op::Unlink(path) | Op::Rmdir(path) => drop(self.0.remove(path)),
            Op::Rename(from, to) => {
                self.0.retain(|path, _| !below(path, to));
                self.put(self.0.clone().range(from.clone()..), from, to);
            }
            Op::Exchange(left, right) => {
                let old = std::mem::take(&mut self.0);
                self.0 = old.into_iter().map(|(path, node)| (swapped(&path, left, right), node)).collect();
            }
        }
    }

    /// Moves everything at or below `from` to `to`.
    fn put<'a>(&mut self, old: impl Iterator<Item = (&'a String, &'a Node)>, from: &str, to: &str) {
        for (path, node) in old.filter(|(path, _)| below(path, from)) {
            self.0.remove(path);
            self.0.insert(format!("{to}{}", &path[from.len()..]), node.clone());
        }
    }

    /// Paths of the nodes that `wanted` picks.
    pub fn paths(&self, wanted: impl Fn(&Node) -> bool) -> Vec<&String> {
        self.0.iter().filter(|(_, node)| wanted(node)).map(|(path, _)| path).collect()
    }

    /// Whether nothing is in the directory `path`.
    #[must_use]
    pub fn is_empty_directory(&self, path: &str) -> bool {
        !self.0.keys().any(|other| other != path && below(other, path))
    }
}

/// Whether `path` is `top` or in it.
pub(crate) fn below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn swapped(path: &str, left: &str, right: &str) -> String {
    if below(path, left) {
        format!("{right}{}", &path[left.len()..])
    } else if below(path, right) {
        format!("{left}{}", &path[right.len()..])
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(operations: &[NameOperation]) -> Vec<(String, Node)> {
        let mut names = Names::default();
        operations.iter().for_each(|operation| names.apply(operation));
        names.0.into_iter().collect()
    }

    #[test]
    fn a_directory_moves_with_what_is_in_it() {
        use NameOperation as Op;
        let mut done = vec![Op::Mkdir("d".into()), Op::Create("d/a".into(), 1), Op::Create("da".into(), 2)];
        done.push(Op::Rename("d".into(), "e".into()));
        let left = [("da", Node::File(2)), ("e", Node::Directory), ("e/a", Node::File(1))];
        assert_eq!(names(&done), left.map(|(path, node)| (path.to_owned(), node)));
        done.push(Op::Exchange("da".into(), "e".into()));
        let left = [("da", Node::Directory), ("da/a", Node::File(1)), ("e", Node::File(2))];
        assert_eq!(names(&done), left.map(|(path, node)| (path.to_owned(), node)));
    }
}
