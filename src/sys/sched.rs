//! How the kernel schedules a thread.
#![allow(unsafe_code, reason = "scheduling policies have no safe wrapper")]

use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use rustix::thread::Pid;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// A thread of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tid(pub(super) Pid);

impl Tid {
    /// This thread.
    pub fn current() -> Tid {
        Tid(rustix::thread::gettid())
    }

    /// What the system calls it, in this process's namespace.
    pub fn number(self) -> i32 {
        self.0.as_raw_pid()
    }

    /// Lets the thread run only where nothing else wants to (`SCHED_IDLE`), or like any other
    /// (`SCHED_OTHER`).
    pub fn yields(self, to_all: bool) -> Result<()> {
        let policy = if to_all {
            libc::SCHED_IDLE
        } else {
            libc::SCHED_OTHER
        };
        self.schedule(policy, 0)
    }

    /// Lets the thread run before all that are like any other (`SCHED_FIFO`). It must be one that
    /// never runs for long.
    pub fn goes_first(self) -> Result<()> {
        self.schedule(libc::SCHED_FIFO, 1)
    }

    fn schedule(self, policy: libc::c_int, priority: libc::c_int) -> Result<()> {
        let param = libc::sched_param {
            sched_priority: priority,
        };
        // SAFETY: the structure lives until the call returns. Not by the library's function, which
        // some libraries lack.
        let done = unsafe {
            libc::syscall(
                libc::SYS_sched_setscheduler,
                self.number(),
                policy,
                &raw const param,
            )
        };
        if done == 0 {
            Ok(())
        } else {
            Err(Errno::last().into())
        }
    }

    /// Its times, to be read again and again.
    pub fn times(self) -> Result<Times> {
        let path = format!("/proc/self/task/{}/schedstat", self.number());
        Ok(Times(File::open(&path).context(|| path)?))
    }
}

/// The times of a thread.
#[derive(Debug)]
pub struct Times(File);

impl Times {
    /// How long it has waited for a processor so far.
    pub fn waited(&self) -> Result<Duration> {
        let mut text = [0; 80];
        let n = self.0.read_at(&mut text, 0)?;
        let waited = std::str::from_utf8(&text[..n])
            .ok()
            .and_then(|text| text.split_whitespace().nth(1)?.parse().ok());
        waited
            .map(Duration::from_nanos)
            .ok_or_else(|| Error::because(Errno::EIO, "schedstat has another form"))
    }
}

/// Whether a thread of this process that yields to all can be made like any other again: that needs
/// a privilege.
pub fn may_stop_yielding() -> bool {
    let tried = std::thread::spawn(|| {
        let this = Tid::current();
        this.yields(true)
            .and_then(|()| this.yields(false))
            .and_then(|()| this.times()?.waited().map(drop))
    });
    matches!(tried.join(), Ok(Ok(())))
}
