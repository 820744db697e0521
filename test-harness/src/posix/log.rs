//! What a case saw, as text that can be compared.

use std::io::Write;

use crate::sys::{self, Dir, Entry, Errno, Fd, Mapping, Sys};

/// The observations of one case, printed one line each as they are made, so that a case that dies leaves them too.
#[derive(Debug)]
pub struct Log {
    out: Out,
}

#[derive(Debug)]
enum Out {
    Print,
    Keep(Vec<u8>),
}

impl Log {
    /// A log that prints each observation to standard output.
    #[must_use]
    pub fn printing() -> Self {
        Self { out: Out::Print }
    }

    /// Writes down that `what` gave `value`.
    pub fn note(&mut self, what: &str, value: impl Show) {
        // stringify! breaks long expressions into lines.
        let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = format!("{what} -> {}\n", value.show().replace('\n', "\\n"));
        match &mut self.out {
            Out::Print => print_now(line.as_bytes()),
            Out::Keep(bytes) => bytes.extend(line.bytes()),
        }
    }

    /// Lets another process with user 1000, group 1000 make observations.
    pub fn user(&mut self, work: impl FnOnce(&mut Log)) {
        self.as_user(1000, 1000, &[], work);
    }

    /// Lets another process with the given user and groups make observations.
    pub fn as_user(&mut self, uid: u32, gid: u32, groups: &[u32], work: impl FnOnce(&mut Log)) {
        let lines = sys::as_user_with_groups(uid, gid, groups, || kept(work));
        self.append(&format!("user {uid}:{gid}"), lines);
    }

    /// Lets another process make observations.
    pub fn child(&mut self, work: impl FnOnce(&mut Log)) {
        let lines = sys::in_child(|| kept(work));
        self.append("child", lines);
    }

    /// Adds what a child reported.
    pub fn append(&mut self, who: &str, lines: Sys<Vec<u8>>) {
        match lines {
            Ok(lines) => {
                for line in String::from_utf8_lossy(&lines).lines() {
                    let (what, value) = line.rsplit_once(" -> ").unwrap_or(("says", line));
                    self.note(&format!("{who}: {what}"), value);
                }
            }
            Err(errno) => self.note(who, Err::<(), _>(errno)),
        }
    }
}

/// Runs `work` with a log of its own and returns what it wrote.
pub fn kept(work: impl FnOnce(&mut Log)) -> Vec<u8> {
    let mut log = Log { out: Out::Keep(Vec::new()) };
    work(&mut log);
    match log.out {
        Out::Keep(bytes) => bytes,
        Out::Print => unreachable!("this log was made to keep"),
    }
}

fn print_now(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).expect("the test runner reads this process's output");
}

/// How a value is written down.
pub trait Show {
    /// The text.
    fn show(&self) -> String;
}

impl<T: Show> Show for Result<T, Errno> {
    fn show(&self) -> String {
        match self {
            Ok(value) => value.show(),
            Err(errno) => errno.to_string(),
        }
    }
}

impl<T: Show> Show for Option<T> {
    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "none".into(), Show::show)
    }
}

impl Show for () {
    fn show(&self) -> String {
        "ok".into()
    }
}

impl Show for Fd {
    fn show(&self) -> String {
        "open".into()
    }
}

impl Show for Dir {
    fn show(&self) -> String {
        "open".into()
    }
}

impl Show for Mapping {
    fn show(&self) -> String {
        "mapped".into()
    }
}

macro_rules! shown_as_they_are {
    ($($kind:ty)*) => {$(
        impl Show for $kind {
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

shown_as_they_are! { bool i32 i64 u32 u64 usize str &str String }

impl Show for (i32, i64, i64) {
    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl Show for [u8] {
    /// Short values as text, long ones as their length and a checksum.
    fn show(&self) -> String {
        if self.len() <= 300 {
            return format!("\"{}\"", self.escape_ascii());
        }
        // FNV-1a, 64 bit: enough to tell two observations apart.
        let sum = self
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        format!("{} bytes, sum {sum:016x}", self.len())
    }
}

impl Show for Vec<u8> {
    fn show(&self) -> String {
        self.as_slice().show()
    }
}

impl Show for Vec<Vec<u8>> {
    fn show(&self) -> String {
        self.iter().map(Show::show).collect::<Vec<_>>().join(" ")
    }
}

impl Show for Vec<Entry> {
    fn show(&self) -> String {
        let mut entries: Vec<_> = self.iter().map(|entry| format!("{}:{}", entry.name.show(), entry.kind)).collect();
        entries.sort();
        entries.join(" ")
    }
}

impl Show for libc::stat {
    /// Type, mode, links, owner; the size but for directories; the device number of device nodes.
    fn show(&self) -> String {
        let kind = match self.st_mode & sys::S_IFMT {
            sys::S_IFREG => "file",
            sys::S_IFDIR => "directory",
            sys::S_IFLNK => "symlink",
            sys::S_IFIFO => "fifo",
            sys::S_IFSOCK => "socket",
            sys::S_IFBLK => "block",
            sys::S_IFCHR => "char",
            _ => "unknown",
        };
        let mut text = format!(
            "{kind} {:04o} links={} owner={}:{}",
            self.st_mode & 0o7777,
            self.st_nlink,
            self.st_uid,
            self.st_gid
        );
        match kind {
            "directory" => {}
            "block" | "char" => text += &format!(" device={:x}", self.st_rdev),
            _ => text += &format!(" size={}", self.st_size),
        }
        text
    }
}

/// `length` bytes that differ from place to place and from seed to seed.
#[must_use]
pub fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| seed.wrapping_mul(31) ^ (at as u8) ^ (at >> 8) as u8 ^ (at >> 16) as u8).collect()
}
