//! The writable layer on disk, in overlayfs's own format, so that the kernel's overlayfs can mount
//! the same upper and show the same tree.
//!
//! An [`Upper`] knows directories by fd and entries by name. It knows no merged tree and keeps no
//! nodes: that is the engine's business. What it owns: how a whiteout, an opaque directory, a
//! redirect is written; how a file is staged in the work directory and published by one rename;
//! what is swept at mount; the lock against a second mount.
//!
//! Invariant: every change of the tree is one atomic system call on it (rename, link, mknod,
//! unlink, setxattr); before it there is the old state, after it the new one. What is left over
//! when the power goes lies in the work directory, and the next mount sweeps it.

mod config;
mod entry;
mod intent;
mod open;
mod stage;
mod stop;

pub use config::{UpperConfig, UserXattr};
pub use entry::{DirMarks, FileMarks, UpperEntry};
pub use intent::Intent;
pub use stage::{Over, Staged};
pub use stop::Stop;

use crate::sys::{Loc, Ownership, xattr};
use crate::vfs::whiteout::Prefix;
use crate::vfs::{Result, StatFs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// How a missing name is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhiteoutForm {
    /// A character device 0:0.
    Device,
    /// An empty file with an attribute, in a directory marked to hold such.
    Xattr,
}

/// The writable layer.
#[derive(Debug)]
pub struct Upper {
    root: Arc<OwnedFd>,
    /// `WORK/work`, where things are staged; swept at every mount.
    work: OwnedFd,
    /// `WORK` itself: carries the lock while the mount lives.
    _lock: OwnedFd,
    prefix: Prefix,
    form: WhiteoutForm,
    rename_whiteout: bool,
    /// The device all of it is on.
    dev: u64,
    config: UpperConfig,
    stop: Stop,
}

impl Upper {
    /// The root directory.
    pub fn root(&self) -> &Arc<OwnedFd> {
        &self.root
    }

    /// The device that everything in the upper is on.
    pub fn dev(&self) -> u64 {
        self.dev
    }

    /// As it was configured.
    pub fn config(&self) -> &UpperConfig {
        &self.config
    }

    /// Where owner, mode and type of files are kept.
    pub fn ownership(&self) -> Ownership {
        self.config.ownership
    }

    /// The namespace its marks are in.
    pub fn prefix(&self) -> Prefix {
        self.prefix
    }

    /// True when metadata changes may leave the data below. In the `user.` namespace a mark could
    /// be forged by whoever owns the file, and the kernel does not follow it: there, never.
    pub fn metacopy(&self) -> bool {
        self.config.metacopy && self.prefix == Prefix::Trusted
    }

    /// Statistics of the file system beneath.
    pub fn statfs(&self) -> Result<StatFs> {
        crate::sys::loc::statfs(self.root.as_fd())
    }

    /// The steps taken on it; for tests that stop between two.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// A change of the upper is about to be made: `what` names it.
    pub fn step(&self, what: &'static str) -> Result<()> {
        self.stop.step(what)
    }

    /// Sets mark `mark` on a file.
    pub fn set_mark(&self, at: Loc<'_>, mark: &str, value: &[u8]) -> Result<()> {
        self.step("set mark")?;
        xattr::set(at, &self.prefix.name(mark), value, 0)
    }

    /// Removes mark `mark`; it is fine if it is not there.
    pub fn remove_mark(&self, at: Loc<'_>, mark: &str) -> Result<()> {
        self.step("remove mark")?;
        match xattr::remove(at, &self.prefix.name(mark)) {
            Err(e) if e.is(nix::errno::Errno::ENODATA) => Ok(()),
            other => other,
        }
    }

    /// The value of mark `mark`.
    pub fn mark(&self, at: Loc<'_>, mark: &str) -> Result<Option<Vec<u8>>> {
        xattr::get(at, &self.prefix.name(mark))
    }

    /// Marks a directory as hiding everything below it.
    pub fn set_opaque(&self, at: Loc<'_>) -> Result<()> {
        self.set_mark(at, "opaque", b"y")
    }

    /// Says that children of the directory may carry numbers of lower files.
    pub fn set_impure(&self, dir: BorrowedFd<'_>) -> Result<()> {
        self.set_mark(Loc::Fd(dir), "impure", b"y")
    }

    /// Writes everything down to the disk.
    pub fn sync_all(&self) -> Result<()> {
        let root = Loc::Fd(self.root.as_fd()).open(rustix::fs::OFlags::RDONLY)?;
        Ok(rustix::fs::syncfs(root)?)
    }
}
