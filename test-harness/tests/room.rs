//! A disk that fills, snapshots that hold what was deleted, and a directory of a million entries, on real mounts.
//!
//! `ROOM_ENTRIES=N` sets how many entries the large directory has.

use std::collections::HashSet;
use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use harness::{Backing, MountOptions, Node, Scratch, Tree, require_root_and_fuse};

const MIB: usize = 1 << 20;
/// The disk of the tests that fill it: the journal and the ballast take about half of it.
const DISK_MIB: u64 = 320;

struct Full {
    tree: Tree,
    node: Node,
    // Last, so that the tree on it is unmounted before.
    _disk: Backing,
    _scratch: Scratch,
}

fn on_a_small_disk(name: &str) -> Result<Full> {
    require_root_and_fuse()?;
    let scratch = Scratch::new(name)?;
    let disk = Backing::ext4(&scratch, "disk", DISK_MIB)?;
    let tree = Tree::init(&scratch, &disk.path().join("tree"))?;
    let node = tree.mount(&scratch.directory("mount")?, &MountOptions::default())?;
    Ok(Full { tree, node, _disk: disk, _scratch: scratch })
}

/// A MiB that belongs to one file and place: what comes back can be told from anything else.
fn content(file: u32, part: u32) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(u64::from(file) << 32 | u64::from(part));
    let mut bytes = vec![0; MIB];
    random.fill(&mut bytes);
    bytes
}

/// Writes files of 4 MiB, each synced, until the disk is full; returns those whose fsync succeeded.
fn fill(directory: &Path) -> Result<Vec<u32>> {
    let mut kept = Vec::new();
    for number in 0..1000 {
        match write_synced(directory, number) {
            Ok(()) => kept.push(number),
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(kept),
            Err(error) => return Err(error).context("a full disk gave another error than ENOSPC"),
        }
    }
    bail!("4 GB went onto a disk of {DISK_MIB} MiB")
}

fn write_synced(directory: &Path, number: u32) -> std::io::Result<()> {
    let mut file = File::create(directory.join(number.to_string()))?;
    for part in 0..4 {
        file.write_all(&content(number, part))?;
    }
    file.sync_all()
}

fn expect_whole(directory: &Path, number: u32) -> Result<()> {
    let file = File::open(directory.join(number.to_string()))?;
    for part in 0..4_u32 {
        let mut bytes = vec![0; MIB];
        file.read_exact_at(&mut bytes, u64::from(part) * MIB as u64)?;
        ensure!(bytes == content(number, part), "file {number} has other bytes in its MiB {part}");
    }
    Ok(())
}

#[test]
fn a_full_disk_keeps_what_was_acknowledged_and_lets_delete() -> Result<()> {
    let Full { tree, node, _disk, _scratch } = on_a_small_disk("room-full")?;
    let mountpoint = node.path().to_path_buf();
    let kept = fill(&mountpoint)?;
    ensure!(kept.len() > 5, "only {} files of 4 MiB fit onto {DISK_MIB} MiB", kept.len());
    for number in &kept {
        expect_whole(&mountpoint, *number)?;
    }
    node.kill()?;
    let node = tree.mount(&mountpoint, &MountOptions::default())?;
    for number in &kept {
        expect_whole(&mountpoint, *number)?;
    }
    let (gone, stays) = kept.split_at(kept.len() / 2);
    for number in gone {
        fs::remove_file(mountpoint.join(number.to_string()))?;
    }
    let _ = fs::remove_file(mountpoint.join((kept.len()).to_string()));
    tree.sync()?;
    tree.run(&["reclaim"], &[])?;
    for number in &gone[..gone.len() / 2] {
        write_synced(&mountpoint, *number)
            .with_context(|| format!("file {number} does not fit where it was deleted"))?;
    }
    for number in stays.iter().chain(&gone[..gone.len() / 2]) {
        expect_whole(&mountpoint, *number)?;
    }
    node.unmount()?;
    tree.check_clean()
}

#[test]
fn a_snapshot_holds_what_was_deleted_and_gives_it_back() -> Result<()> {
    let full = on_a_small_disk("room-snapshot")?;
    let mountpoint = full.node.path().to_path_buf();
    for number in 0..8 {
        write_synced(&mountpoint, number)?;
    }
    full.tree.snapshot("create", &["before"])?;
    for number in 0..8 {
        fs::remove_file(mountpoint.join(number.to_string()))?;
    }
    ensure!(fs::read_dir(&mountpoint)?.next().is_none(), "the tree is empty now");
    let inside = mountpoint.join(".snapshots/before");
    for number in 0..8 {
        expect_whole(&inside, number)?;
    }
    ensure!(fs::write(inside.join("new"), b"x").is_err(), "a snapshot takes no changes");
    let with_snapshot = fill(&mountpoint)?;
    for number in &with_snapshot {
        fs::remove_file(mountpoint.join(number.to_string()))?;
    }
    let _ = fs::remove_file(mountpoint.join(with_snapshot.len().to_string()));
    for number in 0..8 {
        expect_whole(&inside, number)?;
    }
    full.tree.snapshot("delete", &["before"])?;
    // The kernel tells the next to sync a mount that something could not be written since the last sync: once.
    let _ = full.tree.sync();
    full.tree.sync()?;
    full.tree.run(&["reclaim"], &[])?;
    let without = fill(&mountpoint)?;
    ensure!(
        without.len() >= with_snapshot.len() + 6,
        "{} files fit beside a snapshot of 8, {} after it went",
        with_snapshot.len(),
        without.len()
    );
    full.node.unmount()?;
    full.tree.check_clean()
}

#[test]
fn a_large_directory_is_listed_whole_while_it_changes() -> Result<()> {
    require_root_and_fuse()?;
    let entries: u32 = env::var("ROOM_ENTRIES").map_or(100_000, |text| text.parse().expect("ROOM_ENTRIES is a number"));
    let scratch = Scratch::new("room-directory")?;
    let tree = Tree::init(&scratch, &scratch.path().join("tree"))?;
    let mountpoint = scratch.directory("mount")?;
    let node = tree.mount(&mountpoint, &MountOptions::default())?;
    let directory = mountpoint.join("large");
    fs::create_dir(&directory)?;
    for number in 0..entries {
        File::create(directory.join(format!("stays-{number}")))?;
    }
    node.unmount()?;
    let node = tree.mount(&mountpoint, &MountOptions::default())?;
    let mut seen = HashSet::new();
    for (position, entry) in fs::read_dir(&directory)?.enumerate() {
        let name = entry?.file_name().into_string().expect("names are ASCII");
        if name.starts_with("stays-") {
            ensure!(seen.insert(name.clone()), "{name} is listed twice");
        }
        // Names come and go between the calls that list.
        if position % 1000 == 0 {
            let number = position / 1000;
            File::create(directory.join(format!("comes-{number}")))?;
            if number > 0 {
                fs::remove_file(directory.join(format!("comes-{}", number - 1)))?;
            }
        }
    }
    ensure!(seen.len() == entries as usize, "{} of {entries} entries were listed", seen.len());
    ensure!(fs::metadata(&directory)?.nlink() == 2, "a directory of files has two links");
    fs::remove_dir_all(&directory)?;
    node.unmount()?;
    tree.check_clean()
}
