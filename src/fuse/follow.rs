//! A thread that reads requests from `/dev/fuse` goes to the processor that they come from.
//!
//! Wherever it is, the kernel wakes it on a processor that is idle, which the caller's is not, and it wakes
//! the caller likewise: each message, and each answer, ends the sleep of another processor. That takes
//! several times as long as the answer itself. With both on one processor, neither is needed; see
//! [`super::pace`], which decides when that is worth it, and how it ends.

use super::pace::Worker;
use super::wire::InHeader;
use crate::sys::cpus;
use std::sync::Arc;

/// After so many requests it is looked where they come from: that costs as much as an answer.
const OFTEN: u32 = 16;

/// Of so many bytes and more of a file, several requests come at once, and copying them takes longer than
/// waking another processor: then two do more than one.
const LARGE: u32 = 64 << 10;

/// What a thread knows of where it is.
#[derive(Debug)]
pub(super) struct Follower {
    worker: Arc<Worker>,
    heard: u32,
}

impl Follower {
    /// This thread, which can be anywhere yet.
    pub(super) fn new(worker: Arc<Worker>) -> Follower {
        Follower { worker, heard: 0 }
    }

    /// Waits as long as another thread is to read requests.
    pub(super) fn turn(&self) {
        self.worker.turn();
    }

    /// Notes a request, and now and then goes where it comes from.
    pub(super) fn heard(&mut self, request: &[u8]) {
        let Ok((header, rest)) = InHeader::parse(request) else {
            return; // whoever answers it says so
        };
        if header.data(rest) >= LARGE {
            return;
        }
        self.worker.answered();
        self.heard = self.heard.wrapping_add(1);
        if !self.heard.is_multiple_of(OFTEN) || !self.worker.yields() {
            return;
        }
        // the caller may be of another PID namespace, or gone
        if let Some(cpu) = cpus::last_of(header.pid) {
            self.worker.follow(header.pid, cpu);
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.worker.leave();
    }
}
