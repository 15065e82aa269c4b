//! A thread that reads requests from `/dev/fuse` goes to the processor that they come from.
//!
//! Wherever it is, the kernel wakes it on a processor that is idle, which the caller's is not, and it wakes
//! the caller likewise: each message, and each answer, ends the sleep of another processor. That takes
//! several times as long as the answer itself. With both on one processor, neither is needed; see
//! [`super::watch`], and [`super::pace`] for when that is worth it, and how it ends.
//!
//! Where a caller is, `/proc` says, but not while the caller executes a program: whoever asks then waits for
//! the end of that, which may be waiting for an answer. So a thread of its own asks, which answers nobody.

use super::watch::{Watch, Worker};
use super::wire::InHeader;
use crate::sys::cpus;
use crate::vfs::Result;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::Duration;

/// After so many requests it is looked where they come from.
const OFTEN: u32 = 16;

/// Of so many bytes and more of a file, several requests come at once, and copying them takes longer than
/// waking another processor: then two do more than one.
const LARGE: u32 = 64 << 10;

/// But not again before this is over: it costs some answers' time.
const SELDOM: Duration = Duration::from_millis(1);

/// Finds out where callers are.
#[derive(Debug, Default)]
pub(super) struct Scout {
    wanted: Mutex<Option<(Arc<Worker>, u32)>>,
    more: Condvar,
}

impl Scout {
    /// Begins to, for as long as the process lives.
    pub(super) fn start(self: Arc<Scout>, watch: Arc<Watch>) -> Result<()> {
        let scout = std::thread::Builder::new().name("scout".into());
        scout.spawn(move || {
            watch.disturb_nobody();
            loop {
                let (worker, caller) = self.wanted();
                // the caller may be of another PID namespace, or gone
                if let Some(cpu) = cpus::last_of(caller) {
                    worker.follow(caller, cpu);
                }
                std::thread::sleep(SELDOM);
            }
        })?;
        Ok(())
    }

    fn wanted(&self) -> (Arc<Worker>, u32) {
        let mut wanted = self.wanted.lock();
        loop {
            if let Some(wanted) = wanted.take() {
                return wanted;
            }
            self.more.wait(&mut wanted);
        }
    }

    /// Has the thread follow this caller.
    fn look_for(&self, worker: &Arc<Worker>, caller: u32) {
        let before = self.wanted.lock().replace((worker.clone(), caller));
        if before.is_none() {
            self.more.notify_one();
        }
    }
}

/// What a thread knows of where it is.
#[derive(Debug)]
pub(super) struct Follower {
    worker: Arc<Worker>,
    scout: Arc<Scout>,
    heard: u32,
}

impl Follower {
    /// This thread, which can be anywhere yet.
    pub(super) fn new(worker: Arc<Worker>, scout: Arc<Scout>) -> Follower {
        Follower {
            worker,
            scout,
            heard: 0,
        }
    }

    /// Waits as long as another thread is to read requests.
    pub(super) fn turn(&self) {
        self.worker.turn();
    }

    /// Notes a request, and now and then has the scout look where it comes from.
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
        self.scout.look_for(&self.worker, header.pid);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.worker.leave();
    }
}
