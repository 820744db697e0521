//! /dev/fuse itself: INIT, and afterwards what the kernel does not send through the queues (FORGET, INTERRUPT).

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno as SystemErrno;
use zerocopy::IntoBytes;

use crate::check;
use crate::counters::Counters;
use crate::dispatch::{self, Request, parse};
use crate::limits::FORGET_PAUSE_MS;
use crate::wire::{self, InHeader, InitIn, InitOut, MAJOR, OutHeader, init_flag, opcode};
use crate::{FileSystem, MountError, MountOptions, init};

/// Room for a request's header and fixed part before its data.
const HEADERS_SIZE: usize = 4096;

/// The device during and after the handshake.
pub(super) struct Device {
    device: Arc<OwnedFd>,
    buffer: Vec<u8>,
    reply: Vec<u8>,
}

impl Device {
    pub(super) fn new(device: Arc<OwnedFd>, max_write: usize) -> Device {
        Device { device, buffer: vec![0; max_write + HEADERS_SIZE], reply: vec![0; max_write] }
    }

    /// Answers INIT, agreeing on io_uring; an error when the kernel does not offer it.
    pub(super) fn handshake(&mut self, options: &MountOptions) -> Result<(), MountError> {
        loop {
            let size = self.read().map_err(MountError::Handshake)?.ok_or_else(|| {
                MountError::Handshake(io::Error::new(io::ErrorKind::NotConnected, "unmounted before it was served"))
            })?;
            let invalid = |_| MountError::Handshake(io::ErrorKind::InvalidData.into());
            let header: InHeader = parse(&self.buffer[..size]).map_err(invalid)?;
            let init: InitIn = parse(&self.buffer[size_of::<InHeader>()..size]).map_err(invalid)?;
            if header.opcode != opcode::INIT || init.major < MAJOR {
                return Err(MountError::Handshake(io::ErrorKind::Unsupported.into()));
            }
            if init.major > MAJOR {
                // It asks again in the version that it is told.
                let version = InitOut { major: MAJOR, minor: wire::MINOR, ..InitOut::default() };
                self.send(&header, Ok(()), version.as_bytes()).map_err(MountError::Handshake)?;
                continue;
            }
            let offered = init::offered_features(&init);
            if offered & init_flag::OVER_IO_URING == 0 {
                return Err(MountError::Uring("the kernel does not offer it".to_owned()));
            }
            let ours = init_flag::OVER_IO_URING | init_flag::INIT_EXT | init_flag::SETXATTR_EXT;
            let features = offered & (init::wanted_features(options) | ours);
            let answer = init::answer(&init, features, options.max_write);
            return self.send(&header, Ok(()), answer.as_bytes()).map_err(MountError::Handshake);
        }
    }

    /// Serves until the connection ends.
    pub(super) fn serve(mut self, fs: &dyn FileSystem, counters: &Counters) {
        loop {
            match self.read() {
                Ok(Some(size)) => self.received(size, fs, counters),
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "the device of the mount can no longer be read");
                    return;
                }
            }
        }
    }

    /// The size of the next message, which then lies in the buffer; None when the connection has ended.
    fn read(&mut self) -> io::Result<Option<usize>> {
        loop {
            match rustix::io::read(&*self.device, &mut self.buffer[..]) {
                Ok(size) => return Ok(Some(size)),
                // ENOENT: the request was interrupted and withdrawn.
                Err(SystemErrno::INTR | SystemErrno::AGAIN | SystemErrno::NOENT) => {}
                Err(SystemErrno::NODEV | SystemErrno::CONNABORTED) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn received(&mut self, size: usize, fs: &dyn FileSystem, counters: &Counters) {
        let Ok(header) = parse::<InHeader>(&self.buffer[..size]) else {
            return tracing::error!(size, "the kernel sent a message without a header");
        };
        counters.add(header.opcode);
        let body = &self.buffer[size_of::<InHeader>()..size];
        match header.opcode {
            opcode::FORGET => {
                if let Ok(forget) = parse::<wire::ForgetIn>(body) {
                    check::forget(fs, header.node, forget.lookups);
                }
                gather_forgets();
            }
            opcode::BATCH_FORGET => {
                forget_batch(fs, body);
                gather_forgets();
            }
            // A call that has begun is finished; the kernel waits for it.
            opcode::INTERRUPT => {}
            _ => self.answer(fs, &header, size),
        }
    }

    /// Requests come here only when the kernel has given up on the rings.
    fn answer(&mut self, fs: &dyn FileSystem, header: &InHeader, size: usize) {
        let body = &self.buffer[size_of::<InHeader>()..size];
        let (fixed, payload) = body.split_at(wire::fixed_size(header.opcode).min(body.len()));
        let payload_size = payload.len().min(self.reply.len());
        self.reply[..payload_size].copy_from_slice(&payload[..payload_size]);
        let mut request = Request { header: *header, fixed, payload: &mut self.reply, payload_size };
        let result = dispatch::answer(fs, &mut request);
        let sent = match result {
            Ok(size) => self.send(header, Ok(()), &self.reply[..size]),
            Err(errno) => self.send(header, Err(errno), &[]),
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "the kernel no longer waits for a reply");
        }
    }

    fn send(&self, header: &InHeader, result: crate::Result<()>, payload: &[u8]) -> io::Result<()> {
        let error = dispatch::error_out(&result);
        let len = (size_of::<OutHeader>() + payload.len()) as u32;
        let out = OutHeader { len, error, unique: header.unique };
        rustix::io::writev(&*self.device, &[IoSlice::new(out.as_bytes()), IoSlice::new(payload)])?;
        Ok(())
    }
}

/// Nobody waits for a FORGET, and each that is taken by itself costs a program its core for a while.
fn gather_forgets() {
    std::thread::sleep(Duration::from_millis(FORGET_PAUSE_MS));
}

fn forget_batch(fs: &dyn FileSystem, body: &[u8]) {
    let Ok(batch) = parse::<wire::BatchForgetIn>(body) else { return };
    let nodes = body[size_of::<wire::BatchForgetIn>()..].chunks_exact(size_of::<wire::ForgetOne>());
    for one in nodes.take(batch.count as usize).filter_map(|one| parse::<wire::ForgetOne>(one).ok()) {
        check::forget(fs, one.node, one.lookups);
    }
}
