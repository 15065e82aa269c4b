//! Looking ahead: what is next to be asked for in a directory is read by a second thread.
//!
//! Who asks for two names in a directory mostly asks for the others, too: walks, listings with attributes, copies.
//! While one answers, a second thread meets the subdirectories, which takes microseconds for each layer, and has
//! the kernel read the inodes of the files. It stays away from the processor of the thread that is asked, which counts
//! as idle if that thread gives way to all. Nobody waits for it, and what it finds is what anybody would find, only
//! sooner.

use super::listing::Listing;
use super::shares::Shares;
use super::table::DirNode;
use crate::sys::Loc;
use crate::sys::cpus::Processors;
use crate::sys::sched::Tid;
use crate::vfs::{Error, Kind, Result};
use nix::errno::Errno;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;

/// Under fewer layers there is too little to gain.
const LAYERS: usize = 8;

/// Directories with more entries are taken for places where names are looked up, until many were.
const SMALL: usize = 64;

/// Names asked for before the others are read, in a small directory and in a larger one.
const ASKED: (u32, u32) = (2, 16);

/// Of directories with more entries than this, the rest is left.
const MOST: usize = 1024;

/// Directories that wait at most; who asked for more has left the first ones behind.
const WAITING: usize = 16;

/// Directories met that nobody has asked for yet, at most.
const MET: usize = 128;

/// Larger directories, in bytes, are not met ahead.
const LARGE: i64 = 32 * 1024;

/// The second thread, which begins when it is first needed and ends with this.
pub struct Ahead {
    shares: Arc<Shares>,
    /// Those of the process: the threads that answer stay on few of them.
    processors: Processors,
    queue: Arc<Queue>,
    thread: OnceLock<Option<Thread>>,
}

struct Thread {
    tid: Tid,
    handle: JoinHandle<()>,
    /// The processor that it keeps away from.
    away_from: AtomicU32,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    /// The one asked for last at the end.
    waiting: VecDeque<Job>,
    sleeps: bool,
    ends: bool,
}

struct Job {
    dir: Arc<DirNode>,
    listing: Arc<Listing>,
    /// Entries left, of the listing's first ones: from their end, where a thread that goes through the same listing
    /// from its beginning comes last.
    left: usize,
}

impl Ahead {
    /// For these layers, on the processors of this thread.
    pub fn new(shares: Arc<Shares>) -> Result<Ahead> {
        Ok(Ahead {
            shares,
            processors: Processors::allowed()?,
            queue: Arc::default(),
            thread: OnceLock::new(),
        })
    }

    /// A name in this directory is asked for.
    pub fn asked(&self, dir: &Arc<DirNode>, listing: &Arc<Listing>) {
        let entries = listing.entries().len();
        let enough = match entries <= SMALL {
            true => ASKED.0,
            false => ASKED.1,
        };
        // a count that is a little wrong does no harm
        let asked = dir.asked.load(Ordering::Relaxed);
        if asked >= enough {
            return;
        }
        dir.asked.store(asked + 1, Ordering::Relaxed);
        if asked + 1 == enough && entries > enough as usize {
            self.begin(dir, listing);
        }
    }

    fn begin(&self, dir: &Arc<DirNode>, listing: &Arc<Listing>) {
        if self.shares.stack.layers.len() < LAYERS || !self.processors.several() {
            return;
        }
        let Some(thread) = self.thread.get_or_init(|| self.start()) else {
            return;
        };
        let here = Processors::here();
        if thread.away_from.swap(here, Ordering::Relaxed) != here
            && let Err(e) = self.processors.keep_away(thread.tid, here)
        {
            log::debug!("the thread that looks ahead stays where it is: {e}");
        }
        let mut state = self.queue.state.lock();
        if state.waiting.len() == WAITING {
            state.waiting.pop_front();
        }
        state.waiting.push_back(Job {
            dir: dir.clone(),
            listing: listing.clone(),
            left: listing.entries().len().min(MOST),
        });
        if state.sleeps {
            self.queue.more.notify_one();
        }
    }

    fn start(&self) -> Option<Thread> {
        let (shares, queue) = (self.shares.clone(), self.queue.clone());
        let (tell, told) = std::sync::mpsc::channel();
        let run = move || {
            let tid = Tid::current();
            // whoever began it may give way to all; this thread may not, since it holds locks now and then
            let begun = tid.yields(false).map(|()| tid);
            let goes_on = begun.is_ok();
            if tell.send(begun).is_ok() && goes_on {
                look(&shares, &queue);
            }
        };
        let spawned = std::thread::Builder::new().name("ahead".into()).spawn(run);
        let started: Result<_> = spawned.map_err(Error::from).and_then(|handle| {
            let ended = |_| Error::because(Errno::EAGAIN, "it ended at once");
            Ok((told.recv().map_err(ended)??, handle))
        });
        let (tid, handle) = started
            .inspect_err(|e| log::debug!("no thread looks ahead: {e}"))
            .ok()?;
        Some(Thread {
            tid,
            handle,
            away_from: AtomicU32::new(u32::MAX),
        })
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take().flatten() else {
            return;
        };
        {
            let mut state = self.queue.state.lock();
            state.ends = true;
            state.waiting.clear();
        }
        self.queue.more.notify_one();
        // it holds the layers open
        thread.handle.join().ok();
    }
}

impl Queue {
    /// The next entry to look at; `None` at the end.
    fn next(&self) -> Option<(Arc<DirNode>, Arc<Listing>, usize)> {
        let mut state = self.state.lock();
        loop {
            if state.ends {
                return None;
            }
            let Some(job) = state.waiting.back_mut() else {
                state.sleeps = true;
                self.more.wait(&mut state);
                state.sleeps = false;
                continue;
            };
            if job.left > 0 {
                job.left -= 1;
                return Some((job.dir.clone(), job.listing.clone(), job.left));
            }
            state.waiting.pop_back();
        }
    }
}

fn look(shares: &Shares, queue: &Queue) {
    // what was met is dropped again if nobody asks for it
    let mut met = VecDeque::new();
    while let Some((dir, listing, at)) = queue.next() {
        match look_at(shares, &dir, &listing, at) {
            Ok(Some(dir)) => {
                if met.len() == MET {
                    met.pop_front();
                }
                met.push_back(dir);
            }
            Ok(None) => {}
            // who asks for it will be told
            Err(e) => log::debug!("looking ahead: {e}"),
        }
    }
}

/// Meets a directory, or has a file's inode read.
fn look_at(
    shares: &Shares,
    dir: &Arc<DirNode>,
    listing: &Listing,
    at: usize,
) -> Result<Option<Arc<DirNode>>> {
    let Some(entry) = listing.entries().get(at) else {
        return Ok(None);
    };
    let (_, part) = Shares::part(dir, entry.layer)?;
    let fd = shares.part_fd(dir, part)?;
    let place = Loc::At(fd.as_fd(), listing.name(entry));
    if entry.kind != Kind::Dir {
        shares.stack.ownership.stat(place)?;
        return Ok(None);
    }
    let at = at as u32;
    let known = |dir: &DirNode| dir.known.lock().get(&at).and_then(Weak::upgrade);
    if known(dir).is_some() || place.stat()?.st_size > LARGE {
        return Ok(None);
    }
    shares.meet(dir, listing, at, entry).map(Some)
}
