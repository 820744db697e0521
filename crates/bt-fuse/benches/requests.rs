//! What a request costs with each transport: `cargo bench -p bt-fuse [-- VALID_SECONDS]`.
//!
//! A file system in memory, served by a child process, is asked by this one. Microseconds per operation: the least and
//! the median of many short runs, since other work on the machine only ever adds; then the daemon's processor time.

#[allow(dead_code)] // The tests use more of it.
#[path = "../examples/null/fs.rs"]
mod null_fs;

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bt_fuse::{Mount, MountOptions, TransportChoice};

/// Set for the child process: transport, seconds, directory.
const DAEMON: &str = "BT_FUSE_BENCH_DAEMON";
const RUNS: usize = 25;
const OPERATIONS: usize = 2000;
const FILES: usize = 400;

fn main() {
    if let Ok(daemon) = std::env::var(DAEMON) {
        return serve(&daemon);
    }
    // Times of 0 show what each request costs, since the kernel then asks every time.
    let seconds = std::env::args().skip(1).find(|argument| argument.parse::<f64>().is_ok()).unwrap_or("0".to_owned());
    // Best effort: only root may, and only some kernels have it.
    let _ = fs::write("/sys/module/fuse/parameters/enable_uring", "Y");
    println!("names and attributes valid for {seconds} s; microseconds: least, median, daemon's processor time");
    for transport in ["fuser", "uring"] {
        let directory = tempfile::Builder::new().prefix("bt-fuse-").tempdir().unwrap();
        match Daemon::start(transport, &seconds, directory.path()) {
            Some(daemon) => daemon.measure_all(transport),
            None => println!("{transport}: not on this machine"),
        }
    }
}

fn serve(daemon: &str) {
    let mut words = daemon.splitn(3, ' ');
    let (transport, seconds, directory) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let transport = if transport == "uring" { TransportChoice::Uring } else { TransportChoice::Fuser };
    let options = MountOptions { transport, writeback: false, ..MountOptions::default() };
    let fs = Arc::new(null_fs::NullFs::new(Duration::from_secs_f64(seconds.parse().unwrap())));
    match Mount::start(fs, Path::new(directory), &options) {
        Ok(mount) => mount.wait(),
        Err(error) => eprintln!("{error}"),
    }
}

struct Daemon {
    process: Child,
    directory: PathBuf,
}

/// Memory at an address that O_DIRECT accepts.
#[repr(align(4096))]
struct Page([u8; 4096]);

impl Daemon {
    fn start(transport: &str, seconds: &str, directory: &Path) -> Option<Daemon> {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .env(DAEMON, format!("{transport} {seconds} {}", directory.display()))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !fs::read_to_string("/proc/self/mountinfo").unwrap().contains(directory.to_str().unwrap()) {
            if process.try_wait().unwrap().is_some() {
                return None;
            }
        }
        Some(Daemon { process, directory: directory.to_owned() })
    }

    /// User and system time of the daemon so far.
    fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// `run` makes `operations` operations.
    fn measure(&self, name: &str, operations: usize, run: impl Fn()) {
        self.measure_after(name, operations, || {}, run);
    }

    fn measure_after(&self, name: &str, operations: usize, prepare: impl Fn(), run: impl Fn()) {
        let mut processor = Duration::ZERO;
        let mut times: Vec<f64> = (0..RUNS)
            .map(|_| {
                prepare();
                let (before, start) = (self.processor_time(), Instant::now());
                run();
                let elapsed = start.elapsed();
                processor += self.processor_time() - before;
                elapsed.as_secs_f64() * 1e6 / operations as f64
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let processor = processor.as_secs_f64() * 1e6 / (RUNS * operations) as f64;
        println!("{name:28} {:7.2} {:7.2} {processor:7.1}", times[0], times[RUNS / 2]);
    }

    fn measure_all(mut self, transport: &str) {
        println!("-- {transport}");
        self.measure_one_file();
        self.measure_files();
        assert!(Command::new("umount").arg(&self.directory).status().unwrap().success());
        self.process.wait().unwrap();
    }

    fn measure_one_file(&self) {
        let path = self.directory.join("file");
        let direct = |write| File::options().read(true).write(write).custom_flags(libc::O_DIRECT).open(&path).unwrap();
        fs::write(&path, [7; 4096]).unwrap();
        let (file, to_read, to_write) = (File::open(&path).unwrap(), direct(false), direct(true));
        self.measure("stat", OPERATIONS, || {
            (0..OPERATIONS).for_each(|_| assert_eq!(black_box(fs::metadata(&path).unwrap().len()), 4096));
        });
        let fstat = || (0..OPERATIONS).for_each(|_| assert_eq!(black_box(file.metadata().unwrap().len()), 4096));
        self.measure("fstat", OPERATIONS, fstat);
        self.measure("fstat, two clients", 2 * OPERATIONS, || {
            std::thread::scope(|scope| {
                scope.spawn(fstat);
                scope.spawn(fstat);
            });
        });
        self.measure("pread 4 KiB", OPERATIONS, || {
            let mut page = Box::new(Page([0; 4096]));
            (0..OPERATIONS).for_each(|_| to_read.read_exact_at(&mut page.0, 0).unwrap());
        });
        self.measure("pwrite 4 KiB", OPERATIONS, || {
            let page = Box::new(Page([1; 4096]));
            (0..OPERATIONS).for_each(|_| to_write.write_all_at(&page.0, 0).unwrap());
        });
    }

    fn measure_files(&self) {
        let names: Vec<PathBuf> = (0..FILES).map(|number| self.directory.join(format!("{number}"))).collect();
        let create = |content: &[u8]| {
            names.iter().for_each(|name| File::create_new(name).unwrap().write_all(content).unwrap());
        };
        let remove = || names.iter().for_each(|name| fs::remove_file(name).unwrap());
        let clear = || names.iter().for_each(|name| drop(fs::remove_file(name)));
        self.measure_after("create and close", FILES, clear, || create(b""));
        self.measure_after("create, write and close", FILES, clear, || create(&[7; 4096]));
        self.measure("open, read and close", FILES, || {
            let mut buffer = [0; 4096];
            names.iter().for_each(|name| assert_eq!(File::open(name).unwrap().read(&mut buffer).unwrap(), 4096));
        });
        let refill = || {
            clear();
            create(b"");
        };
        self.measure_after("unlink", FILES, refill, remove);
    }
}
