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
//! other task wants its processor. So they are watched by a thread that does: once no more requests
//! come, or the threads have waited for a processor most of the time, and long for each request,
//! they are scheduled like any other again. Where only the first of these two happened, no harm was
//! done; after the second they stay like any other for a while.
//!
//! The watcher looks 250 times a second. It does so on another processor than the callers'.

use super::turn::Turn;
use crate::sys::cpus::Processors;
use crate::sys::sched::{Tid, Times, may_stop_yielding};
use crate::vfs::Result;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a thread may be without a processor before that is noticed.
const TICK: Duration = Duration::from_millis(4);
/// So many requests in a tick are enough to begin: a thousand in a second.
const ENOUGH: u64 = 4;
/// If a thread waits no longer than this for each, it is the callers who run meanwhile: one that reads requests
/// is ready for the next one before it is sent.
const LITTLE: Duration = Duration::from_micros(50);
/// So many are many.
const MANY: u64 = 20;
/// After so many ticks without a request there are too few. A program that works through much that it has read
/// asks nothing for as long as some dozen; whatever it asks then would move it.
const QUIET: u32 = 25;
/// How long not to try again, at first and at most.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// No caller has been followed yet.
const NOBODY: u32 = 0;
/// No processor.
const NOWHERE: u32 = u32::MAX;

/// What the watcher knows of one thread.
#[derive(Debug, Default)]
struct Pace {
    yields: bool,
    /// Requests and waiting time until the last tick.
    answered: u64,
    waited: Duration,
    /// Ticks since there was a request.
    quiet: u32,
    pause: Duration,
    /// Not before this.
    again: Option<Instant>,
}

impl Pace {
    /// Decides how the thread is to be scheduled in the next tick.
    fn tick(&mut self, now: Instant, elapsed: Duration, answered: u64, waited: Duration) -> bool {
        let count = answered.wrapping_sub(self.answered);
        let waiting = waited.saturating_sub(self.waited);
        (self.answered, self.waited) = (answered, waited);
        self.quiet = if count == 0 {
            self.quiet.saturating_add(1)
        } else {
            0
        };
        if !self.yields {
            self.yields = count >= ENOUGH && self.again.is_none_or(|again| now >= again);
        } else if waiting * 2 > elapsed
            && waiting > LITTLE * u32::try_from(count).unwrap_or(u32::MAX)
        {
            self.pause = (self.pause * 2).clamp(PAUSE, LONGEST_PAUSE);
            self.again = Some(now + self.pause);
            self.yields = false;
        } else {
            self.yields = self.quiet < QUIET;
            if count > MANY {
                self.pause = Duration::ZERO; // it goes well
            }
        }
        self.yields
    }
}

/// A thread that answers requests.
#[derive(Debug)]
pub(super) struct Worker {
    tid: Tid,
    answered: AtomicU64,
    yields: AtomicBool,
    /// Where it may run when it does not yield, if it goes about: [`super::follow`].
    anywhere: Option<Processors>,
    /// The processor that it stays on, or that it followed a caller to.
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
    /// less of what the caller had in the processor's caches: 1 to 2 percent of a program's time.
    pub(super) fn disturb_nobody(&self) {
        let this = Tid::current();
        if let Err(e) = this.goes_first() {
            log::debug!("the watcher does not go first: {e}");
        }
        self.apart.lock().push(this);
        self.away.store(NOWHERE, Ordering::SeqCst); // as far as this one knows
    }

    /// Sends those that watch away from a processor that callers are on.
    fn make_room(&self, all: &Processors, at: u32) {
        if at == NOWHERE || !all.several() || self.away.swap(at, Ordering::SeqCst) == at {
            return;
        }
        for thread in &*self.apart.lock() {
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
                let (mut all, mut most) = (0, (0, NOWHERE));
                for (worker, times, pace) in &mut watched {
                    let answered = worker.answered.load(Ordering::Relaxed);
                    let (was, before) = (pace.yields, pace.answered);
                    let count = answered.wrapping_sub(before);
                    all += count;
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
                if most.0 >= ENOUGH && most.0 * 4 > all * 3 {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread, tick by tick: requests and waiting in each, and how it is scheduled after it.
    struct Film {
        pace: Pace,
        now: Instant,
        answered: u64,
        waited: Duration,
    }

    impl Film {
        fn new() -> Film {
            Film {
                pace: Pace::default(),
                now: Instant::now(),
                answered: 0,
                waited: Duration::ZERO,
            }
        }

        fn tick(&mut self, requests: u64, waiting: u32) -> bool {
            self.now += TICK;
            self.answered += requests;
            self.waited += TICK * waiting / 100;
            self.pace.tick(self.now, TICK, self.answered, self.waited)
        }
    }

    #[test]
    fn while_requests_come_a_thread_yields() {
        let mut film = Film::new();
        assert!(!film.tick(ENOUGH - 1, 0));
        assert!(film.tick(ENOUGH, 0));
        for _ in 0..10 {
            for _ in 1..QUIET {
                assert!(film.tick(0, 0));
            }
            assert!(film.tick(1, 30));
        }
        for _ in 1..QUIET {
            assert!(film.tick(0, 0));
        }
        assert!(!film.tick(0, 0));
        assert!(
            film.tick(ENOUGH, 0),
            "no harm was done, so it may at once again"
        );
    }

    #[test]
    fn a_thread_that_waits_while_its_callers_run_goes_on_yielding() {
        let mut film = Film::new();
        assert!(film.tick(200, 60));
        for _ in 0..3 {
            assert!(film.tick(200, 60), "13 microseconds each");
        }
        assert!(!film.tick(40, 60), "others take as long as that");
    }

    #[test]
    fn a_thread_that_waits_for_a_processor_stops_yielding_for_longer_each_time() {
        // few requests or many, and neither goes well
        for requests in [ENOUGH, MANY + 1] {
            let mut film = Film::new();
            assert!(film.tick(requests, 0));
            let mut before = 0;
            for _ in 0..3 {
                assert!(!film.tick(requests, 90));
                let mut ticks = 0;
                while !film.tick(requests, 0) {
                    ticks += 1;
                }
                assert!(ticks > before + 30, "{ticks} ticks after {before}");
                before = ticks;
            }
        }
    }
}
