//! What is in a tree: the list that cutting, the operations and their checks work from.

use super::failure::{Result, Step};
use crate::sys::{Loc, dir, loc};
use crate::vfs::Kind;
use rustix::fs::{CWD, Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// One file of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path from the root of the tree, without a leading slash.
    pub path: Vec<u8>,
    /// The type.
    pub kind: Kind,
    /// Size in bytes.
    pub size: u64,
    /// Inode number when the file has several names, else 0.
    pub links: u64,
}

/// All files of a tree but its root, sorted by path, so that a directory stands before what it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The files.
    pub entries: Vec<Entry>,
}

impl Manifest {
    /// Walks a tree. It stays on one file system; sockets are left out, for nobody can copy them.
    pub fn read(root: &Path) -> Result<Manifest> {
        let fd = open(root)?;
        let device = rustix::fs::fstat(&fd)?.st_dev;
        let mut found = Manifest::default();
        found.walk(fd.as_fd(), &[], device).at("walk", root)?;
        found.entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn walk(&mut self, at: BorrowedFd<'_>, prefix: &[u8], device: u64) -> Result<()> {
        let mut dirs = Vec::new();
        dir::for_each(at, |e| {
            let st = Loc::At(at, e.name).stat()?;
            let kind = Kind::from_mode(st.st_mode).unwrap_or(Kind::Socket);
            if kind == Kind::Socket || st.st_dev != device {
                return Ok(());
            }
            let mut path = prefix.to_vec();
            path.extend_from_slice(e.name);
            let several = kind != Kind::Dir && st.st_nlink > 1;
            self.entries.push(Entry {
                path: path.clone(),
                kind,
                size: u64::try_from(st.st_size).unwrap_or(0),
                links: if several { st.st_ino } else { 0 },
            });
            if kind == Kind::Dir {
                path.push(b'/');
                dirs.push((e.name.to_vec(), path));
            }
            Ok(())
        })?;
        for (name, prefix) in dirs {
            let sub = loc::open_dir(at, &name)?;
            self.walk(sub.as_fd(), &prefix, device)?;
        }
        Ok(())
    }

    /// The files of one type.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |e| e.kind == kind)
    }
}

/// The directory of a path; empty for the root.
pub fn parent(path: &[u8]) -> &[u8] {
    path.iter()
        .rposition(|b| *b == b'/')
        .map_or(&[], |i| &path[..i])
}

/// Opens a directory for use with the `*at` calls.
pub fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).at("open", path)
}
