//! The tree of an image, from the tables of its layers, lowest first.
//!
//! What a layer says of missing names is about the layers below it, wherever in its tar it says so;
//! so each table is gone through twice: for what it hides, then for what it adds. Besides:
//!
//! * A directory over a directory keeps what is in it; anything else replaces what was there.
//! * A directory that is missing on the way to an entry is made, as for root; one that a layer
//!   below has stays as it is. Where a layer below has something else there, the directory
//!   replaces it, as in a stack of directories.
//! * Within one layer, what it said before is not contradicted: a file where it has a directory
//!   with something in it, or something in what it says is a file, is an error.

use super::digest::Digest;
use super::entry::{Entry, Item, Meta, Path, show};
use super::spill::Room;
use super::table::{Row, Table};
use super::tree::{Content, Kind, Tree};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::io::{BufRead, Seek};

/// A tree under construction.
#[derive(Debug)]
pub struct Merge {
    tree: Tree,
    /// The directory that was looked for last: in a tar, its files follow each other. Forgotten when
    /// anything goes away.
    last: Option<(Path, u32)>,
}

impl Merge {
    /// An image without layers: an empty directory. All of it will be in memory.
    pub fn new() -> Result<Merge> {
        Merge::within(Room::unlimited())
    }

    /// The same, with no more of it in memory than there is room for.
    pub fn within(room: Room) -> Result<Merge> {
        let tree = Tree::within(room, Vec::new(), &unnamed())?;
        Ok(Merge { tree, last: None })
    }

    /// Puts a layer on top.
    pub fn add<R: BufRead + Seek>(&mut self, diff_id: Digest, table: &mut Table<R>) -> Result<()> {
        let layer = u32::try_from(self.tree.layers.len()).map_err(|_| Errno::E2BIG)?;
        self.tree.layer = layer;
        self.last = None;
        table.rows(|row| {
            let Entry { path, item } = &row.entry;
            self.hide(path, item).context(|| at(&diff_id, path))
        })?;
        table.rows(|row| {
            let Row {
                entry: Entry { path, item },
                content,
            } = row;
            self.put(&path, item, content, layer)
                .context(|| at(&diff_id, &path))
        })?;
        self.tree.layers.push(diff_id);
        Ok(())
    }

    /// The tree.
    pub fn finish(self) -> Tree {
        self.tree
    }

    /// What a layer's entry hides of the layers below.
    fn hide(&mut self, path: &Path, item: &Item) -> Result<()> {
        match item {
            Item::Whiteout => {
                if let Some((name, dir)) = path.split_last()
                    && let Some(dir) = self.find(dir)?
                {
                    self.tree.unlink(dir, name)?;
                }
            }
            Item::Opaque => {
                if let Some(dir) = self.find(path)? {
                    self.tree.clear(dir)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn put(&mut self, path: &Path, item: Item, content: Content, layer: u32) -> Result<()> {
        let (kind, meta) = match item {
            Item::Whiteout | Item::Opaque => return Ok(()),
            Item::Hardlink(target) => return self.link(path, &target, layer),
            Item::Dir(meta) => (Kind::Dir, meta),
            Item::File(meta, size) => {
                let content = match content {
                    Content::Packed { offset, .. } => Content::Packed { layer, offset },
                    other => other,
                };
                (Kind::File { size, content }, meta)
            }
            Item::Symlink(meta, target) => (Kind::Symlink(target), meta),
            Item::CharDev(meta, rdev) => (Kind::CharDev(rdev), meta),
            Item::BlockDev(meta, rdev) => (Kind::BlockDev(rdev), meta),
            Item::Fifo(meta) => (Kind::Fifo, meta),
        };
        let is_dir = kind == Kind::Dir;
        let Some((name, dir)) = path.split_last() else {
            return match is_dir {
                true => self.tree.describe(Tree::ROOT, &meta),
                false => Err(Error::because(Errno::ENOTDIR, "the root is a directory")),
            };
        };
        let dir = self.make_dirs(dir, layer)?;
        if is_dir
            && let Some(there) = self.tree.child(dir, name)?
            && self.tree.is_dir(there)?
        {
            return self.tree.describe(there, &meta);
        }
        self.make_room(dir, name, layer)?;
        self.tree.add(dir, name, kind, &meta)?;
        Ok(())
    }

    fn link(&mut self, path: &Path, target: &Path, layer: u32) -> Result<()> {
        let missing = || {
            Error::because(
                Errno::ENOENT,
                format!("link to {}, which is not there", show(target)),
            )
        };
        let file = self.find(target)?.ok_or_else(missing)?;
        if self.tree.is_dir(file)? {
            let why = format!("link to {}, a directory", show(target));
            return Err(Error::because(Errno::EPERM, why));
        }
        let (name, dir) = path.split_last().ok_or(Errno::ENOTDIR)?;
        let dir = self.make_dirs(dir, layer)?;
        if self.tree.child(dir, name)? == Some(file) {
            return Ok(()); // it is that already, or a link to itself
        }
        self.make_room(dir, name, layer)?;
        self.tree.link(dir, name, file)
    }

    /// The directory at `path`, made where it is missing.
    fn make_dirs(&mut self, path: &[Box<[u8]>], layer: u32) -> Result<u32> {
        if let Some((last, at)) = &self.last
            && last == path
        {
            return Ok(*at);
        }
        let mut at = Tree::ROOT;
        for name in path {
            at = match self.tree.child(at, name)? {
                Some(child) if self.tree.is_dir(child)? => child,
                Some(child) if self.tree.said_by(child)? == Some(layer) => {
                    return Err(Error::because(
                        Errno::ENOTDIR,
                        format!("{} is no directory, the same layer says", show(path)),
                    ));
                }
                there => {
                    if there.is_some() {
                        self.tree.unlink(at, name)?;
                    }
                    self.tree.add(at, name, Kind::Dir, &unnamed())?
                }
            };
        }
        self.last = Some((path.to_vec(), at));
        Ok(at)
    }

    /// Removes what a new entry replaces.
    fn make_room(&mut self, dir: u32, name: &[u8], layer: u32) -> Result<()> {
        if let Some(there) = self.tree.child(dir, name)? {
            for child in self.tree.in_dir(there) {
                if self.tree.said_by(child?.node)? == Some(layer) {
                    return Err(Error::because(
                        Errno::EISDIR,
                        "the same layer has something in a directory there",
                    ));
                }
            }
            self.tree.unlink(dir, name)?;
            self.last = None;
        }
        Ok(())
    }

    fn find(&self, path: &[Box<[u8]>]) -> Result<Option<u32>> {
        let mut at = Tree::ROOT;
        for name in path {
            match self.tree.child(at, name)? {
                Some(child) => at = child,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }
}

/// Where something is said.
fn at(layer: &Digest, path: &Path) -> String {
    format!("layer {layer}, entry {}", show(path))
}

/// What a directory has that no layer describes.
fn unnamed() -> Meta {
    Meta {
        perm: 0o755,
        ..Meta::default()
    }
}

#[cfg(test)]
mod tests;
