//! Names of files that were packed, where nothing was changed.
//!
//! A directory that was moved is packed whole, and with it a file that has another name elsewhere in
//! the image. That name is in no upper, for nothing was done to it; but a layer that did not say it
//! would make two files of the one. A link to what a layer below has would say it too; podman and
//! containerd refuse that.

use super::{Image, Packer, Sink, entry_of};
use crate::image::entry::{Entry, Item, Path};
use crate::sys::{Loc, loc};
use crate::vfs::error::absent_ok;
use crate::vfs::{Error, Kind, Result};
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
        let mut files: Vec<_> = self.packed.iter().collect();
        files.retain(|(_, file)| (file.names.len() as u64) < file.links);
        files.sort_by(|a, b| a.1.names.cmp(&b.1.names));
        for (ino, file) in files {
            let Some(first) = file.names.first() else {
                continue;
            };
            for path in image.names(*ino)? {
                if file.names.contains(&path) {
                    continue;
                }
                let Some(dir) = shows(mount, &path, *ino)? else {
                    continue;
                };
                // whoever unpacks the link moves the directory's time, if nothing says what it is
                let parent = path[..path.len() - 1].to_vec();
                if !said.contains(&parent) {
                    if parent.is_empty() || !is_dir(upper, &parent)? {
                        let at = Loc::Fd(dir.as_fd());
                        if let Some(entry) = entry_of(&parent, at, &at.stat()?)? {
                            sink(&entry, &mut std::io::empty())?;
                        }
                    }
                    said.insert(parent);
                }
                let item = Item::Hardlink(first.clone());
                sink(&Entry { path, item }, &mut std::io::empty())?;
            }
        }
        Ok(())
    }
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

/// True if the upper has a directory there. Then it was on the way of the changes.
fn is_dir(upper: BorrowedFd<'_>, path: &Path) -> Result<bool> {
    let dir = unless_it_is_another(loc::open_beneath(upper, &path.join(&b'/')))?;
    let st = dir.map(|dir| Loc::Fd(dir.as_fd()).stat()).transpose()?;
    Ok(st.is_some_and(|st| Kind::from_mode(st.st_mode) == Some(Kind::Dir)))
}

/// `None` where nothing is there, or no directory on the way.
fn unless_it_is_another(found: Result<OwnedFd>) -> Result<Option<OwnedFd>> {
    let another = |e: &Error| e.is(Errno::ENOTDIR) || e.is(Errno::ELOOP);
    match absent_ok(found) {
        Err(e) if another(&e) => Ok(None),
        other => other,
    }
}
