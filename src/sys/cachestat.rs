//! How much of a file is in the page cache: cachestat(2), Linux 6.5.

use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd};

/// `SYS_cachestat`: one number on every architecture but alpha.
const CACHESTAT: libc::c_long = 451;

#[repr(C)]
struct Range {
    offset: u64,
    len: u64,
}

#[repr(C)]
#[derive(Default)]
struct Stat {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Pages of the whole file that are in the page cache; ENOSYS before Linux 6.5.
pub fn pages(file: impl AsFd) -> Result<u64> {
    let range = Range { offset: 0, len: 0 }; // to the end
    let mut stat = Stat::default();
    // SAFETY: both structs have the kernel's layout and live through the call; the fd is borrowed.
    #[allow(unsafe_code)]
    let done = unsafe {
        libc::syscall(
            CACHESTAT,
            file.as_fd().as_raw_fd(),
            &raw const range,
            &raw mut stat,
            0,
        )
    };
    match done {
        0 => Ok(stat.cached),
        _ => Err(Error::new(Errno::last())),
    }
}
