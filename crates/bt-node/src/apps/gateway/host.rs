//! For which host a request comes, and from which page.

use std::net::{IpAddr, SocketAddr};

use bt_tree::app::AppName;

/// What a host name stands for here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// The node: `/app/` and `/fn/` lead on.
    Node,
    /// An app that has the name, and so a web origin, for itself.
    App(AppName),
}

/// The host names of a node.
pub(super) struct Hosts(Vec<(String, Option<AppName>)>);

impl Hosts {
    /// Those that the owner named, beside those of every node.
    pub(super) fn new(named: Vec<(String, Option<AppName>)>) -> Self {
        Self(named.into_iter().map(|(host, app)| (host.to_ascii_lowercase(), app)).collect())
    }

    /// What `authority`, a host with or without a port, stands for on a connection to `local`; none where it is a name that
    /// nobody gave this node: a page of elsewhere that had its own name lead here.
    pub(super) fn find(&self, authority: &str, local: SocketAddr) -> Option<Host> {
        let host = host_of(authority)?.to_ascii_lowercase();
        if let Some((_, app)) = self.0.iter().find(|(name, _)| *name == host) {
            return Some(app.clone().map_or(Host::Node, Host::App));
        }
        if let Some(app) = host.strip_suffix(".localhost") {
            return app.parse().ok().map(Host::App);
        }
        let is_address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let is_own = is_address.is_ok_and(|address| address.to_canonical() == local.ip().to_canonical());
        (host == "localhost" || is_own).then_some(Host::Node)
    }
}

/// The host of `host:port`; none where it is none.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (_, port) = rest.split_once(']')?;
            (&authority[..authority.len() - port.len()], port.strip_prefix(':').or(port.is_empty().then_some("")))
        }
        None => authority.split_once(':').map_or((authority, Some("")), |(host, port)| (host, Some(port))),
    };
    let is_port = port?.bytes().all(|byte| byte.is_ascii_digit());
    (!host.is_empty() && is_port).then_some(host)
}

/// Whether a request that may change something comes from a page of the same origin, or from no page at all.
pub(super) fn is_same_origin(https: bool, authority: &str, origin: Option<&[u8]>, site: Option<&[u8]>) -> bool {
    let scheme = if https { "https" } else { "http" };
    let own = format!("{scheme}://{}", authority.to_ascii_lowercase());
    match (origin, site) {
        (Some(origin), _) => origin.eq_ignore_ascii_case(own.as_bytes()),
        (None, Some(site)) => [&b"same-origin"[..], b"none"].contains(&site),
        (None, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_node_are_answered() {
        let hosts = Hosts::new(vec![("Tree.example".into(), None), ("notes.example".into(), "notes".parse().ok())]);
        let app = |name: &str| Some(Host::App(name.parse().unwrap()));
        for (authority, local, expected) in [
            ("localhost:8080", "127.0.0.1:8080", Some(Host::Node)),
            ("LOCALHOST", "127.0.0.1:8080", Some(Host::Node)),
            ("127.0.0.1:8080", "127.0.0.1:8080", Some(Host::Node)),
            ("[::1]:8080", "[::1]:8080", Some(Host::Node)),
            ("127.0.0.1", "[::ffff:127.0.0.1]:80", Some(Host::Node)),
            ("192.168.1.5", "127.0.0.1:8080", None),
            ("notes.localhost:8080", "127.0.0.1:8080", app("notes")),
            ("a.notes.localhost", "127.0.0.1:8080", None),
            (".localhost", "127.0.0.1:8080", None),
            ("evil.example", "127.0.0.1:8080", None),
            ("localhost.evil.example", "127.0.0.1:8080", None),
            ("tree.example:443", "10.0.0.1:443", Some(Host::Node)),
            ("notes.EXAMPLE", "10.0.0.1:443", app("notes")),
            ("", "127.0.0.1:8080", None),
            ("localhost:80x", "127.0.0.1:8080", None),
            ("[::1", "[::1]:8080", None),
            ("user@localhost", "127.0.0.1:8080", None),
        ] {
            assert_eq!(hosts.find(authority, local.parse().unwrap()), expected, "{authority} at {local}");
        }
    }

    #[test]
    fn pages_of_elsewhere_change_nothing() {
        let same = |origin: Option<&str>, site: Option<&str>| {
            is_same_origin(false, "Notes.localhost:80", origin.map(str::as_bytes), site.map(str::as_bytes))
        };
        assert!(same(None, None) && same(None, Some("same-origin")) && same(None, Some("none")));
        assert!(same(Some("http://notes.localhost:80"), Some("same-origin")));
        for origin in ["null", "http://evil.example", "https://notes.localhost:80", "http://notes.localhost", ""] {
            assert!(!same(Some(origin), None), "{origin}");
        }
        assert!(!same(None, Some("cross-site")) && !same(None, Some("same-site")));
    }
}
