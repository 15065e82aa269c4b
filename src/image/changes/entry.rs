//! From a change to the entries of a layer that says it.

use super::names::Firsts;
use super::{Change, How};
use crate::image::entry::{Entry, Item, Meta, Path, show};
use crate::image::spill::Pages;
use crate::sys::{Loc, xattr};
use crate::vfs::whiteout::AUFS_PREFIX;
use crate::vfs::{Error, Kind, Result};
use nix::errno::Errno;
use rustix::fs::{OFlags, Stat};
use std::fs::File;
use std::io::Read;

/// Takes the entries of a layer, each with its data if it is a file.
pub type Sink<'s> = &'s mut dyn FnMut(&Entry, &mut dyn Read) -> Result<()>;

/// Turns changes into entries, one after the other.
#[derive(Debug)]
pub struct Packer {
    /// Files with several names that were packed, by their numbers in the mount.
    pub(super) packed: Firsts,
}

impl Packer {
    /// One that has packed nothing; what it remembers is in `pages`.
    pub fn new(pages: &Pages) -> Result<Packer> {
        let packed = Firsts::new(pages)?;
        Ok(Packer { packed })
    }

    /// Says one change. A socket is left out, with a warning: a layer cannot have one.
    pub fn pack(&mut self, change: &Change<'_>, sink: Sink<'_>) -> Result<()> {
        let nothing = &mut std::io::empty();
        let entry = |item| Entry {
            path: change.path.clone(),
            item,
        };
        if change.how == How::Deleted {
            return sink(&entry(Item::Whiteout), nothing);
        }
        if let Some(name) = change.path.last()
            && name.starts_with(AUFS_PREFIX)
        {
            return Err(Error::because(
                Errno::EINVAL,
                format!(
                    "{}: in a layer, that name says that another is missing",
                    show(change.path)
                ),
            ));
        }
        let at = change.at();
        let st = at.stat()?;
        let is_dir = Kind::from_mode(st.st_mode) == Some(Kind::Dir);
        if !is_dir
            && st.st_nlink > 1
            && let Some(first) = self.packed.meet(st.st_ino, st.st_nlink, change.path)?
        {
            return sink(&entry(Item::Hardlink(first)), nothing);
        }
        match entry_of(change.path, at, &st)? {
            Some(made) if matches!(made.item, Item::File(..)) => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
                let mut file = File::from(at.open(flags)?);
                sink(&made, &mut file)?;
            }
            Some(made) => sink(&made, nothing)?,
            None => log::warn!("{}: a socket is left out", show(change.path)),
        }
        if change.hides {
            sink(&entry(Item::Opaque), nothing)?;
        }
        Ok(())
    }
}

/// What a layer says of the file at `at`; `None` of a socket.
pub fn entry_of(path: &Path, at: Loc<'_>, st: &Stat) -> Result<Option<Entry>> {
    let mut meta = Meta {
        perm: st.st_mode & 0o7777,
        uid: st.st_uid,
        gid: st.st_gid,
        mtime: st.st_mtime,
        mtime_nsec: u32::try_from(st.st_mtime_nsec).unwrap_or_default(),
        xattrs: Vec::new(),
    };
    for name in xattr::names(&xattr::list(at)?) {
        // gone meanwhile: as if it had not been there
        if let Some(value) = xattr::get(at, name)? {
            meta.xattrs.push((name.into(), value.into()));
        }
    }
    meta.xattrs.sort();
    let item = match Kind::from_mode(st.st_mode) {
        Some(Kind::Dir) => Item::Dir(meta),
        Some(Kind::File) => Item::File(meta, st.st_size.unsigned_abs()),
        Some(Kind::Symlink) => Item::Symlink(meta, at.readlink()?.into()),
        Some(Kind::CharDev) => Item::CharDev(meta, st.st_rdev),
        Some(Kind::BlockDev) => Item::BlockDev(meta, st.st_rdev),
        Some(Kind::Fifo) => Item::Fifo(meta),
        Some(Kind::Socket) | None => return Ok(None),
    };
    let path = path.clone();
    Ok(Some(Entry { path, item }))
}
