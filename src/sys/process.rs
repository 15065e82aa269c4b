//! Processes: becoming a daemon.
#![allow(unsafe_code, reason = "fork and close_range have no safe wrapper")]

use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{ForkResult, Pid};
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The two sides of a fork.
#[derive(Debug)]
pub enum Fork {
    /// In the old process: the new one.
    Parent(Pid),
    /// In the new process.
    Child,
}

/// Forks. Refused when the process has more than one thread: locks that another thread holds
/// would stay locked for ever in the child.
pub fn fork() -> Result<Fork> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(Error::because(
            Errno::EINVAL,
            format!("fork of a process with {threads} threads"),
        ));
    }
    // SAFETY: the process has one thread, this one, so the child has all that the parent has.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Fork::Parent(child)),
        ForkResult::Child => Ok(Fork::Child),
    }
}

/// Closes every fd from 3 on but `keep`: what was inherited and is not ours to hold open. To be
/// called right after a fork, before the process opened anything of its own.
pub fn close_inherited(keep: BorrowedFd<'_>) -> Result<()> {
    let keep = libc::c_uint::try_from(keep.as_raw_fd()).map_err(|_| Errno::EBADF)?;
    let close = |first: libc::c_uint, last: libc::c_uint| -> Result<()> {
        if first > last {
            return Ok(());
        }
        // SAFETY: a new process owns nothing yet but `keep` and stdio, and these are left out.
        let done = unsafe { libc::close_range(first, last, 0) };
        if done == 0 {
            Ok(())
        } else {
            Err(Errno::last().into())
        }
    };
    close(3, keep.saturating_sub(1))?;
    close(keep.saturating_add(1), libc::c_uint::MAX)
}

/// Takes an fd that was received over a socket.
pub fn own_fd(fd: RawFd) -> OwnedFd {
    // SAFETY: recvmsg made it for this process alone, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A share of the files that this process may have open: `percent` of the limit, `most` at most.
pub fn fd_budget(percent: u64, most: usize) -> NonZeroUsize {
    const LEAST: u64 = 8;
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let share = limit.min(1 << 40) * percent / 100;
    let share = usize::try_from(share.max(LEAST)).unwrap_or(most).min(most);
    NonZeroUsize::new(share).unwrap_or(NonZeroUsize::MIN)
}

/// Raises the limit of open files as far as it goes. Best effort: what is lost is speed, when
/// files are opened again and again.
pub fn raise_file_limit() {
    const WANTED: u64 = 1 << 20;
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| {
        // only the privileged may pass the hard limit
        setrlimit(Resource::RLIMIT_NOFILE, WANTED.max(hard), WANTED.max(hard))
            .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, hard, hard))
    });
    if let Err(e) = raised {
        log::warn!("limit of open files not raised: {e}");
    }
}
