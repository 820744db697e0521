//! The end of a mount, whatever goes on in it. One test at a time: they count this process's threads.

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bt_fuse::{Caller, FileSystem, MountError, MountOptions, TransportChoice};
use support::{LONG, Mounted, mount};

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // Best effort: only root may, and only some kernels have it.
    let _ = fs::write("/sys/module/fuse/parameters/enable_uring", "Y");
    alone
}

/// Each transport of this machine, mounted.
fn mounts() -> impl Iterator<Item = Mounted> {
    [TransportChoice::Fuser, TransportChoice::Uring].into_iter().filter_map(|transport| {
        match mount(transport, LONG, MountOptions::default()) {
            Ok(mounted) => Some(mounted),
            Err(MountError::Device(error)) => {
                eprintln!("skipped: no /dev/fuse: {error}");
                None
            }
            Err(MountError::Uring(reason)) => {
                eprintln!("skipped: no FUSE over io_uring: {reason}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    })
}

/// Threads of this process that serve a mount.
fn serving_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("bt-fuse") || name.starts_with("fuser")).count()
}

/// A thread that has ended may stay in /proc for a moment after it was joined.
fn assert_no_threads() {
    let deadline = Instant::now() + Duration::from_secs(10);
    while serving_threads() > 0 {
        assert!(Instant::now() < deadline, "{} threads are left", serving_threads());
        std::thread::yield_now();
    }
}

fn is_mounted(path: &Path) -> bool {
    fs::read_to_string("/proc/self/mountinfo").unwrap().contains(path.to_str().unwrap())
}

#[test]
fn unmounting_ends_all_threads() {
    let _alone = alone();
    for mounted in mounts() {
        fs::write(mounted.path("file"), b"x").unwrap();
        assert!(serving_threads() > 0);
        mounted.mount.unmount().unwrap();
        assert!(mounted.fs.is_destroyed.load(Ordering::SeqCst));
        assert!(!is_mounted(mounted.root()));
        mounted.mount.unmount().unwrap();
        mounted.mount.wait();
        assert_no_threads();
    }
}

#[test]
fn unmounting_brings_what_the_kernel_kept() {
    let _alone = alone();
    let content: Vec<u8> = (0..3_000_000u32).map(|number| (number / 5) as u8).collect();
    for mounted in mounts() {
        // Closing would write it back; a mapping that outlives its file does not.
        let file = File::options().read(true).write(true).create_new(true).open(mounted.path("file")).unwrap();
        file.set_len(content.len() as u64).unwrap();
        use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
        let (size, protection) = (content.len(), ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a new mapping of a file of that size that nobody else changes, unmapped after its slice ends.
        unsafe {
            let address = mmap(std::ptr::null_mut(), size, protection, MapFlags::SHARED, &file, 0).unwrap();
            drop(file);
            std::slice::from_raw_parts_mut(address.cast::<u8>(), size).copy_from_slice(&content);
            munmap(address, size).unwrap();
        }
        mounted.unmount();
        let caller = Caller { uid: 0, gid: 0, pid: 0 };
        let node = mounted.fs.lookup(&caller, 1, b"file").unwrap().attr.node;
        let mut kept = vec![0; content.len()];
        assert_eq!(mounted.fs.read(node, 0, &mut kept), Ok(content.len()));
        assert!(kept == content);
    }
}

#[test]
fn interrupted_calls_are_finished() {
    let _alone = alone();
    for mounted in mounts() {
        mounted.fs.slow.store(true, Ordering::SeqCst);
        mounted.fs.fsync_ms.store(200, Ordering::SeqCst);
        let path = mounted.path("file");
        fs::write(&path, b"x").unwrap();
        let mut program = Command::new("sync").arg(&path).spawn().unwrap();
        while !mounted.mount.requests().contains_key("FSYNC") {
            std::thread::yield_now();
        }
        let terminated = Command::new("kill").arg(program.id().to_string()).status().unwrap();
        assert!(terminated.success());
        program.wait().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
        mounted.unmount();
    }
}

#[test]
fn umount_from_outside_ends_the_wait() {
    let _alone = alone();
    for mounted in mounts() {
        assert!(Command::new("umount").arg(mounted.root()).status().unwrap().success());
        mounted.mount.wait();
        assert!(mounted.fs.is_destroyed.load(Ordering::SeqCst));
        assert_no_threads();
    }
}

#[test]
fn a_mount_in_use_goes_on() {
    let _alone = alone();
    for mounted in mounts() {
        let mut file = File::create_new(mounted.path("file")).unwrap();
        assert!(matches!(mounted.mount.unmount(), Err(MountError::Busy { .. })));
        file.write_all(b"still here").unwrap();
        drop(file);
        assert_eq!(fs::read(mounted.path("file")).unwrap(), b"still here");
        mounted.unmount();
        assert_no_threads();
    }
}

#[test]
fn dropping_a_mount_in_use_ends_it() {
    let _alone = alone();
    for mounted in mounts() {
        let file = File::create_new(mounted.path("file")).unwrap();
        let path = mounted.root().to_owned();
        drop(mounted);
        assert!(!is_mounted(&path));
        assert_eq!(file.metadata().unwrap_err().raw_os_error(), Some(libc::ENOTCONN));
        assert_no_threads();
    }
}

#[test]
fn aborting_with_calls_under_way() {
    let _alone = alone();
    for mounted in mounts() {
        mounted.fs.slow.store(true, Ordering::SeqCst);
        mounted.fs.fsync_ms.store(400, Ordering::SeqCst);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let syncing: Vec<_> = (0..6)
                .map(|number| {
                    let path = mounted.path(&format!("sync{number}"));
                    scope.spawn(move || File::create_new(path)?.sync_all())
                })
                .collect();
            let busy: Vec<_> = (0..2)
                .map(|number| {
                    let (path, stop) = (mounted.path(&format!("busy{number}")), &stop);
                    scope.spawn(move || {
                        while !stop.load(Ordering::SeqCst) {
                            let _ = fs::write(&path, [1; 5000]);
                            let _ = fs::remove_file(&path);
                        }
                    })
                })
                .collect();
            while mounted.mount.requests().get("FSYNC").is_none_or(|count| *count < 4) {
                std::thread::yield_now();
            }
            mounted.mount.abort().unwrap();
            assert_no_threads();
            stop.store(true, Ordering::SeqCst);
            let results = syncing.into_iter().map(|thread| thread.join().unwrap());
            assert!(results.filter(Result::is_err).count() > 0);
            busy.into_iter().for_each(|thread| thread.join().unwrap());
        });
        assert!(mounted.fs.is_destroyed.load(Ordering::SeqCst));
    }
}

#[test]
fn a_mount_can_be_made_again_many_times() {
    let _alone = alone();
    for _ in 0..20 {
        for mounted in mounts() {
            fs::write(mounted.path("file"), b"x").unwrap();
        }
    }
    assert_no_threads();
}

#[test]
fn auto_takes_what_there_is() {
    let _alone = alone();
    let mounted = mount(TransportChoice::Auto, LONG, MountOptions::default()).unwrap();
    fs::write(mounted.path("file"), b"x").unwrap();
    eprintln!("auto chose {}", mounted.mount.transport());
}

#[test]
fn nonsense_options_are_refused() {
    let _alone = alone();
    for options in [
        MountOptions { max_write: 5000, ..MountOptions::default() },
        MountOptions { max_write: 0, ..MountOptions::default() },
        MountOptions { source_name: "a\0b".to_owned(), ..MountOptions::default() },
    ] {
        assert!(matches!(mount(TransportChoice::Auto, LONG, options), Err(MountError::Option { .. })));
    }
    assert_no_threads();
}

/// Not a test: what `a_killed_daemon_leaves_a_mount_that_umount_cleans` starts and kills.
#[test]
#[ignore = "serves as a daemon for another test"]
fn daemon() {
    let Ok(directory) = std::env::var("BT_FUSE_DAEMON") else { return };
    let transport = if directory.ends_with("uring") { TransportChoice::Uring } else { TransportChoice::Fuser };
    // Not so that it could be taken for options.
    let options = MountOptions { transport, source_name: "my,suid".to_owned(), ..MountOptions::default() };
    let fs = std::sync::Arc::new(support::NullFs::new(LONG));
    match bt_fuse::Mount::start(fs, Path::new(&directory), &options) {
        Ok(mount) => mount.wait(),
        Err(error) => eprintln!("{error}"),
    }
}

#[test]
fn a_killed_daemon_leaves_a_mount_that_umount_cleans() {
    let _alone = alone();
    let base = tempfile::Builder::new().prefix("bt-fuse-").tempdir().unwrap();
    for transport in ["fuser", "uring"] {
        let directory = base.path().join(transport);
        fs::create_dir(&directory).unwrap();
        let mut daemon = Command::new(std::env::current_exe().unwrap())
            .args(["daemon", "--exact", "--ignored", "--nocapture"])
            .env("BT_FUSE_DAEMON", &directory)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let exited = loop {
            if is_mounted(&directory) && fs::metadata(&directory).is_ok_and(|root| is_root_of_mount(&root)) {
                break false;
            }
            if daemon.try_wait().unwrap().is_some() {
                break true;
            }
            std::thread::yield_now();
        };
        if exited {
            eprintln!("skipped: no {transport}");
            continue;
        }
        let mut file = File::create_new(directory.join("file")).unwrap();
        file.write_all(b"x").unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        let error = fs::metadata(&directory).unwrap_err();
        // The second and third when the kernel was still breaking the connection.
        let expected = [libc::ENOTCONN, libc::ECONNABORTED, libc::ECANCELED];
        assert!(error.raw_os_error().is_some_and(|errno| expected.contains(&errno)), "{error}");
        drop(file);
        let cleaned = match transport {
            "fuser" => Command::new("umount").arg("-l").arg(&directory).status(),
            _ => Command::new("fusermount3").arg("-uz").arg(&directory).status(),
        };
        assert!(cleaned.unwrap().success());
        assert!(!is_mounted(&directory));
    }
}

#[test]
fn users_other_than_root_mount_with_fusermount3() {
    let _alone = alone();
    const USER: [&str; 3] = ["--reuid=1000", "--regid=1000", "--clear-groups"];
    let base = tempfile::Builder::new().prefix("bt-fuse-").tempdir().unwrap();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The user need not be able to reach where the tests are built.
    let program = base.path().join("tests");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for transport in ["fuser", "uring"] {
        let directory = base.path().join(transport);
        fs::create_dir(&directory).unwrap();
        std::os::unix::fs::chown(&directory, Some(1000), Some(1000)).unwrap();
        let mut daemon = Command::new("setpriv");
        daemon.args(USER).arg(&program).args(["daemon", "--exact", "--ignored", "--nocapture"]);
        daemon.env("BT_FUSE_DAEMON", &directory).current_dir("/").stdout(Stdio::null());
        let mut daemon = daemon.spawn().expect("util-linux has setpriv");
        while !is_mounted(&directory) && daemon.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        if !is_mounted(&directory) {
            eprintln!("skipped: no {transport} for users");
            continue;
        }
        let run = |program: &str, arguments: &[&str]| {
            let mut command = Command::new("setpriv");
            command.args(USER).arg(program).args(arguments).arg(&directory).current_dir("/").output().unwrap()
        };
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = table.lines().find(|line| line.contains(directory.to_str().unwrap())).unwrap();
        assert!(line.contains(" - fuse.blocktree my,suid ") && line.contains("nosuid"), "{line}");
        let script = "cd $1 && echo hello > file && cat file";
        let shown = run("sh", &["-c", script, "sh"]);
        assert_eq!(String::from_utf8_lossy(&shown.stdout), "hello\n", "{shown:?}");
        assert!(fs::metadata(directory.join("file")).is_err(), "without allow_other not even root may");
        assert!(run("fusermount3", &["-u"]).status.success());
        assert!(daemon.wait().unwrap().success());
    }
}

/// The root of the file system in memory is node 1.
fn is_root_of_mount(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::ino(metadata) == 1
}
