//! What the kernel waits for before a container can start, begun before it is needed.

use super::cgroup;
use super::end::wait_for_end;
use super::monitor::leave;
use crate::sys::process::{Fork, fork};
use nix::unistd::{Pid, geteuid};
use std::time::Duration;

/// A grace period takes a fraction of it.
const MOST: Duration = Duration::from_millis(100);

/// A process that waits for the kernel in the place of the runtime. It is waited for when this is dropped.
#[derive(Debug)]
pub struct Preparation(Option<Pid>);

/// Has the kernel prepare for processes that change their groups, while this one goes on. The first such change
/// in a while waits for a grace period of RCU, 10 to 20 ms on an idle machine; those that follow soon need not. The
/// sooner this is called, the less the runtime waits. Best effort: what is lost is time.
pub fn prepare() -> Preparation {
    // others may not, mostly
    if !geteuid().is_root() {
        return Preparation(None);
    }
    match fork() {
        // whoever waits for the end of the caller's streams is not to wait for this; so nobody hears it fail
        Ok(Fork::Child) => {
            let entered = leave(&[]).and_then(|()| cgroup::enter_own());
            std::process::exit(i32::from(entered.is_err()))
        }
        Ok(Fork::Parent(child)) => Preparation(Some(child)),
        Err(e) => {
            log::debug!("the runtime waits for its groups: {e}");
            Preparation(None)
        }
    }
}

impl Drop for Preparation {
    /// It may have been seen to end with other children.
    fn drop(&mut self) {
        if let Some(child) = self.0
            && let Err(e) = wait_for_end(child, MOST)
        {
            log::debug!("{e}");
        }
    }
}
