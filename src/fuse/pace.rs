//! When a thread that answers requests yields to all others; [`super::watch`] says what for.
//!
//! It begins where many requests come. It ends where no more come, or where the thread has waited for a
//! processor most of the time, and long for each request: others want the processor then. Where only the
//! first of these two happened, no harm was done; after the second the thread stays like any other for a
//! while.

use std::time::{Duration, Instant};

/// How long a thread may be without a processor before that is noticed.
pub(super) const TICK: Duration = Duration::from_millis(4);
/// So many requests in a tick are enough to begin: a thousand in a second.
pub(super) const ENOUGH: u64 = 4;
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

/// What the watcher knows of one thread.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pub(super) yields: bool,
    /// Requests and waiting time until the last tick.
    pub(super) answered: u64,
    pub(super) waited: Duration,
    /// Ticks since there was a request.
    quiet: u32,
    pause: Duration,
    /// Not before this.
    again: Option<Instant>,
}

impl Pace {
    /// Decides how the thread is to be scheduled in the next tick.
    pub(super) fn tick(
        &mut self,
        now: Instant,
        elapsed: Duration,
        answered: u64,
        waited: Duration,
    ) -> bool {
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
