//! Keeping callers where they are.
//!
//! A thread of [`super::ring`] answers a caller on the caller's own processor. When it has
//! answered, the kernel looks for a processor to wake the caller on: the one that both are on is
//! busy (with that thread), so it takes an idle one, if there is one. The next request then comes
//! from there, and so caller and answers go to and fro, and each time a processor has to be woken
//! from sleep, which takes several times as long as an answer does. The same is true of a thread that
//! reads requests and stays where the caller is: [`super::follow`].
//!
//! A processor whose only task is a `SCHED_IDLE` one counts as idle. So while requests come, the
//! threads that answer them have that policy, and the caller stays. It need not be many: the fewer
//! they are, the deeper is the sleep of the other processor. But such a thread does not run while any
//! other task wants its processor. So they are watched by a thread that does, and that ends it where
//! others do or no more requests come: [`super::pace`].
//!
//! The watcher looks 250 times a second. It does so on another processor than the callers'.

use super::pace::{ENOUGH, Pace, TICK};
use super::turn::Turn;
use crate::sys::cpus::Processors;
use crate::sys::sched::{Tid, Times, may_stop_yielding};
use crate::vfs::Result;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// No caller has been followed yet.
const NOBODY: u32 = 0;
/// No processor.
const NOWHERE: u32 = u32::MAX;

/// A thread that answers requests.
#[derive(Debug)]
pub(super) struct Worker {
    tid: Tid,
    answered: AtomicU64,
    yields: AtomicBool,
    /// Where it may run when it does not yield, if it goes about: [`super::follow`].
    anywhere: Option<Processors>,
    /// The processor that it stays on (on a large machine, one of them), or that it followed a caller to.
    at: AtomicU32,
    watch: Arc<Watch>,
}

/// The threads that are watched, and those that watch.
#[derive(Debug)]
pub(super) struct Watch {
    /// Those that are not to be where callers are.
    apart: Mutex<Vec<Tid>>,
    /// The processor that they are not on.
    away: AtomicU32,
    /// The last one that was followed.
    caller: AtomicU32,
    turn: Turn,
    asleep: AtomicBool,
    workers: Mutex<Vec<Arc<Worker>>>,
    wake: Condvar,
}

impl Worker {
    /// Notes an answered request.
    pub(super) fn answered(&self) {
        let n = self.answered.fetch_add(1, Ordering::Relaxed);
        // the watcher sleeps when nothing is to be done, which is soon enough to wake it
        if n.is_multiple_of(ENOUGH) && self.watch.asleep.load(Ordering::Relaxed) {
            self.watch.asleep.store(false, Ordering::Relaxed);
            self.watch.wake.notify_one();
        }
    }

    /// Whether it does.
    pub(super) fn yields(&self) -> bool {
        self.yields.load(Ordering::SeqCst)
    }

    /// Has it go to the processor that a caller is on. So do all others, if the caller that was followed last was the
    /// same, or none was. Then there need not be more than one thread for it: each that waits for the processor, too,
    /// costs time.
    pub(super) fn follow(&self, caller: u32, cpu: u16) {
        let before = self.watch.caller.swap(caller, Ordering::Relaxed);
        let alone = before == caller || before == NOBODY;
        if alone {
            self.watch.turn.take(self.tid);
        } else {
            self.watch.turn.give();
        }
        let mut moved = false;
        for worker in &*self.watch.workers.lock() {
            if alone || worker.tid == self.tid {
                moved |= worker.go(cpu);
            }
        }
        if moved && let Some(all) = &self.anywhere {
            self.watch.make_room(all, cpu.into());
        }
        // the watcher may have ended it meanwhile
        if !self.yields() {
            self.watch.turn.give();
        }
    }

    /// Waits as long as another thread is to read requests, and not this one.
    pub(super) fn turn(&self) {
        self.watch.turn.wait(self.tid);
    }

    /// This thread reads none any more.
    pub(super) fn leave(&self) {
        self.watch.turn.give();
    }

    /// Whether it was elsewhere.
    fn go(&self, cpu: u16) -> bool {
        let here = u32::from(cpu);
        if !self.yields() || self.at.swap(here, Ordering::SeqCst) == here {
            return false;
        }
        // without it, each message costs more, and nothing else
        if let Err(e) = self.tid.stay_on(&[cpu]) {
            log::trace!("a thread does not follow its callers to processor {cpu}: {e}");
        }
        if !self.yields() {
            self.roam();
        }
        true
    }

    fn roam(&self) {
        let Some(all) = &self.anywhere else {
            return;
        };
        self.at.store(NOWHERE, Ordering::SeqCst);
        if let Err(e) = all.open_to(self.tid) {
            log::debug!("a thread that reads requests stays where it is: {e}");
        }
    }

    fn set_yields(&self, yields: bool) -> Result<()> {
        self.yields.store(yields, Ordering::SeqCst);
        if !yields {
            // first, for the thread may be gone
            self.watch.turn.give();
            self.roam();
        } else if self.anywhere.is_some() {
            // two would wait for the processor in turn, as if others wanted it, before the first look at callers
            self.watch.caller.store(NOBODY, Ordering::Relaxed);
            self.watch.turn.begin(self.tid);
        }
        self.tid.yields(yields)
    }
}

impl Default for Watch {
    fn default() -> Watch {
        Watch {
            apart: Mutex::default(),
            away: AtomicU32::new(NOWHERE),
            caller: AtomicU32::new(NOBODY),
            turn: Turn::default(),
            asleep: AtomicBool::default(),
            workers: Mutex::default(),
            wake: Condvar::default(),
        }
    }
}

impl Watch {
    /// Adds this thread to those that are watched. `anywhere`: where it may run, if it does not stay where it is.
    pub(super) fn join(self: &Arc<Watch>, anywhere: Option<Processors>) -> Arc<Worker> {
        let at = match anywhere {
            Some(_) => NOWHERE,
            None => Processors::here(),
        };
        let worker = Arc::new(Worker {
            tid: Tid::current(),
            answered: AtomicU64::new(0),
            yields: AtomicBool::new(false),
            anywhere,
            at: AtomicU32::new(at),
            watch: self.clone(),
        });
        self.workers.lock().push(worker.clone());
        worker
    }

    /// Watches, for as long as the process lives, if it may. Call when all have joined.
    pub(super) fn start(self: Arc<Watch>) -> Result<bool> {
        if !may_stop_yielding() {
            log::debug!("callers are not kept where they are: that needs CAP_SYS_NICE");
            return Ok(false);
        }
        std::thread::Builder::new()
            .name("pace".into())
            .spawn(move || {
                if let Err(e) = self.run() {
                    log::debug!("callers are no longer kept where they are: {e}");
                }
                for worker in &*self.workers.lock() {
                    if let Err(e) = worker.set_yields(false) {
                        log::warn!("a thread that answers requests yields to all others: {e}");
                    }
                }
            })?;
        Ok(true)
    }

    /// This thread, which runs often and never for long, is not to drive callers away, nor to hold them up.
    ///
    /// Where one that is like any other runs for some microseconds, the kernel moves callers: several
    /// hundred times a second. It does not count a real-time one. But that comes before the caller, and leaves
    /// less of what the caller had in the processor's caches: up to 2 percent of a program's time. So it keeps away.
    pub(super) fn disturb_nobody(&self) {
        let this = Tid::current();
        if let Err(e) = this.goes_first() {
            log::debug!("the watcher does not go first: {e}");
        }
        let mut apart = self.apart.lock();
        apart.push(this);
        self.away.store(NOWHERE, Ordering::SeqCst); // as far as this one knows
    }

    /// Sends those that watch away from a processor that callers are on.
    fn make_room(&self, all: &Processors, at: u32) {
        let apart = self.apart.lock(); // one at a time
        if at == NOWHERE || !all.several() || self.away.swap(at, Ordering::SeqCst) == at {
            return;
        }
        for thread in &*apart {
            if let Err(e) = all.keep_away(*thread, at) {
                log::debug!("a thread that watches stays where it is: {e}");
            }
        }
    }

    fn run(&self) -> Result<()> {
        let anywhere = Processors::allowed()?;
        self.disturb_nobody();
        let workers = self.workers.lock().clone();
        let times: Result<Vec<Times>> = workers.iter().map(|w| w.tid.times()).collect();
        let mut watched: Vec<_> = workers
            .iter()
            .zip(times?)
            .map(|(worker, times)| (worker, times, Pace::default()))
            .collect();
        loop {
            self.sleep();
            let mut last = Instant::now();
            let mut quiet = 0;
            while quiet < 8 {
                std::thread::sleep(TICK);
                let now = Instant::now();
                quiet += 1;
                let (mut total, mut most) = (0, (0, NOWHERE));
                for (worker, times, pace) in &mut watched {
                    let answered = worker.answered.load(Ordering::Relaxed);
                    let (was, before) = (pace.yields, pace.answered);
                    let count = answered.wrapping_sub(before);
                    total += count;
                    most = most.max((count, worker.at.load(Ordering::SeqCst)));
                    // of a thread that has not yielded, its waiting says nothing
                    let waited = if was || count >= ENOUGH {
                        times.waited()?
                    } else {
                        pace.waited
                    };
                    let yields = pace.tick(now, now - last, answered, waited);
                    // there may be nothing to do, or it takes long: others can do what comes meanwhile
                    if count == 0 && self.turn.is_of(worker.tid) {
                        self.turn.give();
                    }
                    if yields != was {
                        worker.set_yields(yields)?;
                    }
                    if yields || count >= ENOUGH {
                        quiet = 0;
                    }
                }
                // not to and fro while many callers are everywhere
                if most.0 >= ENOUGH && most.0 * 4 > total * 3 {
                    self.make_room(&anywhere, most.1);
                }
                last = now;
            }
        }
    }

    /// Until requests come.
    fn sleep(&self) {
        let mut workers = self.workers.lock();
        self.asleep.store(true, Ordering::Relaxed);
        // a notice that is missed is followed by another, as many requests later
        self.wake.wait(&mut workers);
    }
}
