//! Whom a command asks: the process that serves a directory, or the directory itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bt_crypto::KeyStore;
use bt_node::Node;
use bt_node::control::{Client, Failure, Request, Response, Service};
use bt_node::options::OpenOptions;

use crate::mounts;
use crate::progress::Bar;

/// Where requests of a command go.
pub enum Target {
    /// The process that serves the directory.
    Served(Client),
    /// The directory, opened by this process under its lock.
    Opened(Arc<Node>),
}

impl Target {
    /// Finds whom to ask about `dir`, which may also be the mount point of a tree. Without a serving process the
    /// directory is opened, read-only unless the command is going to `write`.
    pub fn find(dir: &Path, write: bool) -> Result<Self, Failure> {
        let dir = node_dir(dir)?;
        check_dir(&dir)?;
        if let Some(client) = Client::connect(&dir)? {
            return Ok(Self::Served(client));
        }
        Node::open(&dir, &OpenOptions { read_only: !write, ..OpenOptions::default() }).map(Self::Opened)
    }

    /// Finds whom to ask to change who may do what. Without a serving process the directory is opened, acting for the
    /// principal that signs: whatever became of the node's own rights.
    pub fn find_for(dir: &Path, signer: Arc<dyn KeyStore>) -> Result<Self, Failure> {
        let dir = node_dir(dir)?;
        check_dir(&dir)?;
        match Client::connect(&dir)? {
            Some(client) => Ok(Self::Served(client)),
            None => Node::open_as(&dir, &OpenOptions::default(), signer).map(Self::Opened),
        }
    }

    /// Sends one request; shows progress on a terminal and stops at Ctrl-C.
    pub fn call(&mut self, request: Request) -> Result<Response, Failure> {
        let mut bar = Bar::new();
        match self {
            Self::Served(client) => client.call(&request, &mut |step| bar.step(step)),
            Self::Opened(node) => node.handle(request, &mut |step| bar.step(step)),
        }
    }

    /// Lets go of the node; an opened one commits what changed.
    pub fn close(self) -> Result<(), Failure> {
        match self {
            Self::Served(_) => Ok(()),
            Self::Opened(node) => node.close(),
        }
    }
}

/// Sends one request about `dir` and lets go of it again.
pub fn ask(dir: &Path, write: bool, request: Request) -> Result<Response, Failure> {
    let mut target = Target::find(dir, write)?;
    let answer = target.call(request);
    let closed = target.close();
    let answer = answer?;
    closed.map(|()| answer)
}

/// The node's directory that `path` names, by itself or as the mount point of its tree.
pub fn node_dir(path: &Path) -> Result<PathBuf, Failure> {
    Ok(mounts::at(path)?.map_or_else(|| mounts::place(path), |mount| mount.dir))
}

/// Refuses a directory that no tree was made in.
pub fn check_dir(dir: &Path) -> Result<(), Failure> {
    match fs::metadata(dir.join("format")) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err(Failure::refused(
                format!("{} is not the directory of a node", dir.display()),
                format!("make a tree there with `bt init {}`, or name another directory", dir.display()),
            ))
        }
        Err(error) => Err(Failure::io(format!("looking at {}", dir.display()), &error)),
    }
}

/// An answer of another kind than the request asks for.
pub fn unexpected(response: &Response) -> Failure {
    let text: String = format!("{response:?}").chars().take(80).collect();
    Failure::problem(format!("the node answered something else: {text}"), "use the bt that mounted the tree")
}
