//! Mounts a file system in memory: `null MOUNTPOINT [auto|fuser|uring] [VALID_SECONDS] [writeback|through]`.
//!
//! Ends when it is unmounted (`umount MOUNTPOINT`), and then prints how often the kernel asked what.

mod fs;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bt_fuse::{Mount, MountOptions, TransportChoice};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |number: usize, default: &'static str| arguments.get(number).map_or(default, |text| text.as_str());
    let Some(mountpoint) = arguments.first() else {
        eprintln!("null MOUNTPOINT [auto|fuser|uring] [VALID_SECONDS] [writeback|through]");
        std::process::exit(2);
    };
    let options = MountOptions {
        transport: match argument(1, "auto") {
            "fuser" => TransportChoice::Fuser,
            "uring" => TransportChoice::Uring,
            _ => TransportChoice::Auto,
        },
        writeback: argument(3, "writeback") == "writeback",
        allow_other: rustix::process::geteuid().is_root(),
        ..MountOptions::default()
    };
    let valid = Duration::from_secs_f64(argument(2, "60").parse().expect("VALID_SECONDS is a number"));
    let fs = Arc::new(fs::NullFs::new(valid));
    let mount = match Mount::start(fs.clone(), Path::new(mountpoint), &options) {
        Ok(mount) => mount,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    println!("mounted with {}", mount.transport());
    mount.wait();
    println!("{:?}", mount.requests());
    println!("{} nodes, {} lookups not forgotten", fs.nodes(), fs.lookups());
}
