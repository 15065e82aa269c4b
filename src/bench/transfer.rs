//! Copying files with all that a layer carries: type, data, owner, mode, times, xattrs, links.

use super::failure::{Failure, Result, Step, go_on};
use super::manifest::{self, Entry, Manifest};
use crate::sys::loc::is_whiteout;
use crate::sys::{Loc, copy, xattr};
use crate::vfs::whiteout::{AufsName, aufs_name, is_private_xattr};
use crate::vfs::{Kind, SetTime, Time};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Copies files of one tree into another, whose directories exist.
pub struct Copier<'a> {
    from: BorrowedFd<'a>,
    to: BorrowedFd<'a>,
    /// First name of each inode copied that has several.
    seen: HashMap<u64, Vec<u8>>,
}

impl<'a> Copier<'a> {
    /// Between two roots.
    pub fn new(from: BorrowedFd<'a>, to: BorrowedFd<'a>) -> Copier<'a> {
        Copier {
            from,
            to,
            seen: HashMap::new(),
        }
    }

    /// Copies one file. A directory is made, and gets its attributes by [`Copier::finish`], when
    /// nothing more changes its times.
    pub fn copy(&mut self, entry: &Entry) -> Result<()> {
        if entry.links != 0 {
            if let Some(first) = self.seen.get(&entry.links) {
                return Ok(Loc::At(self.to, first).link(self.to, &entry.path)?);
            }
            self.seen.insert(entry.links, entry.path.clone());
        }
        let src = Loc::At(self.from, &entry.path);
        let st = src.stat()?;
        let mode = Mode::from_raw_mode(0o700);
        let name = entry.path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        if is_whiteout(&st) || aufs_name(name) != AufsName::Plain {
            return Err(marked());
        }
        match entry.kind {
            Kind::Dir => return Ok(rustix::fs::mkdirat(self.to, &*entry.path, mode)?),
            Kind::File => self.data(&src, &entry.path, &st)?,
            Kind::Symlink => rustix::fs::symlinkat(&*src.readlink()?, self.to, &*entry.path)?,
            _ => {
                let kind = FileType::from_raw_mode(st.st_mode);
                rustix::fs::mknodat(self.to, &*entry.path, kind, mode, st.st_rdev)?;
            }
        }
        attributes(src, Loc::At(self.to, &entry.path), &st)
    }

    /// Gives a directory the attributes of its original.
    pub fn finish(&self, dir: &[u8]) -> Result<()> {
        let name = if dir.is_empty() { b"." } else { dir };
        let src = Loc::At(self.from, name);
        attributes(src, Loc::At(self.to, name), &src.stat()?)
    }

    fn data(&self, src: &Loc<'_>, path: &[u8], st: &Stat) -> Result<()> {
        let from = File::from(src.open(OFlags::RDONLY | OFlags::NONBLOCK)?);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let to = rustix::fs::openat(self.to, path, flags, Mode::from_raw_mode(0o600))?;
        let len = u64::try_from(st.st_size).unwrap_or(0);
        Ok(copy::data(&from, &File::from(to), len, true)?)
    }
}

/// Ends of the names of attributes that hide or replace what is beneath.
const HIDING: [&[u8]; 4] = [b".opaque", b".redirect", b".metacopy", b".whiteout"];

/// What is marked so would hide files in the layers that the tree is cut into.
fn marked() -> Failure {
    Failure::new(
        "it hides files of a layer beneath, and nothing is beneath here: mount the layers, and give the mount",
    )
}

fn attributes(from: Loc<'_>, to: Loc<'_>, st: &Stat) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        to.chown(Some(st.st_uid), Some(st.st_gid))?;
    }
    if Kind::from_mode(st.st_mode) != Some(Kind::Symlink) {
        to.chmod(st.st_mode & 0o7777)?;
    }
    let list = xattr::list(from)?;
    for name in xattr::names(&list) {
        if is_private_xattr(name) {
            match HIDING.iter().any(|mark| name.ends_with(mark)) {
                true => return Err(marked()),
                false => continue,
            }
        }
        if let Some(value) = xattr::get(from, name)? {
            // not every file system takes every attribute, and none is part of what is measured
            match xattr::set(to, name, &value, 0) {
                Err(e) if e.is(nix::errno::Errno::EOPNOTSUPP) || e.is(nix::errno::Errno::EPERM) => {
                    log::debug!("{}: not copied: {e}", String::from_utf8_lossy(name));
                }
                other => other?,
            }
        }
    }
    let time = |sec: i64, nsec: i64| {
        let nsec = u32::try_from(nsec).unwrap_or(0);
        Some(SetTime::At(Time { sec, nsec }))
    };
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_cast,
        reason = "types differ by architecture"
    )]
    to.utimens(
        time(st.st_atime as i64, st.st_atime_nsec as i64),
        time(st.st_mtime as i64, st.st_mtime_nsec as i64),
    )?;
    Ok(())
}

/// Copies a whole tree into the new directory `to`.
pub fn tree(from: &Path, manifest: &Manifest, to: &Path) -> Result<()> {
    fs::create_dir(to).at("mkdir", to)?;
    let (src, dst) = (manifest::open(from)?, manifest::open(to)?);
    let mut copier = Copier::new(src.as_fd(), dst.as_fd());
    let path = |entry: &Entry| from.join(OsStr::from_bytes(&entry.path));
    for entry in &manifest.entries {
        go_on()?;
        copier.copy(entry).at("copy", &path(entry))?;
    }
    for entry in manifest.of(Kind::Dir) {
        copier.finish(&entry.path).at("copy", &path(entry))?;
    }
    copier.finish(b"").at("copy", from)
}

/// Removes a tree and everything in it; one that is not there is fine.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Failure::from(e)).at("remove", path),
        Ok(()) => Ok(()),
    }
}
