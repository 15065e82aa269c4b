//! Meeting: a directory that is looked up for the first time is opened in every layer that has it, and its names
//! are merged.

use super::layer::{self, DirMarks};
use super::listing::Listing;
use super::merge::{Merge, Part, Stack};
use crate::sys::{dir, loc};
use crate::vfs::cookie::CookieKey;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// A directory, met for the first time.
#[derive(Debug)]
pub struct Met {
    /// Its parts; never none.
    pub parts: Vec<Part>,
    /// The topmost of them, open; never none.
    pub fds: Vec<OwnedFd>,
    /// What is in it, where finding the parts told.
    pub listing: Option<Listing>,
}

/// Directories of one meeting that stay open: who looks for a directory will look for its files.
const KEPT_OPEN: usize = 64;

/// So many layers of one directory are read by two threads: by one they take longer than it takes to wake another.
const MANY_LAYERS: usize = 16;

/// One layer's share of a directory, to be opened and read.
#[derive(Clone)]
struct Share {
    part: Part,
    /// The parent's share, if that is open.
    above: Option<Arc<OwnedFd>>,
}

/// A share that was read: the names only where they are to be merged.
struct Read {
    fd: OwnedFd,
    marks: DirMarks,
    entries: Option<dir::Entries>,
}

impl Stack {
    /// Meets directory `name` in the directory made of `parents` for the first time; `only` names
    /// the layers that have it. Where several do, all are read at once. `open` knows which of the
    /// parents are open.
    pub fn meet(
        self: &Arc<Self>,
        parents: &[Part],
        open: &dyn Fn(&Part) -> Option<Arc<OwnedFd>>,
        (name, only): (&[u8], &[u16]),
        key: &CookieKey,
    ) -> Result<Met> {
        let mut shares: Vec<Share> = Vec::with_capacity(only.len());
        for parent in parents.iter().filter(|p| only.contains(&p.layer)) {
            let path = self.path_below(shares.last().map(|s| &s.part), parent, name);
            shares.push(Share {
                part: Part {
                    layer: parent.layer,
                    path,
                    xwhiteouts: false,
                },
                above: open(parent),
            });
        }
        match self.meet_plainly(&shares, name, key)? {
            Some(met) => Ok(met),
            None => {
                let parts = self.descend(parents, name, Some(only))?;
                let first = parts.first().ok_or_else(|| {
                    Error::because(Errno::EIO, "directory vanished from its layer")
                })?;
                Ok(Met {
                    fds: vec![self.open(first)?],
                    parts,
                    listing: None,
                })
            }
        }
    }

    /// [`Stack::meet`] where nothing is in the way: each part is opened once. `None`: a redirect, a
    /// part that is not there or cannot be read, a very long path.
    fn meet_plainly(
        self: &Arc<Self>,
        shares: &[Share],
        name: &[u8],
        key: &CookieKey,
    ) -> Result<Option<Met>> {
        let several = shares.len() > 1;
        let mut parts: Vec<Part> = Vec::with_capacity(shares.len());
        let mut merge = Merge::new(self.ownership);
        let mut fds = Vec::new();
        'met: for some in shares.chunks(KEPT_OPEN) {
            let mut ready = match some.len() >= MANY_LAYERS {
                true => self.read_many(some, name)?.into_iter(),
                false => Vec::new().into_iter(),
            };
            for share in some {
                let read = ready.next();
                let read = read.unwrap_or_else(|| self.read(share, name, several))?;
                let Some(Read { fd, marks, entries }) = read else {
                    return Ok(None);
                };
                if marks.redirect.is_some() {
                    return Ok(None);
                }
                let part = Part {
                    xwhiteouts: marks.xwhiteouts,
                    ..share.part.clone()
                };
                let mut opaque = marks.opaque;
                if let Some(entries) = entries {
                    let added = merge.add(&part, fd.as_fd(), &entries);
                    opaque |= added.context(|| self.say(&part))?;
                }
                parts.push(part);
                if fds.len() < KEPT_OPEN {
                    fds.push(fd);
                }
                if opaque {
                    break 'met;
                }
            }
        }
        let listing = several.then(|| merge.into_listing(key));
        Ok((!fds.is_empty()).then_some(Met {
            parts,
            fds,
            listing,
        }))
    }

    /// Reads shares of several layers, by two threads.
    fn read_many(
        self: &Arc<Self>,
        shares: &[Share],
        name: &[u8],
    ) -> Result<Vec<Result<Option<Read>>>> {
        let (stack, shares, name) = (self.clone(), shares.to_vec(), name.to_vec());
        // an error is one only if nothing above hides it
        self.helper.share(shares.len(), move |i| {
            let share = shares.get(i).ok_or_else(|| Error::new(Errno::EINVAL))?;
            Ok(stack.read(share, &name, true))
        })
    }

    /// Opens a share, by its name in the parent if that is open, else by its path, and reads it.
    /// `None`: not this way.
    fn read(&self, share: &Share, name: &[u8], names: bool) -> Result<Option<Read>> {
        let part = &share.part;
        let opened = match &share.above {
            Some(above) => loc::read_dir(above, name),
            None => loc::read_beneath(
                self.layers[usize::from(part.layer)].root.as_fd(),
                &part.path,
            ),
        };
        let Some(fd) = opened else {
            return Ok(None);
        };
        let marks = layer::open_dir_marks(fd.as_fd());
        let entries = names.then(|| dir::entries(fd.as_fd())).transpose();
        let what = || self.say(part);
        Ok(Some(Read {
            marks: marks.context(what)?,
            entries: entries.context(what)?,
            fd,
        }))
    }
}
