//! Settings of threads and devices that help but may be refused.

use tracing::debug;

/// From `linux/prctl.h`.
const PR_SET_IO_FLUSHER: libc::c_int = 57;

/// Marks the calling thread, and threads it starts, as serving a file system: when they need memory, the kernel does
/// not try to get it by writing back pages of file systems, which could be ours. Needs CAP_SYS_RESOURCE.
pub fn become_io_flusher() {
    let (on, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: PR_SET_IO_FLUSHER takes four integers of that width and touches no memory of ours.
    let result = unsafe { libc::prctl(PR_SET_IO_FLUSHER, on, unused, unused, unused) };
    if result != 0 {
        debug!(error = %std::io::Error::last_os_error(), "not permitted to become an I/O flusher");
    }
}

/// Keeps the calling thread on one core; false when the core is offline or not ours.
pub(crate) fn pin_to_core(core: usize) -> bool {
    let mut cores = rustix::thread::CpuSet::new();
    if core >= rustix::thread::CpuSet::MAX_CPU {
        return false;
    }
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores).is_ok()
}

/// Sets the read-ahead of the mount with this device number. Needs root; else the kernel's default of 128 KiB stays.
pub(crate) fn set_read_ahead(device: Option<(u32, u32)>, kib: u32) {
    let Some((major, minor)) = device else { return debug!("the mount is not in the mount table") };
    if let Err(error) = std::fs::write(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"), kib.to_string()) {
        debug!(%error, "the read-ahead stays at the kernel's default");
    }
}

/// How many cores the kernel counts as possible, and so how many queues it wants.
pub(crate) fn possible_cores() -> Option<usize> {
    count_cores(&std::fs::read_to_string("/sys/devices/system/cpu/possible").ok()?)
}

/// Counts a list such as `0-1` or `0,2-3`.
fn count_cores(list: &str) -> Option<usize> {
    list.trim().split(',').try_fold(0, |count: usize, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        Some(count + (last + 1).checked_sub(first)?)
    })
}

#[cfg(test)]
mod tests {
    use super::count_cores;

    #[test]
    fn counts_cores() {
        assert_eq!(count_cores("0\n"), Some(1));
        assert_eq!(count_cores("0-127\n"), Some(128));
        assert_eq!(count_cores("0,2-5\n"), Some(5));
        assert_eq!(count_cores("\n"), None);
        assert_eq!(count_cores("5-2\n"), None);
    }
}
