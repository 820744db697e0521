//! Every operation, through the real kernel, with each transport.

mod support;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bt_fuse::{Caller, FileSystem, MountOptions, Transport};
use rustix::fs::{AtFlags, CWD, FallocateFlags, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use support::{Mounted, with_each_transport};

fn options() -> MountOptions {
    MountOptions::default()
}

fn read_at(path: &Path, offset: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    let read = File::open(path).unwrap().read_at(&mut bytes, offset).unwrap();
    bytes.truncate(read);
    bytes
}

#[test]
fn files_and_directories() {
    with_each_transport(&options(), |mounted| {
        let (file, directory) = (mounted.path("file"), mounted.path("directory"));
        fs::write(&file, b"content").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"content");
        fs::create_dir(&directory).unwrap();
        assert_eq!(fs::create_dir(&directory).unwrap_err().kind(), ErrorKind::AlreadyExists);
        fs::rename(&file, directory.join("moved")).unwrap();
        assert_eq!(fs::metadata(&file).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(fs::remove_dir(&directory).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
        fs::hard_link(directory.join("moved"), mounted.path("second")).unwrap();
        assert_eq!(fs::metadata(mounted.path("second")).unwrap().nlink(), 2);
        fs::remove_file(directory.join("moved")).unwrap();
        assert_eq!(fs::metadata(mounted.path("second")).unwrap().nlink(), 1);
        fs::remove_dir(&directory).unwrap();
        assert_eq!(fs::read(mounted.path("second")).unwrap(), b"content");
        let name = OsStr::from_bytes(&[0xff, b'a', 0x80]);
        fs::write(mounted.root().join(name), b"").unwrap();
        assert!(fs::read_dir(mounted.root()).unwrap().any(|entry| entry.unwrap().file_name() == name));
        let long = "n".repeat(255);
        fs::write(mounted.path(&long), b"").unwrap();
        assert!(fs::metadata(mounted.path(&long)).is_ok());
        assert_eq!(fs::metadata(mounted.path(&"n".repeat(256))).unwrap_err().raw_os_error(), Some(libc::ENAMETOOLONG));
    });
}

#[test]
fn an_open_file_outlives_its_name() {
    with_each_transport(&options(), |mounted| {
        let path = mounted.path("file");
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.write_all(b"before").unwrap();
        fs::remove_file(&path).unwrap();
        file.write_all(b" and after").unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before and after");
        assert_eq!(file.metadata().unwrap().nlink(), 0);
    });
}

#[test]
fn kinds_of_nodes() {
    with_each_transport(&options(), |mounted| {
        for (name, kind) in
            [("fifo", FileType::Fifo), ("socket", FileType::Socket), ("char", FileType::CharacterDevice)]
        {
            let path = mounted.path(name);
            rustix::fs::mknodat(CWD, &path, kind, Mode::from(0o640), rustix::fs::makedev(1, 3)).unwrap();
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!(metadata.mode() & libc::S_IFMT, kind.as_raw_mode());
            if metadata.file_type().is_char_device() {
                assert_eq!(metadata.rdev(), rustix::fs::makedev(1, 3));
                // The mount is nodev.
                assert_eq!(File::open(&path).unwrap_err().kind(), ErrorKind::PermissionDenied);
            }
        }
        symlink("target/of/link", mounted.path("link")).unwrap();
        assert_eq!(fs::read_link(mounted.path("link")).unwrap(), Path::new("target/of/link"));
        let long = "t".repeat(4095);
        symlink(&long, mounted.path("long")).unwrap();
        assert_eq!(fs::read_link(mounted.path("long")).unwrap(), Path::new(&long));
    });
}

#[test]
fn attributes() {
    with_each_transport(&options(), |mounted| {
        let path = mounted.path("file");
        fs::write(&path, b"0123456789").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o6754)).unwrap();
        chown(&path, Some(1000), Some(1001)).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1000, 1001));
        assert_eq!(metadata.mode() & 0o6000, 0, "a new owner costs the set-id bits");
        let directory = mounted.path("directory");
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o2775)).unwrap();
        chown(&directory, Some(1000), Some(1001)).unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o7777, 0o2775, "but not of a directory");
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(4).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"0123");
        file.set_len(6).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"0123\0\0");
        let times = [(1_000_000_000, 123_456_789), (-5, 500_000_000), (-1, 0), (0, 1), (i64::MIN, 0), (i64::MAX, 0)];
        for (seconds, nanos) in times {
            let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (seconds, nanos), "{}", mounted.mount.transport());
            assert_eq!((metadata.atime(), metadata.atime_nsec()), (seconds, nanos));
        }
    });
}

#[test]
fn writing_by_another_user_drops_set_user_id() {
    with_each_transport(&options(), |mounted| {
        fs::set_permissions(mounted.root(), fs::Permissions::from_mode(0o777)).unwrap();
        for command in ["echo more >> program", "truncate -s 1 program"] {
            let path = mounted.path("program");
            fs::write(&path, b"#!").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o4777)).unwrap();
            let ran = Command::new("setpriv")
                .args(["--reuid=1000", "--regid=1000", "--clear-groups", "sh", "-c", command])
                .current_dir(mounted.root())
                .status();
            assert!(ran.unwrap().success());
            mounted.drop_caches();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o777, "{command}");
        }
    });
}

#[test]
fn the_umask_is_applied() {
    with_each_transport(&options(), |mounted| {
        let made = Command::new("sh").args(["-c", "umask 027; mkdir d; echo > f"]).current_dir(mounted.root()).status();
        assert!(made.unwrap().success());
        assert_eq!(fs::metadata(mounted.path("d")).unwrap().mode() & 0o777, 0o750);
        assert_eq!(fs::metadata(mounted.path("f")).unwrap().mode() & 0o777, 0o640);
    });
}

#[test]
fn extended_attributes() {
    with_each_transport(&options(), |mounted| {
        let path = mounted.path("file");
        fs::write(&path, b"").unwrap();
        let set = |value: &[u8], flags| rustix::fs::setxattr(&path, "user.color", value, flags);
        assert_eq!(set(b"red", XattrFlags::REPLACE), Err(Errno::NODATA));
        set(b"red", XattrFlags::CREATE).unwrap();
        assert_eq!(set(b"blue", XattrFlags::CREATE), Err(Errno::EXIST));
        let mut value = [0u8; 64];
        let size = rustix::fs::getxattr(&path, "user.color", &mut value).unwrap();
        assert_eq!(&value[..size], b"red");
        assert_eq!(rustix::fs::getxattr(&path, "user.color", &mut [0u8; 2][..]), Err(Errno::RANGE));
        let path_text = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: two strings that end in NUL, and a size of 0 for which nothing is written.
        let size = unsafe { libc::getxattr(path_text.as_ptr(), c"user.color".as_ptr(), std::ptr::null_mut(), 0) };
        assert_eq!(size, 3);
        let size = rustix::fs::listxattr(&path, &mut value).unwrap();
        assert_eq!(&value[..size], b"user.color\0");
        set(&[7; 8192], XattrFlags::empty()).unwrap();
        let mut large = vec![0; 8192];
        assert_eq!(rustix::fs::getxattr(&path, "user.color", &mut large[..]), Ok(8192));
        assert_eq!(large, [7; 8192]);
        rustix::fs::removexattr(&path, "user.color").unwrap();
        assert_eq!(rustix::fs::getxattr(&path, "user.color", &mut value), Err(Errno::NODATA));
    });
}

#[test]
fn access_control_lists() {
    with_each_transport(&options(), |mounted| {
        fs::set_permissions(mounted.root(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = mounted.path("file");
        fs::write(&path, b"for a friend").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let read_as = |uid: &str| {
            let uid = format!("--reuid={uid}");
            Command::new("setpriv").args([&uid, "--clear-groups", "cat"]).arg(&path).output().unwrap().status.success()
        };
        assert!(!read_as("1000"));
        let Ok(set) = Command::new("setfacl").args(["-m", "u:1000:r"]).arg(&path).status() else {
            return eprintln!("skipped: no setfacl");
        };
        assert!(set.success());
        assert!(read_as("1000"));
        assert!(!read_as("1001"));
        let shown = Command::new("getfacl").args(["-n", "-c", "-p"]).arg(&path).output().unwrap().stdout;
        assert!(String::from_utf8(shown).unwrap().contains("user:1000:r--"));
    });
}

#[test]
fn space() {
    with_each_transport(&options(), |mounted| {
        let path = mounted.path("file");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 10_000).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 10_000);
        file.write_all_at(&[7; 10_000], 0).unwrap();
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, punch, 4096, 4096).unwrap();
        assert_eq!(read_at(&path, 4095, 3), [7, 0, 0]);
        assert_eq!(rustix::fs::fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096), Err(Errno::OPNOTSUPP));
        assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(100)), Ok(100));
        assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(100)), Ok(10_000));
        assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(10_000)), Err(Errno::NXIO));
        let statfs = rustix::fs::statfs(mounted.root()).unwrap();
        assert_eq!((statfs.f_bsize, statfs.f_namelen, statfs.f_blocks), (4096, 255, 1 << 28));
    });
}

#[test]
fn copies_inside_the_file_system() {
    with_each_transport(&options(), |mounted| {
        let (from, to) = (mounted.path("from"), mounted.path("to"));
        let content: Vec<u8> = (0..300_000u32).map(|number| number as u8).collect();
        fs::write(&from, &content).unwrap();
        let (source, target) = (File::open(&from).unwrap(), File::create(&to).unwrap());
        let (mut source_offset, mut target_offset) = (0, 0);
        let requests = mounted.requests(|| {
            while source_offset < content.len() as u64 {
                let (source, target) = (source.as_fd(), target.as_fd());
                let left = content.len() - source_offset as usize;
                let (at, into) = (Some(&mut source_offset), Some(&mut target_offset));
                assert!(rustix::fs::copy_file_range(source, at, target, into, left).unwrap() > 0);
            }
        });
        let copied = requests.iter().any(|(name, _)| name.starts_with("COPY_FILE_RANGE"));
        assert!(copied, "{requests:?}");
        assert!(fs::read(&to).unwrap() == content);
    });
}

#[test]
fn lists_many_entries_with_few_requests() {
    const ENTRIES: usize = 20_000;
    with_each_transport(&options(), |mounted| {
        let directory = mounted.path("many");
        fs::create_dir(&directory).unwrap();
        for number in 0..ENTRIES {
            rustix::fs::mknodat(CWD, directory.join(format!("{number}")), FileType::RegularFile, Mode::from(0o644), 0)
                .unwrap();
        }
        mounted.drop_caches();
        let requests = mounted.requests(|| {
            let mut names: Vec<_> = fs::read_dir(&directory)
                .unwrap()
                .map(|entry| {
                    let entry = entry.unwrap();
                    assert!(entry.metadata().unwrap().is_file());
                    entry.file_name()
                })
                .collect();
            assert_eq!(names.len(), ENTRIES);
            names.sort();
            names.dedup();
            assert_eq!(names.len(), ENTRIES);
        });
        eprintln!("list and stat {ENTRIES}: {requests:?}");
        assert!(requests.contains_key("READDIRPLUS"));
        // A stat per entry would be tens of thousands. Others on the machine may drop some of what is cached.
        let asked: u64 = requests.iter().filter(|(name, _)| !name.ends_with("FORGET")).map(|(_, count)| count).sum();
        assert!(asked < ENTRIES as u64 / 4, "{requests:?}");
        let again = mounted.requests(|| assert_eq!(fs::read_dir(&directory).unwrap().count(), ENTRIES));
        eprintln!("list again: {again:?}");
    });
}

#[test]
fn large_reads_and_writes_are_few() {
    const SIZE: usize = 8 << 20;
    with_each_transport(&options(), |mounted| {
        let path = mounted.path("large");
        let content: Vec<u8> =
            (0..SIZE as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let written = mounted.requests(|| {
            fs::write(&path, &content).unwrap();
        });
        eprintln!("write 8 MiB: {written:?}");
        assert!(written["WRITE"] <= 12, "{written:?}");
        mounted.drop_caches();
        let read = mounted.requests(|| assert!(fs::read(&path).unwrap() == content));
        eprintln!("read 8 MiB: {read:?}");
        assert!(read["READ"] <= 24, "{read:?}");
    });
}

#[test]
fn small_requests_do_too() {
    with_each_transport(&MountOptions { max_write: 4096, ..options() }, |mounted| {
        let path = mounted.path("file");
        let content: Vec<u8> = (0..100_000u32).map(|number| (number / 3) as u8).collect();
        let written = mounted.requests(|| fs::write(&path, &content).unwrap());
        assert!(written["WRITE"] >= 25, "{written:?}");
        mounted.drop_caches();
        assert!(fs::read(&path).unwrap() == content);
        let long = "t".repeat(4095);
        symlink(&long, mounted.path("long")).unwrap();
        assert_eq!(fs::read_link(mounted.path("long")).unwrap(), Path::new(&long));
    });
}

/// Memory at an address that O_DIRECT accepts.
#[repr(align(4096))]
struct Aligned([u8; 1 << 20]);

#[test]
fn direct_io() {
    with_each_transport(&options(), |mounted| {
        let mut buffer = Box::new(Aligned([0; 1 << 20]));
        for (number, byte) in buffer.0.iter_mut().enumerate() {
            *byte = (number / 7) as u8;
        }
        let direct = libc::O_DIRECT;
        let file =
            File::options().read(true).write(true).create_new(true).custom_flags(direct).open(mounted.path("direct"));
        let file = file.unwrap();
        let written = mounted.requests(|| file.write_all_at(&buffer.0, 0).unwrap());
        assert_eq!(written["WRITE"], 1, "{written:?}");
        let expected = buffer.0.to_vec();
        buffer.0.fill(0);
        let read = mounted.requests(|| file.read_exact_at(&mut buffer.0, 0).unwrap());
        assert_eq!(read["READ"], 1, "{read:?}");
        assert!(buffer.0[..] == expected);
    });
}

#[test]
fn mapped_writes() {
    for writeback in [true, false] {
        with_each_transport(&MountOptions { writeback, ..options() }, |mounted| {
            let path = mounted.path("mapped");
            let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
            file.set_len(64 << 10).unwrap();
            use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};
            // SAFETY: a new mapping of a file of that size that nobody else changes, unmapped before its slice ends.
            unsafe {
                let size = 64 << 10;
                let protection = ProtFlags::READ | ProtFlags::WRITE;
                let address = mmap(std::ptr::null_mut(), size, protection, MapFlags::SHARED, &file, 0).unwrap();
                let bytes = std::slice::from_raw_parts_mut(address.cast::<u8>(), size);
                bytes[5000..5005].copy_from_slice(b"hello");
                msync(address, size, MsyncFlags::SYNC).unwrap();
                munmap(address, size).unwrap();
            }
            drop(file);
            mounted.drop_caches();
            assert_eq!(read_at(&path, 4999, 7), b"\0hello\0");
        });
    }
}

#[test]
fn without_writeback_changes_from_elsewhere_are_seen() {
    let options = MountOptions { writeback: false, ..options() };
    support::with_each_transport_valid(Duration::ZERO, &options, |mounted| {
        let path = mounted.path("file");
        fs::write(&path, b"first").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        let caller = Caller { uid: 0, gid: 0, pid: 0 };
        let node = fs::metadata(&path).unwrap().ino();
        mounted.fs.write(&caller, node, 0, b"other", false).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"other");
    });
}

#[test]
fn rename_flags() {
    with_each_transport(&options(), |mounted| {
        let (a, b) = (mounted.path("a"), mounted.path("b"));
        fs::write(&a, b"A").unwrap();
        fs::write(&b, b"B").unwrap();
        let rename = |flags| rustix::fs::renameat_with(CWD, &a, CWD, &b, flags);
        assert_eq!(rename(RenameFlags::NOREPLACE), Err(Errno::EXIST));
        rename(RenameFlags::EXCHANGE).unwrap();
        assert_eq!((fs::read(&a).unwrap(), fs::read(&b).unwrap()), (b"B".to_vec(), b"A".to_vec()));
        assert_eq!(rename(RenameFlags::WHITEOUT), Err(Errno::INVAL));
        fs::rename(&a, &b).unwrap();
        assert_eq!(fs::read(&b).unwrap(), b"B");
    });
}

#[test]
fn files_without_a_name() {
    with_each_transport(&options(), |mounted| {
        let opened = rustix::fs::open(mounted.root(), OFlags::TMPFILE | OFlags::RDWR, Mode::from(0o600));
        if mounted.mount.transport() == Transport::Fuser {
            // fuser does not know the request.
            return assert_eq!(opened.unwrap_err(), Errno::OPNOTSUPP);
        }
        let mut file = File::from(opened.unwrap());
        file.write_all(b"named later").unwrap();
        let magic = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        rustix::fs::linkat(CWD, magic, CWD, mounted.path("named"), AtFlags::SYMLINK_FOLLOW).unwrap();
        drop(file);
        assert_eq!(fs::read(mounted.path("named")).unwrap(), b"named later");
    });
}

#[test]
fn slow_calls_do_not_hold_up_others() {
    with_each_transport(&options(), |mounted| {
        use std::sync::atomic::Ordering;
        mounted.fs.slow.store(true, Ordering::SeqCst);
        mounted.fs.fsync_ms.store(300, Ordering::SeqCst);
        let paths: Vec<_> = (0..2).map(|number| mounted.path(&format!("slow{number}"))).collect();
        std::thread::scope(|scope| {
            let syncing: Vec<_> = paths
                .iter()
                .map(|path| {
                    scope.spawn(move || {
                        let mut file = File::create_new(path).unwrap();
                        file.write_all(&[9; 100_000]).unwrap();
                        file.sync_all().unwrap();
                    })
                })
                .collect();
            let mut others = 0;
            while syncing.iter().any(|thread| !thread.is_finished()) {
                rustix::fs::statfs(mounted.root()).unwrap();
                others += 1;
            }
            // With a slow call in every serving thread there would be none.
            assert!(others > 100, "{others}");
        });
        for path in &paths {
            assert!(fs::read(path).unwrap() == [9; 100_000]);
        }
    });
}

#[test]
fn syncs_meet_in_the_file_system() {
    with_each_transport(&options(), |mounted| {
        use std::sync::atomic::Ordering;
        mounted.fs.fsync_ms.store(20, Ordering::SeqCst);
        std::thread::scope(|scope| {
            for number in 0..6 {
                let file = File::create_new(mounted.path(&format!("{number}"))).unwrap();
                scope.spawn(move || (0..10).for_each(|_| file.sync_all().unwrap()));
            }
        });
        // Were each made by the thread that received it, there would be no more at a time than such threads.
        assert!(mounted.fs.most_syncs.load(Ordering::SeqCst) > 2);
    });
}

#[test]
fn a_panic_of_the_file_system_is_an_error() {
    with_each_transport(&options(), |mounted| {
        use std::sync::atomic::Ordering;
        mounted.fs.panics.store(true, Ordering::SeqCst);
        for _ in 0..5 {
            assert_eq!(rustix::fs::statfs(mounted.root()).unwrap_err(), Errno::IO);
        }
        mounted.fs.panics.store(false, Ordering::SeqCst);
        assert!(rustix::fs::statfs(mounted.root()).is_ok());
    });
}

#[test]
fn read_only() {
    with_each_transport(&MountOptions { read_only: true, ..options() }, |mounted: &Mounted| {
        assert_eq!(fs::write(mounted.path("file"), b"").unwrap_err().raw_os_error(), Some(libc::EROFS));
    });
}

#[test]
fn the_mount_table_shows_what_it_is() {
    with_each_transport(&options(), |mounted| {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = table.lines().find(|line| line.contains(mounted.root().to_str().unwrap())).unwrap();
        assert!(line.contains(" - fuse.blocktree blocktree "), "{line}");
        assert!(line.contains("nosuid") && line.contains("nodev"), "{line}");
    });
}

#[test]
fn every_lookup_is_forgotten() {
    for valid in [Duration::ZERO, support::LONG] {
        support::with_each_transport_valid(valid, &options(), |mounted| {
            for directory in 0..5 {
                fs::create_dir(mounted.path(&format!("{directory}"))).unwrap();
                for file in 0..50 {
                    let path = mounted.path(&format!("{directory}/{file}"));
                    fs::write(&path, b"x").unwrap();
                    fs::hard_link(&path, mounted.path(&format!("{directory}/link{file}"))).unwrap();
                    if file % 2 == 0 {
                        fs::remove_file(&path).unwrap();
                    }
                }
                let listed = fs::read_dir(mounted.path(&format!("{directory}"))).unwrap();
                assert_eq!(listed.map(|entry| entry.unwrap().metadata().unwrap().len()).sum::<u64>(), 75);
            }
            fs::remove_dir_all(mounted.path("0")).unwrap();
            mounted.drop_caches();
            assert_eq!(mounted.fs.lookups(), 0);
            assert_eq!(mounted.fs.excess_forgets.load(std::sync::atomic::Ordering::SeqCst), 0);
            assert_eq!(mounted.fs.nodes(), 1 + 4 + 4 * 50);
        });
    }
}
