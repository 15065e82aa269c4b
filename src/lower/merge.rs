//! Merging: which directories of which layers make up one directory of the tree, and what is in it.

use super::layer::{self, DirMarks, Layer, LayerEntry};
use super::listing::{Listing, RawListing};
use crate::sys::{Loc, Ownership, dir, loc};
use crate::vfs::cookie::CookieKey;
use crate::vfs::error::Context;
use crate::vfs::whiteout::{AufsName, Redirect, aufs_name};
use crate::vfs::{Error, Kind, Result};
use nix::errno::Errno;
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// One layer's share of a directory.
#[derive(Clone, Debug)]
pub struct Part {
    /// The layer, 0 topmost.
    pub layer: u16,
    /// From the layer's root; the same for all parts unless a redirect says otherwise.
    pub path: Arc<[u8]>,
    /// Whiteouts in it may be files with an attribute.
    pub xwhiteouts: bool,
}

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

/// Most redirects followed for one directory: a chain in a broken stack must end.
const MAX_REDIRECTS: usize = 512;

/// The stack of layers, topmost first.
#[derive(Debug)]
pub struct Stack {
    /// The layers.
    pub layers: Vec<Layer>,
    /// Where types and owners are kept in them.
    pub ownership: Ownership,
}

impl Stack {
    /// Opens one part's directory.
    pub fn open(&self, part: &Part) -> Result<OwnedFd> {
        self.layers[usize::from(part.layer)]
            .dir(&part.path)
            .context(|| self.say(part))
    }

    /// A part in words.
    pub fn say(&self, part: &Part) -> String {
        format!(
            "layer {} ({}), directory {:?}",
            part.layer,
            self.layers[usize::from(part.layer)].path.display(),
            String::from_utf8_lossy(&part.path)
        )
    }

    /// The parts of the root.
    pub fn root(&self) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        for (i, l) in self.layers.iter().enumerate() {
            let marks =
                layer::dir_marks(l.root.as_fd()).context(|| l.path.display().to_string())?;
            let opaque = marks.opaque || layer::aufs_opaque(l.root.as_fd())?;
            parts.push(Part {
                layer: i as u16,
                path: Arc::from(&b""[..]),
                xwhiteouts: marks.xwhiteouts,
            });
            if opaque {
                break;
            }
        }
        Ok(parts)
    }

    /// The parts of directory `name` in the directory made of `parents`. `only`, where it is
    /// known, names the layers that have it at all.
    pub fn descend(
        &self,
        parents: &[Part],
        name: &[u8],
        only: Option<&[u16]>,
    ) -> Result<Vec<Part>> {
        self.descend_counted(parents, name, only, &mut 0)
    }

    fn descend_counted(
        &self,
        parents: &[Part],
        name: &[u8],
        only: Option<&[u16]>,
        redirects: &mut usize,
    ) -> Result<Vec<Part>> {
        let mut parts: Vec<Part> = Vec::new();
        for (i, parent) in parents.iter().enumerate() {
            if only.is_some_and(|only| !only.contains(&parent.layer)) {
                continue;
            }
            let dir = self.open(parent)?;
            let fd = match loc::open_dir(&dir, name) {
                Ok(fd) => fd,
                Err(e) if e.is(Errno::ENOENT) => match layer::entry(dir.as_fd(), name)? {
                    LayerEntry::Absent => continue,
                    LayerEntry::Whiteout | LayerEntry::Present(_) => break,
                },
                // a file or a whiteout covers what is below
                Err(e) if e.is(Errno::ENOTDIR) || e.is(Errno::ELOOP) => break,
                Err(e) => return Err(e.context(self.say(parent))),
            };
            let marks = layer::dir_marks(fd.as_fd())?;
            let path = self.path_below(parts.last(), parent, name);
            parts.push(Part {
                layer: parent.layer,
                path,
                xwhiteouts: marks.xwhiteouts,
            });
            if marks.opaque || layer::aufs_opaque(fd.as_fd())? {
                break;
            }
            if let DirMarks {
                redirect: Some(redirect),
                ..
            } = marks
            {
                *redirects += 1;
                if *redirects > MAX_REDIRECTS {
                    return Err(Error::because(Errno::ELOOP, "redirects without end")
                        .context(self.say(parent)));
                }
                parts.extend(self.follow(&redirect, &parents[i + 1..], parent.layer, redirects)?);
                break;
            }
        }
        Ok(parts)
    }

    /// Meets directory `name` in the directory made of `parents` for the first time; `only` names
    /// the layers that have it. Where several do, all are read at once. `open` knows which of the
    /// parents are open.
    pub fn meet(
        &self,
        parents: &[Part],
        open: &dyn Fn(&Part) -> Option<Arc<OwnedFd>>,
        (name, only): (&[u8], &[u16]),
        key: &CookieKey,
    ) -> Result<Met> {
        match self.meet_plainly(parents, open, (name, only), key)? {
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

    /// [`Stack::meet`] where nothing is in the way: each part is opened once, by its name in the
    /// parent, or by its path. `None`: a redirect, a part that is not there or cannot be read, a very long path.
    fn meet_plainly(
        &self,
        parents: &[Part],
        open: &dyn Fn(&Part) -> Option<Arc<OwnedFd>>,
        (name, only): (&[u8], &[u16]),
        key: &CookieKey,
    ) -> Result<Option<Met>> {
        let mut parts: Vec<Part> = Vec::with_capacity(only.len());
        let mut merge = Merge::new(self.ownership);
        let mut fds = Vec::new();
        for parent in parents.iter().filter(|p| only.contains(&p.layer)) {
            let path = self.path_below(parts.last(), parent, name);
            let root = self.layers[usize::from(parent.layer)].root.as_fd();
            let opened = match open(parent) {
                Some(parent) => loc::read_dir(&*parent, name),
                None => loc::read_beneath(root, &path),
            };
            let Some(fd) = opened else {
                return Ok(None);
            };
            let marks = layer::dir_marks(fd.as_fd())?;
            if marks.redirect.is_some() {
                return Ok(None);
            }
            let part = Part {
                layer: parent.layer,
                path,
                xwhiteouts: marks.xwhiteouts,
            };
            let mut opaque = marks.opaque;
            if only.len() > 1 {
                opaque |= merge
                    .add(&part, fd.as_fd(), true)
                    .context(|| self.say(&part))?;
            }
            parts.push(part);
            if fds.len() < KEPT_OPEN {
                fds.push(fd);
            }
            if opaque {
                break;
            }
        }
        let listing = (only.len() > 1).then(|| merge.into_listing(key));
        Ok((!fds.is_empty()).then_some(Met {
            parts,
            fds,
            listing,
        }))
    }

    /// The path of `name` in `parent`; shared with the part above where it is the same.
    fn path_below(&self, above: Option<&Part>, parent: &Part, name: &[u8]) -> Arc<[u8]> {
        match above {
            Some(p)
                if p.path.len() == joined_len(&parent.path, name)
                    && p.path.ends_with(name)
                    && p.path.starts_with(&parent.path) =>
            {
                p.path.clone()
            }
            _ => join(&parent.path, name),
        }
    }

    fn follow(
        &self,
        redirect: &Redirect,
        siblings: &[Part],
        above: u16,
        redirects: &mut usize,
    ) -> Result<Vec<Part>> {
        match redirect {
            Redirect::Sibling(name) => self.descend_counted(siblings, name, None, redirects),
            Redirect::Absolute(path) => {
                let mut at: Vec<Part> = self.root()?;
                at.retain(|p| p.layer > above);
                for name in path {
                    at = self.descend_counted(&at, name, None, redirects)?;
                }
                Ok(at)
            }
        }
    }

    /// Where the data of a metadata-only file is: the part below `parents[at]` and the name there.
    pub fn data_of(
        &self,
        parents: &[Part],
        at: usize,
        name: &[u8],
        redirect: Option<Redirect>,
    ) -> Result<(Vec<Part>, Vec<u8>)> {
        match redirect {
            None => Ok((parents[at + 1..].to_vec(), name.to_vec())),
            Some(Redirect::Sibling(other)) => Ok((parents[at + 1..].to_vec(), other)),
            Some(Redirect::Absolute(mut path)) => {
                let name = path
                    .pop()
                    .ok_or_else(|| Error::because(Errno::EIO, "empty redirect"))?;
                let mut dirs: Vec<Part> = self.root()?;
                dirs.retain(|p| p.layer > parents[at].layer);
                for part in &path {
                    dirs = self.descend(&dirs, part, None)?;
                }
                Ok((dirs, name))
            }
        }
    }

    /// Reads the directory made of `parts`.
    pub fn list(&self, parts: &[Part], key: &CookieKey) -> Result<Listing> {
        let mut merge = Merge::new(self.ownership);
        for part in parts {
            let root = self.layers[usize::from(part.layer)].root.as_fd();
            let (dir, fresh) = match loc::read_beneath(root, &part.path) {
                Some(dir) if !part.path.is_empty() => (dir, true),
                _ => (self.open(part)?, false),
            };
            merge
                .add(part, dir.as_fd(), fresh)
                .context(|| self.say(part))?;
        }
        Ok(merge.into_listing(key))
    }
}

/// The state of a merge: the topmost layer first.
#[derive(Default)]
struct Merge {
    ownership: Ownership,
    entries: Vec<(Box<[u8]>, Kind, Vec<u16>)>,
    /// Where a name is in `entries`, and whether layers below may still take part in it.
    found: HashMap<Box<[u8]>, (usize, bool)>,
    hidden: HashSet<Box<[u8]>>,
}

impl Merge {
    fn new(ownership: Ownership) -> Merge {
        Merge {
            ownership,
            ..Merge::default()
        }
    }

    fn into_listing(self, key: &CookieKey) -> Listing {
        let entries = self.entries;
        Listing::new(RawListing { entries }, key)
    }

    /// Adds the next layer's share. `fresh`: `dir` is open for reading and was not read yet. True
    /// if AUFS's mark says that nothing below shows.
    fn add(&mut self, part: &Part, dir: BorrowedFd<'_>, fresh: bool) -> Result<bool> {
        let mut hides: Vec<Box<[u8]>> = Vec::new();
        let mut opaque = false;
        let each = |entry: dir::RawEntry<'_>| {
            let at = Loc::At(dir, entry.name);
            match aufs_name(entry.name) {
                AufsName::Plain => {}
                AufsName::Whiteout(name) => {
                    hides.push(name.into());
                    return Ok(());
                }
                AufsName::Opaque => {
                    opaque = true;
                    return Ok(());
                }
                AufsName::Meta => return Ok(()),
            }
            let kind = match entry.kind {
                Some(Kind::CharDev) | None => {
                    let st = at.stat()?;
                    if loc::is_whiteout(&st) {
                        hides.push(entry.name.into());
                        return Ok(());
                    }
                    Kind::from_mode(st.st_mode).unwrap_or(Kind::File)
                }
                Some(kind) => kind,
            };
            if part.xwhiteouts && kind == Kind::File && layer::has_whiteout_xattr(at)? {
                hides.push(entry.name.into());
                return Ok(());
            }
            let kind = self.ownership.kind(at, kind)?;
            self.entry(part.layer, entry.name, kind);
            Ok(())
        };
        if fresh {
            dir::read(dir, each)?;
        } else {
            dir::for_each(dir, each)?;
        }
        // a whiteout speaks of the layers below, not of its own
        for name in hides {
            if let Some((_, open)) = self.found.get_mut(&name) {
                *open = false;
            }
            self.hidden.insert(name);
        }
        Ok(opaque)
    }

    fn entry(&mut self, layer: u16, name: &[u8], kind: Kind) {
        match self.found.get_mut(name) {
            Some((at, open)) => {
                if !*open {
                    return;
                }
                if kind == Kind::Dir {
                    self.entries[*at].2.push(layer);
                } else {
                    *open = false; // a file under a directory ends the merge
                }
            }
            None if self.hidden.contains(name) => {}
            None => {
                self.found
                    .insert(name.into(), (self.entries.len(), kind == Kind::Dir));
                self.entries.push((name.into(), kind, vec![layer]));
            }
        }
    }
}

fn joined_len(parent: &[u8], name: &[u8]) -> usize {
    parent.len() + usize::from(!parent.is_empty()) + name.len()
}

fn join(parent: &[u8], name: &[u8]) -> Arc<[u8]> {
    let mut path = Vec::with_capacity(joined_len(parent, name));
    path.extend_from_slice(parent);
    if !parent.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path.into()
}
