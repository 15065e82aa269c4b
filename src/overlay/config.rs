//! What is stacked, and how it is shown.

use crate::sys::Loc;
use crate::vfs::Result;
use crate::vfs::error::Context;
use rustix::fs::{CWD, Mode, OFlags};
use std::os::fd::AsFd;
use std::path::PathBuf;

pub use crate::sys::Ownership;

pub use crate::upper::{Marks, UpperConfig, UserXattr};

/// What is stacked, and how it is shown.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The read-only layers, topmost first; at least one unless there is an upper or an image.
    pub lowers: Vec<PathBuf>,
    /// The writable layer; without one the mount is read-only.
    pub upper: Option<UpperConfig>,
    /// How owners on disk are shown.
    pub ids: IdMaps,
    /// Where owner, mode and type of files are kept; `None`: as the topmost layer's root says.
    pub ownership: Option<Ownership>,
    /// Calls on extended attributes answer EOPNOTSUPP.
    pub noxattrs: bool,
    /// Directories report one link, and are not counted.
    pub static_nlink: bool,
}

impl Config {
    /// Where owners are kept: as asked for, or as the topmost layer says.
    pub(super) fn ownership(&self) -> Result<Ownership> {
        match self.ownership {
            Some(ownership) => Ok(ownership),
            None => self.ownership_of_layers(),
        }
    }

    /// Where the topmost layer keeps owners, by what stands on its root.
    fn ownership_of_layers(&self) -> Result<Ownership> {
        let upper = self.upper.as_ref().map(|u| ("upper directory", &u.upper));
        let lower = self.lowers.first().map(|l| ("lower layer", l));
        let Some((what, top)) = upper.or(lower) else {
            return Ok(Ownership::Inode);
        };
        let said = || format!("{what} {}", top.display());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, top, flags, Mode::empty()).context(said)?;
        Ownership::of_root(Loc::Fd(root.as_fd())).context(said)
    }
}

/// How owners on disk are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMaps {
    /// Users; empty: as on disk.
    pub uid: Vec<IdRange>,
    /// Groups; empty: as on disk.
    pub gid: Vec<IdRange>,
    /// Every file belongs to this user.
    pub squash_uid: Option<u32>,
    /// Every file belongs to this group.
    pub squash_gid: Option<u32>,
}

/// A run of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first id on disk.
    pub disk: u32,
    /// The first id shown.
    pub shown: u32,
    /// How many.
    pub len: u32,
}
