//! Fresh file systems to put a tree on, or to compare one with.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::run_checked;
use crate::limits::COMMAND_TIMEOUT;
use crate::mounts::MountGuard;
use crate::scratch::Scratch;

/// A mounted fresh file system inside a [`Scratch`] area; unmounted when dropped.
#[derive(Debug)]
pub struct Backing {
    guard: MountGuard,
    /// The image of a loop mount.
    image: Option<PathBuf>,
}

impl Backing {
    /// Formats an image of `size_mib` (sparse) as ext4 and mounts it over a loop device. Needs root.
    ///
    /// # Errors
    /// When the image cannot be made, formatted or mounted.
    pub fn ext4(scratch: &Scratch, name: &str, size_mib: u64) -> Result<Self> {
        let image = scratch.path().join(format!("{name}.img"));
        File::create(&image)?.set_len(size_mib << 20).with_context(|| format!("{}", image.display()))?;
        run_checked(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image), COMMAND_TIMEOUT)?;
        let mountpoint = scratch.directory(name)?;
        let guard = MountGuard::new(&mountpoint);
        run_checked(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mountpoint), COMMAND_TIMEOUT)?;
        Ok(Self { guard, image: Some(image) })
    }

    /// Mounts a tmpfs limited to `size_mib`. Needs root.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn tmpfs(scratch: &Scratch, name: &str, size_mib: u64) -> Result<Self> {
        let mountpoint = scratch.directory(name)?;
        let guard = MountGuard::new(&mountpoint);
        let options = format!("size={size_mib}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&mountpoint);
        run_checked(&mut mount, COMMAND_TIMEOUT)?;
        Ok(Self { guard, image: None })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.guard.path()
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        self.guard.detach();
        if let Some(image) = &self.image {
            let _ = std::fs::remove_file(image);
        }
    }
}
