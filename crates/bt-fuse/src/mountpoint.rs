//! Mounting and unmounting: as root by mount(2) and umount(8), for other users by fusermount3.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::{MountError, MountOptions};

/// The type that the mount table shows is `fuse.` and this.
const SUBTYPE: &str = "blocktree";

/// A mounted directory.
#[derive(Debug)]
pub(crate) struct Mountpoint {
    path: PathBuf,
    /// A second handle of the connection, to see whether it still stands.
    device: OwnedFd,
}

impl Mountpoint {
    /// The absolute path without symbolic links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Mounts `path` and returns the connection to the kernel, on which INIT waits to be read.
    pub(crate) fn attach(path: &Path, options: &MountOptions) -> Result<(Mountpoint, OwnedFd), MountError> {
        check_source_name(&options.source_name)?;
        let unusable = |source: io::Error| match source.raw_os_error() {
            Some(libc::ENOTCONN) => MountError::Stale { path: path.to_owned() },
            _ => MountError::Mountpoint { path: path.to_owned(), source },
        };
        let path = path.canonicalize().map_err(unusable)?;
        let mode = path.metadata().map_err(unusable)?.permissions().mode();
        if mode & libc::S_IFMT != libc::S_IFDIR {
            return Err(unusable(Errno::NOTDIR.into()));
        }
        let device = match mount_by_kernel(&path, mode, options)? {
            Some(device) => device,
            None => mount_by_helper(&path, options)?,
        };
        let watched = device.try_clone().map_err(MountError::Device)?;
        Ok((Mountpoint { path, device: watched }, device))
    }

    /// Major and minor number of the device behind the mount.
    ///
    /// From the mount table: to ask the mount itself is not for this process, see [`Mountpoint::detach`].
    pub(crate) fn device_number(&self) -> Option<(u32, u32)> {
        device_number(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, &self.path)
    }

    /// False once the kernel has closed the connection: unmounted, and no file of it open any more, or aborted.
    pub(crate) fn is_connected(&self) -> bool {
        let mut device = [PollFd::new(&self.device, PollFlags::IN)];
        match poll(&mut device, Some(&rustix::event::Timespec::default())) {
            Ok(_) => !device[0].revents().contains(PollFlags::ERR),
            Err(_) => true,
        }
    }

    /// Unmounts, unless programs use it.
    ///
    /// By another program: the kernel writes back what is dirty first, and waits for this process to take it. Were a
    /// thread of ours waiting for that when the process is killed, it would wait for threads that are gone, keep the
    /// connection open that it waits for, and never end.
    pub(crate) fn detach(&self) -> Result<(), MountError> {
        match rustix::process::geteuid().is_root() {
            true => self.run("umount", &["-i", "-c"]),
            false => self.run("fusermount3", &["-u"]),
        }
    }

    /// Takes the mount out of sight and breaks the connection, whoever uses it.
    pub(crate) fn abort(&self) -> Result<(), MountError> {
        match rustix::process::geteuid().is_root() {
            true => self.run("umount", &["-i", "-c", "-f", "-l"]),
            false => {
                self.break_connection();
                self.run("fusermount3", &["-u", "-z"])
            }
        }
    }

    /// Aborts the connection through the kernel's control file system, which the mounting user may where it is
    /// mounted; where it is not, the connection ends with the last open file.
    fn break_connection(&self) {
        let Some((_, minor)) = self.device_number() else { return };
        if let Err(error) = std::fs::write(format!("/sys/fs/fuse/connections/{minor}/abort"), "1") {
            tracing::debug!(%error, "the connection ends when its last file is closed");
        }
    }

    fn run(&self, program: &'static str, arguments: &[&str]) -> Result<(), MountError> {
        let failed = |message| MountError::Unmount { path: self.path.clone(), program, message };
        let output = Command::new(program).args(arguments).arg("--").arg(&self.path).env("LC_ALL", "C").output();
        let output = output.map_err(|error| failed(error.to_string()))?;
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        match output.status.success() {
            true => Ok(()),
            // Somebody else was faster.
            false if !self.is_connected() => Ok(()),
            false if message.contains("busy") => Err(MountError::Busy { path: self.path.clone() }),
            false => Err(failed(message)),
        }
    }
}

/// The kernel takes any text, but shows nothing for none and cannot be told of NUL.
fn check_source_name(name: &str) -> Result<(), MountError> {
    match name.is_empty() || name.contains('\0') {
        true => Err(MountError::Option { option: "source_name", reason: "empty, or has a NUL" }),
        false => Ok(()),
    }
}

/// None when only root may.
fn mount_by_kernel(path: &Path, mode: u32, options: &MountOptions) -> Result<Option<OwnedFd>, MountError> {
    let device = match File::options().read(true).write(true).open("/dev/fuse") {
        Ok(device) => device,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(MountError::Device(error)),
    };
    let mut data = format!(
        "fd={},rootmode={mode:o},user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw()
    );
    if options.allow_other {
        data.push_str(",allow_other");
    }
    let mut flags = MountFlags::empty();
    flags.set(MountFlags::NOSUID, !options.allow_suid);
    flags.set(MountFlags::NODEV, !options.allow_dev);
    flags.set(MountFlags::RDONLY, options.read_only);
    let data = CString::new(data).expect("numbers and words have no NUL");
    match mount(options.source_name.as_str(), path, format!("fuse.{SUBTYPE}"), flags, data.as_c_str()) {
        Ok(()) => Ok(Some(device.into())),
        Err(Errno::PERM) => Ok(None),
        Err(errno) => Err(MountError::Mount { path: path.to_owned(), source: errno.into() }),
    }
}

/// fusermount3 opens the device, mounts, and sends the device through a socket; here its standard input.
fn mount_by_helper(path: &Path, options: &MountOptions) -> Result<OwnedFd, MountError> {
    let failed = |message: String| MountError::Helper { path: path.to_owned(), message };
    let (ours, theirs) = UnixStream::pair().map_err(|error| failed(error.to_string()))?;
    let child = Command::new("fusermount3")
        .arg("-o")
        .arg(helper_options(options))
        .arg("--")
        .arg(path)
        .env("_FUSE_COMMFD", "0")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let device = receive_device(&ours);
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    match device {
        Ok(Some(device)) => Ok(device),
        Ok(None) => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn helper_options(options: &MountOptions) -> String {
    // Options are joined by commas; fusermount3 takes what follows a backslash as it is.
    let name = options.source_name.replace('\\', "\\\\").replace(',', "\\,");
    let mut list = format!("fsname={name},subtype={SUBTYPE},default_permissions");
    list.push_str(if options.allow_suid { ",suid" } else { ",nosuid" });
    list.push_str(if options.allow_dev { ",dev" } else { ",nodev" });
    if options.read_only {
        list.push_str(",ro");
    }
    if options.allow_other {
        list.push_str(",allow_other");
    }
    list
}

/// None when the other side closed the socket without sending a descriptor.
fn receive_device(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0u8];
    loop {
        match recvmsg(socket, &mut [io::IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    }))
}

/// From a mount table as in proc_pid_mountinfo(5); of several mounts on a directory the last is the one that is seen.
fn device_number(table: &str, path: &Path) -> Option<(u32, u32)> {
    let line = table.lines().rev().find(|line| {
        let mounted = line.split(' ').nth(4).map(unescape);
        mounted.is_some_and(|mounted| mounted == path.as_os_str().as_bytes())
    })?;
    let (major, minor) = line.split(' ').nth(2)?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Blanks and backslashes stand in the table as a backslash and three octal digits.
fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.split_at_checked(3).map(|(digits, rest)| (u8::from_str_radix(digits, 8), rest)) {
            Some((Ok(byte), rest)) => {
                bytes.push(byte);
                bytes.extend_from_slice(rest.as_bytes());
            }
            _ => bytes.extend_from_slice(part.as_bytes()),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_cannot_be_told() {
        assert!(check_source_name("blocktree").is_ok());
        for bad in ["", "a\0b"] {
            assert!(check_source_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lists_the_options_of_the_helper() {
        let options = MountOptions { read_only: true, allow_other: true, ..MountOptions::default() };
        let expected = "fsname=blocktree,subtype=blocktree,default_permissions,nosuid,nodev,ro,allow_other";
        assert_eq!(helper_options(&options), expected);
        let options = MountOptions { source_name: "a,suid\\".to_owned(), ..MountOptions::default() };
        let expected = "fsname=a\\,suid\\\\,subtype=blocktree,default_permissions,nosuid,nodev";
        assert_eq!(helper_options(&options), expected);
    }

    #[test]
    fn reads_the_mount_table() {
        let table = "22 1 254:1 / / rw - ext4 /dev/vda rw\n\
                     40 22 0:41 / /mnt/my\\040tree rw,nosuid - fuse.blocktree blocktree rw\n\
                     41 40 0:42 / /mnt/my\\040tree rw,nosuid - fuse.blocktree blocktree rw\n";
        assert_eq!(device_number(table, Path::new("/mnt/my tree")), Some((0, 42)));
        assert_eq!(device_number(table, Path::new("/")), Some((254, 1)));
        assert_eq!(device_number(table, Path::new("/mnt")), None);
    }

    #[test]
    fn missing_mount_points_are_named() {
        let error = Mountpoint::attach(Path::new("/nowhere/at/all"), &MountOptions::default()).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
