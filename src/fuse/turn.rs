//! Whose turn it is to read requests, of several threads that can.

use crate::sys::sched::Tid;
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicI32, Ordering};

/// One thread's, or everybody's.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// 0: everybody's.
    of: AtomicI32,
    waiting: Mutex<()>,
    given: Condvar,
}

impl Turn {
    /// Waits as long as it is another thread's.
    pub(super) fn wait(&self, this: Tid) {
        if self.is_anothers(this) {
            let mut waiting = self.waiting.lock();
            while self.is_anothers(this) {
                self.given.wait(&mut waiting);
            }
        }
    }

    /// It is this thread's from now on.
    pub(super) fn take(&self, this: Tid) {
        self.of.store(this.number(), Ordering::SeqCst);
    }

    /// It is this thread's from now on, unless it is another's.
    pub(super) fn begin(&self, this: Tid) {
        let mine = this.number();
        // either way it is one thread's
        self.of
            .compare_exchange(0, mine, Ordering::SeqCst, Ordering::SeqCst)
            .ok();
    }

    /// It is everybody's again.
    pub(super) fn give(&self) {
        if self.of.swap(0, Ordering::SeqCst) != 0 {
            self.wake();
        }
    }

    /// Whether it is this thread's alone.
    pub(super) fn is_of(&self, this: Tid) -> bool {
        self.of.load(Ordering::SeqCst) == this.number()
    }

    fn is_anothers(&self, this: Tid) -> bool {
        let of = self.of.load(Ordering::SeqCst);
        of != 0 && of != this.number()
    }

    fn wake(&self) {
        // whoever has looked, and is about to wait, holds it
        drop(self.waiting.lock());
        self.given.notify_all();
    }
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
}
