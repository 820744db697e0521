//! How many requests the kernel makes of an operation: what a mount's speed rests on.
//!
//! The counts are those of Linux 6.18; `doc/decisions/0001-fuse-transport.md` says where each comes from.

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use bt_fuse::MountOptions;
use support::{Mounted, with_each_transport};

type Requests = BTreeMap<&'static str, u64>;

fn create_and_write(path: &Path) {
    let mut file = File::options().write(true).create_new(true).open(path).unwrap();
    file.write_all(&[7; 4096]).unwrap();
}

fn read_all(path: &Path) {
    let mut file = File::open(path).unwrap();
    assert_eq!(file.read(&mut [0; 4096]).unwrap(), 4096);
}

/// What the kernel asks once for a connection, to learn that there is no such request: OPEN, OPENDIR, FLUSH, CREATE,
/// STATX.
fn warm_up(mounted: &Mounted) {
    create_and_write(&mounted.path("first"));
    read_all(&mounted.path("first"));
    fs::metadata(mounted.path("first")).unwrap();
    fs::remove_file(mounted.path("first")).unwrap();
    assert_eq!(fs::read_dir(mounted.root()).unwrap().count(), 0);
}

/// Forgets come later, when the kernel has time.
fn requests(mounted: &Mounted, action: impl FnOnce()) -> Requests {
    let mut requests = mounted.requests(action);
    requests.retain(|name, _| !name.ends_with("FORGET"));
    requests
}

/// What was sent beyond what an operation may cost.
#[derive(Default)]
struct Excess(Vec<String>);

impl Excess {
    fn check(&mut self, operation: &str, sent: &Requests, allowed: &[(&str, u64)]) {
        eprintln!("{operation}: {sent:?}");
        for (name, count) in sent {
            let limit = allowed.iter().find(|(allowed, _)| allowed == name).map_or(0, |(_, limit)| *limit);
            if *count > limit {
                self.0.push(format!("{operation} sent {count} {name}, expected at most {limit}"));
            }
        }
    }
}

/// Makes each operation once.
fn excess(mounted: &Mounted, writeback: bool) -> Excess {
    let mut excess = Excess::default();
    warm_up(mounted);
    let (path, empty) = (mounted.path("file"), mounted.path("empty"));
    let setattr = ("SETATTR", u64::from(writeback));
    let sent = requests(mounted, || create_and_write(&path));
    let expected = [("GETATTR", 1), ("LOOKUP", 1), ("MKNOD", 1), ("GETXATTR", 1), ("WRITE", 1), setattr];
    excess.check("create, write and close", &sent, &expected);
    let sent = requests(mounted, || drop(File::create_new(&empty).unwrap()));
    excess.check("create and close", &sent, &[("GETATTR", 1), ("LOOKUP", 1), ("MKNOD", 1)]);
    let sent = requests(mounted, || assert!(fs::metadata(&path).is_ok()));
    excess.check("first stat", &sent, &[("GETATTR", 2)]);
    let sent = requests(mounted, || assert!(fs::metadata(&path).is_ok()));
    excess.check("stat", &sent, &[]);
    // Without writeback the kernel cannot tell that the file's new time comes from its own write.
    let sent = requests(mounted, || read_all(&path));
    excess.check("first open, read and close", &sent, &[("READ", u64::from(!writeback))]);
    let sent = requests(mounted, || read_all(&path));
    excess.check("open, read and close", &sent, &[]);
    let sent = requests(mounted, || fs::remove_file(&path).unwrap());
    excess.check("unlink", &sent, &[("GETATTR", 1), ("UNLINK", 1), setattr]);
    fs::write(mounted.path("cold"), [7; 4096]).unwrap();
    mounted.drop_caches();
    let sent = requests(mounted, || read_all(&mounted.path("cold")));
    excess.check("cold open, read and close", &sent, &[("GETATTR", 1), ("LOOKUP", 1), ("READ", 1)]);
    fs::remove_file(mounted.path("cold")).unwrap();
    fs::remove_file(&empty).unwrap();
    excess
}

fn count(writeback: bool) {
    /// Somebody else on the machine may drop the kernel's caches meanwhile.
    const ATTEMPTS: usize = 5;
    with_each_transport(&MountOptions { writeback, ..MountOptions::default() }, |mounted| {
        let mut last = Excess::default();
        let good = (0..ATTEMPTS).any(|_| {
            last = excess(mounted, writeback);
            last.0.is_empty()
        });
        assert!(good, "{:#?}", last.0);
    });
}

#[test]
fn with_writeback() {
    count(true);
}

#[test]
fn without_writeback() {
    count(false);
}
