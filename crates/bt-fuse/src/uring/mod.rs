//! The transport over FUSE-over-io_uring (Linux 6.14 and newer, `fuse.enable_uring` set).
//!
//! The kernel wants one queue for every possible core and puts each request into the queue of the core that the calling
//! program runs on. A thread pinned to that core serves it, so a request costs two switches on one core instead of
//! waking a second, which may be asleep. A queue has several places, each memory for one request and its reply; the
//! file system reads and writes in that memory. FORGET, INTERRUPT and INIT still come over /dev/fuse.

mod device;
mod entry;
mod mailbox;
mod queue;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::awake::Awake;
use crate::counters::Counters;
use crate::limits::{QUEUE_PLACES, QUEUE_PLACES_MIN, QUEUES_MEMORY};
use crate::mount::Serving;
use crate::wire::opcode;
use crate::workers::Workers;
use crate::{FileSystem, MountError, MountOptions, system};
use device::Device;
use entry::Place;
use queue::{Queue, Shared};

/// The kernel's smallest payload.
const MIN_PAYLOAD: usize = 8192;

/// An error that says what is missing; to be asked before mounting.
pub(crate) fn check_available() -> Result<(), MountError> {
    let refused = |reason: &str| Err(MountError::Uring(reason.to_owned()));
    match std::fs::read_to_string("/sys/module/fuse/parameters/enable_uring") {
        Err(_) => return refused("the kernel is too old"),
        Ok(value) if value.trim() != "Y" => return refused("it is switched off"),
        Ok(_) => {}
    }
    match queue::build_ring(1) {
        Ok(_) => Ok(()),
        Err(error) => refused(&format!("io_uring cannot be used by this process: {error}")),
    }
}

/// Answers INIT on a fresh connection and starts the threads that serve it.
pub(crate) fn serve(
    fs: Arc<dyn FileSystem>,
    device: OwnedFd,
    options: &MountOptions,
    workers: &Arc<Workers>,
    awake: &Arc<Awake>,
) -> Result<Serving, MountError> {
    let device = Arc::new(device);
    let mut control = Device::new(device.clone(), options.max_write as usize);
    control.handshake(options)?;
    let device_counters = Counters::new(awake);
    device_counters.add(opcode::INIT);
    let shared = Arc::new(Shared { fs: fs.clone(), workers: workers.clone(), device });
    let payload_size = (options.max_write as usize).max(MIN_PAYLOAD);
    let (ready, results) = channel();
    let mut serving = Serving { threads: Vec::new(), counters: vec![device_counters.clone()] };
    for plan in plan_queues(payload_size)? {
        let counters = Counters::new(awake);
        serving.counters.push(counters.clone());
        serving.threads.push(start_queue(plan, payload_size, shared.clone(), counters, ready.clone())?);
    }
    drop(ready);
    wait_until_ready(&results)?;
    let thread = std::thread::Builder::new().name("bt-fuse-device".to_owned()).spawn(move || {
        system::become_io_flusher();
        control.serve(&*fs, &device_counters);
    });
    serving.threads.push(thread.map_err(MountError::Threads)?);
    Ok(serving)
}

/// What one thread serves.
struct Plan {
    core: usize,
    /// Queue numbers, and how many places each has.
    queues: Vec<(u16, usize)>,
}

/// A thread for every core that this process may use; the first also takes the queues of the others, which are needed
/// but little used.
fn plan_queues(payload_size: usize) -> Result<Vec<Plan>, MountError> {
    let possible = system::possible_cores()
        .and_then(|cores| u16::try_from(cores).ok())
        .ok_or_else(|| MountError::Uring("the number of cores cannot be found out".to_owned()))?;
    let usable = rustix::thread::sched_getaffinity(None).map_err(|errno| MountError::Threads(errno.into()))?;
    let (ours, others): (Vec<u16>, Vec<u16>) = (0..possible).partition(|core| usable.is_set(usize::from(*core)));
    let places = places_per_queue(ours.len(), payload_size);
    let mut plans: Vec<Plan> =
        ours.into_iter().map(|core| Plan { core: core.into(), queues: vec![(core, places)] }).collect();
    let first = plans.first_mut().ok_or_else(|| MountError::Uring("this process may use no core".to_owned()))?;
    first.queues.extend(others.into_iter().map(|core| (core, 1)));
    Ok(plans)
}

fn places_per_queue(queues: usize, payload_size: usize) -> usize {
    (QUEUES_MEMORY / payload_size / queues.max(1)).clamp(QUEUE_PLACES_MIN, QUEUE_PLACES)
}

fn start_queue(
    plan: Plan,
    payload_size: usize,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    ready: Sender<std::io::Result<()>>,
) -> Result<JoinHandle<()>, MountError> {
    let numbers = plan.queues.iter().flat_map(|(queue, places)| std::iter::repeat_n(*queue, *places));
    let places: std::io::Result<Vec<Place>> = numbers.map(|queue| Place::new(queue, payload_size)).collect();
    let places = places.map_err(MountError::Threads)?;
    let thread = std::thread::Builder::new().name(format!("bt-fuse-core-{}", plan.core));
    let serving = thread.spawn(move || {
        if !system::pin_to_core(plan.core) {
            tracing::warn!(core = plan.core, "a thread could not be pinned to its core; requests will cost more");
        }
        system::become_io_flusher();
        let started = Queue::new(shared, places, counters).and_then(|mut queue| queue.register().map(|()| queue));
        match started {
            Ok(queue) => {
                // The receiver is there: it waits for this message.
                let _ = ready.send(Ok(()));
                drop(ready);
                queue.serve();
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    });
    serving.map_err(MountError::Threads)
}

fn wait_until_ready(results: &Receiver<std::io::Result<()>>) -> Result<(), MountError> {
    for result in results {
        result.map_err(|error| MountError::Uring(format!("the kernel refused a queue: {error}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_cores_share_the_memory() {
        assert_eq!(places_per_queue(2, 1 << 20), QUEUE_PLACES);
        assert_eq!(places_per_queue(64, 1 << 20), 4);
        assert_eq!(places_per_queue(1024, 1 << 20), QUEUE_PLACES_MIN);
    }
}
