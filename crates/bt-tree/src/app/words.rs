//! The small values of which manifests and grants are made: names, versions, paths, hosts, lines for people.
//!
//! Each can be made from text only where it is a valid one, and decoding goes the same way.

use core::net::IpAddr;
use std::fmt;
use std::io::{Error, ErrorKind, Read, Result as IoResult};
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::limits::NAME_SIZE;

use super::limits::{LINE_BYTES, PATH_BYTES};

/// Text that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// No name of an app.
    #[error(
        "{0:?} is no name of an app: it has 2 to 40 small letters, digits and hyphens, begins with a letter and ends \
         with no hyphen"
    )]
    AppName(String),
    /// No name of a permission.
    #[error(
        "{0:?} is no name of a permission: it has 1 to 32 small letters, digits and hyphens, begins with a letter and \
         ends with no hyphen"
    )]
    PermissionName(String),
    /// No version.
    #[error("{0:?} is no version: it has three numbers, as 1.0.3")]
    Version(String),
    /// No path in a tree.
    #[error("{path:?} is no path in a tree: {why}")]
    Path {
        /// The text.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No host.
    #[error(
        "{0:?} is no host: write a name as api.example.com in small letters, an IPv4 address in four decimal numbers, \
         or an IPv6 address in its short form"
    )]
    Host(String),
    /// No line for people.
    #[error("{0:?} cannot be shown on one line: it needs 1 to 200 bytes without control or direction characters")]
    Line(String),
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl BorshDeserialize for $name {
            fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
                let text = String::deserialize_reader(reader)?;
                let word: Self = text.parse().map_err(|error: WordError| Error::new(ErrorKind::InvalidData, error))?;
                match word.0 == text {
                    true => Ok(word),
                    false => Err(Error::new(ErrorKind::InvalidData, format!("{text:?} is not written as {:?}", word.0))),
                }
            }
        }
    )*};
}

words! {
    /// What an app is called; a host name can be made of it.
    AppName;
    /// What a permission is called; a guest finds the files under it as the directory of that name.
    PermissionName;
    /// A path from the top of a tree, without the slash that it is shown with; empty for the top itself.
    TreePath;
    /// A host that requests may go to: a name, or an address in its one written form.
    Host;
    /// A line that a person wrote for others.
    Line;
}

macro_rules! shown_as_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

shown_as_text!(AppName, PermissionName, Host, Line);

fn is_label(text: &str, lengths: std::ops::RangeInclusive<usize>) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    lengths.contains(&text.len())
        && text.bytes().all(is_inner)
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && !text.ends_with('-')
}

impl FromStr for AppName {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match is_label(text, 2..=40) {
            true => Ok(Self(text.to_owned())),
            false => Err(WordError::AppName(shortened(text))),
        }
    }
}

impl FromStr for PermissionName {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match is_label(text, 1..=32) {
            true => Ok(Self(text.to_owned())),
            false => Err(WordError::PermissionName(shortened(text))),
        }
    }
}

impl PermissionName {
    /// The environment variable that a secret or a value of this name is given as: `api-token` is `API_TOKEN`.
    pub fn variable(&self) -> String {
        self.0.to_ascii_uppercase().replace('-', "_")
    }
}

impl FromStr for TreePath {
    type Err = WordError;

    /// Takes the path with or without the slash before it.
    fn from_str(text: &str) -> Result<Self, WordError> {
        let path = text.strip_prefix('/').unwrap_or(text);
        let wrong = |why| Err(WordError::Path { path: shortened(text), why });
        if path.len() > PATH_BYTES {
            return wrong("it has more than 1024 bytes");
        }
        for part in path.split('/').filter(|_| !path.is_empty()) {
            match part {
                "" => return wrong("two slashes follow one another, or one stands at its end"),
                "." | ".." => return wrong("it goes through . or .."),
                _ if part.len() > NAME_SIZE => return wrong("a name in it has more than 255 bytes"),
                _ if part.chars().any(is_unfit) => return wrong("it has a control or direction character"),
                _ => {}
            }
        }
        Ok(Self(path.to_owned()))
    }
}

impl TreePath {
    /// The names from the top downwards; none for the top itself.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }

    /// Whether it is the top of the tree.
    pub fn is_top(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

impl FromStr for Host {
    type Err = WordError;

    /// Refuses what resolvers read as an address although it does not look like one, as 127.1 or 0x7f.0.0.1.
    fn from_str(text: &str) -> Result<Self, WordError> {
        let is_address = text.parse::<IpAddr>().is_ok_and(|address| address.to_string() == text);
        match is_address || is_host_name(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(WordError::Host(shortened(text))),
        }
    }
}

fn is_host_name(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let is_part = |part: &str| {
        (1..=63).contains(&part.len()) && part.bytes().all(is_inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.split('.').all(is_part) && last.starts_with(|first: char| first.is_ascii_lowercase())
}

impl Host {
    /// The address, where it is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }
}

impl FromStr for Line {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let fits = (1..=LINE_BYTES).contains(&text.len()) && !text.chars().any(is_unfit) && text.trim() == text;
        if fits { Ok(Self(text.to_owned())) } else { Err(WordError::Line(shortened(text))) }
    }
}

/// Characters with which a text would look like another one: controls, line ends, directions, and those without width.
fn is_unfit(c: char) -> bool {
    let unseen = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}');
    c.is_control() || unseen || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The version of an app, or the least one of a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third.
    pub patch: u32,
}

impl Version {
    /// A version of three numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let number = |part: &str| part.parse().ok().filter(|number: &u32| number.to_string() == part);
        let numbers: Option<Vec<u32>> = text.split('.').map(number).collect();
        match numbers.as_deref() {
            Some([major, minor, patch]) => Ok(Self::new(*major, *minor, *patch)),
            _ => Err(WordError::Version(shortened(text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use bt_base::codec::{decode_exact, encode};

    use super::*;

    fn all<T: FromStr<Err = WordError>>(good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(text.parse::<T>().is_ok(), "{text:?} was refused");
        }
        for text in bad {
            assert!(text.parse::<T>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn names_can_be_host_names_and_variables() {
        all::<AppName>(
            &["ab", "notes", "a-1", &"a".repeat(40)],
            &["", "a", "A1", "-ab", "ab-", "1a", "a_b", "a.b", "é"],
        );
        all::<AppName>(&[], &[&"a".repeat(41)]);
        all::<PermissionName>(&["a", "api-token", &"a".repeat(32)], &["", "..", "a/b", "A", &"a".repeat(33)]);
        assert_eq!("api-token".parse::<PermissionName>().unwrap().variable(), "API_TOKEN");
    }

    #[test]
    fn versions_have_one_text() {
        all::<Version>(
            &["0.0.0", "1.20.4294967295"],
            &["", "1", "1.2", "1.2.3.4", "01.2.3", "+1.2.3", "1.2.4294967296"],
        );
        assert!(Version::new(1, 9, 0) < Version::new(1, 10, 0));
        assert_eq!(Version::new(1, 2, 3).to_string(), "1.2.3");
    }

    #[test]
    fn paths_stay_below_the_top() {
        all::<TreePath>(
            &["", "/", "notes", "/notes/2026", "a b", "é", "...", &format!("/{}", "a/".repeat(511) + "ab")],
            &["//", "a//b", "a/", "/a/", ".", "a/../b", "a/.", "a\0b", "a\nb", "a\u{202e}b", &"a".repeat(256)],
        );
        let path: TreePath = "/notes/2026".parse().unwrap();
        assert_eq!(
            (path.to_string().as_str(), path.names().collect::<Vec<_>>()),
            ("/notes/2026", vec!["notes", "2026"])
        );
        let top: TreePath = "/".parse().unwrap();
        assert_eq!((top.to_string().as_str(), top.names().count(), top.is_top()), ("/", 0, true));
    }

    #[test]
    fn a_path_is_decoded_only_without_its_slash() {
        let decode = |text: &str| decode_exact::<TreePath>("path", &encode(&text.to_owned()), 100);
        assert_eq!(decode("notes"), Ok("notes".parse().unwrap()));
        assert!(decode("/notes").is_err() && decode("a/../b").is_err());
    }

    #[test]
    fn hosts_are_names_or_addresses_as_they_are_written() {
        all::<Host>(
            &["localhost", "api.example.com", "a_b.c-d.e1", "127.0.0.1", "10.0.0.1", "::1", "2001:db8::1"],
            &["", ".", "a.", ".a", "A.com", "a..b", "-a.b", "a-.b", "a b", "a/b", "a:80", "[::1]", "é.com"],
        );
        // What the C library's resolver reads as addresses.
        all::<Host>(&[], &["127.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.0.0.01", "1.2.3.4.5"]);
        all::<Host>(&[], &["::0001", "2001:DB8::1", "fe80::1%eth0", &"a".repeat(64), &["a"; 130].join(".")]);
        assert!("::1".parse::<Host>().unwrap().address().is_some_and(|address| address.is_loopback()));
    }

    #[test]
    fn a_line_looks_like_what_it_says() {
        all::<Line>(
            &["To keep your notes.", "für Fotos: 写真"],
            &["", " a", "a ", "a\nb", "a\u{1b}[2J", &"a".repeat(201)],
        );
        all::<Line>(&[], &["a\u{202e}b", "a\u{2066}b", "a\u{200b}b", "a\u{2028}b", "\u{feff}a", "a\u{ad}b"]);
    }
}
