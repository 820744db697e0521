//! Zones under one mount: a directory shared while programs work, what each principal sees, and a crash while sharing.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use harness::{MountOptions, Node, Scratch, Tree, bt_binary};

/// A tree, two principals, and where it is mounted.
struct Bed {
    tree: Tree,
    mountpoint: PathBuf,
    alice: PathBuf,
    bob: PathBuf,
    scratch: Scratch,
}

impl Bed {
    fn new(name: &str) -> Result<Self> {
        harness::require_root_and_fuse()?;
        let scratch = Scratch::new(name)?;
        let tree = Tree::init(&scratch, &scratch.path().join("tree"))?;
        let mountpoint = scratch.directory("mount")?;
        let [alice, bob] = ["alice", "bob"].map(|name| scratch.path().join(name));
        for file in [&alice, &bob] {
            let mut create = Command::new(bt_binary()?);
            create.args(["principal", "create"]).arg(file);
            create.env("BT_PASSPHRASE_FILE", tree.passphrase_file());
            let made = create.output()?;
            ensure!(made.status.success(), "bt principal create: {}", String::from_utf8_lossy(&made.stderr));
        }
        Ok(Self { tree, mountpoint, alice, bob, scratch })
    }

    fn mount(&self) -> Result<Node> {
        self.tree.mount(&self.mountpoint, &MountOptions::for_tests())
    }

    fn mount_as(&self, principal: &Path) -> Result<Node> {
        let options = MountOptions { principal: Some(principal.to_owned()), ..MountOptions::for_tests() };
        self.tree.mount(&self.mountpoint, &options)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.mountpoint.join(name)
    }

    fn share_command(&self, path: &str, with: &Path, more: &[&str]) -> Result<Command> {
        let mut share = self.tree.command(&["share"])?;
        share.arg(path).arg("--with").arg(with).args(more);
        Ok(share)
    }

    fn share(&self, path: &str, with: &Path, more: &[&str]) -> Result<()> {
        let shared = self.share_command(path, with, more)?.output()?;
        ensure!(shared.status.success(), "bt share {path}: {}", String::from_utf8_lossy(&shared.stderr));
        Ok(())
    }

    /// Directories of zones in the node's directory.
    fn zones(&self) -> Result<usize> {
        let mut found = 0;
        for entry in fs::read_dir(self.tree.directory().join("zones"))? {
            found += usize::from(entry?.file_type()?.is_dir());
        }
        Ok(found)
    }
}

fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

const EACCES: i32 = 13;
const EBUSY: i32 = 16;
const EXDEV: i32 = 18;
const EROFS: i32 = 30;

/// Content that differs from file to file and from block to block.
fn content(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7 + at / 4096 * 31 + number * 13) as u8).collect()
}

fn fill(directory: &Path, files: usize) -> Result<()> {
    fs::create_dir_all(directory.join("below/deeper"))?;
    for number in 0..files {
        let parent = if number % 3 == 0 { directory.to_owned() } else { directory.join("below/deeper") };
        fs::write(parent.join(format!("file {number}")), content(number, number * 997 % 70_000))?;
    }
    symlink("below/deeper", directory.join("link"))?;
    fs::hard_link(directory.join("file 0"), directory.join("below/first"))?;
    fs::set_permissions(directory.join("file 3"), fs::Permissions::from_mode(0o4711))?;
    Ok(())
}

fn verify(directory: &Path, files: usize) -> Result<()> {
    for number in 0..files {
        let parent = if number % 3 == 0 { directory.to_owned() } else { directory.join("below/deeper") };
        let path = parent.join(format!("file {number}"));
        let found = fs::read(&path).with_context(|| path.display().to_string())?;
        ensure!(found == content(number, number * 997 % 70_000), "{} has other content", path.display());
    }
    ensure!(fs::read_link(directory.join("link"))? == Path::new("below/deeper"));
    let (one, other) = (fs::metadata(directory.join("file 0"))?, fs::metadata(directory.join("below/first"))?);
    ensure!((one.ino(), one.nlink()) == (other.ino(), 2), "hard links inside stay");
    ensure!(fs::metadata(directory.join("file 3"))?.mode() & 0o7777 == 0o4711);
    Ok(())
}

#[test]
fn a_directory_is_shared_while_a_program_writes_elsewhere() -> Result<()> {
    const FILES: usize = 300;
    let bed = Bed::new("share-busy")?;
    let node = bed.mount()?;
    let shared = bed.path("shared");
    fill(&shared, FILES)?;
    let modified = fs::metadata(shared.join("file 6"))?.modified()?;
    let open = File::options().read(true).write(true).open(shared.join("file 9"))?;
    // Only the kernel has this when the sharing begins.
    let mut late = File::create(shared.join("late"))?;
    late.write_all(b"still in the kernel")?;
    fs::create_dir(bed.path("elsewhere"))?;
    let (ended, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| -> Result<()> {
        let writer = scope.spawn(|| -> Result<()> {
            for number in 0.. {
                let mut file = File::create(bed.path(&format!("elsewhere/{number}")))?;
                file.write_all(&content(number, 20_000))?;
                file.sync_all()?;
                written.store(number + 1, Ordering::Relaxed);
                if ended.load(Ordering::Relaxed) {
                    return Ok(());
                }
            }
            Ok(())
        });
        let result = bed.share("/shared", &bed.alice, &["--read"]);
        ended.store(true, Ordering::Relaxed);
        writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        result
    })?;
    verify(&shared, FILES)?;
    ensure!(fs::metadata(shared.join("file 6"))?.modified()? == modified, "times stay");
    ensure!(fs::read(shared.join("late"))? == b"still in the kernel");
    open.write_all_at(b"x", 0)?;
    ensure!(fs::read(shared.join("file 9"))?[0] == b'x', "an open file goes on in the zone");
    open.write_all_at(&content(9, 1), 0)?;
    for number in 0..written.load(Ordering::Relaxed) {
        ensure!(fs::read(bed.path(&format!("elsewhere/{number}")))? == content(number, 20_000), "elsewhere/{number}");
    }
    ensure!(errno(fs::rename(bed.path("elsewhere/0"), shared.join("x"))) == Some(EXDEV));
    ensure!(errno(fs::hard_link(shared.join("file 0"), bed.path("x"))) == Some(EXDEV));
    fs::remove_dir_all(shared.join("below"))?;
    fs::create_dir(bed.path("empty"))?;
    ensure!(errno(fs::rename(bed.path("empty"), &shared)) == Some(EBUSY));
    ensure!(errno(fs::remove_dir(&shared)) == Some(EBUSY));
    drop((open, late));
    bed.tree.check_clean()?;
    node.unmount()?;
    bed.tree.check_clean()?;
    let node = bed.mount()?;
    ensure!(fs::read(shared.join("file 12"))? == content(12, 12 * 997));
    node.unmount()?;
    Ok(())
}

/// Programs that write all the time to files of the directory lose nothing, and need not open them again.
#[test]
fn what_is_written_while_a_directory_is_shared_arrives() -> Result<()> {
    let bed = Bed::new("share-open")?;
    let node = bed.mount()?;
    let shared = bed.path("shared");
    fill(&shared, 600)?;
    let ended = AtomicBool::new(false);
    // One by one: the kernel keeps the pages, and nobody but it knows of them.
    let append = |path: &Path, reopen: bool| -> Result<u64> {
        let open = || File::options().append(true).create(true).open(path);
        let mut file = open()?;
        let (mut lines, mut since) = (0, 0);
        // Some more when it is a zone, by the numbers from before.
        while since < 100 {
            if reopen {
                file = open()?;
            }
            writeln!(file, "line {lines:09}")?;
            lines += 1;
            since += u32::from(ended.load(Ordering::Relaxed));
        }
        Ok(lines)
    };
    let paths: Vec<PathBuf> = (0..4).map(|number| shared.join(format!("below/log {number}"))).collect();
    let lines = thread::scope(|scope| -> Result<Vec<u64>> {
        let writers: Vec<_> =
            paths.iter().enumerate().map(|(number, path)| scope.spawn(move || append(path, number % 2 == 0))).collect();
        let result = bed.share("/shared", &bed.alice, &["--read"]);
        ended.store(true, Ordering::Relaxed);
        let joined = |writer: thread::ScopedJoinHandle<'_, Result<u64>>| {
            writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?
        };
        let lines = writers.into_iter().map(joined).collect::<Result<Vec<u64>>>()?;
        result.map(|()| lines)
    })?;
    let expect = || -> Result<()> {
        for (path, lines) in paths.iter().zip(&lines) {
            let found = fs::read_to_string(path)?;
            let all: String = (0..*lines).map(|line| format!("line {line:09}\n")).collect();
            ensure!(found == all, "{} has {} of {} bytes", path.display(), found.len(), all.len());
        }
        verify(&shared, 600)
    };
    expect()?;
    node.unmount()?;
    bed.tree.check_clean()?;
    let node = bed.mount()?;
    expect()?;
    node.unmount()?;
    Ok(())
}

#[test]
fn two_principals_see_what_each_may() -> Result<()> {
    let bed = Bed::new("share-two")?;
    let node = bed.mount()?;
    for name in ["work", "private", "papers"] {
        fs::create_dir(bed.path(name))?;
        fs::write(bed.path(name).join("file"), name)?;
    }
    bed.share("/work", &bed.alice, &["--write"])?;
    bed.share("/private", &bed.bob, &["--read", "--closed"])?;
    node.unmount()?;
    // Without a mount, too: a directory, and the zone at the top.
    bed.share("/papers", &bed.bob, &["--write"])?;
    for who in [&bed.alice, &bed.bob] {
        bed.share("/", who, &["--read"])?;
    }
    bed.tree.check_clean()?;

    let node = bed.mount_as(&bed.alice)?;
    fs::write(bed.path("work/hers"), "by alice")?;
    ensure!(fs::read_to_string(bed.path("work/file"))? == "work");
    ensure!(errno(fs::write(bed.path("top"), "x")) == Some(EROFS));
    ensure!(fs::metadata(bed.path("private"))?.is_dir());
    ensure!(errno(fs::read_dir(bed.path("private")).and_then(|mut all| all.next().transpose())) == Some(EACCES));
    ensure!(errno(fs::read(bed.path("private/file"))) == Some(EACCES));
    ensure!(errno(fs::write(bed.path("private/new"), "x")) == Some(EACCES));
    ensure!(errno(fs::read(bed.path("papers/file"))) == Some(EACCES), "the parent's readers came later");
    node.unmount()?;
    bed.tree.check_clean()?;

    let node = bed.mount_as(&bed.bob)?;
    ensure!(fs::read_to_string(bed.path("private/file"))? == "private");
    ensure!(errno(fs::write(bed.path("private/file"), "x")) == Some(EROFS));
    ensure!(errno(fs::read(bed.path("work/hers"))) == Some(EACCES));
    fs::write(bed.path("papers/his"), "by bob")?;
    ensure!(errno(fs::read(bed.path("work/file"))) == Some(EACCES));
    bed.share("/work", &bed.bob, &["--read"])?;
    ensure!(fs::read_to_string(bed.path("work/hers"))? == "by alice", "a grant opens the zone under the mount");
    node.unmount()?;

    let node = bed.mount()?;
    ensure!(fs::read_to_string(bed.path("work/hers"))? == "by alice");
    ensure!(fs::read_to_string(bed.path("papers/his"))? == "by bob");
    node.unmount()?;
    bed.tree.check_clean()
}

/// The node is killed at a random moment while a directory becomes a zone: it is the one or the other afterwards.
#[test]
fn a_kill_while_sharing_leaves_the_directory_or_the_zone() -> Result<()> {
    const FILES: usize = 400;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let bed = Bed::new("share-kill")?;
    let mut node = bed.mount()?;
    let shared = bed.path("shared");
    fill(&shared, FILES)?;
    bed.tree.sync()?;
    let mut moved = false;
    for round in 0..4 {
        let before = bed.zones()?;
        let mut share = bed.share_command("/shared", &bed.alice, &["--read"])?;
        let mut share = share.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        // From the moment on that the zone's directory is there.
        while bed.zones()? == before {
            if let Some(status) = share.try_wait()? {
                bail!("round {round}: bt share ended before it began: {status}");
            }
            thread::yield_now();
        }
        for _ in 0..random.u32(..3000) {
            if share.try_wait()?.is_some() {
                break;
            }
        }
        node.kill()?;
        share.wait()?;
        bed.tree.check_clean().with_context(|| format!("round {round}, before it is mounted again"))?;
        node = bed.mount()?;
        verify(&shared, FILES).with_context(|| format!("round {round}"))?;
        moved = fs::metadata(&shared)?.ino() >= 1 << 44;
        ensure!(bed.zones()? == 1 + usize::from(moved), "round {round}: an unfinished zone is left");
        bed.tree.check_clean().with_context(|| format!("round {round}"))?;
        if moved {
            break;
        }
    }
    if !moved {
        bed.share("/shared", &bed.alice, &["--read"])?;
        verify(&shared, FILES)?;
    }
    node.unmount()?;
    bed.tree.check_clean()
}

#[test]
fn what_is_written_until_a_revocation_is_kept_and_what_comes_later_fails_at_fsync() -> Result<()> {
    let bed = Bed::new("share-revoke")?;
    bed.share("/", &bed.alice, &["--write"])?;
    let node = bed.mount_as(&bed.alice)?;
    let mut file = File::create(bed.path("file"))?;
    // Only the kernel has this.
    file.write_all(b"in time")?;
    let revoked = bed.tree.command(&["revoke"])?.arg("/").arg("--from").arg(&bed.alice).output()?;
    ensure!(revoked.status.success(), "bt revoke: {}", String::from_utf8_lossy(&revoked.stderr));
    let late = file.write_all(b", late").and_then(|()| file.sync_all());
    ensure!(errno(late) == Some(EROFS), "what came late is no silent loss");
    drop(file);
    ensure!(errno(fs::write(bed.path("new"), "x")) == Some(EROFS));
    node.unmount()?;
    let node = bed.mount()?;
    ensure!(fs::read(bed.path("file"))? == b"in time");
    node.unmount()?;
    bed.tree.check_clean()
}

/// What lies in a zone's directory is that zone or nothing.
#[test]
fn a_directory_swapped_for_another_zone_is_not_entered() -> Result<()> {
    let bed = Bed::new("share-swap")?;
    let node = bed.mount()?;
    for name in ["one", "two"] {
        fs::create_dir(bed.path(name))?;
        fs::write(bed.path(name).join("file"), name)?;
        bed.share(&format!("/{name}"), &bed.alice, &["--read"])?;
    }
    node.unmount()?;
    let slots = fs::read_to_string(bed.tree.directory().join("zones/slots"))?;
    let zones: Vec<PathBuf> = slots.lines().skip(1).map(|zone| bed.tree.directory().join("zones").join(zone)).collect();
    ensure!(zones.len() == 2, "slots: {slots:?}");
    let aside = bed.scratch.path().join("aside");
    fs::rename(&zones[0], &aside)?;
    fs::rename(&zones[1], &zones[0])?;
    fs::rename(&aside, &zones[1])?;
    let node = bed.mount()?;
    for name in ["one", "two"] {
        let mut text = String::new();
        let read = File::open(bed.path(name).join("file")).and_then(|mut file| file.read_to_string(&mut text));
        ensure!(errno(read) == Some(5), "{name} is not entered, {text:?} was read");
        ensure!(fs::metadata(bed.path(name)).is_err_and(|error| error.kind() != ErrorKind::NotFound));
    }
    ensure!(bed.tree.check()?.code() == 1, "a check names the swapped zones");
    node.unmount()?;
    Ok(())
}
