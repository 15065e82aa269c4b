//! Where a crash can come: every step that changes what others see. Tests stop before the n-th.
//! From there on nothing changes any more, and nothing is cleaned up, as if the process had been
//! killed.

use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::cell::Cell;

thread_local! {
    /// Steps that may still be taken; negative after a stop.
    static LEFT: Cell<Option<i64>> = const { Cell::new(None) };
}

/// Allows so many more steps on this thread; none forbids no more.
pub fn after(steps: Option<i64>) {
    LEFT.set(steps);
}

/// One step is about to be taken.
pub fn step(what: &'static str) -> Result<()> {
    let left = LEFT.get().map(|left| left.saturating_sub(1));
    LEFT.set(left);
    match stopped() {
        true => Err(Error::because(
            Errno::EIO,
            format!("stopped before: {what}"),
        )),
        false => Ok(()),
    }
}

/// True from the stop on.
pub fn stopped() -> bool {
    LEFT.get().is_some_and(|left| left < 0)
}
