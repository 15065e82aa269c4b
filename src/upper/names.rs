//! Marks as names, AUFS's way: `.wh.NAME` hides NAME below, `.wh..wh..opq` hides everything below
//! its directory. What there is where the file system keeps no extended attributes.
//!
//! A whiteout stands beside the name that it hides, and so the name is free. A file that comes
//! there may leave the whiteout where it is: it speaks of the layers below only. Hence the order
//! of a removal, the whiteout first: with both there, the old state shows. A *directory* beside its
//! whiteout is not merged with what is below.

use super::{DirMarks, Over, Upper};
use crate::sys::Loc;
use crate::vfs::error::absent_ok;
use crate::vfs::whiteout::{AUFS_OPAQUE, AUFS_PREFIX, NAME_MAX};
use crate::vfs::{Error, Kind, Result, SetTime};
use nix::errno::Errno;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use std::os::fd::{AsFd, BorrowedFd};

/// The whiteout's name; `None` for one that is too long to have any.
pub(super) fn whiteout_of(name: &[u8]) -> Option<Vec<u8>> {
    (name.len() + AUFS_PREFIX.len() <= NAME_MAX).then(|| [AUFS_PREFIX, name].concat())
}

/// An empty file. It is fine if it is there.
fn touch(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o444)) {
        Ok(_) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

impl Upper {
    /// True if names in this upper may be marks, so that no other file can have such a name.
    pub fn names_are_marks(&self) -> bool {
        self.names
    }

    /// True if names in a directory may be marks.
    pub(super) fn has_names(&self, marks: &DirMarks) -> bool {
        self.names && (marks.aufs || self.prefix.is_none())
    }

    /// True if a directory of this name shows nothing from below because its whiteout stands
    /// beside it. `marks` are those of the directory that it is in.
    pub fn hides_below(&self, dir: BorrowedFd<'_>, name: &[u8], marks: &DirMarks) -> Result<bool> {
        if !self.has_names(marks) {
            return Ok(false);
        }
        let Some(whiteout) = whiteout_of(name) else {
            return Ok(false);
        };
        Ok(absent_ok(Loc::At(dir, &whiteout).stat())?.is_some())
    }

    pub(super) fn whiteout_by_name(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        let whiteout = whiteout_of(name).ok_or_else(|| {
            Error::because(
                Errno::ENAMETOOLONG,
                "without extended attributes, a name of more than 251 bytes cannot be written \
                 down as missing",
            )
        })?;
        self.step("whiteout by name")?;
        touch(dir, &whiteout)
    }

    /// Marks a directory as hiding everything below; no change of the directory, so its times stay.
    pub(super) fn set_opaque_by_name(&self, at: Loc<'_>) -> Result<()> {
        self.step("set opaque by name")?;
        let dir = at.open(OFlags::PATH | OFlags::DIRECTORY)?;
        let fd = Loc::Fd(dir.as_fd());
        let was = crate::sys::loc::attr_of(&fd.stat()?, crate::vfs::NodeId(0))?;
        touch(dir.as_fd(), AUFS_OPAQUE)?;
        fd.utimens(Some(SetTime::At(was.atime)), Some(SetTime::At(was.mtime)))
    }

    /// Makes a directory that shows no entry one that has none, so that another can replace it.
    /// `below`: there is a directory of this name below.
    pub fn make_empty(
        &self,
        dir: BorrowedFd<'_>,
        parent: BorrowedFd<'_>,
        name: &[u8],
        below: bool,
    ) -> Result<()> {
        match self.prefix {
            Some(_) => self.set_opaque(Loc::Fd(dir))?,
            // a mark within it would be an entry
            None if below => self.whiteout_by_name(parent, name)?,
            None => {}
        }
        self.step("clear")?;
        super::open::empty(dir)
    }

    /// Renames, where whiteouts are names.
    pub(super) fn rename_by_name(
        &self,
        from: (BorrowedFd<'_>, &[u8]),
        to: (BorrowedFd<'_>, &[u8]),
        kind: Kind,
        leave_whiteout: bool,
        over: Over,
    ) -> Result<()> {
        if leave_whiteout {
            self.whiteout_by_name(from.0, from.1)?;
        }
        if (kind, over) == (Kind::Dir, Over::Whiteout) {
            self.free_name(to.0, to.1)?;
        }
        self.step("rename")?;
        match over {
            Over::Nothing => rename_to_free(from, to),
            _ => Ok(rustix::fs::renameat(from.0, from.1, to.0, to.1)?),
        }
    }

    /// Puts a whiteout beside the one, a device of an earlier mount, that stands on a name itself,
    /// and takes that away.
    pub(super) fn free_name(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        self.whiteout_by_name(dir, name)?;
        self.step("free a name")?;
        Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?)
    }
}

/// Renames to a name that is free. Some file systems (NFS) cannot look and rename in one step;
/// there is one writer, so that it is still free after a look.
pub(super) fn rename_to_free(
    from: (BorrowedFd<'_>, &[u8]),
    to: (BorrowedFd<'_>, &[u8]),
) -> Result<()> {
    match rustix::fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL) if absent_ok(Loc::At(to.0, to.1).stat())?.is_none() => {
            Ok(rustix::fs::renameat(from.0, from.1, to.0, to.1)?)
        }
        done => Ok(done?),
    }
}
