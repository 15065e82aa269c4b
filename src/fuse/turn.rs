//! Whose turn it is to read requests, of several threads that can.
//!
//! Without a lock: a thread that yields may be without a processor while it has one, and who gives the turn is
//! who sees to it that such a thread gets a processor.

use crate::sys::sched::Tid;
use rustix::thread::futex;
use std::sync::atomic::{AtomicU32, Ordering};

/// The turn is everybody's.
const ALL: u32 = 0;

/// One thread's, or everybody's.
#[derive(Debug, Default)]
pub(super) struct Turn(AtomicU32);

impl Turn {
    /// Waits as long as it is another thread's.
    pub(super) fn wait(&self, this: Tid) {
        loop {
            let of = self.0.load(Ordering::SeqCst);
            if of == ALL || of == number(this) {
                return;
            }
            // comes back when it was given, when it is another's by now, or for no reason
            futex::wait(&self.0, futex::Flags::PRIVATE, of, None).ok();
        }
    }

    /// It is this thread's from now on.
    pub(super) fn take(&self, this: Tid) {
        self.change(number(this));
    }

    /// It is this thread's from now on, unless it is another's.
    pub(super) fn begin(&self, this: Tid) {
        // either way it is one thread's
        self.0
            .compare_exchange(ALL, number(this), Ordering::SeqCst, Ordering::SeqCst)
            .ok();
    }

    /// It is everybody's again.
    pub(super) fn give(&self) {
        self.change(ALL);
    }

    fn change(&self, to: u32) {
        let before = self.0.swap(to, Ordering::SeqCst);
        if before != ALL && before != to {
            // fails for no address that is there
            futex::wake(&self.0, futex::Flags::PRIVATE, i32::MAX.cast_unsigned()).ok();
        }
    }

    /// Whether it is this thread's alone.
    pub(super) fn is_of(&self, this: Tid) -> bool {
        self.0.load(Ordering::SeqCst) == number(this)
    }
}

fn number(thread: Tid) -> u32 {
    thread.number().cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn others_wait_until_it_is_given() {
        let turn = Turn::default();
        let (tell, told) = channel();
        std::thread::scope(|scope| {
            turn.wait(Tid::current());
            turn.begin(Tid::current());
            turn.wait(Tid::current());
            scope.spawn(|| {
                turn.begin(Tid::current());
                turn.wait(Tid::current());
                tell.send(()).unwrap();
            });
            let long = told.recv_timeout(Duration::from_millis(50));
            assert!(long.is_err(), "it is another's");
            turn.give();
            told.recv().unwrap();
        });
    }

    #[test]
    fn a_turn_that_another_gets_ends_its_wait() {
        let turn = Turn::default();
        let (tell, told) = channel();
        std::thread::scope(|scope| {
            turn.take(Tid::current());
            scope.spawn(|| {
                tell.send(Tid::current()).unwrap();
                turn.wait(Tid::current());
                tell.send(Tid::current()).unwrap();
            });
            let other = told.recv().unwrap();
            std::thread::sleep(Duration::from_millis(50));
            turn.take(other);
            let ended = told.recv_timeout(Duration::from_secs(20));
            turn.give();
            assert_eq!(ended, Ok(other));
        });
    }
}
