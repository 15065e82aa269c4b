//! Entries as a tree: what a copy makes at its destination.
//!
//! No symlink is followed on the way to an entry, but for those that lead to the directory of an entry of
//! a tar, and these within the container alone. A file is made under another name and renamed, so that
//! what it replaces is whole until then. A directory is never replaced by a file, nor a file by a directory.

use super::Side;
use crate::image::entry::{Entry, Item, Meta, Path, show};
use crate::image::layer::{self, LayerReader};
use crate::image::load::{self, plain};
use crate::sys::{Loc, loc, xattr};
use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Kind, Result, SetTime};
use nix::errno::Errno;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Who owns what is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Who owns the source, by numbers.
    Kept,
    /// Root.
    Root,
    /// Whoever copies.
    Caller,
}

/// Makes entries below a directory.
#[derive(Debug)]
pub struct Plant<'d> {
    base: BorrowedFd<'d>,
    owner: Owner,
    /// Where symlinks on the way are looked up, and by which path the directory is found there.
    links: Option<(Side<'d>, Vec<u8>)>,
    /// Directories, whose modes and times are set when all is in them, and whether they were made.
    dirs: Vec<(Path, Meta, bool)>,
    /// The directories on the way to the last entry, open.
    way: Vec<(Box<[u8]>, OwnedFd)>,
    temps: u64,
    bytes: u64,
}

impl<'d> Plant<'d> {
    /// Makes entries below `base`.
    pub fn new(base: BorrowedFd<'d>, owner: Owner) -> Plant<'d> {
        Plant {
            base,
            owner,
            links: None,
            dirs: Vec::new(),
            way: Vec::new(),
            temps: 0,
            bytes: 0,
        }
    }

    /// Follows symlinks on the way to an entry, within `side`, where `base` is found by `path`.
    pub fn following(mut self, side: Side<'d>, path: &[u8]) -> Plant<'d> {
        self.links = Some((side, path.to_vec()));
        self
    }

    /// Makes one entry; `data` is a file's.
    pub fn add(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<()> {
        self.make(entry, data).context(|| show(&entry.path))
    }

    /// Makes all entries of a tar, which may be compressed, and finishes.
    pub fn unpack(mut self, tar: impl Read) -> Result<u64> {
        let tar = BufReader::new(plain(tar, load::Limits::default())?);
        let mut reader = LayerReader::new(tar, layer::Limits::default());
        while let Some(entry) = reader.next_entry()? {
            self.add(&entry, &mut reader)?;
        }
        self.finish()
    }

    /// Sets modes and times of directories; gives the bytes of all files.
    pub fn finish(mut self) -> Result<u64> {
        // what is in a directory before the directory, which may then not be entered any more
        for (path, meta, made) in std::mem::take(&mut self.dirs).into_iter().rev() {
            self.end_dir(&path, &meta, made).context(|| show(&path))?;
        }
        Ok(self.bytes)
    }

    fn end_dir(&mut self, path: &Path, meta: &Meta, made: bool) -> Result<()> {
        let owner = match self.owner {
            Owner::Root if !made => Owner::Caller, // one that was there keeps its owner
            owner => owner,
        };
        match path.split_last() {
            Some((name, dir)) => {
                let dir = self.way_to(dir)?;
                dress(Loc::At(dir, name), meta, owner, Kind::Dir)
            }
            None => dress(Loc::Fd(self.base), meta, owner, Kind::Dir),
        }
    }

    fn make(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<()> {
        let Some((name, parents)) = entry.path.split_last() else {
            return match &entry.item {
                Item::Dir(meta) => {
                    self.dirs.push((Path::new(), meta.clone(), false));
                    Ok(())
                }
                _ => Err(Error::because(Errno::EINVAL, "the root is a directory")),
            };
        };
        if let Item::Whiteout | Item::Opaque = entry.item {
            let why = "a mark of an image's layer, which is no file";
            return Err(Error::because(Errno::EINVAL, why));
        }
        let there = {
            let at = Loc::At(self.way_to(parents)?, name);
            absent_ok(at.stat())?.map(|st| Kind::from_mode(st.st_mode) == Some(Kind::Dir))
        };
        match (&entry.item, there) {
            (Item::Dir(meta), Some(true)) => {
                self.dirs.push((entry.path.clone(), meta.clone(), false));
                Ok(())
            }
            (Item::Dir(_), Some(false)) => Err(Error::because(
                Errno::EEXIST,
                "a directory cannot take the place of what is none",
            )),
            (Item::Dir(meta), None) => {
                let dir = self.way_to(parents)?;
                // nobody else's before it has its owner
                rustix::fs::mkdirat(dir, &**name, Mode::from_raw_mode(0o700))?;
                self.dirs.push((entry.path.clone(), meta.clone(), true));
                Ok(())
            }
            (_, Some(true)) => Err(Error::because(
                Errno::EISDIR,
                "what is no directory cannot take the place of one",
            )),
            _ => self.replace(entry, name, parents, data),
        }
    }

    /// Makes what is no directory, under another name, and renames it.
    fn replace(
        &mut self,
        entry: &Entry,
        name: &[u8],
        parents: &[Box<[u8]>],
        data: &mut dyn Read,
    ) -> Result<()> {
        self.temps += 1;
        let temp = format!(".vellum-cp.{}.{}", std::process::id(), self.temps);
        let temp = temp.as_bytes();
        let first = match &entry.item {
            Item::Hardlink(to) => Some(self.linked(to).context(|| show(to))?),
            _ => None,
        };
        let owner = self.owner;
        let dir = self.way_to(parents)?;
        let made = match first {
            Some(first) => Loc::Fd(first.as_fd()).link(dir, temp).map(|()| 0),
            None => fresh(Loc::At(dir, temp), &entry.item, owner, data),
        };
        let done = made.and_then(|bytes| {
            rustix::fs::renameat(dir, temp, dir, name)?;
            // two names of one file: a rename of one to the other does nothing
            absent_ok(rustix::fs::unlinkat(dir, temp, AtFlags::empty()).map_err(Error::from))?;
            Ok(bytes)
        });
        match done {
            Ok(bytes) => self.bytes += bytes,
            Err(e) => {
                let gone = rustix::fs::unlinkat(dir, temp, AtFlags::empty());
                if let Err(left) = absent_ok(gone.map_err(Error::from)) {
                    log::warn!("{} stays: {left}", temp.escape_ascii());
                }
                return Err(e);
            }
        }
        Ok(())
    }

    /// The file that another name is to be given.
    fn linked(&mut self, path: &Path) -> Result<OwnedFd> {
        let (name, parents) = path.split_last().ok_or(Errno::EINVAL)?;
        let dir = self.way_to(parents)?;
        Loc::At(dir, name).open(OFlags::PATH)
    }

    /// The directory of these names, made if it is missing.
    fn way_to(&mut self, path: &[Box<[u8]>]) -> Result<BorrowedFd<'_>> {
        let known = self.way.iter().zip(path);
        let same = known.take_while(|((name, _), part)| name == *part).count();
        self.way.truncate(same);
        for depth in same..path.len() {
            let (Some(name), Some(so_far)) = (path.get(depth), path.get(..=depth)) else {
                break;
            };
            let dir = self.way.last().map_or(self.base, |(_, fd)| fd.as_fd());
            let opened = match loc::open_dir(dir, name) {
                Err(e) if e.is(Errno::ENOENT) => {
                    rustix::fs::mkdirat(dir, &**name, Mode::from_raw_mode(0o755))?;
                    if self.owner == Owner::Root {
                        Loc::At(dir, name).chown(Some(0), Some(0))?;
                    }
                    loc::open_dir(dir, name)
                }
                Err(e) if e.is(Errno::ENOTDIR) => self.through(so_far, e),
                other => other,
            };
            let opened = opened.context(|| show(so_far))?;
            self.way.push((name.clone(), opened));
        }
        Ok(self.way.last().map_or(self.base, |(_, fd)| fd.as_fd()))
    }

    /// A directory that a symlink leads to.
    fn through(&self, path: &[Box<[u8]>], otherwise: Error) -> Result<OwnedFd> {
        let Some((side, base)) = &self.links else {
            return Err(otherwise);
        };
        let whole = [base.as_slice(), &path.join(&b'/')].join(&b'/');
        side.open(&whole, OFlags::PATH | OFlags::DIRECTORY)
    }
}

/// Makes a new file of any type but a directory; gives the bytes of its data.
fn fresh(at: Loc<'_>, item: &Item, owner: Owner, data: &mut dyn Read) -> Result<u64> {
    let Loc::At(dir, name) = at else {
        return Err(Errno::EINVAL.into());
    };
    let node = |kind, device| {
        rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(0o600), device)
            .map_err(Error::from)
    };
    let (meta, kind, bytes) = match item {
        Item::File(meta, size) => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            let mode = Mode::from_raw_mode(0o600);
            let file = rustix::fs::openat(dir, name, flags | OFlags::CLOEXEC, mode)?;
            fill(File::from(file), data, *size)?;
            (meta, Kind::File, *size)
        }
        Item::Symlink(meta, target) => {
            rustix::fs::symlinkat(&**target, dir, name)?;
            (meta, Kind::Symlink, 0)
        }
        Item::CharDev(meta, device) => {
            node(FileType::CharacterDevice, *device)?;
            (meta, Kind::CharDev, 0)
        }
        Item::BlockDev(meta, device) => {
            node(FileType::BlockDevice, *device)?;
            (meta, Kind::BlockDev, 0)
        }
        Item::Fifo(meta) => {
            node(FileType::Fifo, 0)?;
            (meta, Kind::Fifo, 0)
        }
        Item::Dir(_) | Item::Hardlink(_) | Item::Whiteout | Item::Opaque => {
            return Err(Errno::EINVAL.into());
        }
    };
    dress(at, meta, owner, kind)?;
    Ok(bytes)
}

/// Writes a file's data. Blocks of zeros become holes.
fn fill(mut file: File, data: &mut dyn Read, size: u64) -> Result<()> {
    const BLOCK: usize = 1 << 16;
    let mut buf = vec![0; BLOCK];
    let mut left = size;
    while left > 0 {
        let room = usize::try_from(left).map_or(BLOCK, |l| l.min(BLOCK));
        let (part, _) = buf.split_at_mut(room);
        data.read_exact(part).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                Error::because(Errno::EIO, "it became shorter while it was copied")
            }
            _ => e.into(),
        })?;
        match part.iter().all(|b| *b == 0) {
            true => file
                .seek(SeekFrom::Current(room.try_into().unwrap_or(0)))
                .map(drop)?,
            false => file.write_all(part)?,
        }
        left -= room as u64;
    }
    Ok(file.set_len(size)?)
}

/// Gives a new file, or a directory, its owner, mode, attributes and time.
fn dress(at: Loc<'_>, meta: &Meta, owner: Owner, kind: Kind) -> Result<()> {
    match owner {
        Owner::Kept => at.chown(Some(meta.uid), Some(meta.gid))?,
        Owner::Root => at.chown(Some(0), Some(0))?,
        Owner::Caller => {}
    }
    if kind != Kind::Symlink {
        at.chmod(meta.perm)?;
    }
    for (name, value) in &meta.xattrs {
        if is_copied(name) {
            set_if_kept(at, name, value)?;
        }
    }
    at.utimens(None, Some(SetTime::At(meta.time())))
}

/// Labels of a security module and an overlay's own marks belong to where they are.
fn is_copied(name: &[u8]) -> bool {
    name.starts_with(b"user.")
        || name.starts_with(b"system.posix_acl_")
        || name == b"security.capability"
}

/// Sets an attribute, unless the file system has none, or this user may not.
fn set_if_kept(at: Loc<'_>, name: &[u8], value: &[u8]) -> Result<()> {
    let shown = || layer::shown(name);
    match xattr::set(at, name, value, 0) {
        Err(e) if matches!(e.errno(), Errno::EPERM | Errno::EOPNOTSUPP) => {
            log::warn!("attribute {} is left out: {e}", shown());
            Ok(())
        }
        other => other.context(shown),
    }
}
