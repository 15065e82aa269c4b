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
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// Under fewer layers there is too little to gain.
const LAYERS: usize = 3;

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

/// How long those are kept.
const KEPT: Duration = Duration::from_secs(1);

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
        self.queue.more.notify_one();
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
        if thread.handle.join().is_err() {
            log::warn!("the thread that looked ahead had ended by a panic");
        }
    }
}

/// What there is to do.
enum Next {
    /// An entry to look at.
    Entry(Arc<DirNode>, Arc<Listing>, usize),
    /// Nothing, for a while.
    Nothing,
    End,
}

impl Queue {
    /// What there is to do; waits for it, but no longer than `most`.
    fn next(&self, most: Option<Duration>) -> Next {
        let mut state = self.state.lock();
        loop {
            if state.ends {
                return Next::End;
            }
            if let Some(job) = state.waiting.back_mut() {
                if job.left > 0 {
                    job.left -= 1;
                    return Next::Entry(job.dir.clone(), job.listing.clone(), job.left);
                }
                state.waiting.pop_back();
                continue;
            }
            let late = match most {
                Some(most) => self.more.wait_for(&mut state, most).timed_out(),
                None => {
                    self.more.wait(&mut state);
                    false
                }
            };
            if late && state.waiting.is_empty() {
                return Next::Nothing;
            }
        }
    }
}

fn look(shares: &Shares, queue: &Queue) {
    // what was met is dropped again if nobody asks for it
    let mut met = VecDeque::new();
    loop {
        let (dir, listing, at) = match queue.next((!met.is_empty()).then_some(KEPT)) {
            Next::Entry(dir, listing, at) => (dir, listing, at),
            Next::Nothing => {
                met = VecDeque::new();
                continue;
            }
            Next::End => return,
        };
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
    let known = dir
        .known
        .lock()
        .get(&at)
        .is_some_and(|d| d.strong_count() > 0);
    if known || place.stat()?.st_size > LARGE {
        return Ok(None);
    }
    shares.meet(dir, listing, at, entry).map(Some)
}

#[cfg(test)]
mod tests {
    use crate::lower::Lower;
    use crate::lower::dirs::DirsLower;
    use crate::sys::Ownership;
    use crate::sys::cpus::Processors;
    use crate::vfs::cookie::CookieKey;
    use crate::vfs::{InoSpace, NodeId};
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    /// Layers with the same six directories, each with a file of its own in each.
    fn over(dir: &Path, layers: usize) -> DirsLower {
        let layer = |n: usize| dir.join(format!("l{n}"));
        for n in 0..layers {
            for d in 0..6 {
                let d = layer(n).join(format!("top/d{d}"));
                fs::create_dir_all(&d).unwrap();
                fs::write(d.join(format!("f{n}")), "").unwrap();
            }
        }
        let paths: Vec<_> = (0..layers).map(layer).collect();
        let space = Arc::new(InoSpace::default());
        DirsLower::open(&paths, space, CookieKey::default(), Ownership::default()).unwrap()
    }

    /// Directories met below `top` at last, when some of them were asked for.
    fn met_after(lower: &DirsLower, asked: &[&[u8]], want: usize) -> usize {
        let top = lower.lookup(NodeId::ROOT, b"top").unwrap().unwrap().ino;
        for name in asked {
            lower.lookup(top, name).unwrap().unwrap();
        }
        let dir = lower.dir(top).unwrap();
        // also those that were given up since
        let met = || dir.known.lock().len();
        let end = Instant::now() + Duration::from_secs(20);
        while met() < want && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        met()
    }

    fn held(lower: &DirsLower, dir: NodeId) -> usize {
        let dir = lower.dir(dir).unwrap();
        let known = dir.known.lock();
        known.values().filter(|d| d.strong_count() > 0).count()
    }

    #[test]
    fn two_names_bring_the_others_and_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let lower = over(dir.path(), 5);
        let several = Processors::allowed().unwrap().several();
        let all = if several { 6 } else { 2 };
        assert_eq!(met_after(&lower, &[b"d3", b"d0"], all), all);
        // those that nobody asks for are given up; the others the kernel knows, and forgets
        let top = lower.lookup(NodeId::ROOT, b"top").unwrap().unwrap().ino;
        let end = Instant::now() + Duration::from_secs(20);
        while held(&lower, top) > 2 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(held(&lower, top), 2);

        // what was met ahead is what is met otherwise
        let met = over(&dir.path().join("met"), 5);
        assert_eq!(met_after(&met, &[b"d3", b"d0"], all), all);
        let top = met.lookup(NodeId::ROOT, b"top").unwrap().unwrap().ino;
        let d5 = met.lookup(top, b"d5").unwrap().unwrap();
        assert_eq!(met.list(d5.ino).unwrap().entries().len(), 5);

        let one = over(&dir.path().join("one"), 5);
        assert_eq!(met_after(&one, &[b"d3"], 1), 1);
        assert!(one.ahead.thread.get().is_none());
        let few = over(&dir.path().join("few"), 2);
        assert_eq!(met_after(&few, &[b"d3", b"d0"], 2), 2);
        assert!(few.ahead.thread.get().is_none());
    }

    #[test]
    fn a_directory_that_two_threads_meet_at_once_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let lower = over(dir.path(), 5);
        let top = lower.lookup(NodeId::ROOT, b"top").unwrap().unwrap().ino;
        let top = lower.dir(top).unwrap();
        let listing = lower.shares.listing(&top).unwrap();
        // as if neither had seen that the other was about to
        let meet = || lower.shares.meet(&top, &listing, 0, &listing.entries()[0]);
        let (first, second) = (meet().unwrap(), meet().unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        drop((first, second));
        assert_eq!(meet().unwrap().parts.len(), 5);
    }

    #[test]
    fn it_ends_with_its_layers_and_holds_none_of_them_open() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..20 {
            let lower = over(dir.path(), 5);
            met_after(&lower, &[b"d3", b"d0"], 2);
            let shares = Arc::downgrade(&lower.shares);
            drop(lower);
            assert!(shares.upgrade().is_none());
        }
    }

    #[test]
    fn a_layer_that_cannot_be_read_is_told_to_who_asks_and_to_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let lower = over(dir.path(), 5);
        let top = lower.lookup(NodeId::ROOT, b"top").unwrap().unwrap().ino;
        lower.list(top).unwrap();
        for n in 0..5 {
            fs::remove_dir_all(dir.path().join(format!("l{n}/top/d5"))).unwrap();
        }
        let all = met_after(&lower, &[b"d3", b"d0"], 2);
        assert!((2..=5).contains(&all), "{all}");
        lower.lookup(top, b"d5").unwrap_err();
        lower.lookup(top, b"d4").unwrap().unwrap();
    }
}
