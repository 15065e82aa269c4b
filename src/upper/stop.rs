//! Where a crash can come: every change of the upper is a step, and tests can stop before the
//! n-th. From there on nothing changes any more, as if the process had been killed.

use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts steps, and stops before one if told to.
#[derive(Debug)]
pub struct Stop {
    taken: AtomicU64,
    limit: AtomicU64,
}

impl Default for Stop {
    fn default() -> Stop {
        Stop {
            taken: AtomicU64::new(0),
            limit: AtomicU64::new(u64::MAX),
        }
    }
}

impl Stop {
    /// Allows `steps` more steps; every later one fails with EIO and does nothing.
    pub fn after(&self, steps: u64) {
        let taken = self.taken.load(Ordering::SeqCst);
        self.limit
            .store(taken.saturating_add(steps), Ordering::SeqCst);
    }

    /// Steps taken so far.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    /// One step is about to be taken: `what` names it.
    pub(super) fn step(&self, what: &'static str) -> Result<()> {
        if self.taken.fetch_add(1, Ordering::SeqCst) >= self.limit.load(Ordering::SeqCst) {
            self.taken.fetch_sub(1, Ordering::SeqCst);
            return Err(Error::because(
                Errno::EIO,
                format!("stopped before: {what}"),
            ));
        }
        Ok(())
    }
}
