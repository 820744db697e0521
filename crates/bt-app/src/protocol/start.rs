//! What a call begins with.

use serde::{Deserialize, Serialize};

/// Header fields in their order; names are lower case, values are any bytes that HTTP allows.
pub type Fields = Vec<(String, Vec<u8>)>;

/// Everything that a guest learns when it is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Which entry is called, with what.
    pub what: What,
    /// The directories (or files) that it may use; the first is [`super::FileId`] 0, and so on.
    pub roots: Vec<Root>,
    /// Who calls. For the guest to read; nothing is decided by it.
    pub caller: Caller,
    /// The environment: what the installation grants of it, secrets among it.
    pub environment: Vec<(String, String)>,
}

/// Which entry is called, with what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// `wasi:http/incoming-handler`: the body is read through the channel.
    Http(HttpRequest),
    /// `wasi:cli/run`: standard input is read through the channel, as a body is.
    Run {
        /// The arguments, of which the first is the program's name.
        arguments: Vec<String>,
    },
}

/// The head of an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// The method as it came.
    pub method: String,
    /// Whether it came over TLS.
    pub https: bool,
    /// The host that the client named, with its port if it named one.
    pub authority: String,
    /// The path as the app sees it, and the query.
    pub path_and_query: String,
    /// The header fields.
    pub headers: Fields,
    /// Whether a body (or trailers) follows.
    pub has_body: bool,
}

/// A directory that the call may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The absolute path under which the guest sees it, such as `/photos`.
    pub name: String,
    /// Whether the guest may change what is in it.
    pub write: bool,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Caller {
    /// Nobody said who it is.
    Anonymous,
    /// A principal of the tree.
    Principal {
        /// Its id in the form that people read.
        id: String,
        /// The name that the tree knows it by.
        name: String,
    },
}
