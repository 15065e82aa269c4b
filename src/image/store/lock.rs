//! Locks between processes, held for as long as the guard lives.
//!
//! They are `flock`s: of the open file, so they end with the process, however it ends.

use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::path::Path;

/// A lock that is held.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Waits until nobody holds it alone.
    pub fn shared(path: &Path) -> Result<Lock> {
        wait(path, FlockArg::LockShared)
    }

    /// Waits until nobody holds it.
    pub fn exclusive(path: &Path) -> Result<Lock> {
        wait(path, FlockArg::LockExclusive)
    }

    /// Holds it alone, or says that somebody has it.
    pub fn try_exclusive(path: &Path) -> Result<Option<Lock>> {
        match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(Lock { _file: file })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, e)) => Err(Error::because(e, format!("lock {}", path.display()))),
        }
    }
}

fn open(path: &Path) -> Result<File> {
    // for reading: who may only read the store locks it too
    File::open(path).context(|| format!("lock {}", path.display()))
}

fn wait(path: &Path, how: FlockArg) -> Result<Lock> {
    let mut file = open(path)?;
    loop {
        match Flock::lock(file, how) {
            Ok(file) => return Ok(Lock { _file: file }),
            Err((again, Errno::EINTR)) => file = again,
            Err((_, e)) => return Err(Error::because(e, format!("lock {}", path.display()))),
        }
    }
}
