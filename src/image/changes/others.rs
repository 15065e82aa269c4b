//! Names of files that were packed, where nothing was changed.
//!
//! A directory that was moved is packed whole, and with it a file that has another name elsewhere in
//! the image. That name is in no upper, for nothing was done to it; but a layer that did not say it
//! would make two files of the one. A link to what a layer below has would say it too; podman and
//! containerd refuse that.

use super::{Image, Packer, Sink, entry_of, is_whole};
use crate::image::entry::{Entry, Item, Path};
use crate::sys::{Loc, loc};
use crate::vfs::error::absent_ok;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

impl Packer {
    /// Packs the names that are left of files that were packed, after all changes were. `upper` and
    /// `mount` are the roots of a container's upper and of its mount. `root`: an entry says what the
    /// root is.
    pub fn pack_other_names(
        &self,
        (upper, mount): (BorrowedFd<'_>, BorrowedFd<'_>),
        image: &dyn Image,
        root: bool,
        sink: Sink<'_>,
    ) -> Result<()> {
        let mut said: BTreeSet<Path> = BTreeSet::new();
        if root {
            said.insert(Path::new());
        }
        self.packed.incomplete(|ino, first| {
            for path in image.names(ino)? {
                let Some(dir) = shows(mount, &path, ino)? else {
                    continue;
                };
                let parent = path[..path.len() - 1].to_vec();
                let dir_said = match said_of(upper, mount, &path)? {
                    Said::Name => continue,
                    // the root is nobody's entry, so no change says it
                    Said::Dir => !parent.is_empty(),
                    Said::Nothing => false,
                };
                // whoever unpacks the link moves the directory's time, if nothing says what it is
                if said.insert(parent.clone()) && !dir_said {
                    let at = Loc::Fd(dir.as_fd());
                    if let Some(entry) = entry_of(&parent, at, &at.stat()?)? {
                        sink(&entry, &mut std::io::empty())?;
                    }
                }
                let item = Item::Hardlink(first.clone());
                sink(&Entry { path, item }, &mut std::io::empty())?;
            }
            Ok(())
        })
    }
}

/// What the changes have said of a path in the image.
enum Said {
    Name,
    /// The directory that it is in.
    Dir,
    Nothing,
}

/// Follows the walk of the changes.
fn said_of(upper: BorrowedFd<'_>, mount: BorrowedFd<'_>, path: &Path) -> Result<Said> {
    let (mut own, mut shown) = (None::<OwnedFd>, None::<OwnedFd>);
    let Some((last, parents)) = path.split_last() else {
        return Ok(Said::Name);
    };
    for name in parents {
        let at = own.as_ref().map_or(upper, AsFd::as_fd);
        let Some(dir) = unless_it_is_another(loc::open_dir(at, name))? else {
            return Ok(Said::Nothing);
        };
        let at = shown.as_ref().map_or(mount, AsFd::as_fd);
        let merged = loc::open_dir(at, name)?;
        if is_whole(dir.as_fd(), merged.as_fd())? {
            return Ok(Said::Name);
        }
        (own, shown) = (Some(dir), Some(merged));
    }
    let at = own.as_ref().map_or(upper, AsFd::as_fd);
    Ok(match absent_ok(Loc::At(at, last).stat())? {
        Some(_) => Said::Name,
        None => Said::Dir,
    })
}

/// The directory of a path, if the path shows a file of this number.
fn shows(mount: BorrowedFd<'_>, path: &Path, ino: u64) -> Result<Option<OwnedFd>> {
    let Some((name, parent)) = path.split_last() else {
        return Ok(None);
    };
    let Some(dir) = unless_it_is_another(loc::open_beneath(mount, &parent.join(&b'/')))? else {
        return Ok(None);
    };
    let st = absent_ok(Loc::At(dir.as_fd(), name).stat())?;
    Ok(st.is_some_and(|st| st.st_ino == ino).then_some(dir))
}

/// `None` where nothing is there, or no directory on the way.
fn unless_it_is_another(found: Result<OwnedFd>) -> Result<Option<OwnedFd>> {
    let another = |e: &Error| e.is(Errno::ENOTDIR) || e.is(Errno::ELOOP);
    match absent_ok(found) {
        Err(e) if another(&e) => Ok(None),
        other => other,
    }
}
