//! The writable layer on disk, in overlayfs's own format, so that the kernel's overlayfs can mount
//! the same upper and show the same tree.
//!
//! An [`Upper`] knows directories by fd and entries by name. It knows no merged tree and keeps no
//! nodes: that is the engine's business. What it owns: how a whiteout, an opaque directory, a
//! redirect is written; how a file is staged in the work directory and published by one rename;
//! what is swept at mount; the lock against a second mount.
//!
//! Where the file system beneath keeps no extended attributes, all marks are names ([`names`]), and
//! what they cannot say (redirects, numbers, metadata-only copies) is not done.
//!
//! Invariant: every change of the tree is one atomic system call on it (rename, link, mknod,
//! unlink, setxattr); before it there is the old state, after it the new one. What is left over
//! when the power goes lies in the work directory, and the next mount sweeps it.

mod config;
mod entry;
mod hide;
mod intent;
mod names;
mod open;
mod probe;
mod stage;
mod stop;

pub use config::{Marks, UpperConfig, UserXattr};
pub use entry::{DirMarks, FileMarks, UpperEntry};
pub use intent::Intent;
pub use stage::{Over, Staged};
pub use stop::Stop;

use crate::sys::{Loc, Ownership, xattr};
use crate::vfs::whiteout::Prefix;
use crate::vfs::{Error, Result, StatFs};
use nix::errno::Errno;
use parking_lot::Mutex;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// How a missing name is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhiteoutForm {
    /// A character device 0:0.
    Device,
    /// An empty file with an attribute, in a directory marked to hold such.
    Xattr,
    /// An empty file `.wh.NAME`.
    Aufs,
}

/// The writable layer.
#[derive(Debug)]
pub struct Upper {
    root: Arc<OwnedFd>,
    /// `WORK/work`, where things are staged; swept at every mount.
    work: OwnedFd,
    /// `WORK` itself: carries the lock while the mount lives.
    _lock: OwnedFd,
    /// The namespace of its marks; `None`: they are names.
    prefix: Option<Prefix>,
    form: WhiteoutForm,
    rename_whiteout: bool,
    /// Names may be marks, AUFS's way.
    names: bool,
    /// The device all of it is on.
    dev: u64,
    /// Owner and group of what is staged, where that and the mode are as asked for.
    made_by: Option<(u32, u32)>,
    /// Bytes for names in the work directory.
    random: Mutex<Vec<u8>>,
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

    /// True if files keep marks; else only names tell.
    pub fn keeps_marks(&self) -> bool {
        self.prefix.is_some()
    }

    /// True if a directory can say that its lower part is elsewhere.
    pub fn redirects(&self) -> bool {
        self.config.redirect && self.keeps_marks()
    }

    fn mark_name(&self, mark: &str) -> Result<Vec<u8>> {
        let no_marks = || Error::because(Errno::EOPNOTSUPP, "the upper keeps no marks on files");
        Ok(self.prefix.ok_or_else(no_marks)?.name(mark))
    }

    /// True when metadata changes may leave the data below. In the `user.` namespace a mark could
    /// be forged by whoever owns the file, and the kernel does not follow it: there, never.
    pub fn metacopy(&self) -> bool {
        self.config.metacopy && self.prefix == Some(Prefix::Trusted)
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
        let name = self.mark_name(mark)?;
        self.step("set mark")?;
        xattr::set(at, &name, value, 0)
    }

    /// Removes mark `mark`; it is fine if it is not there.
    pub fn remove_mark(&self, at: Loc<'_>, mark: &str) -> Result<()> {
        let name = self.mark_name(mark)?;
        self.step("remove mark")?;
        match xattr::remove(at, &name) {
            Err(e) if e.is(Errno::ENODATA) => Ok(()),
            other => other,
        }
    }

    /// The value of mark `mark`; `None`, too, where no marks are kept.
    pub fn mark(&self, at: Loc<'_>, mark: &str) -> Result<Option<Vec<u8>>> {
        match self.prefix {
            Some(prefix) => xattr::get(at, &prefix.name(mark)),
            None => Ok(None),
        }
    }

    /// Marks a directory as hiding everything below it.
    pub fn set_opaque(&self, at: Loc<'_>) -> Result<()> {
        match self.prefix {
            Some(_) => self.set_mark(at, "opaque", b"y"),
            None => self.set_opaque_by_name(at),
        }
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
