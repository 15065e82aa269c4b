//! From a layer on disk, with an overlay's marks in it, to the entries of a layer.
//!
//! An image's layers have no metadata without data and no redirects, so a directory that has is refused.

use super::names::Lister;
use super::{Change, How, Packer};
use crate::image::entry::Item;
use crate::image::entry::{Entry, Path, show};
use crate::image::layer::LayerWriter;
use crate::image::spill::Pages;
use crate::lower::{LayerEntry, aufs_opaque, dir_marks, layer_entry, metacopy};
use crate::sys::{Loc, dir, loc};
use crate::vfs::error::Context;
use crate::vfs::whiteout::{AufsName, aufs_name, is_private_xattr};
use crate::vfs::{Error, Kind, Result};
use nix::errno::Errno;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};

/// Writes a directory that is a layer of an overlay: its files, and what it says of the layers below
/// it, in whichever form. The same layer is the same tar. What is to be remembered meanwhile is in `pages`.
pub fn pack_layer<W: Write>(
    root: BorrowedFd<'_>,
    writer: &mut LayerWriter<W>,
    pages: &Pages,
) -> Result<()> {
    let at = Loc::Fd(root);
    let mut walk = Walk {
        writer,
        packer: Packer::new(pages)?,
        lister: Lister::new(pages),
        path: Path::new(),
    };
    if let Some(mut entry) = super::entry_of(&walk.path, at, &at.stat()?).context(|| "/")? {
        without_marks(&mut entry);
        walk.writer.add(&entry, &mut std::io::empty())?;
    }
    walk.dir(root)
}

struct Walk<'w, W> {
    writer: &'w mut LayerWriter<W>,
    packer: Packer,
    lister: Lister,
    path: Path,
}

impl<W: Write> Walk<'_, W> {
    fn dir(&mut self, at: BorrowedFd<'_>) -> Result<()> {
        let mut names = self.lister.names(|tell| {
            dir::for_each(at, |entry| match aufs_name(entry.name) {
                AufsName::Plain => tell(entry.name),
                AufsName::Whiteout(hidden) => tell(hidden),
                AufsName::Opaque | AufsName::Meta => Ok(()),
            })
        })?;
        while let Some(name) = names.next()? {
            self.path.push(name.clone());
            self.name(at, &name).context(|| show(&self.path))?;
            self.path.pop();
        }
        Ok(())
    }

    fn name(&mut self, at: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        match layer_entry(at, name)? {
            LayerEntry::Absent => Ok(()),
            LayerEntry::Whiteout => self.say(How::Deleted, at, false),
            LayerEntry::Present(Kind::Dir) => {
                let fd = loc::open_dir(at, name)?;
                let marks = dir_marks(fd.as_fd())?;
                if marks.redirect.is_some() {
                    return Err(refused("a directory that was renamed"));
                }
                let opaque = marks.opaque || aufs_opaque(fd.as_fd())?;
                self.say(How::Changed, at, opaque)?;
                self.dir(fd.as_fd())
            }
            LayerEntry::Present(_) => match metacopy(Loc::At(at, name))? {
                Some(_) => Err(refused("a file whose data is in another layer")),
                None => self.say(How::Changed, at, false),
            },
        }
    }

    fn say(&mut self, how: How, dir: BorrowedFd<'_>, hides: bool) -> Result<()> {
        let (path, writer) = (&self.path, &mut *self.writer);
        let change = Change {
            how,
            path,
            dir,
            hides,
        };
        self.packer.pack(&change, &mut |entry, data| {
            let mut entry = entry.clone();
            without_marks(&mut entry);
            writer.add(&entry, data)
        })
    }
}

/// Takes away the attributes that are marks of an overlay.
fn without_marks(entry: &mut Entry) {
    if let Item::Dir(meta)
    | Item::File(meta, _)
    | Item::Symlink(meta, _)
    | Item::CharDev(meta, _)
    | Item::BlockDev(meta, _)
    | Item::Fifo(meta) = &mut entry.item
    {
        meta.xattrs.retain(|(name, _)| !is_private_xattr(name));
    }
}

fn refused(what: &str) -> Error {
    let why = format!("{what} (the mark of an overlay): an image's layer cannot say that");
    Error::because(Errno::EOPNOTSUPP, why)
}
