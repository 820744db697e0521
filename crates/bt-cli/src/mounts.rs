//! The kernel's mount table: which trees are mounted where.
//!
//! A mount of ours has the type `fuse.blocktree` and the node's directory as its source.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bt_node::control::Failure;

/// How long the kernel may take to write out what programs changed, on a mount that is never quiet.
const WRITE_OUT_LIMIT: Duration = Duration::from_secs(10);
/// How long to wait where the kernel does not tell.
const WRITE_OUT_BLIND: Duration = Duration::from_millis(200);
/// The kernel's table of FUSE connections.
const CONNECTIONS: &str = "/sys/fs/fuse/connections";
/// Between two looks.
const WRITE_OUT_PAUSE: Duration = Duration::from_millis(1);

/// One mounted tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeMount {
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// The node's directory.
    pub dir: PathBuf,
}

/// All mounted trees, oldest first.
pub fn all() -> Result<Vec<TreeMount>, Failure> {
    let table =
        fs::read("/proc/self/mountinfo").map_err(|error| Failure::io("reading /proc/self/mountinfo", &error))?;
    Ok(table.split(|byte| *byte == b'\n').filter_map(parse_line).collect())
}

/// The tree mounted at exactly `path`, the newest if there are several.
pub fn at(path: &Path) -> Result<Option<TreeMount>, Failure> {
    let path = place(path);
    Ok(all()?.into_iter().rfind(|mount| mount.mountpoint == path))
}

/// Where the node's directory `dir` is mounted.
pub fn of(dir: &Path) -> Result<Option<TreeMount>, Failure> {
    let dir = place(dir);
    Ok(all()?.into_iter().rfind(|mount| mount.dir == dir))
}

/// Has the kernel write what programs changed on the mount of a tree to the process that serves it: what `bt` commits
/// or takes a snapshot of is then what programs see. `path` is the node's directory or the mount point; nothing is done
/// when it is not mounted.
pub fn write_out(path: &Path) -> Result<(), Failure> {
    let Some(mount) = (match at(path)? {
        Some(mount) => Some(mount),
        None => of(path)?,
    }) else {
        return Ok(());
    };
    let failed =
        |error: std::io::Error| Failure::io(format_args!("writing out {}", mount.mountpoint.display()), &error);
    let root = fs::File::open(&mount.mountpoint).map_err(failed)?;
    let device = rustix::fs::fstat(&root).map_err(|error| failed(error.into()))?.st_dev;
    rustix::fs::syncfs(&root).map_err(|error| failed(error.into()))?;
    wait_until_quiet(rustix::fs::minor(device));
    Ok(())
}

/// The kernel begins to write, and does not wait for what it sent to a FUSE file system: that is done when none of its
/// requests is under way. Others may keep it busy, so this ends some time.
fn wait_until_quiet(connection: u32) {
    let waiting = Path::new(CONNECTIONS).join(connection.to_string()).join("waiting");
    if !waiting.exists() {
        show_connections();
    }
    let begin = Instant::now();
    while begin.elapsed() < WRITE_OUT_LIMIT {
        match fs::read_to_string(&waiting) {
            Ok(count) if count.trim() == "0" => return,
            Ok(_) => std::thread::sleep(WRITE_OUT_PAUSE),
            Err(_) => {
                // Nobody tells: what was sent before is on its way, and takes a moment.
                std::thread::sleep(WRITE_OUT_BLIND);
                return;
            }
        }
    }
}

/// Mounts the kernel's table of FUSE connections where the system has not; root only, and harmless.
fn show_connections() {
    let mounted = rustix::mount::mount("fusectl", CONNECTIONS, "fusectl", rustix::mount::MountFlags::empty(), None);
    if let Err(error) = mounted {
        tracing::debug!(%error, "the kernel's table of FUSE connections is not there");
    }
}

/// The path without links, as the mount table names it. The last component is not looked at: on a mount whose
/// process is gone that would fail.
pub fn place(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if let Ok(real) = fs::canonicalize(&absolute) {
        return real;
    }
    match (absolute.parent().map(fs::canonicalize), absolute.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => absolute,
    }
}

/// Parses one line (proc(5)): fields, any number of optional ones, " - ", type, source, options.
fn parse_line(line: &[u8]) -> Option<TreeMount> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let separator = fields.iter().position(|field| *field == b"-")?;
    if *fields.get(separator + 1)? != b"fuse.blocktree" {
        return None;
    }
    let path = |field: &[u8]| PathBuf::from(OsString::from_vec(unescape(field)));
    Some(TreeMount { mountpoint: path(fields.get(4)?), dir: path(fields.get(separator + 2)?) })
}

/// Undoes the octal escapes of space, tab, newline and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}

/// Processes (id and name) that use the file system mounted at `mountpoint`, at most `limit`; only those that this
/// user may look at.
pub fn users_of(mountpoint: &Path, limit: usize) -> Vec<(u32, String)> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .filter(|(_, proc)| uses(proc, mountpoint))
        .map(|(pid, proc)| (pid, fs::read_to_string(proc.join("comm")).unwrap_or_default().trim().to_owned()))
        .take(limit)
        .collect()
}

fn uses(proc: &Path, mountpoint: &Path) -> bool {
    let inside = |link: PathBuf| fs::read_link(link).is_ok_and(|target| is_inside(&target, mountpoint));
    inside(proc.join("cwd"))
        || inside(proc.join("root"))
        || fs::read_dir(proc.join("fd")).is_ok_and(|mut fds| fds.any(|fd| fd.is_ok_and(|fd| inside(fd.path()))))
}

/// Path containment by bytes: targets in /proc may end with " (deleted)".
fn is_inside(target: &Path, mountpoint: &Path) -> bool {
    let (target, mountpoint) = (target.as_os_str().as_bytes(), mountpoint.as_os_str().as_bytes());
    target.strip_prefix(mountpoint).is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/' || *byte == b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_mounts_are_found_whatever_their_names() {
        let line = br"36 35 0:41 / /mnt/my\040tree rw,nosuid master:1 - fuse.blocktree /srv/a\134b rw,user_id=0";
        let mount = parse_line(line).unwrap();
        assert_eq!(mount.mountpoint, Path::new("/mnt/my tree"));
        assert_eq!(mount.dir, Path::new("/srv/a\\b"));
    }

    #[test]
    fn other_mounts_and_odd_lines_are_not_ours() {
        for line in ["", "36 35", "36 35 98:0 / /mnt rw - ext4 /dev/root rw", "1 2 3 / /m rw - fuse.sshfs h: rw"] {
            assert_eq!(parse_line(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_place_needs_no_last_component() {
        assert_eq!(place(Path::new("/usr/../no-such-name")), Path::new("/no-such-name"));
    }
}
