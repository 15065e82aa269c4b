//! Reading the upper: what a name is, and what is marked on it.

use super::{Upper, WhiteoutForm};
use crate::sys::{Loc, dir, loc, xattr};
use crate::vfs::error::absent_ok;
use crate::vfs::whiteout::{AufsName, InoRecord, Redirect, aufs_name};
use crate::vfs::{Kind, Result};
use rustix::fs::Stat;
use std::os::fd::{AsFd, BorrowedFd};

/// What a name in an upper directory is.
#[derive(Clone, Copy, Debug)]
pub enum UpperEntry {
    /// Nothing: what is below shows.
    Absent,
    /// It hides what is below.
    Whiteout,
    /// A file.
    Present(Stat),
}

/// The marks on a directory of the upper.
#[derive(Clone, Debug, Default)]
pub struct DirMarks {
    /// Nothing below shows.
    pub opaque: bool,
    /// Whiteouts in it may be files with an attribute.
    pub xwhiteouts: bool,
    /// Children may carry numbers or data of lower files.
    pub impure: bool,
    /// AUFS whiteouts (`.wh.`) stand in it.
    pub aufs: bool,
    /// Its lower part is elsewhere.
    pub redirect: Option<Redirect>,
}

/// The marks on another file of the upper.
#[derive(Clone, Debug, Default)]
pub struct FileMarks {
    /// The number it keeps.
    pub ino: Option<InoRecord>,
    /// Its data is below.
    pub metacopy: bool,
    /// Where below.
    pub redirect: Option<Redirect>,
}

impl Upper {
    /// Looks at a name. `marks` are those of the directory.
    pub fn entry(&self, dir: BorrowedFd<'_>, name: &[u8], marks: &DirMarks) -> Result<UpperEntry> {
        let at = Loc::At(dir, name);
        let names = self.has_names(marks);
        if let Some(st) = absent_ok(at.stat())? {
            if self.is_whiteout(at, &st, marks)? {
                return Ok(UpperEntry::Whiteout);
            }
            if names && aufs_name(name) != AufsName::Plain {
                return Ok(UpperEntry::Absent);
            }
            return Ok(UpperEntry::Present(self.ownership().shown(at, st)?));
        }
        Ok(match self.hides_below(dir, name, marks)? {
            true => UpperEntry::Whiteout,
            false => UpperEntry::Absent,
        })
    }

    /// True if files in a directory may be whiteouts: as it was when its marks were read, or by
    /// what this mount does.
    fn has_xwhiteouts(&self, marks: &DirMarks) -> bool {
        marks.xwhiteouts || self.form == WhiteoutForm::Xattr
    }

    fn is_whiteout(&self, at: Loc<'_>, st: &Stat, marks: &DirMarks) -> Result<bool> {
        if loc::is_whiteout(st) {
            return Ok(true);
        }
        let empty = st.st_mode & libc::S_IFMT == libc::S_IFREG && st.st_size == 0;
        let may_be = self.has_xwhiteouts(marks) && empty;
        if !may_be {
            return Ok(false);
        }
        let list = xattr::list(at)?;
        Ok(xattr::names(&list)
            .any(|n| n == b"trusted.overlay.whiteout" || n == b"user.overlay.whiteout"))
    }

    /// Reads a directory's marks. Looks through its names too, where they may be AUFS's.
    pub fn dir_marks(&self, fd: BorrowedFd<'_>) -> Result<DirMarks> {
        let at = Loc::Fd(fd);
        let list = xattr::list(at)?;
        let mut marks = DirMarks::default();
        for name in xattr::names(&list) {
            match name {
                b"trusted.overlay.opaque" | b"user.overlay.opaque" => {
                    match xattr::get(at, name)?.as_deref() {
                        Some(b"y") => marks.opaque = true,
                        Some(b"x") => marks.xwhiteouts = true,
                        _ => {}
                    }
                }
                b"user.fuseoverlayfs.opaque" | b"trusted.fuseoverlayfs.opaque" => {
                    marks.opaque |= xattr::get(at, name)?.as_deref() == Some(b"y");
                }
                b"trusted.overlay.redirect" | b"user.overlay.redirect" => {
                    marks.redirect = xattr::get(at, name)?.and_then(|v| Redirect::parse(&v));
                }
                b"trusted.overlay.impure" | b"user.overlay.impure" => marks.impure = true,
                _ => {}
            }
        }
        if !self.names_are_marks() {
            return Ok(marks);
        }
        dir::for_each(fd, |entry| {
            match aufs_name(entry.name) {
                AufsName::Plain => {}
                AufsName::Opaque => {
                    marks.aufs = true;
                    marks.opaque = true;
                }
                AufsName::Whiteout(_) | AufsName::Meta => marks.aufs = true,
            }
            Ok(())
        })?;
        Ok(marks)
    }

    /// Reads the marks on a file that is no directory.
    pub fn file_marks(&self, at: Loc<'_>) -> Result<FileMarks> {
        let list = xattr::list(at)?;
        let mut marks = FileMarks::default();
        let ino = self.prefix.map(|prefix| prefix.name(InoRecord::MARK));
        for name in xattr::names(&list) {
            match name {
                n if Some(n) == ino.as_deref() => {
                    marks.ino = xattr::get(at, n)?.and_then(|v| InoRecord::parse(&v));
                }
                b"trusted.overlay.metacopy" | b"user.overlay.metacopy" => marks.metacopy = true,
                b"trusted.overlay.redirect" | b"user.overlay.redirect" => {
                    marks.redirect = xattr::get(at, name)?.and_then(|v| Redirect::parse(&v));
                }
                _ => {}
            }
        }
        Ok(marks)
    }

    /// Calls `each` for every name in the directory: its type, or `None` for a whiteout.
    pub fn for_each(
        &self,
        fd: BorrowedFd<'_>,
        marks: &DirMarks,
        mut each: impl FnMut(&[u8], Option<Kind>) -> Result<()>,
    ) -> Result<()> {
        // whiteouts are mostly names of one inode, which is to be looked at once
        let mut whiteout = None;
        dir::for_each(fd, |entry| {
            if self.has_names(marks) {
                match aufs_name(entry.name) {
                    AufsName::Plain => {}
                    AufsName::Whiteout(name) => return each(name, None),
                    AufsName::Opaque | AufsName::Meta => return Ok(()),
                }
            }
            let look = match entry.kind {
                None | Some(Kind::CharDev) => true,
                Some(Kind::File) => self.has_xwhiteouts(marks) || self.ownership().is_overridden(),
                Some(_) => false,
            };
            if !look {
                return each(entry.name, entry.kind);
            }
            if entry.kind == Some(Kind::CharDev) && whiteout == Some(entry.ino) {
                return each(entry.name, None);
            }
            let at = Loc::At(fd.as_fd(), entry.name);
            let Some(st) = absent_ok(at.stat())? else {
                return Ok(());
            };
            if self.is_whiteout(at, &st, marks)? {
                if st.st_ino == entry.ino {
                    whiteout = Some(entry.ino);
                }
                return each(entry.name, None);
            }
            let st = self.ownership().shown(at, st)?;
            each(entry.name, Kind::from_mode(st.st_mode))
        })
    }
}
