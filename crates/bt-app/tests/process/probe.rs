//! Tries what a confined process cannot do.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode};
use std::{io, thread};

use bt_app::sandbox::{self, Role};
use rustix::process::{Pid, getppid, test_kill_process};

/// Prints a line for each attempt: what, and how it ended.
pub fn run() -> ExitCode {
    let parent = getppid().expect("there is a parent");
    // Left open by mistake, as a library might.
    let secret = File::open("/etc/hostname").expect("there is such a file");
    rustix::io::fcntl_setfd(&secret, rustix::io::FdFlags::empty()).unwrap();
    std::mem::forget(secret.try_clone().unwrap());
    drop(secret);
    sandbox::enter(Role::App).expect("it can be confined");
    say("read a file", File::open("/etc/passwd"));
    say("read of /proc", File::open("/proc/self/maps"));
    say("write a file", File::create("/tmp/bt-app-probe"));
    say("look at a file", fs::metadata("/etc/passwd"));
    say("list a directory", fs::read_dir("/"));
    say("tcp", TcpStream::connect("127.0.0.1:1"));
    say("listen", TcpListener::bind("127.0.0.1:0"));
    say("udp", UdpSocket::bind("127.0.0.1:0"));
    say("unix socket", UnixStream::connect("/run/x"));
    say("run a program", Command::new("/bin/true").status());
    say("signal the parent", test_kill_process(parent).map_err(io::Error::from));
    say("signal init", test_kill_process(Pid::from_raw(1).unwrap()).map_err(io::Error::from));
    say("a thread", thread::Builder::new().spawn(|| {}).map(|thread| thread.join().unwrap()));
    say("executable memory", executable());
    sandbox::forbid_new_code().expect("it can be confined further");
    say("executable memory later", executable());
    ExitCode::SUCCESS
}

fn say<T>(what: &str, result: io::Result<T>) {
    match result {
        Ok(_) => println!("{what}: done"),
        Err(error) => println!("{what}: {}", error.raw_os_error().unwrap_or(-1)),
    }
}

#[allow(unsafe_code)]
fn executable() -> io::Result<()> {
    // SAFETY: a new mapping that nothing points into.
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_EXEC,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if memory == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}
