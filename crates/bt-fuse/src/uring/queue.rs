//! One core's queue: a thread on that core, its ring, and the places the kernel puts requests in.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use io_uring::squeue::Entry128;
use io_uring::{IoUring, cqueue, opcode as uring_opcode, types};

use super::entry::Place;
use super::mailbox::{Answered, Mailbox};
use crate::counters::Counters;
use crate::dispatch;
use crate::workers::{Sync, Workers};
use crate::{Errno, FileSystem};

/// A ring whose completions are handled only inside this thread's own waits.
pub(super) type Ring = IoUring<Entry128, cqueue::Entry>;

/// `user_data` of the mailbox's bell; places have their number.
const BELL: u64 = u64::MAX;

/// What queues share.
pub(super) struct Shared {
    pub(super) fs: Arc<dyn FileSystem>,
    pub(super) workers: Arc<Workers>,
    pub(super) device: Arc<OwnedFd>,
}

/// One core's queue, or several that one thread serves.
pub(super) struct Queue {
    // First, so that it is closed before the memory it uses is unmapped.
    ring: Ring,
    /// None while a worker has it.
    places: Vec<Option<Place>>,
    /// Places that the connection still uses.
    live: usize,
    mailbox: Arc<Mailbox>,
    counters: Arc<Counters>,
    shared: Arc<Shared>,
}

/// A ring for `places`, and the bell.
pub(super) fn build_ring(places: usize) -> io::Result<Ring> {
    let entries = (places + 1).next_power_of_two() as u32;
    IoUring::builder().setup_single_issuer().setup_defer_taskrun().setup_submit_all().build(entries)
}

impl Queue {
    /// Called in the thread that will serve it.
    pub(super) fn new(shared: Arc<Shared>, places: Vec<Place>, counters: Arc<Counters>) -> io::Result<Queue> {
        let ring = build_ring(places.len())?;
        ring.submitter().register_files(&[shared.device.as_raw_fd()])?;
        let live = places.len();
        let places = places.into_iter().map(Some).collect();
        Ok(Queue { ring, places, live, mailbox: Arc::new(Mailbox::new()?), counters, shared })
    }

    /// Gives all places to the kernel. An error: the kernel does not take them.
    pub(super) fn register(&mut self) -> io::Result<()> {
        for number in 0..self.places.len() {
            let submission = self.places[number].as_ref().expect("no worker has one yet").register();
            self.push(submission.user_data(number as u64));
        }
        self.watch_bell();
        self.ring.submit()?;
        // A place that is taken completes only with its first request; what completes at once was refused.
        match self.ring.completion().find(|completion| completion.user_data() != BELL && completion.result() < 0) {
            Some(refused) => Err(io::Error::from_raw_os_error(-refused.result())),
            None => Ok(()),
        }
    }

    /// Serves until the connection ends.
    pub(super) fn serve(mut self) {
        let mut completions = Vec::with_capacity(self.places.len() + 1);
        while self.live > 0 {
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "a queue of the mount can no longer be served");
                    return;
                }
            }
            completions.extend(self.ring.completion().map(|completion| (completion.user_data(), completion.result())));
            let alone = completions.len() == 1;
            for (user_data, result) in completions.drain(..) {
                match user_data {
                    BELL => self.take_answers(),
                    number => self.completed(number as usize, result, alone),
                }
            }
        }
    }

    /// `alone`: nothing else waits for this thread.
    fn completed(&mut self, number: usize, result: i32, alone: bool) {
        if result < 0 {
            self.live -= 1;
            if !matches!(-result, libc::ENOTCONN | libc::ECONNABORTED | libc::ECANCELED) {
                let error = io::Error::from_raw_os_error(-result);
                tracing::error!(%error, "the kernel did not take a reply");
            }
            return;
        }
        let mut place = self.places[number].take().expect("the kernel had it, not a worker");
        let mut request = place.request();
        self.counters.add(request.header.opcode);
        let (fs, workers) = (&*self.shared.fs, &self.shared.workers);
        let is_sync = dispatch::is_sync(request.header.opcode);
        let held_up = is_sync && (!alone || workers.is_syncing());
        let sync = is_sync.then(|| workers.begin_sync());
        if held_up || dispatch::may_wait(fs, &request.header, request.fixed) {
            return self.hand_over(number, place, sync);
        }
        let result = dispatch::answer(fs, &mut request);
        drop(sync);
        self.commit(number, place, result);
    }

    fn hand_over(&self, number: usize, mut place: Place, sync: Option<Sync>) {
        let (fs, mailbox) = (self.shared.fs.clone(), self.mailbox.clone());
        self.shared.workers.run(Box::new(move || {
            let result = dispatch::answer(&*fs, &mut place.request());
            drop(sync);
            mailbox.put(Answered { number, place, result });
        }));
    }

    fn take_answers(&mut self) {
        for Answered { number, place, result } in self.mailbox.take() {
            self.commit(number, place, result);
        }
        self.watch_bell();
    }

    fn commit(&mut self, number: usize, mut place: Place, result: Result<usize, Errno>) {
        let submission = place.commit(result);
        self.places[number] = Some(place);
        self.push(submission.user_data(number as u64));
    }

    fn watch_bell(&mut self) {
        let poll = uring_opcode::PollAdd::new(types::Fd(self.mailbox.bell()), libc::POLLIN as u32).build();
        self.push(Entry128::from(poll.user_data(BELL)));
    }

    fn push(&mut self, submission: Entry128) {
        // SAFETY: what a submission points to (a place's memory and parts, the bell) lives in `self` longer than the
        // ring, which is dropped first; a place is put back before its submission is pushed.
        unsafe { self.ring.submission().push(&submission) }.expect("the ring has room for every place and the bell");
    }
}
